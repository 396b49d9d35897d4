"""Create a kernel's disk image, which PV-GRUB, pygrub and GRUB 2 can boot, while it is being read.

The image is not a file unless somebody writes one: its metadata is computed, and the other blocks are read from the
kernel. It depends on neither time nor chance. docs/reference/image.md describes the layout.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from unibuild.errors import FileError
from unibuild.image import ext2, grub_config
from unibuild.image.bios_boot import CORE
from unibuild.util.files import reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from unibuild.image.bios_boot import BiosLoader

__all__ = ["BLOCK", "DiskImage", "make"]

BLOCK = ext2.UNIT
"""Bytes of a block of an EBS snapshot."""

_SECTOR = 512
_LINUX = 0x83  # type of a partition


class _Source(NamedTuple):
    """A file with content in the image: its path, its size in bytes, and its fingerprint."""

    path: Path
    size: int
    fingerprint: tuple[int, int, int]


class _Checksums(NamedTuple):
    """Checksums from one reading of the whole image."""

    digest: str
    blocks: Mapping[int, bytes]


@dataclass(frozen=True)
class DiskImage:
    """An image; several threads may read it at once.

    Attributes:
        kind: the kernel's kind.
        line: the kernel's command line.
        has_bios: whether a machine with a BIOS can boot it.
    """

    kind: Literal["pv", "pvh"]
    line: grub_config.CommandLine
    has_bios: bool
    _sources: tuple[_Source, ...]
    _system: ext2.FileSystem

    @property
    def size(self) -> int:
        """Its size in bytes, a whole number of blocks."""
        return self._system.units * BLOCK

    @property
    def volume_gib(self) -> int:
        """The size of the smallest EBS volume that can hold it."""
        return -(-self.size // (1 << 30))

    @property
    def indices(self) -> tuple[int, ...]:
        """The numbers of the blocks that are not all zeros, in order."""
        return tuple(self.checksums)

    @property
    def checksums(self) -> Mapping[int, bytes]:
        """The SHA-256 of each block that is not all zeros, by its number.

        Raises:
            FileError: see ``read``; ``indices`` and ``digest`` raise it too.
        """
        return self._sums.blocks

    @property
    def digest(self) -> str:
        """SHA-256 of the image, 64 hexadecimal digits."""
        return self._sums.digest

    def read(self, index: int) -> bytes:
        """Return the ``BLOCK`` bytes of a block; beyond the end they are zeros.

        Raises:
            FileError: a file cannot be read, or has changed since the image was created.
        """
        if index in self._system.metadata:
            return self._system.metadata[index]
        if index not in self._system.data:
            return bytes(BLOCK)
        number, offset = self._system.data[index]
        source = self._sources[number]
        with reading(source.path), source.path.open("rb", buffering=0) as file:
            content = os.pread(file.fileno(), BLOCK, offset)
            if _file_identity(os.fstat(file.fileno())) != source.fingerprint or len(content) < min(
                BLOCK, source.size - offset
            ):
                raise FileError(f"{source.path} was changed while the image was read", hint="run again")
        return content.ljust(BLOCK, b"\0")

    def blocks(self) -> Iterator[bytes]:
        """Yield all blocks in order.

        Raises:
            FileError: see ``read``.
        """
        return map(self.read, range(self._system.units))

    @functools.cached_property
    def _sums(self) -> _Checksums:
        whole = hashlib.sha256()
        blocks = {}
        zeros = bytes(BLOCK)
        for index, content in enumerate(self.blocks()):
            whole.update(content)
            if content != zeros:
                blocks[index] = hashlib.sha256(content).digest()
        return _Checksums(whole.hexdigest(), blocks)


def make(
    kernel: Path,
    line: grub_config.CommandLine,
    kind: Literal["pv", "pvh"],
    *,
    project: Path,
    modules: Sequence[Path] = (),
    path: str = "/kernel",
    bios: BiosLoader | None = None,
) -> DiskImage:
    """Create the image of a kernel.

    Args:
        kernel: its file.
        line: its command line.
        kind: its kind.
        project: the folder with ``dodo_templates`` that override unibuild's own.
        modules: files of ramdisks and modules, in their order.
        path: the kernel's path in the image; the modules are ``/module-1``, ``/module-2`` ...
        bios: boot code for a BIOS.

    Raises:
        InputError: a template or a path is wrong, or a file does not fit.
        FileError: a file cannot be read.
    """
    sources = tuple(map(_source, (kernel, *modules)))
    names = [f"/module-{number}" for number in range(1, len(sources))]
    small = grub_config.files(kind, line, path, names, project, bios=bios is not None)
    if bios:
        small[CORE] = bios.padded
    system = ext2.lay_out(small, [(name, one.size) for name, one in zip((path, *names), sources, strict=True)])
    first = _boot_sector(system.units) + system.metadata[0][_SECTOR:]
    if bios:
        first = bios.install(first, system.offsets[CORE])
    system = dataclasses.replace(system, metadata={**system.metadata, 0: first})
    return DiskImage(kind, line, bios is not None, sources, system)


def _source(path: Path) -> _Source:
    with reading(path):
        about = path.stat()
    return _Source(path, about.st_size, _file_identity(about))


def _file_identity(about: os.stat_result) -> tuple[int, int, int]:
    return about.st_ino, about.st_size, about.st_mtime_ns


def _boot_sector(units: int) -> bytes:
    """Return a boot sector with one partition over the whole disk, so that for GRUB 0.97 (hd0,0) equals (hd0)."""
    partition = struct.pack("<B3sB3s2I", 0x80, b"\0\2\0", _LINUX, b"\xfe\xff\xff", 0, units * BLOCK // _SECTOR)
    return partition.rjust(446 + 16, b"\0").ljust(_SECTOR - 2, b"\0") + b"\x55\xaa"
