"""Shows what takes long: a bar on a terminal, else a line as each step begins."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress, TaskID

__all__ = ["shown"]


@contextmanager
def shown(file: TextIO | None = None) -> Iterator[Callable[[str, float | None], None]]:
    """Give the function that steps are told to: ``tell(what, fraction)``.

    A step begins with the first call that names it and ends with the next step, or the block. Its fraction is from 0 to
    1, None while nobody knows. Where nothing is told nothing is written.

    Args:
        file: where to; None: standard error.
    """
    out = file or sys.stderr
    display = _Bars(out) if out.isatty() else _Lines(out)
    try:
        yield display.tell
    except BaseException:
        display.end(done=False)
        raise
    display.end(done=True)


class _Lines:
    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._now: str | None = None

    def tell(self, what: str, fraction: float | None) -> None:
        del fraction
        if what != self._now:
            print(what, file=self._file, flush=True)
            self._now = what

    def end(self, *, done: bool) -> None:
        """A line needs no end."""


class _Bars:
    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._now: str | None = None

    def tell(self, what: str, fraction: float | None) -> None:
        if self._progress is None:
            self._progress = _progress(self._file)
            self._progress.start()
        if self._task is None or what != self._now:
            self._finish()
            self._task = self._progress.add_task(what, total=None)
            self._now = what
        if fraction is not None:
            self._progress.update(self._task, total=1.0, completed=fraction)

    def end(self, *, done: bool) -> None:
        if done:
            self._finish()
        if self._progress is not None:
            self._progress.stop()

    def _finish(self) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, total=1.0, completed=1.0)
            self._progress.stop_task(self._task)


def _progress(file: TextIO) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TimeElapsedColumn(),
        console=Console(file=file),
    )
