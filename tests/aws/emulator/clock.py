"""Clocks for the emulator: the states of resources advance with them."""

from __future__ import annotations

import threading
import time


class Clock:
    """The machine's own time, in seconds since the epoch."""

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class ManualClock(Clock):
    """A clock that only advances by ``sleep`` or ``advance``, for tests in which hours pass."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now += max(0.0, seconds)

    def sleep(self, seconds: float) -> None:
        """Advance at once, and let other threads run as a real sleep does."""
        self.advance(seconds)
        time.sleep(0)
