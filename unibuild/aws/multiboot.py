"""Whether a kernel can be started by a multiboot loader, as GRUB is one for all but PV kernels."""

from __future__ import annotations

import gzip
import struct
import zlib
from typing import TYPE_CHECKING

from unibuild.util.files import reading

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["has_header"]

_MAGIC = 0x1BADB002
_SEARCHED = 8192  # bytes; GNU multiboot specification 0.6.96, 3.1


def has_header(kernel: Path) -> bool:
    """Tell whether the first 8 KiB of a kernel, or of what it unpacks to, have a multiboot header.

    Raises:
        FileError: it cannot be read.
    """
    with reading(kernel), kernel.open("rb") as file:
        start = file.read(_SEARCHED)
        if start[:2] == b"\x1f\x8b":
            file.seek(0)
            try:
                start = gzip.GzipFile(fileobj=file).read(_SEARCHED)
            except (EOFError, zlib.error):
                return False
    words = struct.unpack(f"<{len(start) // 4}I", start[: len(start) // 4 * 4])
    return any(one == _MAGIC and sum(words[at : at + 3]) % (1 << 32) == 0 for at, one in enumerate(words))
