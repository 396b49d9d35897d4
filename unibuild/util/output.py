"""Print errors and tables on the terminal."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING

from unibuild.errors import FileError
from unibuild.util import run_result, standard_streams

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unibuild.errors import UnibuildError

__all__ = ["DEBUG", "age", "debug_enabled", "handle_broken_pipe", "interrupted", "lost_output", "print_error", "table"]

DEBUG = "UNIBUILD_DEBUG"


_debug = False


def enable_debug() -> None:
    """Print tracebacks from now on (``--debug``)."""
    global _debug
    _debug = True


def debug_variables() -> dict[str, str]:
    """Return the environment variables by which a child that is unibuild prints tracebacks if this process does."""
    return {DEBUG: "1"} if debug_enabled() else {}


def debug_enabled() -> bool:
    """Return whether tracebacks are wanted: ``unibuild --debug`` or the environment variable ``UNIBUILD_DEBUG``."""
    return _debug or bool(os.environ.get(DEBUG))


def print_error(error: UnibuildError) -> int:
    """Write an error to standard error, ``error: what failed: why``, and below it its hint; return the exit code."""
    if debug_enabled():
        import traceback

        standard_streams.text(2, "".join(traceback.format_exception(error)))
    run_result.note_failure(error)
    lines = (error.hint or "").splitlines()
    prefix = "hint: " if len(lines) == 1 else "  "  # several lines are details: a stack, a list of problems
    hint = "".join(f"{prefix}{line}\n" for line in lines)
    standard_streams.text(2, f"error: {error.message}\n{hint}")
    return error.exit_code


def lost_output() -> int:
    """Return the exit code for output that could not be written, and report a full disk; 0: all was written."""
    try:
        standard_streams.check()
    except BrokenPipeError:
        return handle_broken_pipe()
    except OSError as error:
        return print_error(FileError.of(error))
    return 0


def interrupted() -> int:
    """Answer Ctrl-C with a line on standard error; return the exit code."""
    standard_streams.text(2, "error: interrupted\n")
    return 128 + signal.SIGINT


def handle_broken_pipe() -> int:
    """Stop printing because the reader of the output has ended (``unibuild list | head -1``); return the exit code."""
    standard_streams.hang_up(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))
    return 128 + signal.SIGPIPE


_NARROWEST = 6  # characters of a column that is cut
_UNITS = (("day", 86400), ("h", 3600), ("min", 60))


def age(seconds: int) -> str:
    """Return a duration as text, in its largest unit: ``40 s``, ``5 min``, ``3 h``, ``1 day``, ``12 days``."""
    for unit, size in _UNITS:
        if seconds >= size:
            number = seconds // size
            return f"{number} {unit}{'s' if unit == 'day' and number > 1 else ''}"
    return f"{seconds} s"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, with columns as wide as necessary and without columns that are empty throughout.

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
