"""Control sequences in console output: which of them reach the user's terminal.

A unikernel may write anything. Some sequences make a terminal type an answer (DSR, DA, DECRQSS), set the clipboard
(OSC 52), the title, or clear the screen. Only complete sequences that are on a list are passed on; all else is dropped,
its first character with it, so that the terminal is never inside a sequence that a later piece could complete.

Formats: ECMA-48, and "XTerm Control Sequences" (https://invisible-island.net/xterm/ctlseqs/ctlseqs.html).
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Escapes", "colours_only", "of_a_console"]

# A byte that is not UTF-8 is decoded to a surrogate: U+DC9B is the byte 9B, which 8-bit terminals take for CSI.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\udc80-\udc9f]")
_CSI = "(?:\x1b\\[|[\x9b\udc9b])"
_STRING = "(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f\udc90\udc98\udc9d-\udc9f])"  # OSC, DCS, SOS, PM, APC
_BODY = "[^\x07\x18\x1a\x1b\n\x9c\udc9c]"
_END = "(?:\x07|\x1b\\\\|[\x9c\udc9c])"
_LONGEST = 2048  # characters of a string that may be passed on; a longer one is dropped up to its end
_SEQUENCE = re.compile(
    f"{_CSI}(?P<csi>[0-?]{{0,64}}[ -/]{{0,4}}[@-~])"
    f"|{_STRING}(?P<string>{_BODY}{{0,{_LONGEST}}}){_END}"
    f"|\x1b(?P<escape>[ -/]{{0,4}}[0-OQ-WYZ\\\\`-~])"
)
_PARTIAL = re.compile(
    f"{_CSI}[0-?]{{0,64}}[ -/]{{0,4}}|{_STRING}{_BODY}{{0,{_LONGEST}}}\x1b?|\x1b[ -/]{{0,4}}", re.DOTALL
)
_MALFORMED = re.compile(f"{_CSI}[0-?]{{0,64}}[ -/]{{0,4}}|{_STRING}|\x1b[ -/]{{0,4}}", re.DOTALL)
_REST = re.compile(f"{_BODY}*")
_STRING_START = re.compile(_STRING)

_SGR = re.compile(r"[0-9;:]*m")
# The terminal reports the mouse, its focus, its colours and its size as if they were typed.
_REPORTING_MODES = {9, *range(1000, 1007), 1015, 1016, 2031, 2048}
_PLAIN_CSI = re.compile(r"[0-9;:]*(?:[@A-Z`abd-hj-mrsu]| q)|!p|\?[0-9;]*[JKhl]")
_TITLE_OR_LINK = re.compile(r"[0128];")


def colours_only(kind: str, text: str) -> bool:
    """Keep line ends, tabs and colours (SGR): for a terminal, log or pipe that is not attached to the console."""
    if kind == "control":
        return text in "\n\r\t"
    return kind == "csi" and _SGR.fullmatch(text) is not None


def of_a_console(kind: str, text: str) -> bool:
    """Keep what draws on a terminal: for a terminal that is attached to the console.

    Drop what makes the terminal answer or report, what sets the clipboard, and what prints.
    """
    if kind == "control":
        return text in "\a\b\t\n\v\f\r\x0e\x0f"
    if kind == "csi":
        if text[0] == "?" and _REPORTING_MODES & set(map(int, re.findall(r"\d+", text))):
            return False
        return _PLAIN_CSI.fullmatch(text) is not None
    if kind == "escape":
        return text != "Z"
    return _TITLE_OR_LINK.match(text) is not None and _CONTROL.search(text) is None


class Escapes:
    """Filter the output of a console, piece by piece.

    Args:
        keep: called with the kind of a sequence (``control``, ``csi``, ``escape``, ``osc``, ``string``) and its text
            without introducer and terminator; returns whether to pass it on.
    """

    def __init__(self, keep: Callable[[str, str], bool]) -> None:
        self._keep = keep
        self._held = ""  # the beginning of a sequence
        self._in_string = False  # that is too long
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape").decode

    def feed_bytes(self, data: bytes) -> bytes:
        """Return a piece of bytes without dropped sequences; bytes that are not UTF-8 are kept."""
        return self.feed(self._decode(data)).encode(errors="surrogateescape")

    def feed(self, text: str) -> str:
        """Return a piece of text without dropped sequences."""
        text, self._held = self._held + text, ""
        out, at = [], 0
        while at < len(text):
            if self._in_string:
                at = self._skip_string(text, at)
                continue
            found = _CONTROL.search(text, at)
            if found is None:
                out.append(text[at:])
                break
            out.append(text[at : found.start()])
            kept, at = self._sequence(text, found.start())
            out.append(kept)
        return "".join(out)

    def _sequence(self, text: str, at: int) -> tuple[str, int]:
        """Return what is kept of the control character or sequence at an index, and where the text goes on."""
        found = _SEQUENCE.match(text, at)
        if found:
            kind = str(found.lastgroup)
            if kind == "string" and found[0][:2] == "\x1b]":
                kind = "osc"
            is_7_bit = found[0][0] == "\x1b" and kind != "string"
            return found[0] if is_7_bit and self._keep(kind, found[found.lastgroup or 0]) else "", found.end()
        if _PARTIAL.fullmatch(text, at):
            self._held = text[at:]
            return "", len(text)
        found = _MALFORMED.match(text, at)
        if found:
            self._in_string = _STRING_START.match(text, at) is not None
            return "", found.end()
        return text[at] if self._keep("control", text[at]) else "", at + 1

    def _skip_string(self, text: str, at: int) -> int:
        """Return where a string that is dropped ends: at its end, a line's end, or the beginning of a sequence."""
        rest = _REST.match(text, at)
        at = rest.end() if rest else at
        if at == len(text):
            return at
        self._in_string = False
        if text[at] in "\n\x1b":
            return at  # ESC \ is a sequence of its own, which is dropped or does nothing
        return at + 1
