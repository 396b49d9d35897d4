"""How many blocks are under way at a time: slow start, then additive increase, multiplicative decrease (AIMD).

As in TCP the number doubles in each round trip at first: the blocks of a unikernel are too few for anything slower to
matter. That ends with the first fault, and where calls take so long that it is the line which is full.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from unibuild.aws.client import Stopped
from unibuild.aws.errors import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pace"]

_SLOWER = 2.0  # a call that takes so many times the fastest one waits for others: more of them at once gain nothing
_QUICK = 1.0  # seconds; eight blocks in so long are 34 Mbit/s
_REST = 0.5  # seconds in which many faults are one: they were sent together


class Pace:
    """Lets so many calls in at a time as the other side takes; entered around each try of a call.

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
        """Let nobody in any more: who wants to gets ``Stopped``."""
        with self._free:
            self._closed = True
            self._free.notify_all()

    def good(self) -> None:
        """Learn from the thread that was in last that its call went well."""
        seconds = self._now() - self._mine.since
        with self._free:
            self._fastest = seconds if self._fastest is None else min(seconds, self._fastest)
            self._starting &= seconds <= min(_QUICK, _SLOWER * self._fastest)
            if seconds <= _SLOWER * self._fastest:
                self.limit = min(self._most, self.limit + (1 if self._starting else 1 / self.limit))
                self._free.notify()

    def bad(self, kind: Kind) -> None:
        """Learn of a fault; what does not exist yet says nothing of the pace."""
        now = self._now()
        with self._free:
            if kind is not Kind.ABSENT and (self._fault is None or now - self._fault >= _REST):
                self._fault, self._starting = now, False
                self.limit = max(self._least, self.limit / 2)
