"""Reading the blocks of two snapshots, to compare them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from unibuild.aws.difference import Difference, compare
from unibuild.aws.snapshot.blocks import BLOCK
from unibuild.aws.together import together
from unibuild.errors import AwsError

if TYPE_CHECKING:
    from unibuild.aws.client import Aws
    from unibuild.aws.inventory import Ami

__all__ = ["compare_amis"]

_READERS = 8  # threads; more buy nothing for the few blocks of a unikernel


def compare_amis(aws: Aws, first: Ami, second: Ami) -> tuple[int, list[Difference]]:
    """Return how many blocks have data in the root volumes of two AMIs, and those that differ, in their order.

    All of both is read, for EC2 itself compares only snapshots of one line of descent.

    Raises:
        AwsError: AWS refused; or an AMI has no snapshot that may be read.
    """
    tokens = together([functools.partial(_tokens, aws, one) for one in (first, second)])
    indices = sorted({index for one in tokens for index in one})

    def differing(part: list[int]) -> list[Difference]:
        found = []
        for index in part:
            one, other = (_read(aws, ami, index, there) for ami, there in zip((first, second), tokens, strict=True))
            found.append(compare(index, BLOCK, one, other))
        return [one for one in found if one]

    parts = together([functools.partial(differing, indices[reader::_READERS]) for reader in range(_READERS)])
    return len(indices), sorted((one for part in parts for one in part), key=lambda one: one.index)


def _tokens(aws: Aws, ami: Ami) -> dict[int, str]:
    """Return the token of each block that has data, which it is read with."""
    if not ami.snapshots:
        raise AwsError(f"{ami.id} has no snapshot to read")
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
