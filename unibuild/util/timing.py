"""Debounce changes and back off after failures; pure: the caller has the clock (``time.monotonic``, seconds)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Backoff", "Debounce", "backoff_delay"]


def backoff_delay(failures: int, *, first: float = 1.0, longest: float = 60.0) -> float:
    """Return the seconds to wait after so many failures: none at first, then twice as long after each."""
    return min(longest, first * 2.0 ** min(failures - 1, 64)) if failures > 0 else 0.0


@dataclass
class Debounce:
    """Changes that follow each other closely are one.

    Attributes:
        quiet: seconds without a change after which they are over.
        longest: seconds after the first one at which they are taken for over in any case.
    """

    quiet: float
    longest: float
    first: float | None = None
    last: float = 0.0

    def saw(self, now: float) -> None:
        """Note that something changed at ``now``."""
        if self.first is None:
            self.first = now
        self.last = max(self.last, now)

    @property
    def due(self) -> float | None:
        """When they are over, unless another one comes; None: there was none."""
        return None if self.first is None else min(self.last + self.quiet, self.first + max(self.quiet, self.longest))

    def over(self, now: float) -> bool:
        """Say whether there were changes and they are over at ``now``."""
        due = self.due
        return due is not None and now >= due

    def reset(self) -> None:
        """Start again."""
        self.first, self.last = None, 0.0


@dataclass
class Backoff:
    """When to try again what needs no save to be tried: each time twice as long after the last time.

    Attributes:
        at: when, of the clock; None: there is nothing to try.
    """

    first: float = 1.0
    longest: float = 60.0
    at: float | None = None
    _failures: int = 0

    def failed(self, now: float) -> float:
        """Note a failure; return the seconds to wait."""
        self._failures += 1
        pause = backoff_delay(self._failures, first=self.first, longest=self.longest)
        self.at = now + pause
        return pause

    def reset(self) -> None:
        """Note that there is nothing to try again."""
        self.at, self._failures = None, 0
