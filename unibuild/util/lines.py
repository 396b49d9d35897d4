"""A stream of bytes, cut into lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LONGEST", "Lines"]

LONGEST = 65536  # bytes after which a line without an end is cut


class Lines:
    """Cuts what it is fed into lines.

    Args:
        hear: is given each line, without CR and LF.
    """

    def __init__(self, hear: Callable[[bytes], None]) -> None:
        self._hear = hear
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take what has come; a line that has no end yet waits for it."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) >= LONGEST:
            whole, self._rest = [*whole, self._rest], b""
        for line in whole:
            self._hear(line.strip(b"\r"))

    def end(self) -> None:
        """Take what waits for a line."""
        if self._rest:
            self.feed(b"\n")
