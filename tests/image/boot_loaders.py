"""Run boot loaders on this machine from unpacked packages of its distribution, without installing them."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from unibuild.errors import MissingError
from unibuild.lab import packages
from unibuild.util import files

_ROOTS = ("xen-system-amd64", "grub-legacy", "libc6-i386")
_FOLLOW = re.compile(r"xen-utils-\d.*|libxenmisc.*|libext2fs2.*")
_WANTED = re.compile(
    r"usr/lib/xen-[^/]+/(bin/pygrub|lib/.*)|usr/sbin/grub|(usr/)?lib32/[^/]+\.so[^/]*"
    r"|usr/lib/x86_64-linux-gnu/libext2fs\.so.*"
)


@dataclass(frozen=True)
class Loaders:
    """The folder with the unpacked packages."""

    root: Path

    @property
    def pygrub(self) -> list[str]:
        """The first words of a pygrub command: the distribution's Python, for which pygrub's library is compiled."""
        (program,) = self.root.glob("usr/lib/xen-*/bin/pygrub")
        xen = program.parents[1]
        libraries = f"{xen}/lib/x86_64-linux-gnu"
        paths = f"LD_LIBRARY_PATH={libraries}:{self.root}/usr/lib/x86_64-linux-gnu"
        plugins = f"XEN_FSIMAGE_FSDIR={libraries}/xenfsimage"
        return ["env", paths, plugins, f"PYTHONPATH={xen}/lib/python", "/usr/bin/python3", str(program)]

    @property
    def grub(self) -> list[str]:
        """The first words of a command of GRUB 0.97's shell, a 32-bit program."""
        (interpreter,) = self.root.glob("**/ld-linux.so.2")
        return [str(interpreter), "--library-path", str(interpreter.parent), str(self.root / "usr/sbin/grub")]


def fetch(cache: Path) -> Loaders:
    """Return the boot loaders, unpacked in a folder that is kept between runs; apt downloads missing packages.

    Without apt or a network the test is skipped; in CI it fails.
    """
    try:
        here = packages.this_machines()
        root = cache / str(here).replace(" ", "-")
        with files.lock(cache / "lock", "the boot loaders", timeout=250):
            if not root.is_dir():
                with tempfile.TemporaryDirectory(dir=cache) as scratch:
                    _unpack(here, Path(scratch))
                    (Path(scratch) / "root").rename(root)
    except MissingError as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))
    return Loaders(root)


def _unpack(here: packages.Distribution, scratch: Path) -> None:
    def report(what: str, fraction: float | None) -> None:
        if fraction is None:
            print(f"boot loaders: {what}", file=sys.stderr)

    root = scratch / "root"
    for package in packages.fetch(here, scratch, report, roots=_ROOTS, follow=_FOLLOW):
        for name, member in packages.members(package, lambda name: _WANTED.fullmatch(name) is not None):
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if member.link is not None:
                target.unlink(missing_ok=True)
                target.symlink_to(Path(member.link).name)
            else:
                target.write_bytes(member.data)
                target.chmod(0o755)
