"""Asking a domain again and again, in threads, while its console is read.

A check is tried until it holds, every ``AGAIN`` seconds. Each try takes a few seconds at most, so that all threads have
ended soon after they are told to.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Protocol, Self

from unibuild.util import waits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unibuild.util.wakeup import Waker

__all__ = ["AGAIN", "Asking", "Check"]

AGAIN = 0.2  # seconds between two tries


class Check(Protocol):
    """Something that shall hold; ``what`` names it."""

    @property
    def what(self) -> str: ...  # noqa: D102

    def attempt(self) -> str | None:
        """Try once; return what came instead, to stand after "WHAT: ", or None where it holds."""

    def cancel(self) -> None:
        """End a try that another thread is at, as far as that can be done."""


class Asking(contextlib.AbstractContextManager["Asking"]):
    """Checks being tried, each in a thread of its own, for the time of the block.

    Args:
        checks: what shall hold.
        waker: is woken when one of them does, or cannot be tried.
    """

    def __init__(self, checks: Sequence[Check], waker: Waker) -> None:
        self._checks = checks
        self._waker = waker
        self._over = threading.Event()
        self._last: dict[int, str | None] = dict.fromkeys(range(len(checks)), "not tried yet")
        self._error: Exception | None = None
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"unibuild asks {check.what}", daemon=True)
            for number, check in enumerate(checks)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for check, thread in zip(self._checks, self._threads, strict=True):
            check.cancel()
            while not waits.join(thread, 0.05):
                check.cancel()

    @property
    def missing(self) -> list[str]:
        """What does not hold yet, and what came last instead.

        Raises:
            UnibuildError: the host refused to be asked.
        """
        if self._error:
            raise self._error
        return [f"{check.what}: {why}" for check, why in zip(self._checks, self._last.values(), strict=True) if why]

    def _work(self, number: int) -> None:
        try:
            while not self._over.is_set():
                why = self._checks[number].attempt()
                if self._over.is_set():  # the try was cut off
                    return
                self._last[number] = why
                if why is None:
                    break
                self._over.wait(AGAIN)
        except Exception as error:  # it is raised where the threads are waited for
            self._error = error
        self._waker.wake()
