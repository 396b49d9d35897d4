"""The checksums of a snapshot's blocks, in its tags: so the next publish knows what changed, on any machine.

AWS lists a snapshot's blocks, but tells no checksum of them without sending them all.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["packed", "unpacked"]

_TAG = "unibuild:blocks"  # and unibuild:blocks-2 ...: "21:" for 21 blocks, then base64
_BYTES = 6  # of a block's SHA-256: 48 bits; 8 characters of base64
_LENGTH = 248  # characters of a tag's value, of which EBS direct takes 255
_MOST = 9  # tags of checksums, which are 139 MiB; 50 tags are allowed


def packed(digests: Mapping[int, bytes]) -> dict[str, str]:
    """Return the tags that hold the beginnings of the blocks' checksums; none where there are too many blocks."""
    count = max(digests, default=-1) + 1
    data = b"".join(digests.get(index, b"")[:_BYTES].ljust(_BYTES, b"\0") for index in range(count))
    text = f"{count}:{base64.b64encode(data).decode()}"
    parts = [text[start : start + _LENGTH] for start in range(0, len(text), _LENGTH)]
    return {_name(number): part for number, part in enumerate(parts)} if len(parts) <= _MOST else {}


def unpacked(tags: Mapping[str, str]) -> dict[int, bytes] | None:
    """Return the beginnings of the checksums of the blocks that are not zeros; None where the tags hold none."""
    count, _, text = "".join(tags.get(_name(number), "") for number in range(_MOST)).partition(":")
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    if not data or count != str(len(data) // _BYTES) or len(data) % _BYTES:
        return None
    found = (data[start : start + _BYTES] for start in range(0, len(data), _BYTES))
    return {index: digest for index, digest in enumerate(found) if any(digest)}


def _name(number: int) -> str:
    return _TAG if number == 0 else f"{_TAG}-{number + 1}"
