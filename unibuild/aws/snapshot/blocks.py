"""Plan which blocks of a snapshot to upload, as a plain value and without calling AWS.

A snapshot consists of a volume's blocks of 512 KiB; blocks that were never put are zeros. A snapshot with a parent
begins with the parent's blocks, so a block that is now zeros must be put where the parent has data.
Source: the EBS direct API's reference (StartSnapshot, PutSnapshotBlock, CompleteSnapshot).
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "BLOCK",
    "ZEROS",
    "BaseSnapshot",
    "UploadPlan",
    "aggregate",
    "checksum_tags",
    "checksums_from_tags",
    "client_token",
    "encoded",
    "plan_upload",
]

_TAG = "unibuild:blocks"  # and unibuild:blocks-2 ...: "21:" for 21 blocks, then base64
_BYTES = 6  # of a block's SHA-256: 48 bits; 8 characters of base64
_LENGTH = 248  # characters of a tag's value; EBS direct accepts 255
_MOST = 9  # tags of checksums, enough for 139 MiB; 50 tags are allowed


def checksum_tags(digests: Mapping[int, bytes]) -> dict[str, str]:
    """Return the tags that hold the beginnings of the blocks' checksums; none if there are too many blocks."""
    count = max(digests, default=-1) + 1
    data = b"".join(digests.get(index, b"")[:_BYTES].ljust(_BYTES, b"\0") for index in range(count))
    text = f"{count}:{base64.b64encode(data).decode()}"
    parts = [text[start : start + _LENGTH] for start in range(0, len(text), _LENGTH)]
    return {_tag_name(number): part for number, part in enumerate(parts)} if len(parts) <= _MOST else {}


def checksums_from_tags(tags: Mapping[str, str]) -> dict[int, bytes] | None:
    """Return the beginnings of the checksums of the blocks that are not zeros; None if the tags hold none."""
    count, _, text = "".join(tags.get(_tag_name(number), "") for number in range(_MOST)).partition(":")
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    if not data or count != str(len(data) // _BYTES) or len(data) % _BYTES:
        return None
    found = (data[start : start + _BYTES] for start in range(0, len(data), _BYTES))
    return {index: digest for index, digest in enumerate(found) if any(digest)}


def _tag_name(number: int) -> str:
    return _TAG if number == 0 else f"{_TAG}-{number + 1}"


BLOCK = 524288
"""Bytes of a block."""
ZEROS = hashlib.sha256(bytes(BLOCK)).digest()
"""The SHA-256 of a block of zeros."""


class BaseSnapshot(NamedTuple):
    """A finished snapshot of unibuild that may be the parent of the next one.

    Attributes:
        id: its id.
        volume: its volume's size in GiB.
        digests: the SHA-256 of each block that is not zeros, or its first bytes, by index.
    """

    id: str
    volume: int
    digests: Mapping[int, bytes]


class UploadPlan(NamedTuple):
    """The upload that a snapshot needs.

    Attributes:
        volume: the volume's size in GiB.
        parent: the snapshot that it begins with; None: all zeros.
        puts: the SHA-256 of each block that must be put, by index, in their order; empty if the parent is the same.
    """

    volume: int
    parent: str | None
    puts: Mapping[int, bytes]


def plan_upload(wanted: Mapping[int, bytes], volume: int, bases: Iterable[BaseSnapshot] = ()) -> UploadPlan:
    """Return the upload with the fewest blocks.

    Args:
        wanted: the SHA-256 of each block that is not zeros, by index.
        volume: the volume's size in GiB; a parent must not be larger.
        bases: the possible parents. Of equally good ones the first is used, and no parent is preferred to any.
    """
    best = UploadPlan(volume, None, dict(sorted(wanted.items())))
    for base in bases:
        if base.volume <= volume:
            puts = _difference(wanted, base.digests)
            if len(puts) < len(best.puts):
                best = UploadPlan(volume, base.id, puts)
    return best


def _difference(wanted: Mapping[int, bytes], there: Mapping[int, bytes]) -> dict[int, bytes]:
    every = sorted(wanted.keys() | there.keys())
    return {i: wanted.get(i, ZEROS) for i in every if not wanted.get(i, ZEROS).startswith(there.get(i, ZEROS))}


def aggregate(puts: Mapping[int, bytes]) -> str:
    """Return the checksum of all blocks that were put, by ``ChecksumAggregationMethod=LINEAR``, in base64."""
    return encoded(hashlib.sha256(b"".join(puts[index] for index in sorted(puts))).digest())


def encoded(digest: bytes) -> str:
    """Return a SHA-256 in base64, as AWS expects it."""
    return base64.b64encode(digest).decode()


def client_token(upload: UploadPlan, params: Mapping[str, object], attempt: int) -> str:
    """Return the ClientToken of an upload. It is the same for the same upload, so that a retry finds the snapshot.

    Args:
        upload: the upload.
        params: the other parameters of StartSnapshot; another value of one must give another token.
        attempt: how many snapshots of this upload are known to be gone.
    """
    puts = {str(index): digest.hex() for index, digest in sorted(upload.puts.items())}
    text = json.dumps([upload.volume, upload.parent, puts, params, attempt], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
