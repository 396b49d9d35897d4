"""Calls that need not wait for each other are made at the same time."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["together"]

T = TypeVar("T")


def together(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Run jobs, each in a thread of its own, and return their results in the jobs' order.

    Raises:
        Exception: that of the first job that failed, at once; nobody waits for the others, which Ctrl-C ends too.
    """
    results: queue.SimpleQueue[tuple[int, T | None, BaseException | None]] = queue.SimpleQueue()

    def work(number: int, job: Callable[[], T]) -> None:
        try:
            results.put((number, job(), None))
        except BaseException as error:
            results.put((number, None, error))

    for number, job in enumerate(jobs):
        threading.Thread(target=work, args=(number, job), daemon=True, name=f"job-{number}").start()
    found: dict[int, T] = {}
    while len(found) < len(jobs):
        number, result, error = results.get()
        if error is not None:
            raise error
        found[number] = result  # type: ignore[assignment]  # T may be None itself
    return [found[number] for number in range(len(jobs))]
