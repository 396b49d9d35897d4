"""Standard output behind a thread: a reader that is slow, stopped (Ctrl-S) or gone holds nobody up."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Self

from unibuild.util.waits import join

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LIMIT", "Output"]

LIMIT = 1 << 20  # bytes that wait for a slow reader
_PAUSE = 0.005  # seconds between two looks at what waits
_PIECE = 4096  # bytes written at once: what comes next can still be given up


class Output(contextlib.AbstractContextManager["Output"]):
    """A file descriptor that is written to in the background.

    Args:
        fd: where to.
        gone: is called, from the thread, when nobody reads it any more; then everything is thrown away.
        limit: bytes that may wait.
    """

    def __init__(self, fd: int, gone: Callable[[], None] = lambda: None, limit: int = LIMIT) -> None:
        self._fd = fd
        self._tell_gone = gone
        self._limit = limit
        self._waiting = bytearray()
        self._writing = 0  # bytes on their way
        self._over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="unibuild writes", daemon=True)
        self.is_gone = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def is_behind(self) -> bool:
        """Whether something still waits for the reader."""
        return bool(self._waiting or self._writing)

    def write(self, data: bytes, *, always: bool = True) -> bool:
        """Write; return whether it will be.

        Args:
            data: what to.
            always: also where as much waits already as may: else it is given up.
        """
        with self._changed:
            if self.is_gone or (not always and len(self._waiting) + len(data) > self._limit):
                return False
            self._waiting += data
            self._changed.notify_all()
            return True

    def drain(self, patience: float) -> bool:
        """Wait until all is written, at most ``patience`` seconds; return whether it is."""
        deadline = time.monotonic() + patience
        while self.is_behind and not self.is_gone:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_PAUSE)  # not in a condition: see ``waits``
        return not self.is_gone

    def end(self, patience: float = 1.0) -> None:
        """Write what waits, for as long as a reader takes something in ``patience`` seconds, and end."""
        before = -1
        while self.is_behind and not self.is_gone and len(self._waiting) != before:
            before = len(self._waiting)
            self.drain(patience)
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if not self.is_behind:
            join(self._thread, patience)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._over:
                    self._changed.wait()
                if self._over:
                    return
                piece = bytes(self._waiting[:_PIECE])
                del self._waiting[:_PIECE]
                self._writing = len(piece)
            try:
                while piece:
                    piece = piece[os.write(self._fd, piece) :]
            except OSError:  # a pipe that is broken, a terminal that hung up
                self.is_gone = True
            with self._changed:
                self._writing = 0
                if self.is_gone:
                    self._waiting.clear()
                self._changed.notify_all()
            if self.is_gone:
                self._tell_gone()
                return
