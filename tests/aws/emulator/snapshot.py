"""A snapshot: its blocks, its ancestors, and its life from pending to completed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = 512 * 1024
"""Bytes in a block of EBS direct."""
GIB = 1 << 30


class Block(NamedTuple):
    digest: bytes
    data: bytes

    @classmethod
    def of(cls, data: bytes) -> Block:
        return cls(hashlib.sha256(data).digest(), data)


@dataclass(eq=False)
class Snapshot:
    """A snapshot of ``size`` GiB; times are seconds on the world's clock.

    Attributes:
        own: The blocks that were put into this snapshot, by index; the others come from ``parent``.
        touched: When it was last written to; ``timeout`` seconds later its state becomes "error".
        sealed: When it was completed (EBS direct), copied or imported; None while it can be written to.
        delay: How many seconds after that its state becomes "completed".
        permissions: The accounts that may create volumes from it: account ids, and "all".
    """

    id: str
    size: int
    started: float
    description: str = ""
    parent: Snapshot | None = None
    own: dict[int, Block] = field(default_factory=dict, repr=False)
    timeout: float = 3600.0
    touched: float = 0.0
    sealed: float | None = None
    delay: float = 0.0
    key: str | None = None
    permissions: list[str] = field(default_factory=list)
    puts: int = 0
    window: tuple[int, int] = (0, 0)

    def state(self, now: float) -> str:
        if self.sealed is not None:
            return "completed" if now >= self.sealed + self.delay else "pending"
        return "error" if now - self.touched > self.timeout else "pending"

    def writable(self, now: float) -> bool:
        return self.sealed is None and self.state(now) == "pending"

    def find(self, index: int) -> Block | None:
        """Return a block, from the nearest ancestor that has it."""
        holder: Snapshot | None = self
        while holder is not None:
            if index in holder.own:
                return holder.own[index]
            holder = holder.parent
        return None

    @property
    def blocks(self) -> dict[int, Block]:
        """All blocks that were put, by index, in order: its own and its ancestors'."""
        merged = {**self.parent.blocks, **self.own} if self.parent else self.own
        return dict(sorted(merged.items()))

    @property
    def content(self) -> dict[int, bytes]:
        """The content of the volume: the blocks that are not all zeros, by index, in order."""
        return {index: block.data for index, block in self.blocks.items() if block.data.strip(b"\0")}

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of the volume; blocks that were never put are zeros, as on an EBS volume."""
        out = bytearray()
        while size > 0:
            index, start = divmod(offset, BLOCK)
            length = min(size, BLOCK - start)
            block = self.find(index)
            out += block.data[start : start + length] if block else bytes(length)
            offset, size = offset + length, size - length
        return bytes(out)

    def write_to(self, path: Path) -> None:
        """Write the volume to a sparse file of its full size."""
        with path.open("wb") as file:
            for index, data in self.content.items():
                file.seek(index * BLOCK)
                file.write(data)
            file.truncate(self.size * GIB)

    def descends_from(self, other: Snapshot) -> bool:
        ancestor: Snapshot | None = self
        while ancestor is not None and ancestor is not other:
            ancestor = ancestor.parent
        return ancestor is other

    def orphan(self) -> None:
        """Take over the parent's blocks: when EBS deletes a snapshot, its children keep the shared blocks."""
        self.own, self.parent = self.blocks, None
