from __future__ import annotations

import pytest

from unibuild.errors import MissingError
from unibuild.lab import packages
from unibuild.lab.packages import Distribution, closure, distribution, parse_depends, select_sources

DEB822 = """\
# Debian's own
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm
 bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://deb.example.org/node
Suites: nodistro
Components: main

Enabled: no
Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb-src
URIs: http://mirror.example/debian
Suites: bookworm
Components: main
"""

ONE_LINE = """\
# deb http://mirror.example/debian bookworm contrib
deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main
deb http://mirror.example/debian-security bookworm-security main contrib
deb-src http://mirror.example/debian bookworm main
deb https://apt.example.org bookworm-pgdg main
deb https://packages.example.org/apt cloud-sdk-bookworm main
"""

DEPENDS = """\
xen-system-amd64
  Depends: xen-hypervisor-4.17-amd64
  PreDepends: dpkg
  Depends: xen-utils-4.17
xen-utils-4.17
  Depends: libc6
  Depends: python3:any
 |Depends: libone
  Depends: libtwo
  Depends: <libvirtual>
    libreal
xen-hypervisor-4.17-amd64
python3:any
libc6
  Depends: libgcc-s1
libgcc-s1
  Depends: libc6
"""


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"ID": "debian", "VERSION_CODENAME": "bookworm"}, Distribution("Debian", "bookworm")),
        ({"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_CODENAME": "noble"}, Distribution("Ubuntu", "noble")),
        (
            {"ID": "linuxmint", "ID_LIKE": "ubuntu debian", "VERSION_CODENAME": "wilma", "UBUNTU_CODENAME": "noble"},
            Distribution("Ubuntu", "noble"),
        ),
        ({"ID": "fedora", "VERSION_CODENAME": ""}, None),
        ({"ID": "debian"}, None),
    ],
)
def test_distribution_is_read_from_os_release(keys, found):
    assert distribution(keys) == found


def test_deb822_sources_of_the_release_are_kept():
    kept = select_sources("debian.sources", DEB822, "bookworm")
    assert kept.count("URIs:") == 1
    assert "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg" in kept


def test_one_line_sources_of_the_release_are_kept():
    kept = select_sources("sources.list", ONE_LINE, "bookworm").splitlines()
    assert [line.split("main")[0].split()[-1] for line in kept] == ["bookworm", "bookworm-security"]


def test_dependencies_are_parsed():
    graph = parse_depends(DEPENDS)
    assert graph["xen-utils-4.17"] == ("libc6", "python3", "libone", "libvirtual")
    assert graph["xen-system-amd64"] == ("xen-hypervisor-4.17-amd64", "dpkg", "xen-utils-4.17")


def test_only_library_xen_and_linux_dependencies_are_followed():
    found = closure(parse_depends(DEPENDS), ["xen-system-amd64"])
    assert found == (
        *("libc6", "libgcc-s1", "libone", "libvirtual"),
        *("xen-hypervisor-4.17-amd64", "xen-system-amd64", "xen-utils-4.17"),
    )


def test_other_distributions_get_a_hint_about_packed_images(monkeypatch):
    monkeypatch.setattr(packages.platform, "freedesktop_os_release", lambda: {"ID": "fedora"})
    with pytest.raises(MissingError, match="neither") as caught:
        packages.this_machines()
    assert "unibuild lab pack FILE" in caught.value.hint


def test_sources_of_other_releases_are_refused(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "sources.list").write_text("deb https://apt.example.org other main\n")
    with pytest.raises(MissingError, match="has no source of Debian bookworm"):
        packages.fetch(Distribution("Debian", "bookworm"), tmp_path, print, tmp_path / "etc")


def test_an_archive_that_is_not_signed_is_refused(tmp_path):
    suite = tmp_path / "archive" / "dists" / "bookworm"
    suite.mkdir(parents=True)
    release = ("Origin: Debian", "Suite: bookworm", "Codename: bookworm", "Components: main", "Architectures: amd64")
    (suite / "Release").write_text("\n".join(release))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "sources.list").write_text(f"deb file:{tmp_path}/archive bookworm main\n")
    with pytest.raises(MissingError, match="not signed"):
        packages.fetch(Distribution("Debian", "bookworm"), tmp_path / "apt", lambda *_: None, tmp_path / "etc")
