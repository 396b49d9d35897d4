"""dom0's first file system: the programs, libraries and modules out of the packages that it needs, in one archive."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from unibuild.errors import LabError
from unibuild.lab import deb, linux
from unibuild.lab.cpio import Cpio

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import BinaryIO

    from unibuild.lab.deb import Member

__all__ = ["libraries", "only", "write"]

XEN_PROGRAMS = (
    *("xl", "xenstored", "xenconsoled", "xenconsole", "xen-init-dom0", "libxl-save-helper"),
    *("xenctx", "xen-diag", "xentop"),
)
OTHER_PROGRAMS = ("usr/bin/busybox", "usr/bin/flock", "usr/bin/dropbear", "usr/sbin/dropbear", "usr/sbin/nft")
MODULES = (
    *("xen_privcmd", "xenfs", "xen_evtchn", "xen_gntdev", "xen_gntalloc", "xen_netback", "xen_blkback"),
    *("crc32c_generic", "nf_tables", "nft_reject_ipv4"),
    *("loop", "bridge", "virtio_pci", "virtio_blk", "virtio_net", "virtio_rng"),
)
FOLDERS = (
    *("dev", "proc", "sys", "run", "tmp", "root", "usr/lib64"),
    *("var/lib/xen/dump", "var/lib/xenstored", "var/log/xen"),
)


def only(tree: Mapping[str, Member], pattern: str, what: str) -> re.Match[str]:
    """Return the match of the first file of the packages whose name has a pattern.

    Raises:
        LabError: there is none; ``what`` says of what.
    """
    for name in sorted(tree):
        found = re.fullmatch(pattern, name)
        if found:
            return found
    raise LabError(f"the packages hold no {what}")


def write(file: BinaryIO, tree: dict[str, Member], release: str) -> None:
    """Write the archive.

    Args:
        file: where to.
        tree: the packages' files by name, as ``deb.members`` gives them.
        release: Linux's, as the kernel's file is named for it.

    Raises:
        LabError: a program, module or library is not among them.
    """
    cpio = Cpio(file)
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
    xen = str(PurePosixPath(only(tree, r"usr/lib/xen-[^/]+/bin/xl", "program xl")[0]).parent)
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
    for library, data in libraries(tree, todo).items():
        loader = library.startswith("ld-linux")
        cpio.file(f"usr/{'lib64' if loader else 'lib/x86_64-linux-gnu'}/{library}", data, 0o755)


def libraries(tree: Mapping[str, Member], names: Iterable[str]) -> dict[str, bytes]:
    """Return shared libraries out of packages, and all that they need, by name.

    Raises:
        LabError: one is not among them.
    """
    todo, found = list(names), dict[str, bytes]()
    while todo:
        library = todo.pop()
        if library not in found:
            found[library] = _library(tree, library)
            todo += linux.needed_libraries(found[library])
    return found


def _library(tree: Mapping[str, Member], library: str) -> bytes:
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
