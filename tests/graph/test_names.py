"""Domains with names that are not plain words, and the host's own domain, from boot to destroy on the stand-ins."""

import pytest

from unibuild.deploy import boot, destroy
from unibuild.errors import DomainError
from unibuild.graph import xl_file
from unibuild.settings.loader import load
from unibuild.xlcfg.edit import quote


@pytest.fixture
def project(xen, tmp_path, hello_kernels):
    """What boots a domain with the name that an .xl file gives, and returns its project."""

    def named(name: str, *, take_over: bool = False, **words: str):
        root = tmp_path / "tree"
        root.mkdir(exist_ok=True)
        (root / "unibuild.toml").write_text('host = "local"\n[boot]\ngrace = 0\nconsole = "none"\n')
        generated = root / "dom.xl"
        generated.write_text(f"name = {quote(name)}\nmemory = 32\n")
        project = load(root, {"xl.cmdline": "a", **words}, {}, take_over=take_over)
        path = root / "patched.xl"
        path.write_text(xl_file.render(project, hello_kernels.pv, generated))
        boot.boot(project, path, hello_kernels.pv)
        return project

    return named


@pytest.mark.parametrize(
    "name", ["krs23.ru", "Ubuntu 18LTS", 'it\'s "q"', "caf\u00e9", pytest.param("\u540d" * 66, id="long")]
)
def test_a_domain_of_an_odd_name_is_made_replaced_and_destroyed(project, xen, name):
    project(name)
    again = project(name, **{"xl.cmdline": "b"})
    assert [domain["name"] for domain in xen.domains().values()] == [name]
    destroy.destroy(again)
    assert (xen.domains(), xen.store("/unibuild/domains")) == ({}, {})


def test_the_control_domain_is_not_replaced_even_with_take(project, xen):
    with pytest.raises(DomainError, match="Domain-0"):
        project("Domain-0", take_over=True)
    assert not any(call[0] in ("create", "rename", "destroy") for call in xen.calls("xl"))
