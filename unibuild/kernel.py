"""Inspect a kernel file: PV or PVH, Solo5's ABI, symbols.

The rules are those of Xen's own domain builder (xen/common/libelf/libelf-dominfo.c and
tools/libs/guest/xg_dom_elfloader.c), so that unibuild refuses what Xen would refuse before anything boots.
The file may contain anything, so the number and size of reads are limited.
"""

from __future__ import annotations

import io
import stat
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

from unibuild.errors import KernelError
from unibuild.util.files import reading

if TYPE_CHECKING:
    from pathlib import Path

    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import Section

__all__ = ["Kernel", "has_multiboot_header", "inspect"]

Type = Literal["pv", "pvh"]
Note = tuple[bytes, int, bytes]  # the owner's name, type, value

_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\0": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x02\x21\x4c\x18": "lz4",  # its legacy frame, which `lz4 -l` writes
}
_MULTIBOOT_MAGIC = 0x1BADB002
_MULTIBOOT_SEARCHED = 8192  # bytes; GNU multiboot specification 0.6.96, 3.1
_MACHINES = {"EM_X86_64": "x86_64", "EM_386": "x86_32"}  # Xen's names

# Limits on the time and memory that a hostile file can cost; real kernels stay far below them.
_LARGEST = 128 << 20  # bytes that a compressed kernel may unpack to
_READ = 8 << 20  # bytes of one read, and so of one note section
_READS = 100_000  # calls of read, ten for each entry of a table
_BYTES = 64 << 20  # bytes that all reads together may give
_NOTES = 65_536  # as in Xen

# Xen's notes (xen/elfnote.h) and Solo5's (bindings/.../elf_abi.h: "ABI1", then target and version).
_ENTRY, _XEN_VERSION, _GUEST_OS, _LOADER, _PHYS32_ENTRY = 1, 5, 6, 8, 18
_ABI1 = 0x31494241
_SOLO5_TARGETS = {1: "hvt", 2: "spt", 3: "virtio", 4: "muen", 5: "genode", 6: "xen"}


@dataclass(frozen=True)
class Kernel:
    """The properties of a kernel file.

    Attributes:
        path: the file.
        pv: whether Xen can start it as a PV domain.
        pvh: whether Xen can start it as a PVH domain.
        bits: 32 or 64, the ELF's class.
        machine: ``x86_64``, ``x86_32``, or the ELF's name of another machine in lower case (``aarch64``).
        solo5_abi: Solo5's target and version ("xen 1"), None for other kernels.
        compression: ``gzip``, ``xz`` or ``bzip2``; None for a plain ELF.
        symbols: whether it has a symbol table, which turns addresses into names.
        size: length of the file in bytes.
    """

    path: Path
    pv: bool
    pvh: bool
    bits: Literal[32, 64]
    machine: str
    solo5_abi: str | None
    compression: str | None
    symbols: bool
    size: int

    def type_for(self, asked: Type | None) -> Type:
        """Return the type of domain to start it in: the requested type, else PVH if the kernel supports both.

        Raises:
            KernelError: Xen cannot start it, or not as a domain of the type asked for.
        """
        if self.compression not in (None, "gzip"):
            raise _packed(self.path, str(self.compression))
        if not (self.pv or self.pvh):
            raise self._foreign()
        if asked is None:
            return "pvh" if self.pvh else "pv"
        if not (self.pv if asked == "pv" else self.pvh):
            real = "pvh" if self.pvh else "pv"
            raise KernelError(
                f'{self.path} is a {real.upper()} kernel and cannot start in a domain of type "{asked}"',
                hint=f'set type = "{real}" under [xl] in unibuild.toml, or build the kernel for {asked.upper()}',
            )
        return asked

    def _foreign(self) -> KernelError:
        if self.machine not in _MACHINES.values():
            return KernelError(
                f"{self.path} is a program for {self.machine}, not for x86", hint="build it for an x86 Xen host"
            )
        if self.solo5_abi is not None:
            what = f"was built for Solo5's {self.solo5_abi.split()[0]}, not for Xen"
        else:
            what = "is not a Xen kernel: it has no Xen notes that the domain builder accepts and no __xen_guest section"
        return KernelError(
            f"{self.path} {what}",
            hint="build it for Xen (`mirage configure -t xen`), or name another kernel under [build] in unibuild.toml",
        )


def inspect(path: Path) -> Kernel:
    """Return the properties of a kernel file, which may be compressed with gzip, xz or bzip2.

    Raises:
        KernelError: it is not a complete ELF executable, or its compression is not supported.
        FileError: it cannot be read.
    """
    from elftools.elf.elffile import ELFFile

    with reading(path):
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise KernelError(f"{path} is not a file that can hold a kernel", hint="name the kernel itself")
        with path.open("rb") as file:
            start = file.read(max(map(len, _MAGIC)))
            compression = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), None)
            image = file if compression is None else _unpacked(path, file, compression)
            stream = _BoundedReader(image)
            if stream.read(4) != b"\x7fELF":
                raise KernelError(f"{path} is not a kernel: not an ELF file", hint="name the file that the build links")
            try:
                return _kernel(path, about.st_size, compression, ELFFile(cast("BinaryIO", stream)), stream)
            except _UnfitError as error:
                raise KernelError(f"{path} {error}", hint="build it again") from None
            except OSError:
                raise
            except Exception as error:  # pyelftools trusts the file: it may raise anything
                raise KernelError(f"{path} is a damaged ELF file ({error})", hint="build it again") from error


class _UnfitError(Exception):
    """An ELF file is incomplete or not linked. The message is a sentence without its subject, the file's path."""


class _BoundedReader(io.RawIOBase):
    """A seekable stream for pyelftools that keeps to the limits above, whatever sizes the file claims."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, io.SEEK_END)
        self._position = self._reads = self._bytes = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.size - self._position)
        size = min(size if size >= 0 else left, left, _READ)
        self._reads += 1
        self._bytes += size
        if self._reads > _READS or self._bytes > _BYTES:
            raise _UnfitError("is not a kernel: its tables are larger than those of any")
        if not size:
            return b""
        self._file.seek(self._position)
        data = self._file.read(size)
        self._position += len(data)
        return data

    def check(self, what: str, offset: int, size: int) -> None:
        if offset + size > self.size:
            raise _UnfitError(f"is cut off at byte {self.size}: its {what} should end at byte {offset + size}")

    def piece(self, what: str, offset: int, size: int) -> bytes:
        """Return the bytes at an offset, at most ``_READ`` of them; all must be there."""
        self.check(what, offset, size)
        self.seek(offset)
        return self.read(size)


def _packed(path: Path, compression: str) -> KernelError:
    return KernelError(
        f"{path} is compressed with {compression}, which Xen does not unpack",
        hint=f"unpack it (`{compression} -d`) or compress it with gzip",
    )


def _unpacked(path: Path, file: BinaryIO, compression: str) -> BinaryIO:
    import bz2
    import lzma
    import zlib

    unpacker: zlib._Decompress | lzma.LZMADecompressor | bz2.BZ2Decompressor
    match compression:
        case "gzip":
            unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        case "xz":
            unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LARGEST)
        case "bzip2":
            unpacker = bz2.BZ2Decompressor()
        case _:  # Python 3.11 cannot decompress zstd or lz4
            raise _packed(path, compression)
    file.seek(0)
    try:
        data = unpacker.decompress(file.read(_LARGEST), _LARGEST)
    except (zlib.error, lzma.LZMAError, OSError, ValueError) as error:
        raise KernelError(
            f"{path} is damaged: {compression} cannot unpack it ({error})", hint="build it again"
        ) from None
    if not unpacker.eof:
        what = f"unpacks to more than {_LARGEST >> 20} MiB" if len(data) == _LARGEST else "is cut off"
        raise KernelError(f"{path} {what}", hint="build it again, or give Xen the unpacked kernel")
    return io.BytesIO(data)


def _kernel(path: Path, size: int, compression: str | None, elf: ELFFile, stream: _BoundedReader) -> Kernel:
    order = "<" if elf.little_endian else ">"
    sections = list(elf.iter_sections())
    notes = _all_notes(elf, sections, stream, order)
    xen = {number: value for name, number, value in notes if name == b"Xen"}
    if xen:
        loader, guest, version = (_text(xen.get(number, b"")) for number in (_LOADER, _GUEST_OS, _XEN_VERSION))
    else:
        said = _guest_section(sections, stream)
        loader, guest, version = (said.get(key, "") for key in ("LOADER", "GUEST_OS", "XEN_VER"))
    pv = (loader.startswith("generic") or guest.startswith("linux")) and version.startswith("xen-3.0")
    pvh = _PHYS32_ENTRY in xen
    if pvh and _ENTRY not in xen:
        pv = False  # Linux and Mini-OS built for PVH alone have a PV kernel's strings too, but no PV entry point
    machine = str(elf["e_machine"])
    x86 = machine in _MACHINES
    return Kernel(
        path=path,
        pv=pv and x86,
        pvh=pvh and x86,
        bits=64 if elf.elfclass == 64 else 32,
        machine=_MACHINES.get(machine, machine.removeprefix("EM_").lower()),
        solo5_abi=_solo5_abi(notes, order),
        compression=compression,
        symbols=any(s["sh_type"] == "SHT_SYMTAB" and s["sh_size"] > s["sh_entsize"] for s in sections),
        size=size,
    )


def _all_notes(elf: ELFFile, sections: list[Section], stream: _BoundedReader, order: str) -> list[Note]:
    """Return the notes of all PT_NOTE segments; if none is Xen's, add those of the sections."""
    loads = [segment for segment in elf.iter_segments() if segment["p_type"] == "PT_LOAD"]
    if not loads:
        raise _UnfitError("is not a linked kernel: it has nothing to load")
    for load in loads:
        stream.check("code and data", load["p_offset"], load["p_filesz"])
    notes: list[Note] = []
    for segment in elf.iter_segments():
        if segment["p_type"] == "PT_NOTE" and segment["p_offset"]:  # some binutils left the offset 0, says Xen
            _add_notes(notes, stream.piece("notes", segment["p_offset"], segment["p_filesz"]), order)
    if not any(name == b"Xen" for name, _, _ in notes):
        for section in sections:
            if section["sh_type"] == "SHT_NOTE":
                _add_notes(notes, stream.piece("notes", section["sh_offset"], section["sh_size"]), order)
    return notes


def _add_notes(notes: list[Note], data: bytes, order: str) -> None:
    """Split a run of notes (ELF specification, "Note Section"; Xen aligns by 4 whatever the header says)."""
    position = 0
    while position + 12 <= len(data):
        name_size, value_size, number = struct.unpack_from(order + "III", data, position)
        name, value = position + 12, position + 12 + (name_size + 3) // 4 * 4
        notes.append((data[name : name + name_size].rstrip(b"\0"), number, data[value : value + value_size]))
        if len(notes) > _NOTES:
            raise _UnfitError(f"is not a kernel: it has more than {_NOTES} notes")
        position = value + (value_size + 3) // 4 * 4


def _guest_section(sections: list[Section], stream: _BoundedReader) -> dict[str, str]:
    """Return what a __xen_guest section says: "GUEST_OS=Mini-OS,XEN_VER=xen-3.0,..." up to a zero byte."""
    for section in sections:
        if section.name == "__xen_guest":
            text = _text(stream.piece("__xen_guest section", section["sh_offset"], section["sh_size"]))
            return dict(item.split("=", 1) for item in text.split(",") if "=" in item)
    return {}


def _text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode("ascii", "replace")


def _solo5_abi(notes: list[Note], order: str) -> str | None:
    for name, number, value in notes:
        if name == b"Solo5" and number == _ABI1 and len(value) >= 8:
            target, version = struct.unpack_from(order + "II", value)
            return f"{_SOLO5_TARGETS.get(target, target)} {version}"
    return None


def has_multiboot_header(kernel: Path) -> bool:
    """Return whether the first 8 KiB of a kernel, unpacked if it is a gzip file, contain a multiboot header.

    GRUB needs one to start anything but a PV kernel.

    Raises:
        FileError: the kernel cannot be read.
    """
    import gzip
    import zlib

    with reading(kernel), kernel.open("rb") as file:
        start = file.read(_MULTIBOOT_SEARCHED)
        if start[:2] == b"\x1f\x8b":
            file.seek(0)
            try:
                start = gzip.GzipFile(fileobj=file).read(_MULTIBOOT_SEARCHED)
            except (EOFError, zlib.error):
                return False
    words = struct.unpack(f"<{len(start) // 4}I", start[: len(start) // 4 * 4])
    return any(one == _MULTIBOOT_MAGIC and sum(words[at : at + 3]) % (1 << 32) == 0 for at, one in enumerate(words))
