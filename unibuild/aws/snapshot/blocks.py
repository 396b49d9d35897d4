"""Which blocks a snapshot needs: the plan of an upload as a plain value. Nothing is called here.

A snapshot is a volume's blocks of 512 KiB; those that were never put are zeros. One that has a parent begins with the
parent's blocks, so a block that is zeros now must be put as zeros where the parent has something else.
Source: the EBS direct API's reference (StartSnapshot, PutSnapshotBlock, CompleteSnapshot).
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["BLOCK", "ZEROS", "Base", "Upload", "aggregate", "encoded", "plan", "token"]

BLOCK = 524288
"""Bytes of a block."""
ZEROS = hashlib.sha256(bytes(BLOCK)).digest()
"""The SHA-256 of a block of zeros."""


class Base(NamedTuple):
    """A finished snapshot of ours that may be the parent of the next one.

    Attributes:
        id: its id.
        volume: its volume's size in GiB.
        digests: the SHA-256 of each of its blocks that is not zeros, or the first bytes of it, by index.
    """

    id: str
    volume: int
    digests: Mapping[int, bytes]


class Upload(NamedTuple):
    """What is to be done for a snapshot.

    Attributes:
        volume: the volume's size in GiB.
        parent: the snapshot that it begins with; None: all zeros.
        puts: the SHA-256 of each block that must be put, by index, in their order; empty where the parent is the same.
    """

    volume: int
    parent: str | None
    puts: Mapping[int, bytes]


def plan(wanted: Mapping[int, bytes], volume: int, bases: Iterable[Base] = ()) -> Upload:
    """Return the upload with the fewest blocks.

    Args:
        wanted: the SHA-256 of each block that is not zeros, by index.
        volume: the volume's size in GiB; a parent must not be larger.
        bases: what may be the parent; of those that are as good the first one is taken, and none before any.
    """
    best = Upload(volume, None, dict(sorted(wanted.items())))
    for base in bases:
        if base.volume <= volume:
            puts = _difference(wanted, base.digests)
            if len(puts) < len(best.puts):
                best = Upload(volume, base.id, puts)
    return best


def _difference(wanted: Mapping[int, bytes], there: Mapping[int, bytes]) -> dict[int, bytes]:
    every = sorted(wanted.keys() | there.keys())
    return {i: wanted.get(i, ZEROS) for i in every if not wanted.get(i, ZEROS).startswith(there.get(i, ZEROS))}


def aggregate(puts: Mapping[int, bytes]) -> str:
    """Return the checksum of all blocks that were put, as ``ChecksumAggregationMethod=LINEAR`` has it: base64."""
    return encoded(hashlib.sha256(b"".join(puts[index] for index in sorted(puts))).digest())


def encoded(digest: bytes) -> str:
    """Return a SHA-256 as AWS has it: base64."""
    return base64.b64encode(digest).decode()


def token(upload: Upload, params: Mapping[str, object], attempt: int) -> str:
    """Return the ClientToken of an upload: the same for the same one, so that a lost snapshot is found again.

    Args:
        upload: the upload.
        params: the other parameters of StartSnapshot; another value of one must be another token.
        attempt: how many snapshots of this upload are known to be gone.
    """
    puts = {str(index): digest.hex() for index, digest in sorted(upload.puts.items())}
    text = json.dumps([upload.volume, upload.parent, puts, params, attempt], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
