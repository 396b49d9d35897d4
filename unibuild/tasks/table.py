"""Columns for a terminal, and lengths of time in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["age", "table"]

_UNITS = (("day", 86400), ("h", 3600), ("min", 60))


def age(seconds: int) -> str:
    """Return a length of time in words, in its largest unit: ``40 s``, ``5 min``, ``3 h``, ``1 day``, ``12 days``."""
    for unit, size in _UNITS:
        if seconds >= size:
            number = seconds // size
            return f"{number} {unit}{'s' if unit == 'day' and number > 1 else ''}"
    return f"{seconds} s"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Give the lines of a table, each column as wide as it has to be; a column that is empty throughout is left out."""
    shown = [number for number in range(len(head)) if any(row[number] for row in rows)]
    widths = [max(len(row[number]) for row in (head, *rows)) for number in range(len(head))]
    for row in (head, *rows):
        yield "  ".join(row[number].ljust(widths[number]) for number in shown).rstrip()
