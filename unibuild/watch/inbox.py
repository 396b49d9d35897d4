"""What wakes the loop, from any thread and from a signal's handler."""

from __future__ import annotations

import contextlib
import os
import queue
from typing import Any

__all__ = ["Box"]


class Box(contextlib.AbstractContextManager["Box"]):
    """A queue with a file descriptor that is readable while something waits in it, or after ``wake``."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __exit__(self, *_: object) -> None:
        fds, self._read, self._write = (self._read, self._write), -1, -1
        for fd in fds:
            os.close(fd)

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._read

    def put(self, what: Any) -> None:  # noqa: ANN401 (commands, events and results)
        """Put something in."""
        self._waiting.put(what)
        self.wake()

    def wake(self) -> None:
        """Make the file descriptor readable."""
        with contextlib.suppress(OSError):  # the pipe is full of the same, or closed: the loop has ended
            os.write(self._write, b".")

    def take(self) -> list[Any]:
        """Return what waits."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 65536)
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._waiting.get_nowait())
        return found
