"""Lines and the status line as text for a terminal of a width; no row is ever wider than that.

What a program writes may hold colours, and what else moves a terminal: the colours are kept, all else is taken out.
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

NARROWEST = 4  # columns: what is said to be narrower is taken for this
_LABEL = 12  # columns of an origin, at most
_LONGEST = 8192  # characters of a line that are shown; the log has all of it
_LINKS = 20  # places in a line that are looked for on disk
_STYLES: dict[Tone, tuple[str, str]] = {  # of the origin, and of the text
    "said": ("cyan", ""),
    "build": ("blue", ""),
    "console": ("magenta", ""),
    "old": ("dim magenta", "dim"),
    "good": ("cyan", "green"),
    "bad": ("cyan", "red"),
    "quiet": ("cyan", "dim"),
}

_MARKED = {  # what stands out in a line that has no colours
    r"^\S+:\d+:(?:\d+:)?|^File \"[^\"]+\", lines? [\d-]+": "bold",
    r"\b(?:fatal )?[eE]rror\b:?": "bold red",
    r"\b[wW]arning\b:?": "bold yellow",
}


def plain_line(line: Line) -> str:
    """Return a line as text without colours, for whom no terminal is."""
    return _printable(f"{line.origin:<7} | {plain(_last_writing(line.text)).expandtabs()}".rstrip())


@dataclass(frozen=True)
class Renderer:
    """How lines become text.

    Attributes:
        width: columns of the terminal; None: rows are not folded.
        colour: whether there are colours.
        hyperlink: the address of a place in a source, ``{host}``, ``{path}``, ``{line}`` and ``{column}`` standing for
            those; None: the terminal has no hyperlinks.
        root: the folder that relative paths begin at.
        label: columns that an origin takes at least.
    """

    width: int | None = None
    colour: bool = True
    hyperlink: str | None = None
    root: str = ""
    label: int = 5
    _styles: dict[str, Style] = field(default_factory=dict, repr=False, compare=False)

    def of(self, width: int, root: str | None = None) -> Renderer:
        """Return the same for another width, and another folder where one is given."""
        return replace(self, width=width, root=self.root if root is None else root)

    def rows(self, line: Line) -> list[str]:
        """Return a line's rows, without their ends."""
        label, body = _STYLES[line.tone]
        prefix, above = self._prefix(line.origin)
        room = self.room(line.origin)
        text = self._text(line.text, body)
        at_words = line.tone not in ("build", "console", "old")
        rows = [text] if room is None else list(_folded(text, room, at_words=at_words))
        lead = (self._styled(prefix, label), self._styled(above, label))
        return [lead[number > 0] + self._ansi(row) for number, row in enumerate(rows)]

    def room(self, origin: str) -> int | None:
        """Return the columns for what someone says; None: as many as it takes."""
        return None if self.width is None else max(NARROWEST, self.width) - _cells(self._prefix(origin)[0])

    def status(self, found: Sequence[Part]) -> str:
        """Return the status line, which is one row, and one column narrower than the terminal.

        The cursor stands in its first column, which is empty: so it is moved with it where the width changes.
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
        """Return what stands before the first row, and before those below it."""
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

        said = Escapes(colours_only).feed(_shortened(_last_writing(said)))  # the decoder takes long for all else
        text = AnsiDecoder().decode_line(said) if "\x1b" in said else Text(said)
        text.expand_tabs(8)
        text.plain = _printable(text.plain)
        if body and not text.spans:
            text.stylize(self._style(body))
        if "\x1b" not in said:  # a compiler that writes to a pipe as a rule has no colours of its own
            for word, style in _MARKED.items():
                for found in re.finditer(word, text.plain):
                    text.stylize(self._style(style), *found.span())
        for start, end, address in self._addresses(text.plain):
            text.stylize(self._style(f"link {address}"), start, end)
        return text

    def _addresses(self, said: str) -> Iterator[tuple[int, int, str]]:
        """Give the places in a line that a click leads to: those of files that are there."""
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


def _folded(text: Text, room: int, *, at_words: bool) -> Iterator[Text]:
    """Give a text in rows of at most ``room`` columns, cut anywhere: it is code more often than prose.

    Args:
        text: what to cut.
        room: columns, at least 2.
        at_words: it is prose: cut behind a space where the row would else be more than half full.
    """
    said = text.plain
    cuts = [0]
    while True:
        rest = said[cuts[-1] : cuts[-1] + 4 * room]  # characters of no width make more than that a row of its own
        if len(rest) < 4 * room and _cells(rest) <= room:
            break
        end = max(1, bisect.bisect(range(len(rest) + 1), room, key=lambda end: _cells(rest[:end])) - 1)
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
    """Return a line, cut where it is longer than anybody reads."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _last_writing(text: str) -> str:
    """Return what is left to see of a line whose beginning was written again and again, as progress is."""
    text = text.rstrip("\r\n")
    return text.rpartition("\r")[2] if "\r" in text else text


def _printable(text: str) -> str:
    """Return text without what would move a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
