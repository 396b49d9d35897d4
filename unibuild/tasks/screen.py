"""What a person sees of a boot: the console's lines on standard output, our own words on standard error."""

from __future__ import annotations

import codecs
import os
import sys

__all__ = ["Screen"]


class Screen:
    """The terminal or pipe that a console is shown on.

    Args:
        raw: the bytes go to the terminal as they are; else they are text: UTF-8, CR LF becomes LF, and what is no
            UTF-8 is replaced.
    """

    def __init__(self, *, raw: bool) -> None:
        self._raw = raw
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._pending = ""  # a CR that may be half of a CR LF
        self._at_line_start = True

    def show(self, data: bytes) -> None:
        """Show what a console says, as it comes."""
        if data:
            self._at_line_start = data.endswith(b"\n")
        if self._raw:
            while data:
                data = data[os.write(1, data) :]
            return
        text = (self._pending + self._decode(data)).replace("\r\n", "\n")
        self._pending = "\r" if text.endswith("\r") else ""
        sys.stdout.write(text.removesuffix("\r"))
        sys.stdout.flush()

    def say(self, sentence: str) -> None:
        """Say something of our own, on a line of its own."""
        if not self._at_line_start:
            self.show(b"\n")
        print(f"unibuild: {sentence}", file=sys.stderr, flush=True)
