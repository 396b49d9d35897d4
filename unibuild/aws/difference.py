"""How the volumes of two AMIs differ, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Difference", "compare"]


@dataclass(frozen=True)
class Difference:
    """A block that differs.

    Attributes:
        index: its number; the blocks of EBS have 512 KiB.
        how: ``changed``, or which of the two volumes has data there: ``first``, ``second``.
        bytes: how many bytes differ.
        offset: that of the first of them, in the volume.
    """

    index: int
    how: Literal["changed", "first", "second"]
    bytes: int
    offset: int


def compare(index: int, size: int, first: bytes | None, second: bytes | None) -> Difference | None:
    """Return how a block differs; None: it does not.

    Args:
        index: its number.
        size: bytes of a block.
        first: its data in the first volume; None: it has none there, and reads as zeros.
        second: the same in the second.
    """
    zeros = bytes(size)
    difference = _xor(first or zeros, second or zeros)
    count = size - difference.count(0)
    if not count:
        return None
    start = next(place for place, byte in enumerate(difference) if byte)
    how: Literal["changed", "first", "second"] = "first" if second is None else "second" if first is None else "changed"
    return Difference(index, how, count, index * size + start)


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one) ^ int.from_bytes(other)).to_bytes(len(one))
