"""What the box needs to know of a Linux kernel: its payload, and the order in which modules load."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

from unibuild.errors import LabError
from unibuild.lab.deb import ZSTD, decompress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["load_order", "needed_libraries", "vmlinux"]


def vmlinux(bzimage: bytes) -> bytes:
    """Return the ELF kernel inside a bzImage, so that the box need not unpack it under emulation.

    Format: the Linux kernel's Documentation/arch/x86/boot.rst: setup_sects at 0x1f1, payload_offset and payload_length
    at 0x248. But for gzip, whose own last 4 bytes tell it, the unpacked size follows the packed data.

    Raises:
        LabError: no bzImage, or packed in a way we do not know (gzip, xz and zstd we do).
    """
    if bzimage[0x202:0x206] != b"HdrS":
        raise LabError("the kernel package holds no bzImage")
    setup = (bzimage[0x1F1] or 4) + 1
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = setup * 512 + offset
    payload = bzimage[start : start + length]
    elf = decompress(payload[:-4] if payload[:4] == ZSTD else payload)
    if elf[:4] != b"\x7fELF":
        raise LabError(f"the kernel's payload is packed in an unknown way (it begins with {elf[:6].hex()})")
    return elf


def needed_libraries(elf: bytes) -> list[str]:
    """Return the names of the shared libraries that a program or library needs (DT_NEEDED)."""
    from elftools.elf.dynamic import DynamicSection
    from elftools.elf.elffile import ELFFile

    section = ELFFile(io.BytesIO(elf)).get_section_by_name(".dynamic")
    if not isinstance(section, DynamicSection):
        return []
    tags: Iterable[Any] = section.iter_tags("DT_NEEDED")  # an entry has the attribute that its tag calls for
    return [str(tag.needed) for tag in tags]


def load_order(roots: Iterable[str], read: Callable[[str], bytes | None]) -> dict[str, bytes]:
    """Return the roots and the modules they depend on, each after those it needs itself.

    Args:
        roots: modules' names with underscores.
        read: gives a module's ELF by its name; None where it is built into the kernel.
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
