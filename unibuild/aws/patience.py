"""How long calls are tried, and the time that passes meanwhile."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass

from unibuild.util import waits

__all__ = ["READING", "Clock", "Patience", "Stopped"]


class Stopped(Exception):  # noqa: N818 (no failure: somebody set the clock's ``stop``)
    """A wait was ended because the whole is to end."""


class Clock:
    """Time and chance, which a test may replace.

    ``stop`` ends every wait: threads that sleep between two tries must not hold up Ctrl-C.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._random = random.Random()

    def now(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            Stopped: ``stop`` is set.
        """
        if waits.wait(self.stop, seconds):
            raise Stopped

    def jitter(self, most: float) -> float:
        """Return a number from 0 to ``most``, each as likely: full jitter."""
        return self._random.uniform(0.0, most)


@dataclass(frozen=True)
class Patience:
    """How long a call is tried, in seconds, over every kind of fault.

    A call gives up ``budget`` after its first fault, but not before ``tries``. While nothing was ever answered it is
    ``first``: then the network or the endpoint is wrong. ``connect`` and ``read`` are the timeouts of one try; each
    stall takes the next longer of ``read``. The waits between tries double from ``base`` to ``cap``.
    """

    budget: float = 180.0
    tries: int = 5
    first: float = 15.0
    connect: float = 5.0
    read: tuple[float, ...] = (20.0, 40.0, 80.0, 120.0)
    base: float = 0.1
    cap: float = 8.0


READING = Patience(budget=20.0, tries=3, first=10.0)
"""For a command that only reads: the user waits for it and can run it again."""
