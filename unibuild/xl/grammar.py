"""Reading the language of xl.cfg(5), with the place of everything in the text so that it can be changed there.

    file        statements, each ended by a line end or `;`; blank lines and comments (`# ...`) stand anywhere
    statement   KEY = value      the last one of a key wins
                KEY += value     joins to the value before: strings to a longer string, lists to a longer list
    value       'string' | "string" | number | [ value, value, ... ]      lists go over lines, may nest, may end in a comma

Source: libxlu_cfg_l.l, libxlu_cfg_y.y and xlu__cfgl_dequote() in Xen's tools/libs/util, its oddities included,
since what counts is what xl reads. Only lists nested deeper than `DEPTH` are refused here and not there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from unibuild.errors import XlSyntaxError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DEPTH", "Assignment", "Config", "Plain", "Value", "parse"]

DEPTH = 100

Plain = str | int | list["Plain"]

_TOKEN = re.compile(
    r"""
      (?P<blank>   [ \t]+ )
    | (?P<newline> \n | \#[^\n]*\n )
    | (?P<key>     [a-z][._0-9a-z]* )
    | (?P<number>  [0-9][0-9a-fx]* )
    | (?P<string>  '(?:[^'\\\n]|\\[^\n])*' | "(?:[^"\\\n]|\\[^\n])*" )
    | (?P<mark>    \+= | [=,;\[\]] )
    | (?P<lone>    [\0-\x7f\udc80-\udcff]\Z )   # xl passes over a senseless byte, if it is the file's very last
    """,
    re.VERBOSE,
)
_ESCAPES = {**{c: c for c in "\"'\\"}, "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_OCTAL = re.compile(r"\s*[+-]?[0-9]+", re.ASCII)  # strtoul(..., 10), which is what xl reads octal numbers with
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,17}")


class Value(NamedTuple):
    """A value and where it stands: `text[start:end]`.

    `plain` is a string (of a number that is not plainly decimal too: xl keeps its digits), an int, or a list.
    A list has its `items`, and in `commas` the offset of the comma behind each (the last one may have none).
    """

    plain: Plain
    start: int
    end: int
    items: tuple[Value, ...] = ()
    commas: tuple[int, ...] = ()


class Assignment(NamedTuple):
    """One statement: `key = value`, or with `adds` `key += value`; `start` is where the key stands."""

    key: str
    adds: bool
    start: int
    value: Value


@dataclass(frozen=True)
class Config:
    """A file that was read.

    Attributes:
        text: the file's text, where all offsets point into.
        path: its name, for messages.
        assignments: its statements, in the file's order.
        end: where a statement can be added: the text's end, or before a senseless last byte.
    """

    text: str
    path: str
    assignments: tuple[Assignment, ...]
    end: int

    def keys(self) -> tuple[str, ...]:
        """Return every key once, in the order of their first assignments."""
        return tuple(dict.fromkeys(found.key for found in self.assignments))

    def of(self, key: str) -> tuple[Assignment, ...]:
        """Return the assignments that make the key's value: the last with `=`, and those with `+=` behind it."""
        made: tuple[Assignment, ...] = ()
        for found in self.assignments:
            if found.key == key:
                made = (*made, found) if found.adds else (found,)
        return made

    def get(self, key: str) -> Plain | None:
        """Return the key's value as xl takes it: the last assignment's, with what `+=` joined; None without one."""
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

    def error(self, message: str, at: int, *, hint: str | None = None) -> XlSyntaxError:
        """Return an error that points at an offset of the text."""
        return _error(self.text, self.path, message, at, hint)


def parse(text: str, path: str = "the .xl file") -> Config:
    """Read a file's text.

    Args:
        text: the text; bytes that are no UTF-8 come as surrogates (`errors="surrogateescape"`).
        path: the file's name, for messages.

    Raises:
        XlSyntaxError: where xl would refuse it.
    """
    return _Parser(text, path).file()


class _Token(NamedTuple):
    kind: str  # a group of _TOKEN, or the mark itself, or "end"
    text: str
    start: int
    end: int


class _Parser:
    """Recursive descent with one token of look-ahead."""

    def __init__(self, text: str, path: str) -> None:
        self.text, self.path = text, path
        self.tokens = self.scan()
        self.end = len(text)
        self.ahead: _Token | None = None
        self.last = _Token("newline", "", 0, 0)

    def scan(self) -> Iterator[_Token]:
        at = 0
        while at < len(self.text):
            found = _TOKEN.match(self.text, at)
            if found is None:
                self.fail_at_character(at)
            at, kind = found.end(), str(found.lastgroup)
            if kind == "lone":
                self.end = found.start()
            if kind in ("blank", "lone"):
                continue
            yield _Token(found[0] if kind == "mark" else kind, found[0], found.start(), at)
        # An error at the end is one of the last line that holds something, and there xl sees it too.
        at = self.last.start if self.last.kind == "newline" else self.last.end
        while True:
            yield _Token("end", "", at, at)

    def peek(self) -> str:
        if self.ahead is None:
            self.ahead = next(self.tokens)
        return self.ahead.kind

    def take(self) -> _Token:
        self.peek()
        assert self.ahead is not None
        self.last, self.ahead = self.ahead, None
        return self.last

    def file(self) -> Config:
        found: list[Assignment] = []
        lists: dict[str, bool] = {}
        while self.peek() != "end":
            token = self.take()
            if token.kind in ("newline", ";"):
                continue
            one = self.assignment(token)
            is_list = isinstance(one.value.plain, list)
            if one.adds and lists.get(one.key, is_list) != is_list:
                self.fail(f"`{one.key} +=` joins a list to a single value, or the reverse", self.last)
            lists[one.key] = is_list
            found.append(one)
            if self.peek() not in ("newline", ";", "end"):
                self.fail("the line should end here, or a `;` stand before what follows", self.take())
        return Config(self.text, self.path, tuple(found), self.end)

    def assignment(self, key: _Token) -> Assignment:
        if key.kind != "key":
            self.fail("a key should stand here, as in `memory = 256`", key)
        sign = self.take()
        if sign.kind not in ("=", "+="):
            self.fail(f"`=` or `+=` is missing after `{key.text}`", sign)
        return Assignment(key.text, sign.kind == "+=", key.start, self.value(self.take(), 0))

    def value(self, token: _Token, depth: int) -> Value:
        if token.kind == "string":
            return Value(self.unquote(token), token.start, token.end)
        if token.kind == "number":
            plain = int(token.text) if _DECIMAL.fullmatch(token.text) else token.text
            return Value(plain, token.start, token.end)
        if token.kind == "[" and depth < DEPTH:
            return self.list(token, depth + 1)
        if token.kind == "[":
            self.fail(f"lists are nested deeper than {DEPTH} here", token)
        hint = f"put a word into quotes: '{token.text}'" if token.kind == "key" else None
        self.fail("a value should stand here: a string in quotes, a number or a list", token, hint)

    def list(self, opening: _Token, depth: int) -> Value:
        items: list[Value] = []
        commas: list[int] = []
        token = self.take_in_list()
        while token.kind != "]":
            items.append(self.value(token, depth))
            token = self.take_in_list()
            if token.kind == ",":
                commas.append(token.start)
                token = self.take_in_list()
            elif token.kind != "]":
                self.fail("`,` or `]` is missing in the list", token)
        plain: list[Plain] = [str(item.plain) if isinstance(item.plain, int) else item.plain for item in items]
        return Value(plain, opening.start, token.end, tuple(items), tuple(commas))

    def take_in_list(self) -> _Token:
        while self.peek() == "newline":
            self.take()
        return self.take()

    def unquote(self, token: _Token) -> str:
        if "\0" in token.text:
            self.fail_at("a NUL byte stands in the string", token.start + token.text.index("\0"))
        parts, at, end = [], 1, len(token.text) - 1
        while (backslash := token.text.find("\\", at, end)) >= 0:
            parts.append(token.text[at:backslash])
            escaped, at = token.text[backslash + 1], backslash + 2
            if escaped in _ESCAPES:
                parts.append(_ESCAPES[escaped])
                continue
            # xl's octal escapes add nothing to the string, and \x it always refuses: both are bugs of
            # NUMERIC_CHAR in libxlu_cfg.c, where the number is read and then forgotten.
            number = _OCTAL.match(token.text, at, min(at + 3, end)) if escaped in "01234567" else None
            if number is None or len(number[0]) < 2:
                message = f"xl does not know the escape `\\{escaped}`"
                self.fail_at(message, token.start + backslash, "write `\\\\` for a backslash")
            at = number.end()
        return "".join([*parts, token.text[at:end]])

    def fail_at_character(self, at: int) -> NoReturn:
        character = self.text[at]
        message, hint = f"`{character}` means nothing to xl here", None
        if character in "'\"":
            message = "the string has no closing quote on its line"
        elif character == "#":
            message, hint = "the comment has no line end, and xl refuses that", "end the file with a line end"
        elif character == "\r":
            message, hint = (
                "the line ends as on DOS (CR LF), which xl refuses",
                "sed -i 's/\\r$//' on the file mends it",
            )
        elif character == "@":
            hint = "a template (.xl.in) has to be filled in first"
        elif character == "-":
            hint = "put a negative number into quotes"
        elif character.isupper():
            hint = "keys are lower case, and words are put into quotes"
        elif not character.isprintable():
            message = f"the character U+{ord(character):04X} means nothing to xl here"
        self.fail_at(message, at, hint)

    def fail(self, message: str, token: _Token, hint: str | None = None) -> NoReturn:
        self.fail_at(message, token.start, hint)

    def fail_at(self, message: str, at: int, hint: str | None = None) -> NoReturn:
        raise _error(self.text, self.path, message, at, hint)


def _error(text: str, path: str, message: str, at: int, hint: str | None) -> XlSyntaxError:
    line_start = text.rfind("\n", 0, at) + 1
    line = text.count("\n", 0, at) + 1
    return XlSyntaxError(message, path=path, line=line, column=at - line_start + 1, hint=hint)
