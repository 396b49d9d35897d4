"""Puts the blocks of a snapshot, several at a time, each read when its turn comes."""

from __future__ import annotations

import collections
import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Protocol

from unibuild.aws.client import Stopped
from unibuild.aws.snapshot.blocks import BLOCK, ZEROS, encoded
from unibuild.aws.snapshot.pace import Pace
from unibuild.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from unibuild.aws.client import Client

__all__ = ["Source", "put_all"]

_TRIES = 3  # of a block that comes there damaged
_LOOK = 0.1  # seconds between looks at how many may be under way

Result = int | BaseException


class Source(Protocol):
    """Where the blocks come from; read by several threads."""

    @property
    def checksums(self) -> Mapping[int, bytes]:
        """The SHA-256 of each block that is not zeros, by index."""

    @property
    def volume_gib(self) -> int:
        """The size of the volume that takes it."""

    @property
    def size(self) -> int:
        """Its bytes, a whole number of blocks; what follows in the volume is zeros."""

    def read(self, index: int) -> bytes:
        """Return the bytes of a block."""


def put_all(
    ebs: Client,
    snapshot: str,
    source: Source,
    puts: Mapping[int, bytes],
    *,
    appears: float,
    there: Callable[[int], None],
    beat: Callable[[], None],
) -> None:
    """Put blocks.

    Args:
        ebs: the service.
        snapshot: the pending snapshot's id.
        source: where the blocks come from; what is zeros in ``puts`` need not be in it.
        puts: the SHA-256 of each block, by index.
        appears: seconds for which the snapshot may not be there yet.
        there: given the index of each one that is there, in no order; also of those that got there before a failure.
        beat: called several times a second, also while no block gets there.

    Raises:
        AwsError: a block cannot be put. The others that are under way may still get there.
        FileError: a block cannot be read.
    """
    pace = Pace(ebs.aws.clock.now)
    left = collections.deque(puts)
    results: queue.SimpleQueue[Result] = queue.SimpleQueue()  # Ctrl-C cannot break its lock

    def work() -> None:
        try:
            while True:
                index = left.popleft()
                _put(ebs, snapshot, index, source, puts[index], pace, appears)
                results.put(index)
        except (IndexError, Stopped):  # nothing is left
            return
        except BaseException as error:
            results.put(error)

    threads = missing = 0
    try:
        missing = len(left)
        while missing:
            while threads < min(int(pace.limit), threads + len(left)):
                threading.Thread(target=work, daemon=True, name=f"put-{threads}").start()
                threads += 1
            try:
                result = results.get(timeout=_LOOK)
            except queue.Empty:
                beat()
                continue
            if isinstance(result, BaseException):
                raise result
            missing -= 1
            there(result)
    finally:
        pace.close()
        with contextlib.suppress(queue.Empty):
            while True:
                if isinstance(result := results.get_nowait(), int):
                    there(result)


def _put(ebs: Client, snapshot: str, index: int, source: Source, digest: bytes, pace: Pace, appears: float) -> None:
    data = bytes(BLOCK) if digest == ZEROS else source.read(index)
    checksum = encoded(digest)
    for tries in range(1, _TRIES + 1):
        try:
            answer = ebs.call(
                "PutSnapshotBlock",
                appears=appears,
                wants=("Checksum",),
                turn=pace,
                heed=pace.bad,
                SnapshotId=snapshot,
                BlockIndex=index,
                BlockData=data,
                DataLength=BLOCK,
                Checksum=checksum,
                ChecksumAlgorithm="SHA256",
            )
        except AwsError as error:
            if error.reason != "INVALID_BLOCK" or tries == _TRIES:
                raise
        else:
            if ebs.aws.plan is not None:
                return
            if answer["Checksum"] == checksum:
                pace.good()
                return
    raise AwsError(
        f"block {index} of {snapshot} came damaged to AWS {_TRIES} times",
        hint="something on the way changes what is sent: a proxy?",
        passing=True,
    )
