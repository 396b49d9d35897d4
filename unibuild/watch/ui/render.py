"""Render lines and the status line as text for a terminal; no row is wider than the terminal.

The colours in a program's output are kept, all other escape sequences are removed.
"""

from __future__ import annotations

import bisect
import itertools
import re
import socket
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from unibuild.util.escape_sequences import Escapes, colours_only
from unibuild.watch.diagnostics import places, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.style import Style
    from rich.text import Span, Text

    from unibuild.watch.ui.view import Line, Part, Tone

__all__ = ["NARROWEST", "Renderer", "plain_line"]

NARROWEST = 4  # columns: the width of a terminal that claims to be narrower
_LABEL = 12  # columns of an origin, at most
_LONGEST = 8192  # characters of a line that are shown; the log has all of it
_LINKS = 20  # places in a line that are checked on disk
_STYLES: dict[Tone, tuple[str, str]] = {  # of the origin, and of the text
    "said": ("cyan", ""),
    "build": ("blue", ""),
    "console": ("magenta", ""),
    "old": ("dim magenta", "dim"),
    "good": ("cyan", "green"),
    "bad": ("cyan", "red"),
    "quiet": ("cyan", "dim"),
}

_MARKED = {  # patterns to highlight in a line without colours
    r"^\S+:\d+:(?:\d+:)?|^File \"[^\"]+\", lines? [\d-]+": "bold",
    r"\b(?:fatal )?[eE]rror\b:?": "bold red",
    r"\b[wW]arning\b:?": "bold yellow",
}


def plain_line(line: Line) -> str:
    """Return a line as text without colours."""
    return _printable(f"{line.origin:<7} | {plain(_last_writing(line.text)).expandtabs()}".rstrip())


@dataclass(frozen=True)
class Renderer:
    """Renders lines.

    Attributes:
        width: columns of the terminal; None: rows are not folded.
        colour: whether there are colours.
        hyperlink: the address of a place in a source, with ``{host}``, ``{path}``, ``{line}`` and ``{column}``; None:
            the terminal has no hyperlinks.
        root: the folder for relative paths.
        label: columns of an origin, at least.
    """

    width: int | None = None
    colour: bool = True
    hyperlink: str | None = None
    root: str = ""
    label: int = 5
    _styles: dict[str, Style] = field(default_factory=dict, repr=False, compare=False)

    def of(self, width: int, root: str | None = None) -> Renderer:
        """Return a renderer for another width, and another folder if one is given."""
        return replace(self, width=width, root=self.root if root is None else root)

    def rows(self, line: Line) -> list[str]:
        """Return the rows of a line, without line ends."""
        label, body = _STYLES[line.tone]
        prefix, above = self._prefix(line.origin)
        columns = self.columns_for(line.origin)
        text = self._text(line.text, body)
        at_words = line.tone not in ("build", "console", "old")
        rows = [text] if columns is None else list(_folded(text, columns, at_words=at_words))
        lead = (self._styled(prefix, label), self._styled(above, label))
        return [lead[number > 0] + self._ansi(row) for number, row in enumerate(rows)]

    def columns_for(self, origin: str) -> int | None:
        """Return the columns for a text of this origin; None: unlimited."""
        return None if self.width is None else max(NARROWEST, self.width) - _cells(self._prefix(origin)[0])

    def status(self, found: Sequence[Part]) -> str:
        """Return the status line, which is one row, and one column narrower than the terminal.

        The cursor is in its first column, which is empty: a terminal that changes its width moves both together.
        """
        from rich.cells import cell_len, set_cell_size

        room = max(NARROWEST, self.width or 80) - 1
        chosen = [part._replace(text=_printable(part.text)) for part in found]
        while len(chosen) > 1 and cell_len("".join(f" · {part.text}" for part in chosen)) - 1 > room:
            chosen.remove(max(chosen, key=lambda part: part.rank))
        if len(chosen) == 1 and cell_len(chosen[0].text) + 2 > room:
            chosen = [chosen[0]._replace(text=set_cell_size(chosen[0].text, room - 2))]
        styles = {"said": "", "good": "bold green", "bad": "bold red", "build": "bold blue"}
        painted = [self._styled(part.text, styles.get(part.tone, _STYLES[part.tone][0])) for part in chosen]
        return "  " + self._styled(" · ", "dim").join(painted)

    def _prefix(self, origin: str) -> tuple[str, str]:
        """Return the prefix of the first row, and of those below it."""
        width = self.width
        if width is not None and width < 16:
            return "", ""
        most = _LABEL if width is None else min(_LABEL, width // 4)
        label = _cut(_printable(origin), most)
        label += " " * (min(self.label, most) - _cells(label))
        return f"{label} │ ", f"{' ' * _cells(label)} │ "

    def _text(self, said: str, body: str) -> Text:
        from rich.ansi import AnsiDecoder
        from rich.text import Text

        said = Escapes(colours_only).feed(_shortened(_last_writing(said)))  # the decoder is slow for other sequences
        text = AnsiDecoder().decode_line(said) if "\x1b" in said else Text(said)
        text.expand_tabs(8)
        text.plain = _printable(text.plain)
        if body and not text.spans:
            text.stylize(self._style(body))
        if "\x1b" not in said:  # most compilers write no colours to a pipe
            for word, style in _MARKED.items():
                for found in re.finditer(word, text.plain):
                    text.stylize(self._style(style), *found.span())
        for start, end, address in self._addresses(text.plain):
            text.stylize(self._style(f"link {address}"), start, end)
        return text

    def _addresses(self, said: str) -> Iterator[tuple[int, int, str]]:
        """Yield the places in a line with their addresses, if the file exists."""
        if self.hyperlink is None:
            return
        for place in itertools.islice(places(said), _LINKS):
            path = Path(self.root, place.path)
            if path.is_file():
                named = quote(str(path.resolve()))
                known = {"host": socket.gethostname(), "path": named, "line": place.line, "column": place.column or 1}
                address = self.hyperlink
                for name, value in known.items():
                    address = address.replace(f"{{{name}}}", str(value))
                yield place.start, place.end, address

    def _style(self, name: str) -> Style:
        from rich.style import Style

        if name not in self._styles:
            if len(self._styles) > 1000:  # addresses of places in sources
                self._styles.clear()
            self._styles[name] = Style(link=name[5:]) if name.startswith("link ") else Style.parse(name)
        return self._styles[name]

    def _styled(self, text: str, style: str) -> str:
        return self._shown(text, self._style(style)) if style else text

    def _ansi(self, text: Text) -> str:
        from rich.style import Style

        if not text.spans:
            return text.plain
        edges = sorted({0, len(text), *(edge for span in text.spans for edge in (span.start, span.end))})
        out = ""
        coming = sorted(enumerate(text.spans), key=lambda pair: pair[1].start, reverse=True)
        present: list[tuple[int, Span]] = []  # with its place in the order of spans
        for start, end in itertools.pairwise(edges):
            while coming and coming[-1][1].start <= start:
                present.append(coming.pop())
            present = sorted((number, span) for number, span in present if end <= span.end)
            held = [span.style for _, span in present]
            style = Style.combine([Style.null(), *(self._style(one) if isinstance(one, str) else one for one in held)])
            out += self._shown(text.plain[start:end], style)
        return out

    def _shown(self, text: str, style: Style) -> str:
        from rich.color import ColorSystem

        style = style if self.colour else style.without_color
        return style.render(text, color_system=ColorSystem.TRUECOLOR)


def _folded(text: Text, width: int, *, at_words: bool) -> Iterator[Text]:
    """Yield a text in rows of at most ``width`` columns.

    Args:
        text: the text.
        width: columns, at least 2.
        at_words: whether it is prose, to be cut at spaces if the row is then more than half full.
    """
    said = text.plain
    cuts = [0]
    while True:
        rest = said[cuts[-1] : cuts[-1] + 4 * width]  # more than that, with characters of no width, is cut
        if len(rest) < 4 * width and _cells(rest) <= width:
            break
        end = max(1, bisect.bisect(range(len(rest) + 1), width, key=lambda end: _cells(rest[:end])) - 1)
        space = rest.rfind(" ", 0, end) + 1
        cuts.append(cuts[-1] + (space if at_words and space > end // 2 else end))
    yield from text.divide(cuts[1:])


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return len(text) if text.isascii() else cell_len(text)


def _cut(text: str, most: int) -> str:
    if _cells(text) <= most:
        return text
    text = text[: 4 * most]
    while _cells(text) > most - 1:
        text = text[:-1]
    return text + "…"


def _shortened(text: str) -> str:
    """Return a line, cut if it is very long."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _last_writing(text: str) -> str:
    """Return the part of a line after the last carriage return: earlier parts were overwritten, as progress is."""
    text = text.rstrip("\r\n")
    return text.rpartition("\r")[2] if "\r" in text else text


def _printable(text: str) -> str:
    """Return text without control characters."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
