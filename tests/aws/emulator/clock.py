"""The clocks on which the states of the emulator advance."""

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
    """Stands still until somebody sleeps on it or advances it: for tests in which hours pass."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now += max(0.0, seconds)

    def sleep(self, seconds: float) -> None:
        """Advance at once; give other threads a turn, as a real sleep would."""
        self.advance(seconds)
        time.sleep(0)
