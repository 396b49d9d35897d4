"""The image of the box: the hypervisor, dom0's kernel, and dom0's first file system made of packages.

It holds nothing of the person's and nothing of ours: keys and our own scripts (``overlay``) go into a second archive
when the box starts. So one image serves everybody, and can be packed into a file for machines that have no Debian.
"""

from __future__ import annotations

import json
import re
import shutil
import tarfile
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from unibuild import files
from unibuild.errors import FileError, LabError
from unibuild.lab import deb, linux, packages
from unibuild.lab.cpio import Cpio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unibuild.lab.deb import Member

__all__ = ["Image", "assemble", "build", "find", "manifest", "pack", "unpack"]

RECIPE = 1  # raise it when what goes into the image changes: people's images are then built anew
PACK = "make one with `unibuild lab pack FILE` of this version of unibuild"
PARTS = ("xen", "vmlinux", "initrd.cpio")
XEN_PROGRAMS = (
    *("xl", "xenstored", "xenconsoled", "xenconsole", "xen-init-dom0", "libxl-save-helper"),
    *("xenctx", "xen-diag", "xentop"),
)
OTHER_PROGRAMS = ("usr/bin/busybox", "usr/bin/flock", "usr/bin/dropbear", "usr/sbin/dropbear")
MODULES = (
    *("xen_privcmd", "xenfs", "xen_evtchn", "xen_gntdev", "xen_gntalloc", "xen_netback", "xen_blkback"),
    *("loop", "bridge", "virtio_pci", "virtio_net", "virtio_rng"),
)
FOLDERS = (
    *("dev", "proc", "sys", "run", "tmp", "root", "usr/lib64"),
    *("var/lib/xen/dump", "var/lib/xenstored", "var/log/xen"),
)
# Of the modules' hundreds of megabytes we look only at these folders.
MODULE_FOLDERS = re.compile(
    r"usr/lib/modules/[^/]+/(kernel/(drivers/(xen|block|virtio|char/hw_random|net/xen-netback)|net/(core|802|llc|bridge|sched))/.*"
    r"|kernel/drivers/net/[^/]+|kernel/drivers/char/[^/]+|modules\.builtin)"
)
OTHER_FILES = re.compile(
    r"boot/(xen-\d[^/]*\.gz|vmlinuz-.*)|usr/lib/xen-[^/]+/(bin|boot)/[^/]+|usr/s?bin/(xenstore.*|busybox|flock|dropbear)"
    r"|usr/lib(64|/x86_64-linux-gnu)?/[^/]+\.so[^/]*"
)


@dataclass(frozen=True)
class Image:
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


def find(folder: Path) -> Image | None:
    """Return the image in ``folder`` if it is there and of our recipe."""
    try:
        facts = json.loads((folder / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return None
    complete = all((folder / part).is_file() for part in PARTS)
    return Image(folder) if complete and facts.get("recipe") == RECIPE else None


def build(folder: Path, downloads: Path, progress: Callable[[str, float | None], None]) -> Image:
    """Download the packages and make the image ``folder`` of them.

    Args:
        folder: the image's place; whole or not there at all.
        downloads: apt's private folder; deleted once the image stands.
        progress: told what goes on.

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
        tree.update(deb.members(package, _wanted))
        done += package.stat().st_size
    progress(what, 1.0)
    progress("make the image", None)
    with _whole_folder(folder) as beside:
        facts = assemble(tree, beside)
        _write_manifest(beside, {**facts, "distribution": str(here), "packages": [package.name for package in found]})
    shutil.rmtree(downloads, ignore_errors=True)
    return Image(folder)


def assemble(tree: dict[str, Member], folder: Path) -> dict[str, str]:
    """Write the three parts of an image into ``folder``.

    Args:
        tree: the packages' files by name, as ``deb.members`` gives them.
        folder: where to.

    Returns:
        What the manifest says of them: "xen", "linux".

    Raises:
        LabError: a program, module or library is not among them.
    """
    hypervisor = _only(tree, r"boot/xen-(\d[\d.]*)[^/]*\.gz", "hypervisor")
    kernel = _only(tree, r"boot/vmlinuz-(.+)", "kernel for dom0")
    (folder / "xen").write_bytes(deb.decompress(tree[hypervisor[0]].data))
    (folder / "vmlinux").write_bytes(linux.vmlinux(tree[kernel[0]].data))
    with (folder / "initrd.cpio").open("wb") as file:
        _write_initrd(Cpio(file), tree, kernel.group(1))
    return {"xen": hypervisor.group(1), "linux": kernel.group(1)}


def pack(image: Image, file: Path) -> None:
    """Write an image as one file, which ``unpack`` and ``[lab] box`` read: a gzipped tar, the manifest first."""
    with files.writing(file) as beside, tarfile.open(beside, "w:gz", compresslevel=6) as tar:
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


def unpack(file: Path, folder: Path, progress: Callable[[str, float | None], None]) -> Image:
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
    return Image(folder)


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


def _only(tree: dict[str, Member], pattern: str, what: str) -> re.Match[str]:
    for name in sorted(tree):
        found = re.fullmatch(pattern, name)
        if found:
            return found
    raise LabError(f"the packages hold no {what}")


def _write_initrd(cpio: Cpio, tree: dict[str, Member], release: str) -> None:
    for folder in FOLDERS:
        cpio.folder(folder)
    cpio.link("var/run", "../run")
    cpio.link("var/lock", "../run/lock")
    for name in ("bin", "sbin", "lib", "lib64"):
        cpio.link(name, f"usr/{name}")
    cpio.device("dev/console", 5, 1)
    cpio.device("dev/null", 1, 3, 0o666)
    _write_programs(cpio, tree)
    order = linux.load_order(MODULES, lambda name: _module(tree, release, name))
    for name, elf in order.items():
        cpio.file(f"modules/{name}.ko", elf)
    cpio.file("modules/order", "".join(f"{name}\n" for name in order).encode())
    cpio.end()


def _write_programs(cpio: Cpio, tree: dict[str, Member]) -> None:
    """Add the programs, Xen's also under their names in usr/bin, and every library that one of them needs."""
    xen = str(PurePosixPath(_only(tree, r"usr/lib/xen-[^/]+/bin/xl", "program xl")[0]).parent)
    programs = [f"{xen}/{name}" for name in XEN_PROGRAMS]
    programs += [name for name in tree if name in OTHER_PROGRAMS or name.startswith("usr/bin/xenstore")]
    todo = ["ld-linux-x86-64.so.2", "libgcc_s.so.1"]  # the second is loaded by name when a thread of xl ends
    for name in programs:
        member = tree.get(name)
        if member is None:
            raise LabError(f"the packages hold no {name}")
        if member.link is not None:
            cpio.link(name, member.link)
            continue
        cpio.file(name, member.data, 0o755)
        todo += linux.needed_libraries(member.data)
        if name.startswith(xen):
            cpio.link(f"usr/bin/{PurePosixPath(name).name}", f"/{name}")
    shim = f"{PurePosixPath(xen).parent}/boot/xen-shim"
    if shim in tree:
        cpio.file(shim, tree[shim].data)
    done: set[str] = set()
    while todo:
        library = todo.pop()
        if library not in done:
            done.add(library)
            data = _library(tree, library)
            todo += linux.needed_libraries(data)
            loader = library.startswith("ld-linux")
            cpio.file(f"usr/{'lib64' if loader else 'lib/x86_64-linux-gnu'}/{library}", data, 0o755)


def _library(tree: dict[str, Member], library: str) -> bytes:
    for folder in ("usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib"):
        name = f"{folder}/{library}"
        while name in tree:
            link = tree[name].link
            if link is None:
                return tree[name].data
            name = f"{folder}/{PurePosixPath(link).name}"
    raise LabError(f"the packages hold no library {library}")


def _module(tree: dict[str, Member], release: str, name: str) -> bytes | None:
    """Return a module's ELF; None where it is built into the kernel."""
    stem = re.compile(name.replace("_", "[-_]") + r"\.ko(\.xz|\.zst|\.gz)?")
    for path, member in tree.items():
        if path.startswith("usr/lib/modules/") and stem.fullmatch(PurePosixPath(path).name):
            return deb.decompress(member.data)
    builtin = tree.get(f"usr/lib/modules/{release}/modules.builtin")
    if builtin and any(stem.fullmatch(PurePosixPath(line).name) for line in builtin.data.decode().splitlines()):
        return None
    raise LabError(f"the kernel package holds no module {name}")


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
