"""Columns for a terminal, and lengths of time in words."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["age", "table"]

_NARROWEST = 6  # characters of a column that is cut
_UNITS = (("day", 86400), ("h", 3600), ("min", 60))


def age(seconds: int) -> str:
    """Return a length of time in words, in its largest unit: ``40 s``, ``5 min``, ``3 h``, ``1 day``, ``12 days``."""
    for unit, size in _UNITS:
        if seconds >= size:
            number = seconds // size
            return f"{number} {unit}{'s' if unit == 'day' and number > 1 else ''}"
    return f"{seconds} s"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Give the lines of a table, each column as wide as it has to be; a column that is empty throughout is left out.

    On a terminal the widest columns are cut until a line fits.
    """
    shown = [number for number in range(len(head)) if any(row[number] for row in rows)]
    widths = [max(len(row[number]) for row in (head, *rows)) for number in range(len(head))]
    room = shutil.get_terminal_size().columns - 2 * (len(shown) - 1) if sys.stdout.isatty() else sys.maxsize
    while (excess := sum(widths[number] for number in shown) - room) > 0:
        widest = max(shown, key=lambda number: widths[number])
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] = max(_NARROWEST, widths[widest] - excess)
    for row in (head, *rows):
        yield "  ".join(_cut(row[number], widths[number]) for number in shown).rstrip()


def _cut(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"
