"""Provide the device model of HVM domains (Xen's QEMU, its BIOS and hvmloader) to a lab VM: its image lacks one.

It is built from the distribution's packages when it is first needed, kept as one archive, and unpacked in dom0. Its
libraries are in the archive too, because the lab VM has only those of its own programs.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.errors import LabError
from unibuild.lab import image, initrd, packages
from unibuild.lab.paths import LabPaths
from unibuild.util import files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from unibuild.lab.packages import Member
    from unibuild.settings.model import Lab

__all__ = ["BIOS", "LOADER", "PROGRAM", "find"]

PROGRAM, LOADER, BIOS = "device-model", "hvmloader", "bios.bin"
"""Names of the files in the archive that xl needs."""

_QEMU = "usr/libexec/xen-qemu-system-i386"
_FILES = {
    BIOS: r"usr/share/seabios/bios-256k\.bin",
    LOADER: r"usr/lib/xen-[^/]+/boot/hvmloader",
    "keymaps/en-us": r"usr/share/qemu/keymaps/en-us",  # needed for a display, which it does not even have
}
_WANTED = re.compile("|".join([*_FILES.values(), re.escape(_QEMU), r"usr/lib(64|/x86_64-linux-gnu)?/[^/]+\.so[^/]*"]))
_SCRIPT = """\
#!/bin/sh
here=$(dirname "$0")
exec "$here/lib/ld-linux-x86-64.so.2" --library-path "$here/lib" "$here/qemu" -L "$here" "$@"
"""


def find(lab: Lab, progress: Callable[[str, float | None], None]) -> Path:
    """Return the archive (gzipped tar, about 16 MB) of the device model for the running lab VM; it is built once.

    Args:
        lab: the settings of the running lab VM.
        progress: called with each step and the part done, from 0 to 1.

    Raises:
        MissingError: apt, the network or the packages are missing.
        LabError: the lab VM is from another version of unibuild, or the packages lack a file.
        FileError: the disk is full.
    """
    paths = LabPaths.of()
    facts = json.loads(image.current(lab).manifest)
    kept = paths.cache / f"device-model-{facts['xen']}.tar.gz"
    with files.lock(paths.cache / "device-model.lock", "building the device model", timeout=600):
        if not kept.is_file():
            with tempfile.TemporaryDirectory(prefix=".device-model.", dir=paths.cache) as scratch:
                tree = _fetch(str(facts["xen"]), Path(scratch), progress)
                with files.writing(kept) as temporary, tarfile.open(temporary, "w:gz", compresslevel=6) as tar:
                    for name, data in _content(tree).items():
                        _add(tar, name, data)
    return kept


def _fetch(version: str, folder: Path, progress: Callable[[str, float | None], None]) -> Mapping[str, Member]:
    roots = ("qemu-system-xen", "qemu-system-data", "seabios", f"xen-utils-{version}")
    tree: dict[str, Member] = {}
    for package in packages.fetch(packages.this_machines(), folder, progress, roots=roots):
        tree.update(packages.members(package, lambda name: _WANTED.fullmatch(name) is not None))
    return tree


def _content(tree: Mapping[str, Member]) -> dict[str, bytes]:
    """Return the archive's files by name."""
    if _QEMU not in tree:
        raise LabError(f"the packages lack {_QEMU}")
    qemu = tree[_QEMU].data
    needed = ["ld-linux-x86-64.so.2", *initrd.needed_libraries(qemu)]
    found = {name: tree[initrd.only(tree, pattern, name)[0]].data for name, pattern in _FILES.items()}
    libraries = {f"lib/{name}": data for name, data in initrd.libraries(tree, needed).items()}
    return {PROGRAM: _SCRIPT.encode(), "qemu": qemu, **found, **libraries}


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o755
    tar.addfile(entry, io.BytesIO(data))
