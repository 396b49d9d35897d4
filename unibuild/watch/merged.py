"""What a builder writes and what it says, in one order: its output and its messages come by different ways.

A mark (``worker_protocol.MARK``) in the output stands for each message, at the place where that was sent. Pure: no file
descriptor, no clock.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from unibuild.watch import worker_protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unibuild.watch.worker_protocol import Message

__all__ = ["LINE", "Merged"]

LINE = 16384  # bytes of a line without an end that are taken for one


class Merged:
    """Lines and messages, put together again."""

    def __init__(self) -> None:
        self._rest = b""  # that may hold the beginning of a mark
        self._line = b""
        self._items: deque[str | None] = deque()  # lines; None: a mark
        self._messages: deque[Message] = deque()

    def write(self, data: bytes) -> None:
        """Take bytes of the output; those that are no UTF-8 are replaced."""
        *marked, last = (self._rest + data).split(worker_protocol.MARK)
        for piece in marked:
            self._add(piece)
            self._finish()
            self._items.append(None)
        begun = next(
            (
                size
                for size in range(len(worker_protocol.MARK) - 1, 0, -1)
                if last.endswith(worker_protocol.MARK[:size])
            ),
            0,
        )
        self._add(last[: len(last) - begun])
        self._rest = last[len(last) - begun :]

    def say(self, messages: Iterable[Message]) -> None:
        """Take messages."""
        self._messages += messages

    @property
    def is_behind(self) -> bool:
        """Whether a message waits for what was written before it."""
        return len(self._messages) > self._items.count(None)

    @property
    def unfinished(self) -> str:
        """The beginning of a line whose end has not come."""
        return _text(self._line)

    def take(self, *, all_of_it: bool = False) -> list[str | Message]:
        """Return what is in order.

        Args:
            all_of_it: also a message whose mark has not come, and what was written behind the mark of one that has not
                come: they were lost, and there is no more to wait for.
        """
        found: list[str | Message] = []
        while self._items:
            if self._items[0] is None and not self._messages and not all_of_it:
                return found
            item = self._items.popleft()
            if item is not None:
                found.append(item)
            elif self._messages:
                found.append(self._messages.popleft())
        if all_of_it:
            found += self._messages
            self._messages.clear()
        return found

    def _finish(self) -> None:
        """Take the beginning of a line for a line: what comes next is another task's. Wiped progress is none."""
        line, self._line = self._line, b""
        if line.rstrip(b"\r").rpartition(b"\r")[2].strip():
            self._items.append(_text(line))

    def _add(self, data: bytes) -> None:
        *whole, self._line = (self._line + data).split(b"\n")
        if len(self._line) > LINE:
            whole, self._line = [*whole, self._line], b""
        self._items += map(_text, whole)


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode(errors="replace")
