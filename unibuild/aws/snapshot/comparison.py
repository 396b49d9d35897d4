"""Compare the blocks of two AMIs' snapshots."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from unibuild.aws.client import run_parallel
from unibuild.aws.snapshot.blocks import BLOCK
from unibuild.errors import AwsError

if TYPE_CHECKING:
    from unibuild.aws.client import Aws
    from unibuild.aws.inventory import Ami

__all__ = ["BlockDifference", "compare_amis", "compare_block"]


@dataclass(frozen=True)
class BlockDifference:
    """A block that differs.

    Attributes:
        index: its number; the blocks of EBS have 512 KiB.
        how: ``changed``, or the only volume that has data there: ``first``, ``second``.
        bytes: how many bytes differ.
        offset: the offset of the first of them in the volume.
    """

    index: int
    how: Literal["changed", "first", "second"]
    bytes: int
    offset: int


def compare_block(index: int, size: int, first: bytes | None, second: bytes | None) -> BlockDifference | None:
    """Return how a block differs; None if it does not.

    Args:
        index: its number.
        size: bytes of a block.
        first: its data in the first volume; None: it has none, and reads as zeros.
        second: the same in the second.
    """
    zeros = bytes(size)
    difference = _xor(first or zeros, second or zeros)
    count = size - difference.count(0)
    if not count:
        return None
    start = next(place for place, byte in enumerate(difference) if byte)
    how: Literal["changed", "first", "second"] = "first" if second is None else "second" if first is None else "changed"
    return BlockDifference(index, how, count, index * size + start)


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one) ^ int.from_bytes(other)).to_bytes(len(one))


_READERS = 8  # threads; more gain nothing for the few blocks of a unikernel


def compare_amis(aws: Aws, first: Ami, second: Ami) -> tuple[int, list[BlockDifference]]:
    """Return how many blocks have data in the root volumes of two AMIs, and those that differ, in their order.

    Both snapshots are read in full, because EC2 itself compares only snapshots of the same lineage.

    Raises:
        AwsError: AWS refused, or an AMI lacks a readable snapshot.
    """
    tokens = run_parallel([functools.partial(_tokens, aws, one) for one in (first, second)])
    indices = sorted({index for one in tokens for index in one})

    def differing(part: list[int]) -> list[BlockDifference]:
        found = []
        for index in part:
            one, other = (_read(aws, ami, index, there) for ami, there in zip((first, second), tokens, strict=True))
            found.append(compare_block(index, BLOCK, one, other))
        return [one for one in found if one]

    parts = run_parallel([functools.partial(differing, indices[reader::_READERS]) for reader in range(_READERS)])
    return len(indices), sorted((one for part in parts for one in part), key=lambda one: one.index)


def _tokens(aws: Aws, ami: Ami) -> dict[int, str]:
    """Return the token that reads each block that has data, by the block's index."""
    if not ami.snapshots:
        raise AwsError(f"cannot compare {ami.id}: it has no snapshot")
    client = aws.client("ebs", ami.region)
    return {
        block["BlockIndex"]: block["BlockToken"]
        for block in client.pages("ListSnapshotBlocks", "Blocks", SnapshotId=ami.snapshots[0])
    }


def _read(aws: Aws, ami: Ami, index: int, tokens: dict[int, str]) -> bytes | None:
    if index not in tokens:
        return None
    answer = aws.client("ebs", ami.region).call(
        "GetSnapshotBlock",
        wants=("BlockData",),
        SnapshotId=ami.snapshots[0],
        BlockIndex=index,
        BlockToken=tokens[index],
    )
    data: bytes = answer["BlockData"]
    return data
