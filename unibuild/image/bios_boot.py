"""Boot code in an image, for a machine with a BIOS: a Xen HVM domain or instance.

The BIOS loads the boot sector, that loads the first sector of GRUB's core, which loads the rest; each has the number of
the next one's sector in it (GRUB's grub-core/boot/i386/pc/boot.S and diskboot.S, include/grub/i386/pc/boot.h).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["CORE", "MODULES", "PREFIX", "BiosLoader"]

CORE = "/boot/grub/core.img"
"""Where the core is in the image."""

PREFIX = "(hd0)/boot/grub"
"""The core's own idea of where ``grub.cfg`` is: it reads it from there at once."""

MODULES = (
    *("biosdisk", "ext2", "normal", "configfile", "multiboot", "gzio", "boot", "halt", "sleep"),
    *("serial", "terminal", "test", "iorw"),
)
"""What must be in the core: GRUB can load no module from the image."""

_SECTOR = 512
_TABLE = 440  # where the boot sector's own end, and the disk's number and partitions begin
_CORE_SECTOR, _DRIVE, _DRIVE_CHECK = 0x5C, 0x64, 0x66  # in the boot sector
_BLOCK_LIST = _SECTOR - 12  # in the core's first sector: sector, how many, segment
_SEGMENT = 0x820  # where the rest of the core is loaded to
_NOP = b"\x90\x90"


@dataclass(frozen=True)
class BiosLoader:
    """GRUB for a BIOS.

    Attributes:
        boot: ``boot.img``, one sector.
        core: ``core.img``, made by ``grub-mkimage`` for ``PREFIX`` and with ``MODULES``.
    """

    boot: bytes
    core: bytes

    @property
    def padded(self) -> bytes:
        """The core in whole sectors, as it goes into the image."""
        return self.core.ljust(-(-len(self.core) // _SECTOR) * _SECTOR, b"\0")

    def install(self, start: bytes, core: int) -> bytes:
        """Return the start of an image with boot code.

        Args:
            start: its first bytes: a boot sector with partitions, and the core somewhere, in one piece.
            core: the offset of the core there.
        """
        image = bytearray(start)
        image[:_TABLE] = self.boot[:_TABLE]
        struct.pack_into("<Q", image, _CORE_SECTOR, core // _SECTOR)
        image[_DRIVE] = 0xFF  # the drive that the BIOS names
        image[_DRIVE_CHECK : _DRIVE_CHECK + 2] = _NOP  # no test of that number
        rest = len(self.padded) // _SECTOR - 1
        struct.pack_into("<QHH", image, core + _BLOCK_LIST, core // _SECTOR + 1, rest, _SEGMENT)
        return bytes(image)
