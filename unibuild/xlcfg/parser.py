"""Parse xl.cfg(5) files and keep the position of every value.

    file        statements, each ended by a line end or `;`; between them blank lines and comments (`# ...`)
    statement   KEY = value      the last one of a key wins
                KEY += value     joins to the value before: strings to a longer string, lists to a longer list
    value       'string'  "string"  number  [ value, value, ... ]
                a list may span lines, hold comments, and end in a comma

Source: libxlu_cfg_l.l, libxlu_cfg_y.y and xlu__cfgl_dequote() (libxlu_cfg.c) in Xen's tools/libs/util. The parser
reads what xl reads, oddities included, except lists nested deeper than `DEPTH`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from unibuild.errors import XlSyntaxError

if TYPE_CHECKING:
    from collections.abc import Iterator


__all__ = ["DEPTH", "Assignment", "Config", "Plain", "SourceText", "Token", "Value", "parse", "scan"]

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
_NUMBER = re.compile(r"\s*[+-]?[0-9]+", re.ASCII)  # what C's strtoul accepts
_STRAY = {  # common text that xl does not read: message, hint
    "'": ("the string has no closing quote on its line", None),
    '"': ("the string has no closing quote on its line", None),
    "#": ("the comment lacks a line end, which xl refuses", "end the file with an empty line"),
    "\r": ("the line ends in CR LF, which xl refuses", "remove the CR: sed -i 's/\\r$//' FILE"),
    "@": ("`@` means nothing to xl here", "an .xl.in is a template: replace each name between two @"),
    "(": ("`(` means nothing to xl here", "this is Python, which `xm` ran and xl does not: write the result"),
    "\\": ("`\\` means nothing to xl here", "xl does not continue lines: join the two; only a list may span lines"),
    "\ufeff": (
        "a byte order mark (EF BB BF) means nothing to xl",
        "save the file without it: sed -i 's/\\xEF\\xBB\\xBF//' FILE",
    ),
    "-": ("`-` means nothing to xl here", "put a negative number into quotes"),
}


class Token(NamedTuple):
    """A token: `source.text[start:end]`.

    `kind` is "key", "number", "string", "newline" (a comment is one too), "end", or the mark itself: "=", "+=", ",",
    ";", "[", "]". `value` is the text, and for a string its content.
    """

    kind: str
    value: str
    start: int
    end: int


class SourceText(NamedTuple):
    """A file's text, and its name for messages."""

    text: str
    path: str

    def error(self, message: str, at: int, *, hint: str | None = None) -> XlSyntaxError:
        """Return an error that points at an offset of the text."""
        line = self.text.count("\n", 0, at) + 1
        column = at - self.text.rfind("\n", 0, at)
        return XlSyntaxError(message, path=self.path, line=line, column=column, hint=hint)


def scan(source: SourceText) -> Iterator[Token]:
    """Yield the tokens of a text. The last one is "end": it starts where errors point and ends where text can be added.

    Raises:
        XlSyntaxError: a character means nothing to xl, or a string or an escape is incomplete.
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
    # Like xl, errors about something missing at the end point at the last line that has a token.
    yield Token("end", "", last.start if last.kind == "newline" else last.end, at)


def _unquote(source: SourceText, start: int, end: int) -> str:
    r"""Return the content of a string.

    Two oddities of xl: it always refuses `\x..`, and `\123`, read as decimal digits, adds nothing to the string.
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
            raise source.error(
                f"xl does not know the escape `\\{letter}`", backslash, hint=r"write a backslash as `\\`"
            )
        at = number.end()
    return "".join([*parts, text[at:closing]])


def _stray(source: SourceText, at: int) -> XlSyntaxError:
    character = source.text[at]
    shown = f"`{character}`" if character.isprintable() else f"U+{ord(character):04X}"
    hint = "write keys in lower case, and values in quotes" if character.isalpha() else None
    if not character.isascii():
        data = character.encode(errors="surrogateescape")
        if len(data) == 1:  # not UTF-8
            shown = f"the byte {data[0]:02X}"
        hint = "remove it: only comments and strings may have characters other than ASCII"
    message, hint = _STRAY.get(character, (f"{shown} means nothing to xl here", hint))
    return source.error(message, at, hint=hint)


DEPTH = 100

Plain = str | int | list["Plain"]

_WHOLE = re.compile(r"[ \t\n\v\f\r]*([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))")  # C's strtol, base 0
_LONG = 1 << 63
_PYTHON_WORDS = ("import", "from", "def", "if", "else", "elif", "for", "while", "try", "print", "with", "class")
_PYTHON = "this is Python, which `xm` ran and xl does not: write the result"
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,17}")


class Value(NamedTuple):
    """A value and its position, `text[start:end]`.

    `plain` is a string, an int, or a list of strings and lists. A number that is not plainly decimal (`0x10`) stays
    the string that xl keeps. A list has its `items`, and in `commas` the offset of the comma after each.
    """

    plain: Plain
    start: int
    end: int
    items: tuple[Value, ...] = ()
    commas: tuple[int, ...] = ()


class Assignment(NamedTuple):
    """A statement: `key = value`, or where `adds` is true `key += value`; `start` is the offset of the key."""

    key: str
    adds: bool
    value: Value
    start: int

    @property
    def end(self) -> int:
        """The offset after the value."""
        return self.value.end


@dataclass(frozen=True)
class Config:
    """A parsed file.

    Attributes:
        source: its text, which all offsets refer to, and its name.
        assignments: its statements, in order.
        end: the offset where more text can be added.
    """

    source: SourceText
    assignments: tuple[Assignment, ...]
    end: int

    @property
    def text(self) -> str:
        """The file's text."""
        return self.source.text

    def keys(self) -> tuple[str, ...]:
        """Return every key once, in the order of their first assignments."""
        return tuple(dict.fromkeys(found.key for found in self.assignments))

    def of(self, key: str) -> tuple[Assignment, ...]:
        """Return the assignments that form a key's value: the last with `=`, and those with `+=` after it."""
        made: tuple[Assignment, ...] = ()
        for found in self.assignments:
            if found.key == key:
                made = (*made, found) if found.adds else (found,)
        return made

    def get(self, key: str) -> Plain | None:
        """Return a key's value as xl reads it, or None if the file lacks the key."""
        plain: Plain | None = None
        for found in self.of(key):
            more = found.value.plain
            if plain is None:
                plain = more
            elif isinstance(plain, list) and isinstance(more, list):
                plain = [*plain, *more]
            else:
                plain = f"{plain}{more}"
        return plain

    def number(self, key: str) -> int | None:
        """Return a key's value as the number that xl reads, or None if the file lacks it or it is not a number.

        In quotes or not, ``0x10`` is 16 and ``010`` is 8 (libxlu_cfg.c, xlu_cfg_get_long).
        """
        plain = self.get(key)
        found = None if plain is None or isinstance(plain, list) else _WHOLE.fullmatch(str(plain))
        if found is None:
            return None
        sign, hexadecimal, octal, decimal = found.groups()
        digits, base = (hexadecimal, 16) if hexadecimal else (octal, 8) if octal else (decimal, 10)
        value = int(f"{sign}{digits}", base)
        return value if -_LONG <= value < _LONG else None

    def error(self, message: str, at: int, *, hint: str | None = None) -> XlSyntaxError:
        """Return an error that points at an offset of the text."""
        return self.source.error(message, at, hint=hint)


def parse(text: str, path: str = "the .xl file") -> Config:
    """Parse a file's text.

    Args:
        text: the text; decode it with `errors="surrogateescape"`, because xl accepts any bytes.
        path: the file's name, for messages.

    Raises:
        XlSyntaxError: xl would refuse it.
    """
    return _Parser(SourceText(text, path)).file()


class _Parser:
    """Recursive descent with one token of look-ahead; each method is a rule of the grammar."""

    def __init__(self, source: SourceText) -> None:
        self.source = source
        self.tokens: Iterator[Token] = scan(source)
        self.ahead: Token | None = None

    def peek(self) -> Token:
        if self.ahead is None:
            self.ahead = next(self.tokens)
        return self.ahead

    def take(self) -> Token:
        token, self.ahead = self.peek(), None
        return token

    def take_beyond_newlines(self) -> Token:
        while (token := self.take()).kind == "newline":
            pass
        return token

    def file(self) -> Config:
        found: list[Assignment] = []
        is_list: dict[str, bool] = {}
        while (token := self.take()).kind != "end":
            if token.kind in ("newline", ";"):
                continue
            new = self.assignment(token)
            now = isinstance(new.value.plain, list)
            if new.adds and is_list.get(new.key, now) != now:
                raise self.error(f"`{new.key} +=` joins a list with a single value", new.end - 1)
            is_list[new.key] = now
            found.append(new)
            if self.peek().kind not in ("newline", ";", "end"):
                raise self.error("expected the end of the line or `;`", self.peek().start)
        return Config(self.source, tuple(found), token.end)

    def assignment(self, key: Token) -> Assignment:
        if key.kind != "key":
            raise self.error("expected a key, as in `memory = 256`", key.start)
        sign = self.take()
        if sign.kind not in ("=", "+="):
            hint = _PYTHON if key.value in _PYTHON_WORDS else None
            raise self.error(f"`=` is missing after `{key.value}`", sign.start, hint)
        return Assignment(key.value, sign.kind == "+=", self.value(self.take()), key.start)

    def value(self, token: Token, depth: int = 0) -> Value:
        if token.kind == "[":
            if depth == DEPTH:
                raise self.error(f"lists are nested deeper than {DEPTH} here", token.start)
            return self.items(token, depth + 1)
        if token.kind == "number" and _DECIMAL.fullmatch(token.value):
            return Value(int(token.value), token.start, token.end)
        if token.kind in ("number", "string"):
            return Value(token.value, token.start, token.end)
        hint = f"put it in quotes: '{token.value}'" if token.kind == "key" else None
        hint = _PYTHON if token.kind == "key" and "." in token.value else hint
        raise self.error("expected a value: a string in quotes, a number or a list", token.start, hint)

    def items(self, opening: Token, depth: int) -> Value:
        items: list[Value] = []
        commas: list[int] = []
        token = self.take_beyond_newlines()
        while token.kind != "]":
            items.append(self.value(token, depth))
            token = self.take_beyond_newlines()
            if token.kind == ",":
                commas.append(token.start)
                token = self.take_beyond_newlines()
            elif token.kind != "]":
                raise self.error("`,` or `]` is missing in the list", token.start)
        plain: list[Plain] = [item.plain if isinstance(item.plain, list) else str(item.plain) for item in items]
        return Value(plain, opening.start, token.end, tuple(items), tuple(commas))

    def error(self, message: str, at: int, hint: str | None = None) -> XlSyntaxError:
        return self.source.error(message, at, hint=hint)
