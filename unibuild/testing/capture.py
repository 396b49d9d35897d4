"""A test's side of a console: the lines that it hears, each with its time, and the keys that it types."""

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
    """Keys for a console; waking it ends the reading of the console. A ``terminal.Source``."""

    def __init__(self) -> None:
        super().__init__()
        self._keys = b""

    def put(self, keys: bytes) -> None:
        """Hand in keys; whoever reads the console sends them."""
        self._keys += keys
        self.wake()

    def read(self) -> bytes:
        """Return the keys; nothing: leave."""
        self.clear()
        keys, self._keys = self._keys, b""
        if keys:
            self.wake()  # the reader leaves after it has sent them
        return keys


class ConsoleCapture:
    """Makes lines, with the time of each, of a console's bytes.

    Attributes:
        began: when the domain was started, by the clock (``time.monotonic``).
        lines: those that have come.
        count: of the bytes that have come.

    Args:
        came: is called when there is a new line.
    """

    def __init__(self, came: Callable[[], None]) -> None:
        self._came = came
        self.began = time.monotonic()
        self.lines: list[ConsoleLine] = []
        self.count = 0
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._lines = LineSplitter("\n")

    @property
    def rest(self) -> str:
        """The line that has no end yet."""
        return self._lines.rest

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        self.count += len(data)
        whole = self._lines.feed(self._decode(data))
        now = time.monotonic() - self.began
        self.lines += [ConsoleLine(now, line.removesuffix("\r")) for line in whole]
        if whole:
            self._came()

    def end(self) -> None:
        """Take an unfinished line for a line."""
        if self.rest:
            self.feed(b"\n")
