"""Capture a domain's console for a test as timed lines, and queue the keys that the test types."""

from __future__ import annotations

import codecs
import time
from typing import TYPE_CHECKING

from unibuild.testing.expectations import ConsoleLine
from unibuild.util.lines import LineSplitter
from unibuild.util.wakeup import Waker

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ConsoleCapture", "KeyQueue"]


class KeyQueue(Waker):
    """Keys for a console; waking it interrupts the reader. It is a ``terminal.KeySource``."""

    def __init__(self) -> None:
        super().__init__()
        self._keys = b""

    def put(self, keys: bytes) -> None:
        """Add keys; the console's reader sends them."""
        self._keys += keys
        self.wake()

    def read(self) -> bytes:
        """Return the keys; none: detach."""
        self.clear()
        keys, self._keys = self._keys, b""
        if keys:
            self.wake()  # the reader detaches after it has sent them
        return keys


class ConsoleCapture:
    """Split a console's bytes into lines, each with its time.

    Attributes:
        began: when the domain was started (``time.monotonic``).
        lines: the complete lines so far.
        count: the number of bytes so far.

    Args:
        on_line: called when there is a new line.
    """

    def __init__(self, on_line: Callable[[], None]) -> None:
        self._on_line = on_line
        self.began = time.monotonic()
        self.lines: list[ConsoleLine] = []
        self.count = 0
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._lines = LineSplitter("\n")

    @property
    def rest(self) -> str:
        """The incomplete last line."""
        return self._lines.rest

    def feed(self, data: bytes) -> None:
        """Add console output."""
        self.count += len(data)
        whole = self._lines.feed(self._decode(data))
        now = time.monotonic() - self.began
        self.lines += [ConsoleLine(now, line.removesuffix("\r")) for line in whole]
        if whole:
            self._on_line()

    def end(self) -> None:
        """Treat an incomplete last line as complete."""
        if self.rest:
            self.feed(b"\n")
