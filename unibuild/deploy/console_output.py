"""Show a boot's output: the console's lines on standard output, unibuild's own on standard error.

A stream that cannot be written raises no error here (``unibuild.util.standard_streams``), because reporting is not part
of replacing a domain. ``ConsoleOutput.reading`` is for the time after that: a console that nobody reads need not be
followed.
"""

from __future__ import annotations

import codecs
import contextlib
import re
from typing import TYPE_CHECKING, Literal

from unibuild.errors import InputError
from unibuild.util import run_result, standard_streams, terminal
from unibuild.util.escape_sequences import Escapes, colours_only, of_a_console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unibuild.settings.model import Settings

__all__ = ["ConsoleOutput", "open_output"]


class ConsoleOutput:
    """The terminal or pipe that shows a console.

    Args:
        raw: whether the bytes go to a raw terminal. It needs CR LF for LF, and sequences that it would answer are
            dropped (``util.escape_sequences``). Otherwise they are text: UTF-8 with other bytes replaced, CR LF becomes
            LF, and all control sequences except colours are dropped.
        escapes: ``[boot] escapes``: with ``all`` a raw terminal gets every sequence.
    """

    def __init__(self, *, raw: bool, escapes: Literal["safe", "all"] = "safe") -> None:
        self._raw = raw
        self._is_strict = False
        keep = of_a_console if raw else colours_only
        self._escapes = None if raw and escapes == "all" else Escapes(keep)
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._pending = ""  # a CR that may be half of a CR LF
        self._last = b"\n"

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Let ``show`` raise inside the block if standard output cannot be written (``unibuild boot | head``).

        Raises:
            BrokenPipeError: nobody reads it any more; also if that was noticed before the block.
            OSError: it cannot be written.
        """
        standard_streams.check(1)
        self._is_strict = True
        try:
            yield
        finally:
            self._is_strict = False

    def show(self, data: bytes) -> None:
        """Show a piece of a console's output.

        Raises:
            OSError: inside ``reading``, if standard output cannot be written.
        """
        self._show(data)
        if self._is_strict:
            standard_streams.check(1)

    def _show(self, data: bytes) -> None:
        if self._raw and self._escapes:
            data = self._escapes.feed_bytes(data)
        before, self._last = self._last, data[-1:] or self._last
        if self._raw:
            half = before == b"\r" and data.startswith(b"\n")
            data = re.sub(rb"(?<!\r)\n", b"\r\n", data)[half:]
            standard_streams.write(1, data)
            return
        text = self._decode(data)
        text = (self._pending + (self._escapes.feed(text) if self._escapes else text)).replace("\r\n", "\n")
        self._pending = "\r" if text.endswith("\r") else ""
        standard_streams.text(1, text.removesuffix("\r"))

    def say(self, sentence: str) -> None:
        """Print a message on its own line of standard error."""
        if self._last != b"\n":
            self._show(b"\n")
        standard_streams.text(2, f"unibuild: {sentence}\n")
        run_result.note(sentence=sentence)


def open_output(settings: Settings) -> tuple[ConsoleOutput, bool]:
    """Return the output of a boot, and whether the keyboard goes to the console, as ``[boot] console`` says.

    Raises:
        InputError: the keyboard shall go to the console, but there is no terminal.
    """
    asked = settings.boot.console
    if asked == "attach" and not terminal.is_interactive():
        raise InputError(
            'boot.console = "attach" needs a terminal, and this is not one',
            hint='set boot.console = "print" to print the lines',
        )
    attached = asked == "attach" or (asked == "auto" and terminal.is_interactive())
    return ConsoleOutput(raw=attached, escapes=settings.boot.escapes), attached
