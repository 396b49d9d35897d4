"""What a person sees of a boot: the console's lines on standard output, our own words on standard error."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import sys
from typing import TYPE_CHECKING

from unibuild.domain import terminal
from unibuild.errors import InputError

if TYPE_CHECKING:
    from unibuild.settings.model import Settings

__all__ = ["Screen", "opened"]


class Screen:
    """The terminal or pipe that a console is shown on.

    Args:
        raw: the bytes go to a raw terminal as they are, but for LF, which it wants as CR LF; else they are text:
            UTF-8, CR LF becomes LF, and what is no UTF-8 is replaced.
    """

    def __init__(self, *, raw: bool) -> None:
        self._raw = raw
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._pending = ""  # a CR that may be half of a CR LF
        self._last = b"\n"

    def show(self, data: bytes) -> None:
        """Show what a console says, as it comes.

        Raises:
            BrokenPipeError: nobody reads it any more (``unibuild boot | head``).
        """
        before, self._last = self._last, data[-1:] or self._last
        if self._raw:
            half = before == b"\r" and data.startswith(b"\n")
            data = re.sub(rb"(?<!\r)\n", b"\r\n", data)[half:]
            while data:
                data = data[os.write(1, data) :]
            return
        text = (self._pending + self._decode(data)).replace("\r\n", "\n")
        self._pending = "\r" if text.endswith("\r") else ""
        sys.stdout.write(text.removesuffix("\r"))
        sys.stdout.flush()

    def say(self, sentence: str) -> None:
        """Say something of our own, on a line of its own."""
        if self._last != b"\n":
            with contextlib.suppress(BrokenPipeError):
                self.show(b"\n")
        print(f"unibuild: {sentence}", file=sys.stderr, flush=True)


def opened(settings: Settings) -> tuple[Screen, bool]:
    """Return the screen of a boot, and whether the keyboard goes to the console, as ``[boot] console`` says.

    Raises:
        InputError: it shall, and there is no terminal.
    """
    asked = settings.boot.console
    if asked == "attach" and not terminal.is_ours():
        raise InputError(
            'boot.console = "attach" wants a terminal, and there is none here',
            hint='"print" shows the lines without one',
        )
    attached = asked == "attach" or (asked == "auto" and terminal.is_ours())
    return Screen(raw=attached), attached
