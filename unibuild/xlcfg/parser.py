"""The words of the xl.cfg language, as Xen's scanner cuts them.

Source: libxlu_cfg_l.l and xlu__cfgl_dequote() (libxlu_cfg.c) in Xen's tools/libs/util, their oddities included:
what counts is what xl reads, not what it should.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from unibuild.errors import XlSyntaxError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Source", "Token", "scan"]

_TOKEN = re.compile(
    r"""
      (?P<blank>   [ \t]+ )
    | (?P<newline> \n | \#[^\n]*\n )
    | (?P<key>     [a-z][._0-9a-z]* )
    | (?P<number>  [0-9][0-9a-fx]* )
    | (?P<string>  '(?:[^'\\\n]|\\[^\n])*' | "(?:[^"\\\n]|\\[^\n])*" )
    | (?P<mark>    \+= | [=,;\[\]] )
    | (?P<lone>    [\0-\x7f\udc80-\udcff]\Z )   # xl overlooks a byte without a meaning, if it is the very last one
    """,
    re.VERBOSE,
)
_ESCAPES = {"'": "'", '"': '"', "\\": "\\", "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_NUMBER = re.compile(r"\s*[+-]?[0-9]+", re.ASCII)  # what C's strtoul takes
_STRAY = {  # what people write and xl does not read: message, hint
    "'": ("the string has no closing quote on its line", None),
    '"': ("the string has no closing quote on its line", None),
    "#": ("the comment has no line end, and xl refuses that", "end the file with an empty line"),
    "\r": ("the line ends in CR LF, as on DOS, and xl refuses that", "take the CR away: sed -i 's/\\r$//' FILE"),
    "@": ("`@` means nothing to xl here", "an .xl.in is a template: fill in what stands between the @"),
    "(": ("`(` means nothing to xl here", "this is Python, which `xm` ran and xl does not: write what it computes"),
    "\\": ("`\\` means nothing to xl here", "xl does not continue lines: join the two; only a list goes over lines"),
    "\ufeff": (
        "a byte order mark (EF BB BF) means nothing to xl",
        "save the file without it: sed -i 's/\\xEF\\xBB\\xBF//' FILE",
    ),
    "-": ("`-` means nothing to xl here", "put a negative number into quotes"),
}


class Token(NamedTuple):
    """A word: `source.text[start:end]`.

    `kind` is "key", "number", "string", "newline" (a comment is one too), "end", or the mark itself: "=", "+=", ",",
    ";", "[", "]". `value` is the text; of a string, what it stands for.
    """

    kind: str
    value: str
    start: int
    end: int


class Source(NamedTuple):
    """A file's text, and its name for messages."""

    text: str
    path: str

    def error(self, message: str, at: int, *, hint: str | None = None) -> XlSyntaxError:
        """Return an error that points at an offset of the text."""
        line = self.text.count("\n", 0, at) + 1
        column = at - self.text.rfind("\n", 0, at)
        return XlSyntaxError(message, path=self.path, line=line, column=column, hint=hint)


def scan(source: Source) -> Iterator[Token]:
    """Yield the words of a text. The last one is "end": it starts where to point at, and ends where text can be added.

    Raises:
        XlSyntaxError: a character means nothing to xl, or a string or an escape is not complete.
    """
    text = source.text
    at = 0
    last = Token("newline", "", 0, 0)
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise _stray(source, at)
        kind = str(found.lastgroup)
        if kind == "lone":
            break
        at = found.end()
        if kind != "blank":
            value = _unquote(source, found.start(), at) if kind == "string" else found[0]
            last = Token(value if kind == "mark" else kind, value, found.start(), at)
            yield last
    # What is missing at the end is missed on the last line that holds something: there xl points at, too.
    yield Token("end", "", last.start if last.kind == "newline" else last.end, at)


def _unquote(source: Source, start: int, end: int) -> str:
    r"""Return what a string stands for.

    Two oddities of xl: `\x..` is always refused, and `\123`, read as decimal digits, adds nothing to the string.
    """
    text = source.text
    if "\0" in text[start:end]:
        raise source.error("a string cannot hold a NUL character", text.index("\0", start))
    parts = []
    at, closing = start + 1, end - 1
    while (backslash := text.find("\\", at, closing)) >= 0:
        parts.append(text[at:backslash])
        letter = text[backslash + 1]
        at = backslash + 2
        if letter in _ESCAPES:
            parts.append(_ESCAPES[letter])
            continue
        number = _NUMBER.match(text, at, min(at + 3, closing)) if letter in "01234567" else None
        if number is None or len(number[0]) < 2:
            raise source.error(f"xl does not know the escape `\\{letter}`", backslash, hint=r"a backslash is `\\`")
        at = number.end()
    return "".join([*parts, text[at:closing]])


def _stray(source: Source, at: int) -> XlSyntaxError:
    character = source.text[at]
    shown = f"`{character}`" if character.isprintable() else f"U+{ord(character):04X}"
    hint = "keys are in small letters, words are in quotes" if character.isalpha() else None
    if not character.isascii():
        data = character.encode(errors="surrogateescape")
        if len(data) == 1:  # not UTF-8
            shown = f"the byte {data[0]:02X}"
        hint = "only comments and strings may hold other characters than those of ASCII: take it out"
    message, hint = _STRAY.get(character, (f"{shown} means nothing to xl here", hint))
    return source.error(message, at, hint=hint)
