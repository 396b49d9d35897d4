"""Put the blocks of a snapshot in parallel, as many at a time as AWS accepts."""

from __future__ import annotations

import collections
import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Protocol

from unibuild.aws.client import Stopped
from unibuild.aws.errors import Kind
from unibuild.aws.snapshot.blocks import BLOCK, ZEROS, encoded
from unibuild.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from unibuild.aws.client import Client

__all__ = ["BlockSource", "ConcurrencyLimiter", "put_blocks"]

_SLOWER = 2.0  # a call that takes so many times the fastest one waits for others: more concurrency gains nothing
_QUICK = 1.0  # seconds; eight blocks in this time are 34 Mbit/s
_REST = 0.5  # seconds in which several faults count as one: the calls were sent together


class ConcurrencyLimiter:
    """Limit the number of concurrent calls to what AWS accepts; entered for each try of a call.

    Args:
        now: a clock, in seconds.
        start: how many at first.
        least: how many at least.
        most: how many at most.
    """

    def __init__(self, now: Callable[[], float], *, start: int = 8, least: int = 1, most: int = 32) -> None:
        self.limit = float(start)
        self._starting = True
        self._now, self._least, self._most = now, least, most
        self._running = 0
        self._fastest: float | None = None
        self._fault: float | None = None
        self._closed = False
        self._free = threading.Condition()
        self._mine = threading.local()

    def __enter__(self) -> None:
        with self._free:
            self._free.wait_for(lambda: self._closed or self._running < int(self.limit))
            if self._closed:
                raise Stopped
            self._running += 1
        self._mine.since = self._now()

    def __exit__(self, *_: object) -> None:
        with self._free:
            self._running -= 1
            self._free.notify()

    def close(self) -> None:
        """Let no more calls start: ``__enter__`` raises ``Stopped`` from now on."""
        with self._free:
            self._closed = True
            self._free.notify_all()

    def record_success(self) -> None:
        """Record that the last call of the current thread succeeded."""
        seconds = self._now() - self._mine.since
        with self._free:
            self._fastest = seconds if self._fastest is None else min(seconds, self._fastest)
            self._starting &= seconds <= min(_QUICK, _SLOWER * self._fastest)
            if seconds <= _SLOWER * self._fastest:
                self.limit = min(self._most, self.limit + (1 if self._starting else 1 / self.limit))
                self._free.notify()

    def record_fault(self, kind: Kind) -> None:
        """Record a fault; a resource that does not exist yet says nothing about the load."""
        now = self._now()
        with self._free:
            if kind is not Kind.ABSENT and (self._fault is None or now - self._fault >= _REST):
                self._fault, self._starting = now, False
                self.limit = max(self._least, self.limit / 2)


_TRIES = 3  # of a block that arrives damaged
_POLL_SECONDS = 0.1  # seconds between two checks of how many calls may run

Result = int | BaseException


class BlockSource(Protocol):
    """The source of the blocks, which several threads read."""

    @property
    def checksums(self) -> Mapping[int, bytes]:
        """The SHA-256 of each block that is not zeros, by index."""

    @property
    def volume_gib(self) -> int:
        """The size of the volume that holds the image."""

    @property
    def size(self) -> int:
        """Its size in bytes, a whole number of blocks; the rest of the volume is zeros."""

    def read(self, index: int) -> bytes:
        """Return the bytes of a block."""


def put_blocks(
    ebs: Client,
    snapshot: str,
    source: BlockSource,
    puts: Mapping[int, bytes],
    *,
    appears: float,
    there: Callable[[int], None],
    beat: Callable[[], None],
) -> None:
    """Send blocks to a pending snapshot.

    Args:
        ebs: the service.
        snapshot: the pending snapshot's id.
        source: the source of the blocks; it need not have those that are zeros in ``puts``.
        puts: the SHA-256 of each block, by index.
        appears: seconds for which the snapshot may not exist yet.
        there: called with each index that arrived, in any order, also before a failure.
        beat: called several times a second, also while no block arrives.

    Raises:
        AwsError: a block cannot be put. Others that are being sent may still arrive.
        FileError: a block cannot be read.
    """
    pace = ConcurrencyLimiter(ebs.aws.clock.now)
    left = collections.deque(puts)
    results: queue.SimpleQueue[Result] = queue.SimpleQueue()  # Ctrl-C cannot break its lock

    def work() -> None:
        try:
            while True:
                index = left.popleft()
                _put(ebs, snapshot, index, source, puts[index], pace, appears)
                results.put(index)
        except BaseException as error:
            if not isinstance(error, IndexError | Stopped):  # these mean that nothing is left
                results.put(error)

    threads = missing = 0
    try:
        missing = len(left)
        while missing:
            while threads < min(int(pace.limit), threads + len(left)):
                threading.Thread(target=work, daemon=True, name=f"put-{threads}").start()
                threads += 1
            try:
                result = results.get(timeout=_POLL_SECONDS)
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


def _put(
    ebs: Client, snapshot: str, index: int, source: BlockSource, digest: bytes, pace: ConcurrencyLimiter, appears: float
) -> None:
    data = bytes(BLOCK) if digest == ZEROS else source.read(index)
    checksum = encoded(digest)
    for tries in range(1, _TRIES + 1):
        try:
            answer = ebs.call(
                "PutSnapshotBlock",
                appears=appears,
                wants=("Checksum",),
                turn=pace,
                heed=pace.record_fault,
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
                pace.record_success()
                return
    raise AwsError(
        f"block {index} of {snapshot} arrived damaged at AWS {_TRIES} times",
        hint="check whether a proxy changes the data",
        passing=True,
    )
