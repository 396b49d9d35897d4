"""Find compiler messages and places in sources in the output of a build or a console.

The forms are those of GCC and Clang (``main.c:12:5: error: ...``, https://gcc.gnu.org/onlinedocs/gcc/Diagnostic-Message-
Formatting-Options.html), of GNU ld (``main.c:12: undefined reference to ...``) and of OCaml, dune and Python
(``File "unikernel.ml", line 3, characters 4-7:``, and the error in a line below).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MOST", "CompilerMessage", "Place", "places", "plain", "problems"]

MOST = 20  # problems of one build, at most
_LONGEST = 4096  # characters of a line in which a problem is looked for

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
# No pattern may take time that grows faster than the line, because a unikernel writes what it wants. So a path is
# searched from its end: from each possible beginning, the time would grow with the square of the length.
_NUMBER = re.compile(r":(?P<line>\d{1,9})(?::(?P<column>\d{1,9}))?(?![\w.])")
_PATH = r"[^\s:\"'`()\[\]<>,;=]+"
_PATH_BACKWARD = re.compile(_PATH)
_COLON = rf"(?P<path>{_PATH}):(?P<line>\d+)(?::(?P<column>\d+))?(?![\w.])"
_QUOTED = r"[Ff]ile \"(?P<path>[^\"]+)\", lines? (?P<line>\d+)(?:-\d+)?(?:, characters (?P<column>\d+)-\d+)?"
_QUOTED_PLACE = re.compile(_QUOTED)
_ERROR = re.compile(rf"^{_COLON}: (?P<text>(?:fatal )?error: .*)")
_LINK = re.compile(
    r"^(?:\S*ld(?:\.\w+)?: )?(?P<path>[^\s:]+):(?:(?P<line>\d+)|\([^)]*\)): (?P<text>(?:undefined reference to|"
    r"multiple definition of) .*)"
)
_ABOVE = re.compile(rf"^{_QUOTED}")
_BELOW = re.compile(r"^(?:Error\b|Fatal error\b|\w*Error: )")


class Place(NamedTuple):
    """A place in a source that a line names.

    Attributes:
        start: where its name begins in the line, in characters from 0.
        end: where its name ends, exclusive.
        path: the file, as the line names it.
        line: line number, from 1.
        column: column, from 1; None: the whole line.
    """

    start: int
    end: int
    path: str
    line: int
    column: int | None


class CompilerMessage(NamedTuple):
    """An error that a compiler reports.

    Attributes:
        path: the file, as the compiler names it.
        line: line number, from 1; None: only the file is known.
        column: column, from 1; None: it is unknown.
        text: the error.
    """

    path: str
    line: int | None
    column: int | None
    text: str

    def __str__(self) -> str:
        return ":".join(map(str, filter(None, (self.path, self.line, self.column)))) + f": {self.text}"


def plain(line: str) -> str:
    """Return a line without escape sequences."""
    return _ANSI.sub("", line)


def places(line: str) -> Iterator[Place]:
    """Yield the places that a line names, from left to right; the files need not exist."""
    quoted = (
        Place(match.start(), match.end(), match["path"], int(match["line"]), _column(match))
        for match in _QUOTED_PLACE.finditer(line)
    )
    yield from sorted([*_places_with_colons(line), *quoted])


def _places_with_colons(line: str) -> Iterator[Place]:
    end = 0
    for number in _NUMBER.finditer(line):
        path = _PATH_BACKWARD.match(line[end : number.start()][::-1])
        if path:
            column = int(number["column"]) if number["column"] else None
            yield Place(number.start() - path.end(), number.end(), path[0][::-1], int(number["line"]), column)
        end = number.end()


def problems(lines: Iterable[str]) -> tuple[CompilerMessage, ...]:
    """Return the errors in the output of a build, each once, at most ``MOST``, without warnings."""
    found: dict[CompilerMessage, None] = {}
    above: re.Match[str] | None = None
    begun: CompilerMessage | None = None  # OCaml's message continues in the next lines, which are indented
    for line in (plain(one)[:_LONGEST] for one in lines):
        if begun and line[:2] == "  " and line.strip() and len(begun.text) < _LONGEST:
            del found[begun]
            begun = begun._replace(text=f"{begun.text} {' '.join(line.split())}")
            found[begun] = None
            continue
        if len(found) == MOST:
            break
        begun = None
        match = _ERROR.match(line) or _LINK.match(line)
        if match:
            column = _column(match) if match.re is _ERROR else None
            number = int(match["line"]) if match["line"] else None
            found[CompilerMessage(match["path"], number, column, match["text"].rstrip())] = None
        elif place := _ABOVE.match(line):
            above = place
        elif above and _BELOW.match(line):
            begun = CompilerMessage(above["path"], int(above["line"]), _column(above), line.rstrip())
            found[begun] = None
            above = None
    return tuple(found)


def _column(match: re.Match[str]) -> int | None:
    """Return the column from 1; OCaml counts characters from 0."""
    if match["column"] is None:
        return None
    return int(match["column"]) + (match.re in (_QUOTED_PLACE, _ABOVE))
