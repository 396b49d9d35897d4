"""A test's side of a console: the lines that it hears, each with its time, and the keys that it types."""

from __future__ import annotations

import codecs
import contextlib
import os
import time
from typing import TYPE_CHECKING

from unibuild.testing.expectations import ConsoleLine
from unibuild.util.lines import LONGEST

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ConsoleCapture", "KeyQueue"]


class KeyQueue:
    """Keys for a console, and a bell that ends the reading of it; a ``terminal.Source``."""

    def __init__(self) -> None:
        self.fd, self._bell = os.pipe()
        os.set_blocking(self._bell, False)
        self._keys = b""

    def ring(self) -> None:
        """Let whoever reads the console leave it; any thread may."""
        with contextlib.suppress(BlockingIOError):  # it was rung often enough
            os.write(self._bell, b"!")

    def put(self, keys: bytes) -> None:
        """Hand in keys; whoever reads the console sends them."""
        self._keys += keys
        self.ring()

    def read(self) -> bytes:
        """Return the keys; nothing: leave."""
        os.read(self.fd, 65536)
        keys, self._keys = self._keys, b""
        if keys:
            self.ring()  # whoever has sent them leaves
        return keys

    def close(self) -> None:
        """Close both ends."""
        os.close(self.fd)
        os.close(self._bell)


class ConsoleCapture:
    """Makes lines, with the time of each, of a console's bytes.

    Attributes:
        began: when the domain was started, by the clock (``time.monotonic``).
        lines: those that have come.
        count: of the bytes that have come.
        rest: the line that has no end yet; one of ``lines.LONGEST`` characters is cut.

    Args:
        came: is called when there is a new line.
    """

    def __init__(self, came: Callable[[], None]) -> None:
        self._came = came
        self.began = time.monotonic()
        self.lines: list[ConsoleLine] = []
        self.count = 0
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self.rest = ""

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        self.count += len(data)
        *whole, self.rest = (self.rest + self._decode(data)).split("\n")
        if len(self.rest) >= LONGEST:
            whole, self.rest = [*whole, self.rest], ""
        now = time.monotonic() - self.began
        self.lines += [ConsoleLine(now, line.removesuffix("\r")) for line in whole]
        if whole:
            self._came()

    def end(self) -> None:
        """Take an unfinished line for a line."""
        if self.rest:
            self.feed(b"\n")
