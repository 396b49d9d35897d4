"""Waits of the main thread that the handler of a signal may leave by an exception.

Ctrl-C raises where the main thread is. Inside ``Condition.wait``, and so ``Event.wait`` and ``queue.Queue.get``, that
can leave a lock released ("RuntimeError: release unlocked lock"); inside ``Thread.join`` it can leave a running thread
marked as stopped. These functions wait in ``time.sleep``, which has no state; ``queue.SimpleQueue`` is safe as it is.
"""

from __future__ import annotations

import threading
import time

__all__ = ["join", "wait"]

_PAUSE = 0.02  # seconds between two checks


def wait(event: threading.Event, timeout: float | None = None) -> bool:
    """Wait until an event is set, at most ``timeout`` seconds; return whether it is."""
    if threading.current_thread() is not threading.main_thread():
        return event.wait(timeout)  # no handler runs in this thread
    deadline = None if timeout is None else time.monotonic() + timeout
    while not event.is_set():
        left = _PAUSE if deadline is None else min(_PAUSE, deadline - time.monotonic())
        if left <= 0:
            return False
        time.sleep(left)
    return True


def join(thread: threading.Thread, timeout: float | None = None) -> bool:
    """Wait until a thread has ended, at most ``timeout`` seconds; return whether it has."""
    if threading.current_thread() is not threading.main_thread():
        thread.join(timeout)
        return not thread.is_alive()
    deadline = None if timeout is None else time.monotonic() + timeout
    while thread in threading.enumerate():
        left = _PAUSE if deadline is None else min(_PAUSE, deadline - time.monotonic())
        if left <= 0:
            return False
        time.sleep(left)
    return True
