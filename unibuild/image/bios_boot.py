"""Add BIOS boot code to a disk image, for a Xen HVM domain or an EC2 instance.

The BIOS loads the boot sector, which loads the first sector of GRUB's core image, which loads the rest. Each contains
the sector number of the next (GRUB's grub-core/boot/i386/pc/boot.S and diskboot.S, include/grub/i386/pc/boot.h).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["CORE", "MODULES", "PREFIX", "BiosLoader"]

CORE = "/boot/grub/core.img"
"""Path of GRUB's core image in the disk image."""

PREFIX = "(hd0)/boot/grub"
"""The folder of ``grub.cfg``, as set in the core image: it reads that file at once."""

MODULES = (
    *("biosdisk", "ext2", "normal", "configfile", "multiboot", "gzio", "boot", "halt", "sleep"),
    *("serial", "terminal", "test", "iorw"),
)
"""Modules in the core image: GRUB cannot load modules from the disk image."""

_SECTOR = 512
_TABLE = 440  # where the boot sector's code ends, and the disk's number and partitions begin
_CORE_SECTOR, _DRIVE, _DRIVE_CHECK = 0x5C, 0x64, 0x66  # in the boot sector
_BLOCK_LIST = _SECTOR - 12  # in the core image's first sector: sector, count, segment
_SEGMENT = 0x820  # where the rest of the core image is loaded to
_NOP = b"\x90\x90"


@dataclass(frozen=True)
class BiosLoader:
    """GRUB for a BIOS.

    Attributes:
        boot: ``boot.img``, one sector.
        core: ``core.img``, created by ``grub-mkimage`` for ``PREFIX`` with ``MODULES``.
    """

    boot: bytes
    core: bytes

    @property
    def padded(self) -> bytes:
        """The core image padded to whole sectors, as it is in the disk image."""
        return self.core.ljust(-(-len(self.core) // _SECTOR) * _SECTOR, b"\0")

    def install(self, start: bytes, core: int) -> bytes:
        """Return the start of a disk image with boot code added.

        Args:
            start: its first bytes: a boot sector with partitions, and the core image in one piece.
            core: the offset of the core image there.
        """
        image = bytearray(start)
        image[:_TABLE] = self.boot[:_TABLE]
        struct.pack_into("<Q", image, _CORE_SECTOR, core // _SECTOR)
        image[_DRIVE] = 0xFF  # use the drive that the BIOS reports
        image[_DRIVE_CHECK : _DRIVE_CHECK + 2] = _NOP  # skip the check of that number
        rest = len(self.padded) // _SECTOR - 1
        struct.pack_into("<QHH", image, core + _BLOCK_LIST, core // _SECTOR + 1, rest, _SEGMENT)
        return bytes(image)
