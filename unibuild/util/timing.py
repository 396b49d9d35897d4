"""Debounce changes and back off after failures: immutable values; times are monotonic, in seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["Backoff", "Debounce", "backoff_delay"]


def backoff_delay(failures: int, *, first: float = 1.0, longest: float = 60.0) -> float:
    """Return the seconds to wait after so many failures: none at first, then twice as long after each."""
    return min(longest, first * 2.0 ** min(failures - 1, 64)) if failures > 0 else 0.0


@dataclass(frozen=True)
class Debounce:
    """A burst of changes, which counts as one change.

    Attributes:
        quiet: seconds without a change after which the burst is over.
        longest: seconds after the first change after which the burst is over in any case.
        first: when the first change was seen; None: nothing changed.
        last: when the last change was seen.
    """

    quiet: float
    longest: float
    first: float | None = None
    last: float = 0.0

    def saw(self, now: float) -> Debounce:
        """Return the burst with a change at ``now``."""
        return replace(self, first=now if self.first is None else self.first, last=max(self.last, now))

    @property
    def due(self) -> float | None:
        """When the burst is over unless another change comes; None: nothing changed."""
        return None if self.first is None else min(self.last + self.quiet, self.first + max(self.quiet, self.longest))

    def over(self, now: float) -> bool:
        """Return whether something changed and the burst is over at ``now``."""
        due = self.due
        return due is not None and now >= due

    def reset(self) -> Debounce:
        """Return the same limits without a change."""
        return replace(self, first=None, last=0.0)


@dataclass(frozen=True)
class Backoff:
    """When to try again after a failure: each pause is twice as long as the one before.

    Attributes:
        first: seconds of the first pause.
        longest: seconds of a pause, at most.
        at: when to try again; None: there is nothing to try again.
        failures: how many there were in a row.
    """

    first: float = 1.0
    longest: float = 60.0
    at: float | None = None
    failures: int = 0

    def failed(self, now: float) -> Backoff:
        """Return the back-off after another failure at ``now``."""
        failures = self.failures + 1
        pause = backoff_delay(failures, first=self.first, longest=self.longest)
        return replace(self, at=now + pause, failures=failures)

    def started(self) -> Backoff:
        """Return the back-off while the next try runs: the failures so far still count."""
        return replace(self, at=None)

    def reset(self) -> Backoff:
        """Return the back-off without a failure."""
        return replace(self, at=None, failures=0)
