"""Build the lab VM's image from packages: the hypervisor, dom0's kernel and initrd, and GRUB for domains.

It contains nothing of the user's and no scripts of unibuild: keys and scripts (``overlay``) are in a second archive,
added when the lab VM starts. So one image serves all users, and can be packed into a file for machines without Debian.
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

RECIPE = 4  # raise it when the image's content changes: images are then rebuilt
PACK = "create one: run `unibuild lab pack FILE` with this version of unibuild"
LOADERS = {"pv": "grub-x86_64-xen.bin", "pvh": "grub-i386-xen_pvh.bin"}
"""GRUB as a kernel for the two types of domain; it boots the system on the domain's disks."""
PARTS = ("xen", "vmlinux", "initrd.cpio", *LOADERS.values())
# The modules have hundreds of megabytes; only these folders are read.
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
        """The image's content; it has the SHA-256 of each part, so it identifies the image."""
        return (self.folder / "manifest.json").read_bytes()

    def describe(self) -> str:
        """Return a short description of its content."""
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
    """Return the image that the running lab VM was started from.

    Raises:
        LabError: the lab VM is from another version of unibuild, and its image was removed.
    """
    paths = LabPaths.of()
    image = find(paths.image if lab.image is None else paths.unpacked)
    if image is None:
        raise LabError(
            "the running lab is from another version of unibuild, and lacks a boot loader for domains",
            hint="run `unibuild lab down`, which stops its domains too, then run again",
        )
    return image


def loader(lab: Lab, kind: Literal["pv", "pvh"]) -> Path:
    """Return GRUB as a kernel for a type of domain, from the running lab VM's image.

    Raises:
        LabError: see ``current``.
    """
    return current(lab).folder / LOADERS[kind]


def build(folder: Path, downloads: Path, progress: Callable[[str, float | None], None]) -> LabImage:
    """Download the packages and build the image ``folder`` from them.

    Args:
        folder: the image's path; it appears only once it is complete.
        downloads: apt's private folder; deleted once the image is complete.
        progress: called with each step and the part done, from 0 to 1.

    Raises:
        MissingError: apt or the network is missing.
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
    progress("write the image", None)
    with _whole_folder(folder) as temporary:
        facts = assemble(tree, temporary)
        names = [package.name for package in found]
        _write_manifest(temporary, {**facts, "distribution": str(here), "packages": names})
    shutil.rmtree(downloads, ignore_errors=True)
    return LabImage(folder)


def assemble(tree: dict[str, Member], folder: Path) -> dict[str, str]:
    """Write the parts of an image into ``folder``.

    Args:
        tree: the packages' files by name, from ``packages.members``.
        folder: the folder.

    Returns:
        Facts for the manifest: "xen", "linux".

    Raises:
        LabError: a program, module or library is missing.
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
    """Write an image as one file for ``unpack`` and ``[lab] image``: a gzipped tar with the manifest first."""
    with files.writing(file, mode=files.PUBLIC) as temporary, tarfile.open(temporary, "w:gz", compresslevel=6) as tar:
        for name in ("manifest.json", *PARTS):
            tar.add(image.folder / name, name, filter=_anonymous)


def manifest(file: Path) -> bytes:
    """Return the manifest of a packed image.

    Raises:
        FileError: the file cannot be read.
        LabError: it is not a packed image, or another version of unibuild created it.
    """
    with _open_packed(file) as (_, found):
        return found


def unpack(file: Path, folder: Path, progress: Callable[[str, float | None], None]) -> LabImage:
    """Unpack a packed image into ``folder``, unless it is there already.

    Raises as ``manifest`` does, and FileError if the disk is full.
    """
    with _open_packed(file) as (tar, found):
        if (here := find(folder)) and here.manifest == found:
            return here
        progress(f"unpack {file.name}", None)
        with _whole_folder(folder) as temporary:
            for entry in tar:
                if entry.name in PARTS and (data := tar.extractfile(entry)):
                    with data, (temporary / entry.name).open("wb") as target:
                        shutil.copyfileobj(data, target)
            for name in PARTS:
                part = temporary / name
                if not part.is_file() or files.sha256(part) != json.loads(found)["sha256"][name]:
                    raise LabError(f"{file} is damaged: the checksum of {name} differs from the manifest", hint=PACK)
            (temporary / "manifest.json").write_bytes(found)
    return LabImage(folder)


@contextmanager
def _open_packed(file: Path) -> Iterator[tuple[tarfile.TarFile, bytes]]:
    """Open a packed image, and give it with its manifest; raise its faults as errors with hints."""
    try:
        with files.reading(file), tarfile.open(file) as tar:
            first = tar.next()
            reader = tar.extractfile(first) if first is not None and first.name == "manifest.json" else None
            found = reader.read() if reader else b"{}"
            if json.loads(found).get("recipe") != RECIPE:
                raise LabError(f"{file} is not a packed image of this version of unibuild", hint=PACK)
            yield tar, found
    except (tarfile.TarError, EOFError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).partition("\n")[0]
        raise LabError(f"{file} is not a packed image, or is truncated: {reason}", hint=PACK) from error


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
    """Give an empty temporary folder to fill, and rename it to ``folder`` at the end."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            yield temporary
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise FileError(f"cannot write {folder}: {error.strerror}", hint="is the disk full?") from error
