"""Wake a thread that waits in ``select`` from any thread, by a queue, or by the signals that end a program."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["Signal", "WakeableQueue", "Waker", "handle_signals"]

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "TERM", signal.SIGHUP: "HUP"}


class Waker:
    """A file descriptor that any thread, or the handler of a signal, makes readable."""

    def __init__(self) -> None:
        self.fd, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        fds, self.fd, self._write = (self.fd, self._write), -1, -1
        for fd in fds:
            os.close(fd)

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self.fd

    def wake(self) -> None:
        """Make the file descriptor readable."""
        with contextlib.suppress(OSError):  # the pipe is full, so readable; or closed
            os.write(self._write, b".")

    def clear(self) -> None:
        """Make the file descriptor unreadable again."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 65536)


class WakeableQueue(Waker):
    """A queue with a file descriptor that is readable while the queue has items, or after ``wake``."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def put(self, what: Any) -> None:  # noqa: ANN401 (commands, events and results)
        """Add an item."""
        self._waiting.put(what)
        self.wake()

    def take(self) -> list[Any]:
        """Remove and return all items."""
        self.clear()
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._waiting.get_nowait())
        return found


@dataclass(frozen=True)
class Signal:
    """A received signal: ``Ctrl-C``, ``TERM`` or ``HUP``."""

    name: str


@contextlib.contextmanager
def handle_signals(put: Callable[[Signal], None]) -> Iterator[None]:
    """During the block, pass the first signal to ``put``; a second one ends the program without an orderly shutdown.

    Raises:
        SystemExit: for the second one.
    """
    seen: list[int] = []

    def hear(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) > 1:
            raise SystemExit(128 + number)
        put(Signal(_NAMES[signal.Signals(number)]))

    numbers = [number for number in _NAMES if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, hear) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
