"""The image of the lab VM: the hypervisor, dom0's kernel, dom0's first file system, and GRUB for domains; of packages.

It holds nothing of the user's and no scripts of unibuild: keys and scripts (``overlay``) go into a second archive
when the lab VM starts. So one image serves everybody, and can be packed into a file for machines that have no Debian.
"""

from __future__ import annotations

import json
import re
import shutil
import tarfile
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from unibuild.errors import FileError, LabError
from unibuild.lab import initrd, packages
from unibuild.lab.paths import LabPaths
from unibuild.util import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unibuild.lab.packages import Member
    from unibuild.settings.model import Lab

__all__ = ["LabImage", "assemble", "build", "current", "find", "loader", "manifest", "pack", "unpack"]

RECIPE = 4  # raise it when what goes into the image changes: images are then built again
PACK = "make one with `unibuild lab pack FILE` of this version of unibuild"
LOADERS = {"pv": "grub-x86_64-xen.bin", "pvh": "grub-i386-xen_pvh.bin"}
"""GRUB as a kernel for the two types of domain; it boots what it finds on the domain's disks."""
PARTS = ("xen", "vmlinux", "initrd.cpio", *LOADERS.values())
# Only these folders of the modules' hundreds of megabytes are read.
MODULE_FOLDERS = re.compile(
    r"usr/lib/modules/[^/]+/(kernel/(drivers/(xen|block|virtio|char/hw_random|net/xen-netback)|net/(core|802|llc|bridge|sched))/.*"
    r"|kernel/net/(ipv4/)?netfilter/n[^/]*|kernel/lib/libcrc32c[^/]*|kernel/crypto/crc32c_generic[^/]*"
    r"|kernel/drivers/net/[^/]+|kernel/drivers/char/[^/]+|modules\.builtin)"
)
OTHER_FILES = re.compile(
    r"boot/(xen-\d[^/]*\.gz|vmlinuz-.*)|usr/lib/xen-[^/]+/(bin|boot)/[^/]+|usr/s?bin/(xenstore.*|busybox|flock|dropbear|nft)"
    r"|usr/lib(64|/x86_64-linux-gnu)?/[^/]+\.so[^/]*|usr/lib/grub-xen/[^/]+"
)


@dataclass(frozen=True)
class LabImage:
    """An image on disk: a folder with the files of ``PARTS`` and their manifest."""

    folder: Path

    @property
    def manifest(self) -> bytes:
        """What the image is made of; holds the SHA-256 of each part, so it identifies the image."""
        return (self.folder / "manifest.json").read_bytes()

    def describe(self) -> str:
        """Say in a few words what it holds."""
        facts = json.loads(self.manifest)
        return f"Xen {facts['xen']}, Linux {facts['linux']}, {facts['distribution']}"


def find(folder: Path) -> LabImage | None:
    """Return the image in ``folder`` if it exists and has this recipe."""
    try:
        facts = json.loads((folder / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return None
    complete = all((folder / part).is_file() for part in PARTS)
    return LabImage(folder) if complete and facts.get("recipe") == RECIPE else None


def current(lab: Lab) -> LabImage:
    """Return the image that the running lab VM was made of.

    Raises:
        LabError: the lab VM is from another version of unibuild, and its image was removed.
    """
    paths = LabPaths.of()
    image = find(paths.image if lab.image is None else paths.unpacked)
    if image is None:
        raise LabError(
            "the running lab is from another version of unibuild and has no boot loader for domains",
            hint="run `unibuild lab down`, which stops its domains too, then run again",
        )
    return image


def loader(lab: Lab, kind: Literal["pv", "pvh"]) -> Path:
    """Return GRUB as a kernel for a type of domain, out of the image of the lab VM that runs.

    Raises:
        LabError: see ``current``.
    """
    return current(lab).folder / LOADERS[kind]


def build(folder: Path, downloads: Path, progress: Callable[[str, float | None], None]) -> LabImage:
    """Download the packages and make the image ``folder`` of them.

    Args:
        folder: the image's place; whole or not there at all.
        downloads: apt's private folder; deleted once the image is complete.
        progress: called with each step and its share done.

    Raises:
        MissingError: no apt, no network.
        FileError: the disk is full.
    """
    here = packages.this_machines()
    found = packages.fetch(here, downloads, progress)
    tree: dict[str, Member] = {}
    what = "unpack the packages"
    total = sum(package.stat().st_size for package in found)
    done = 0
    for package in found:
        progress(what, done / total)
        tree.update(packages.members(package, _wanted))
        done += package.stat().st_size
    progress(what, 1.0)
    progress("make the image", None)
    with _whole_folder(folder) as beside:
        facts = assemble(tree, beside)
        _write_manifest(beside, {**facts, "distribution": str(here), "packages": [package.name for package in found]})
    shutil.rmtree(downloads, ignore_errors=True)
    return LabImage(folder)


def assemble(tree: dict[str, Member], folder: Path) -> dict[str, str]:
    """Write the parts of an image into ``folder``.

    Args:
        tree: the packages' files by name, as ``packages.members`` gives them.
        folder: where to.

    Returns:
        What the manifest says of them: "xen", "linux".

    Raises:
        LabError: a program, module or library is not among them.
    """
    hypervisor = initrd.only(tree, r"boot/xen-(\d[\d.]*)[^/]*\.gz", "hypervisor")
    kernel = initrd.only(tree, r"boot/vmlinuz-(.+)", "kernel for dom0")
    (folder / "xen").write_bytes(packages.decompress(tree[hypervisor[0]].data))
    (folder / "vmlinux").write_bytes(initrd.vmlinux(tree[kernel[0]].data))
    with (folder / "initrd.cpio").open("wb") as file:
        initrd.write(file, tree, kernel.group(1))
    for name in LOADERS.values():
        found = initrd.only(tree, rf"usr/lib/grub-xen/{re.escape(name)}", f"boot loader {name}")
        (folder / name).write_bytes(tree[found[0]].data)
    return {"xen": hypervisor.group(1), "linux": kernel.group(1)}


def pack(image: LabImage, file: Path) -> None:
    """Write an image as one file, which ``unpack`` and ``[lab] image`` read: a gzipped tar, the manifest first."""
    with files.writing(file, mode=files.PUBLIC) as beside, tarfile.open(beside, "w:gz", compresslevel=6) as tar:
        for name in ("manifest.json", *PARTS):
            tar.add(image.folder / name, name, filter=_anonymous)


def manifest(file: Path) -> bytes:
    """Return the manifest of the image in a box file.

    Raises:
        FileError: the file cannot be read.
        LabError: it is no box file, or made by another version of unibuild.
    """
    with _box_file(file) as (_, found):
        return found


def unpack(file: Path, folder: Path, progress: Callable[[str, float | None], None]) -> LabImage:
    """Make ``folder`` the image that a box file holds; where it does already nothing is done.

    Raises as ``manifest`` does, and FileError where the disk is full.
    """
    with _box_file(file) as (tar, found):
        if (here := find(folder)) and here.manifest == found:
            return here
        progress(f"unpack {file.name}", None)
        with _whole_folder(folder) as beside:
            for entry in tar:
                if entry.name in PARTS and (data := tar.extractfile(entry)):
                    with data, (beside / entry.name).open("wb") as target:
                        shutil.copyfileobj(data, target)
            for name in PARTS:
                if not (beside / name).is_file() or files.sha256(beside / name) != json.loads(found)["sha256"][name]:
                    raise LabError(f"{file} is damaged: its {name} is not what its manifest says", hint=PACK)
            (beside / "manifest.json").write_bytes(found)
    return LabImage(folder)


@contextmanager
def _box_file(file: Path) -> Iterator[tuple[tarfile.TarFile, bytes]]:
    """Open a box file, and give it with its manifest, which has been read; its faults are sentences."""
    try:
        with files.reading(file), tarfile.open(file) as tar:
            first = tar.next()
            reader = tar.extractfile(first) if first is not None and first.name == "manifest.json" else None
            found = reader.read() if reader else b"{}"
            if json.loads(found).get("recipe") != RECIPE:
                raise LabError(f"{file} is no box file of this version of unibuild", hint=PACK)
            yield tar, found
    except (tarfile.TarError, EOFError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).partition("\n")[0]
        raise LabError(f"{file} is no box file, or cut off: {reason}", hint=PACK) from error


def _wanted(name: str) -> bool:
    return bool(MODULE_FOLDERS.fullmatch(name) or OTHER_FILES.fullmatch(name))


def _write_manifest(folder: Path, facts: dict[str, object]) -> None:
    sums = {name: files.sha256(folder / name) for name in PARTS}
    text = json.dumps({"recipe": RECIPE, **facts, "sha256": sums}, indent=1)
    (folder / "manifest.json").write_text(text)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime, entry.mode = 0, 0o644
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside ``folder`` to fill, and put it in its place at the end."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            yield beside
            shutil.rmtree(folder, ignore_errors=True)
            beside.rename(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise FileError(f"cannot write {folder}: {error.strerror}", hint="is the disk full?") from error
