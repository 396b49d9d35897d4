"""What is said of a domain and by it, as events: the screen that boots and consoles are given in the loop."""

from __future__ import annotations

import codecs
import time
from typing import TYPE_CHECKING, Literal

from unibuild.deploy.console_output import ConsoleOutput
from unibuild.util import standard_streams
from unibuild.watch import events

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Loan", "Voice"]

_LINE = 16384  # characters of a line without an end that are told as they are


class Loan:
    """Whether the terminal is lent to the console; what a domain says then goes there as it is."""

    is_lent = False


class Voice(ConsoleOutput):
    """Tells lines of a domain, and sentences about it, as events.

    Args:
        post: hands an event to the loop, from any thread.
        loan: whether the terminal is lent.
        name: that of the domain.
        escapes: as ``[boot] escapes``.
    """

    def __init__(
        self,
        post: Callable[[events.Event], None],
        loan: Loan,
        name: str,
        escapes: Literal["safe", "all"] = "safe",
    ) -> None:
        super().__init__(raw=True, escapes=escapes)
        self.name = name
        self.domid: int | None = None  # not known before the domain has proved itself
        self._post = post
        self._loan = loan
        self._text = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._line = ""
        self._prompted = ""

    @property
    def is_unfinished(self) -> bool:
        """Whether a line has begun that was not shown yet."""
        return bool(self._line) and self._line != self._prompted

    def show(self, data: bytes) -> None:
        """Tell what a console says."""
        if self._loan.is_lent:
            super().show(data)
        *whole, self._line = (self._line + self._text(data)).split("\n")
        for line in whole:
            self._tell(line.rstrip("\r"))
        if len(self._line) > _LINE:
            self.finish()

    def say(self, sentence: str) -> None:
        """Tell a sentence of our own."""
        if self._loan.is_lent:
            standard_streams.write(1, f"\r\nunibuild: {sentence}\r\n".encode())
        self._post(events.Note(at=time.time(), message=sentence))

    def prompt(self) -> None:
        """Tell the beginning of a line."""
        if self.is_unfinished:
            self._prompted = self._line
            self._tell(self._line.rstrip("\r"), whole=False)

    def finish(self) -> None:
        """Take the beginning of a line for a line: no more is to come."""
        line, self._line = self._line, ""
        if line:
            self._tell(line.rstrip("\r"))

    def _tell(self, text: str, *, whole: bool = True) -> None:
        if whole:
            self._prompted = ""
        if not self._loan.is_lent:
            of, domid = self.name, self.domid
            self._post(events.Output(at=time.time(), origin="console", text=text, of=of, domid=domid, whole=whole))
