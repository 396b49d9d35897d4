"""Read what git's index records of files, without their dates: ``git status`` changes these in a tree at rest.

Format: gitformat-index(5), versions 2 to 4.
"""

from __future__ import annotations

import struct

__all__ = ["MAGIC", "entries"]

MAGIC = b"DIRC"
_HEAD = struct.Struct(">4sII")
_ENTRY = struct.Struct(">24xI12x20sH")  # mode, SHA-1 and flags; dates, numbers and size are left out
_EXTENDED = 0x4000
_EXTENSION = struct.Struct(">4sI")
_CHECKSUM = 20  # bytes
_SPLIT = b"link"  # an extension: the entries are in another file


def entries(data: bytes) -> bytes:
    """Return mode, object, flags and name of each entry; all of ``data`` where it is not in a known format."""
    try:
        magic, version, count = _HEAD.unpack_from(data)
        if magic != MAGIC or version not in (2, 3, 4):
            return data
        found, place = [_HEAD.pack(magic, version, count)], _HEAD.size
        for _ in range(count):
            place = _entry(data, place, version, found)
    except (struct.error, ValueError, IndexError):
        return data
    return b"".join(found) if _ends_well(data, place) else data


def _ends_well(data: bytes, place: int) -> bool:
    """Say whether only extensions and the checksum follow, so that these were all entries."""
    while place + _EXTENSION.size + _CHECKSUM <= len(data):
        name, size = _EXTENSION.unpack_from(data, place)
        if name == _SPLIT:
            return False
        place += _EXTENSION.size + size
    return place + _CHECKSUM == len(data)


def _entry(data: bytes, start: int, version: int, found: list[bytes]) -> int:
    """Add what an entry says to ``found``; return where the next one begins."""
    mode, name, flags = _ENTRY.unpack_from(data, start)
    place = start + _ENTRY.size
    extended = b""
    if flags & _EXTENDED:
        extended = data[place : place + 2]
        place += 2
    first = place
    if version == 4:  # how much of the name before is cut off, and what follows
        while data[place] & 0x80:
            place += 1
        place += 1
    end = data.index(b"\0", place)
    found.append(struct.pack(">I20sH", mode, name, flags) + extended + data[first : end + 1])
    return end + 1 if version == 4 else start + (end - start + 8) // 8 * 8
