"""The pattern language of ``.gitignore``, matched one folder entry at a time as git does.

Format: gitignore(5); the wildcards are those of git's ``wildmatch.c`` with WM_PATHNAME. Written for a walk: an entry is
matched by its own path alone and the caller leaves out what lies below an ignored folder. (The pathspec library
matches whole paths, which differs from git where a nested ``.gitignore`` takes a folder back in, and importing it
costs three interpreter starts.)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Patterns"]

_WILD = re.compile(r"[*?\[\\]")
_CLASSES = {  # POSIX classes in ASCII, as git's ctype has them
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "\\x21-\\x7e",
    "lower": "a-z",
    "print": "\\x20-\\x7e",
    "punct": "\\x21-\\x2f\\x3a-\\x40\\x5b-\\x60\\x7b-\\x7e",
    "space": " \\t\\n\\r\\x0b\\x0c",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}


class _Rule(NamedTuple):
    number: int
    whole_path: bool
    regex: re.Pattern[str]


class _Table:
    """The rules for one kind of entry; plain names and ``*.suffix``, which most rules are, are looked up."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.suffixes: dict[str, int] = {}
        self.others: list[_Rule] = []  # the last one first

    def add(self, index: int, pattern: str) -> None:
        whole_path = "/" in pattern
        if not whole_path and not _WILD.search(pattern):
            self.names[pattern] = index
        elif pattern.startswith("*.") and not _WILD.search(pattern[2:]) and not whole_path and "." not in pattern[2:]:
            self.suffixes[pattern[2:]] = index
        elif (regex := _translate(pattern.removeprefix("/"))) is not None:
            self.others.insert(0, _Rule(index, whole_path, re.compile(regex, re.DOTALL)))

    def last(self, path: str, name: str) -> int:
        """Return the number of the last rule that matches, -1 where none does."""
        found = self.names.get(name, -1)
        if "." in name:
            found = max(found, self.suffixes.get(name.rpartition(".")[2], -1))
        for rule in self.others:
            if rule.number < found:
                break
            if rule.regex.fullmatch(path if rule.whole_path else name):
                return rule.number
        return found


class Patterns:
    """The lines of one ``.gitignore``.

    Args:
        lines: patterns in order; comments and empty lines may be among them.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._negated: list[bool] = []
        self._files, self._folders = _Table(), _Table()
        for line in lines:
            self._add(_trim(line))

    def match(self, path: str, *, folder: bool = False) -> bool | None:
        """Say what the last matching pattern says of one entry.

        Args:
            path: relative to where the patterns stand, parts joined by ``/``, none at the end.
            folder: whether it is a folder (a symbolic link to one is none).

        Returns:
            True: a pattern names it; False: one with ``!`` does; None: none does.
        """
        table = self._folders if folder else self._files
        index = table.last(path, path.rpartition("/")[2])
        return None if index < 0 else not self._negated[index]

    def _add(self, line: str) -> None:
        if not line or line.startswith("#"):
            return
        negated = line.startswith("!")
        pattern = line.removeprefix("!")
        only_folders = pattern.endswith("/")
        pattern = pattern.removesuffix("/")
        if not pattern:
            return
        index = len(self._negated)
        self._negated.append(negated)
        self._folders.add(index, pattern)
        if not only_folders:
            self._files.add(index, pattern)


def _trim(line: str) -> str:
    """Take off the line's end and the spaces before it, save an escaped one."""
    line = line.removesuffix("\n").removesuffix("\r")
    kept = line.rstrip(" ")
    backslashes = len(kept) - len(kept.rstrip("\\"))
    return kept + " " if backslashes % 2 and len(kept) < len(line) else kept


def _translate(pattern: str) -> str | None:
    """Return the regular expression of a pattern; None: git matches nothing with it, as with an open bracket."""
    out: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "*":
            end = at
            while end < len(pattern) and pattern[end] == "*":
                end += 1
            deep = end - at == 2 and pattern[at - 1 : at] in ("", "/") and pattern[end : end + 1] in ("", "/")
            if deep and end < len(pattern):
                out.append("(?:.*/)?")
                end += 1
            else:
                out.append(".*" if deep else "[^/]*")
            at = end
            continue
        if char == "[":
            found = _bracket(pattern, at + 1)
            if found is None:
                return None
            regex, at = found
            out.append(regex)
            continue
        if char == "\\":
            at += 1
            if at == len(pattern):
                return None
        out.append("[^/]" if char == "?" else re.escape(pattern[at]))
        at += 1
    return "".join(out)


def _bracket(pattern: str, at: int) -> tuple[str, int] | None:
    """Translate the bracket expression whose content begins at ``at``; returns it and where it ends."""
    negated = pattern[at : at + 1] in ("!", "^")
    at += negated
    parts: list[str] = []
    low: str | None = None  # the character that a range may begin with
    first = True
    while at < len(pattern) and (first or pattern[at] != "]"):
        first = False
        char = pattern[at]
        if char == "[" and pattern[at + 1 : at + 2] == ":" and (end := pattern.find("]", at + 2)) > 0:
            if pattern[end - 1] != ":" or end - 1 < at + 2:
                parts.append(r"\[")  # no class after all: git takes the bracket literally
                low, at = "[", at + 1
                continue
            if pattern[at + 2 : end - 1] not in _CLASSES:
                return None
            parts.append(_CLASSES[pattern[at + 2 : end - 1]])
            low, at = None, end + 1
            continue
        ranged = char == "-" and low is not None and pattern[at + 1 : at + 2] not in ("", "]")
        at += ranged
        if pattern[at] == "\\":
            at += 1
        if at >= len(pattern):
            return None
        char = pattern[at]
        at += 1
        if ranged and low is not None:
            if low <= char:
                parts.append(f"{re.escape(low)}-{re.escape(char)}")
            low = None
        else:
            parts.append(re.escape(char))
            low = char
    if at >= len(pattern):
        return None
    body = "".join(parts)
    if negated:
        return f"[^/{body}]", at + 1
    return (f"(?!/)[{body}]" if body else "(?!)"), at + 1
