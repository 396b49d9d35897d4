"""Write dom0's initrd: an archive with the needed programs, libraries and modules from the packages."""

from __future__ import annotations

import io
import re
import stat
import struct
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from unibuild.errors import LabError
from unibuild.lab import packages
from unibuild.lab.packages import ZSTD, decompress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import BinaryIO

    from unibuild.lab.packages import Member

__all__ = ["Cpio", "libraries", "load_order", "needed_libraries", "only", "vmlinux", "write"]


class Cpio:
    """A cpio archive that is written to ``file``; close it with ``end``.

    Everything belongs to root and has the time 0, so the same input gives the same bytes. Folders above a member are
    created when they are first needed (mode 0755).

    Args:
        file: a binary file; writing starts at its present position, which must be a multiple of 4.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._inode = 0
        self._names: set[str] = set()

    def folder(self, name: str, permissions: int = 0o755) -> None:
        """Add a folder (once: a second call with its name does nothing)."""
        if name not in self._names:
            self._member(name, stat.S_IFDIR | permissions)

    def file(self, name: str, data: bytes, permissions: int = 0o644) -> None:
        """Add a regular file."""
        self._member(name, stat.S_IFREG | permissions, data)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link to ``target``."""
        self._member(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name: str, major: int, minor: int, permissions: int = 0o600) -> None:
        """Add a character device."""
        self._member(name, stat.S_IFCHR | permissions, device=(major, minor))

    def end(self) -> None:
        """Write the closing member and pad to 512 bytes, so that another archive can follow."""
        self._inode = -1
        self._write("TRAILER!!!", 0, b"", (0, 0))
        self._pad(512)

    def _member(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        if name in self._names:
            raise ValueError(f"{name} is already in the archive")
        parent = str(PurePosixPath(name).parent)
        if parent != ".":
            self.folder(parent)
        self._names.add(name)
        self._write(name, mode, data, device)

    def _write(self, name: str, mode: int, data: bytes, device: tuple[int, int]) -> None:
        self._inode += 1
        encoded = name.encode() + b"\0"
        # inode, mode, uid, gid, links, mtime, size, device it is on (major, minor), device it is, name's size, checksum
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        self._file.write(b"070701" + b"".join(b"%08x" % field for field in fields) + encoded)
        self._pad(4)
        self._file.write(data)
        self._pad(4)

    def _pad(self, unit: int) -> None:
        self._file.write(b"\0" * (-self._file.tell() % unit))


def vmlinux(bzimage: bytes) -> bytes:
    """Return the ELF kernel inside a bzImage, so that the lab VM need not unpack it under emulation.

    Format: the Linux kernel's Documentation/arch/x86/boot.rst: setup_sects at 0x1f1, payload_offset and payload_length
    at 0x248. The uncompressed size follows the compressed data, except for gzip, which has it in its last 4 bytes.

    Raises:
        LabError: it is not a bzImage, or is compressed in an unknown way (known: gzip, xz, zstd).
    """
    if bzimage[0x202:0x206] != b"HdrS":
        raise LabError("the kernel package lacks a bzImage")
    setup = (bzimage[0x1F1] or 4) + 1
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = setup * 512 + offset
    payload = bzimage[start : start + length]
    elf = decompress(payload[:-4] if payload[:4] == ZSTD else payload)
    if elf[:4] != b"\x7fELF":
        raise LabError(f"the kernel is compressed in an unknown way: its payload begins with {elf[:6].hex()}")
    return elf


def needed_libraries(elf: bytes) -> list[str]:
    """Return the names of the shared libraries that a program or library needs (DT_NEEDED)."""
    from elftools.elf.dynamic import DynamicSection
    from elftools.elf.elffile import ELFFile

    section = ELFFile(io.BytesIO(elf)).get_section_by_name(".dynamic")
    if not isinstance(section, DynamicSection):
        return []
    tags: Iterable[Any] = section.iter_tags("DT_NEEDED")  # the tag determines an entry's attribute
    return [str(tag.needed) for tag in tags]


def load_order(roots: Iterable[str], read: Callable[[str], bytes | None]) -> dict[str, bytes]:
    """Return the roots and the modules that they depend on, each after those it needs itself.

    Args:
        roots: modules' names with underscores.
        read: returns a module's ELF by its name, or None if it is built into the kernel.
    """
    from elftools.elf.elffile import ELFFile

    order: dict[str, bytes] = {}

    def add(name: str) -> None:
        elf = None if name in order else read(name)
        if elf is None:
            return
        section = ELFFile(io.BytesIO(elf)).get_section_by_name(".modinfo")
        facts = section.data().split(b"\0") if section else []
        for fact in facts:
            if fact.startswith(b"depends=") and len(fact) > 8:
                for need in fact[8:].decode().split(","):
                    add(need.replace("-", "_"))
        order[name] = elf

    for root in roots:
        add(root)
    return order


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
    """Return the match of the first file of the packages with a name that matches a pattern.

    Raises:
        LabError: there is none; ``what`` names the missing file.
    """
    for name in sorted(tree):
        found = re.fullmatch(pattern, name)
        if found:
            return found
    raise LabError(f"the packages lack a {what}")


def write(file: BinaryIO, tree: dict[str, Member], release: str) -> None:
    """Write the archive.

    Args:
        file: the file.
        tree: the packages' files by name, from ``packages.members``.
        release: Linux's release, as in the kernel's file name.

    Raises:
        LabError: a program, module or library is missing.
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
    order = load_order(MODULES, lambda name: _module(tree, release, name))
    for name, elf in order.items():
        cpio.file(f"modules/{name}.ko", elf)
    cpio.file("modules/order", "".join(f"{name}\n" for name in order).encode())
    cpio.end()


def _write_programs(cpio: Cpio, tree: dict[str, Member]) -> None:
    """Add the programs (Xen's also under their names in usr/bin) and every library that they need."""
    xen = str(PurePosixPath(only(tree, r"usr/lib/xen-[^/]+/bin/xl", "program xl")[0]).parent)
    programs = [f"{xen}/{name}" for name in XEN_PROGRAMS]
    programs += [name for name in tree if name in OTHER_PROGRAMS or name.startswith("usr/bin/xenstore")]
    todo = ["ld-linux-x86-64.so.2", "libgcc_s.so.1"]  # the second is loaded by name when a thread of xl ends
    for name in programs:
        member = tree.get(name)
        if member is None:
            raise LabError(f"the packages lack {name}")
        if member.link is not None:
            cpio.link(name, member.link)
            continue
        cpio.file(name, member.data, 0o755)
        todo += needed_libraries(member.data)
        if name.startswith(xen):
            cpio.link(f"usr/bin/{PurePosixPath(name).name}", f"/{name}")
    shim = f"{PurePosixPath(xen).parent}/boot/xen-shim"
    if shim in tree:
        cpio.file(shim, tree[shim].data)
    for library, data in libraries(tree, todo).items():
        loader = library.startswith("ld-linux")
        cpio.file(f"usr/{'lib64' if loader else 'lib/x86_64-linux-gnu'}/{library}", data, 0o755)


def libraries(tree: Mapping[str, Member], names: Iterable[str]) -> dict[str, bytes]:
    """Return shared libraries from the packages, and all that they need, by name.

    Raises:
        LabError: a library is missing.
    """
    todo, found = list(names), dict[str, bytes]()
    while todo:
        library = todo.pop()
        if library not in found:
            found[library] = _library(tree, library)
            todo += needed_libraries(found[library])
    return found


def _library(tree: Mapping[str, Member], library: str) -> bytes:
    for folder in ("usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib"):
        name = f"{folder}/{library}"
        while name in tree:
            link = tree[name].link
            if link is None:
                return tree[name].data
            name = f"{folder}/{PurePosixPath(link).name}"
    raise LabError(f"the packages lack the library {library}")


def _module(tree: dict[str, Member], release: str, name: str) -> bytes | None:
    """Return a module's ELF; None if it is built into the kernel."""
    stem = re.compile(name.replace("_", "[-_]") + r"\.ko(\.xz|\.zst|\.gz)?")
    for path, member in tree.items():
        if path.startswith("usr/lib/modules/") and stem.fullmatch(PurePosixPath(path).name):
            return packages.decompress(member.data)
    builtin = tree.get(f"usr/lib/modules/{release}/modules.builtin")
    if builtin and any(stem.fullmatch(PurePosixPath(line).name) for line in builtin.data.decode().splitlines()):
        return None
    raise LabError(f"the kernel package lacks the module {name}")
