"""Split streams of bytes or text into lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, AnyStr, Generic

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LONGEST", "LineSplitter", "Lines"]

LONGEST = 65536  # bytes or characters after which a line without an end is cut


class LineSplitter(Generic[AnyStr]):
    """Splits its input into lines.

    Args:
        newline: what ends a line, and is not part of it.
        longest: length at which a line without an end is cut; None: never.

    Attributes:
        rest: the beginning of a line that has no end yet.
    """

    def __init__(self, newline: AnyStr, longest: int | None = LONGEST) -> None:
        self._newline: AnyStr = newline
        self._longest = longest
        self.rest: AnyStr = newline[:0]

    def feed(self, data: AnyStr) -> list[AnyStr]:
        """Return the lines that are complete with this data."""
        lines: list[AnyStr] = (self.rest + data).split(self._newline)
        self.rest = lines.pop()
        if self._longest is not None and len(self.rest) >= self._longest:
            lines.append(self.rest)
            self.rest = self._newline[:0]
        return lines

    def end(self) -> list[AnyStr]:
        """Return the unfinished line as a line, if there is one."""
        rest: AnyStr = self.rest
        self.rest = self._newline[:0]
        return [rest] if rest else []


class Lines:
    """Call ``hear`` with each line of bytes, without CR and LF."""

    def __init__(self, hear: Callable[[bytes], None]) -> None:
        self._hear = hear
        self._splitter = LineSplitter(b"\n")

    def feed(self, data: bytes) -> None:
        """Take data; a line that has no end yet waits for it."""
        for line in self._splitter.feed(data):
            self._hear(line.strip(b"\r"))

    def end(self) -> None:
        """Handle the unfinished line as a line, if there is one."""
        for line in self._splitter.end():
            self._hear(line.strip(b"\r"))
