"""Build GRUB for a BIOS with the ``grub-mkimage`` of this machine or of its distribution's packages."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.errors import CommandError, MissingError
from unibuild.image.bios_boot import MODULES, PREFIX, BiosLoader
from unibuild.lab import packages
from unibuild.lab.paths import LabPaths
from unibuild.util import files, process

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["find"]

_FOLDER = "usr/lib/grub/i386-pc"
_PROGRAM = "usr/bin/grub-mkimage"
_PACKAGES = ("grub-common", "grub-pc-bin")
_LIBRARY = re.compile("libdevmapper.*")  # the only library of grub-mkimage that a small system may lack
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_KEPT = ("boot.img", "core.img")


def find(progress: Callable[[str, float | None], None]) -> BiosLoader:
    """Return GRUB for a BIOS; it is built once, and kept in the lab's folder.

    Args:
        progress: called with each step and the part done, from 0 to 1.

    Raises:
        MissingError: it is not installed and cannot be downloaded, or ``grub-mkimage`` does not run here.
        FileError: the disk is full.
    """
    paths = LabPaths.of()
    paths.make_cache()
    kept = paths.cache / f"bios-{hashlib.sha256(' '.join((PREFIX, *MODULES)).encode()).hexdigest()[:8]}"
    with files.lock(paths.cache / "bios.lock", "building GRUB", timeout=600):
        if not all((kept / name).is_file() for name in _KEPT):
            with tempfile.TemporaryDirectory(prefix=".bios.", dir=paths.cache) as scratch:
                _make(Path(scratch), kept, progress)
    return BiosLoader(*((kept / name).read_bytes() for name in _KEPT))


def _make(scratch: Path, kept: Path, progress: Callable[[str, float | None], None]) -> None:
    root = Path("/")
    if not ((root / _FOLDER / "boot.img").is_file() and shutil.which("grub-mkimage")):
        root = scratch / "root"
        _unpack(root, scratch / "apt", progress)
    folder = root / _FOLDER
    program, env = "grub-mkimage", {}
    if root != Path("/"):
        program, env = str(root / _PROGRAM), {"LD_LIBRARY_PATH": str(root / _LIBRARIES)}
    argv = [program, "-O", "i386-pc", "-d", str(folder), "-p", PREFIX, "-o", str(scratch / "core.img"), *MODULES]
    try:
        process.run(argv, env=env)
    except CommandError as error:
        raise MissingError(
            f"grub-mkimage does not run here: {error.output.strip()}", hint=f"install {' and '.join(_PACKAGES)}"
        ) from error
    for name, source in zip(_KEPT, (folder / "boot.img", scratch / "core.img"), strict=True):
        files.copy_atomic(source, kept / name)


def _unpack(root: Path, downloads: Path, progress: Callable[[str, float | None], None]) -> None:
    """Download the packages, and unpack the needed files."""
    downloads.mkdir()
    wanted = re.compile(rf"{re.escape(_FOLDER)}/[^/]+|{re.escape(_PROGRAM)}|{re.escape(_LIBRARIES)}/[^/]+")
    for package in packages.fetch(packages.this_machines(), downloads, progress, roots=_PACKAGES, follow=_LIBRARY):
        for name, member in packages.members(package, lambda name: wanted.fullmatch(name) is not None):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(member.data)
            (root / name).chmod(0o755)
