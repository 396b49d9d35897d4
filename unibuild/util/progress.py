"""Show the progress of long steps: a bar on a terminal, else a line when a step begins."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress, TaskID

    class _Display(Protocol):
        def note(self, line: str) -> None: ...

    class ReportProgress(Protocol):
        """The function that reports the progress of steps."""

        def __call__(self, what: str, fraction: float | None, detail: str = "", /) -> None: ...


__all__ = ["note", "shown"]

_displays: list[_Display] = []  # those of the open ``shown`` blocks, the innermost last


@contextmanager
def shown(file: TextIO | None = None) -> Iterator[ReportProgress]:
    """Yield the function that reports progress: ``report(what, fraction)`` or ``report(what, fraction, detail)``.

    A step begins with the first call that names it and ends with the next step or the block. Its fraction is from 0 to
    1, or None if it is not known; a step that ends between 0 and 1 has failed. The detail, such as the number of sent
    bytes, is shown only next to a bar. Nothing is written before the first report.

    Args:
        file: the output; None: standard error.
    """
    out = file or sys.stderr
    display = _Bars(out) if out.isatty() else _Lines(out)
    _displays.append(display)
    try:
        yield display.report
    except BaseException:
        display.end(done=False)
        raise
    else:
        display.end(done=True)
    finally:
        _displays.remove(display)


def note(line: str) -> None:
    """Print a line above the shown progress, or on standard error if none is shown."""
    display = _displays[-1] if _displays else _Lines(sys.stderr)
    display.note(line)


class _Lines:
    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._now: str | None = None

    def report(self, what: str, fraction: float | None, detail: str = "") -> None:
        del fraction, detail
        if what != self._now:
            print(what, file=self._file, flush=True)
            self._now = what

    def note(self, line: str) -> None:
        print(line, file=self._file, flush=True)

    def end(self, *, done: bool) -> None:
        """Do nothing: a line needs no end."""


class _Bars:
    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._now: str | None = None
        self._fraction: float | None = None

    def report(self, what: str, fraction: float | None, detail: str = "") -> None:
        if self._progress is None:
            self._progress = _progress(self._file)
            self._progress.start()
        if self._task is None or what != self._now:
            self._finish(done=self._fraction in (None, 1.0))
            self._task = self._progress.add_task(what, total=None, failed=False, detail=detail)
            self._now = what
        self._fraction = fraction
        self._progress.update(self._task, detail=detail)
        if fraction is not None:
            self._progress.update(self._task, total=1.0, completed=fraction)

    def note(self, line: str) -> None:
        if self._progress is None:
            print(line, file=self._file, flush=True)
        else:
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def end(self, *, done: bool) -> None:
        self._finish(done=done)
        if self._progress is not None:
            self._progress.stop()

    def _finish(self, *, done: bool) -> None:
        if self._progress is not None and self._task is not None:
            if done:
                self._progress.update(self._task, total=1.0, completed=1.0)
            else:
                self._progress.update(self._task, failed=True)
            self._progress.stop_task(self._task)


def _progress(file: TextIO) -> Progress:
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class State(SpinnerColumn):
        """A spinner, then a tick or a cross."""

        def render(self, task: Task) -> RenderableType:
            return Text("✗", style="red") if task.fields["failed"] else super().render(task)

    return Progress(
        State(finished_text="[green]✓"),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        console=Console(file=file),
    )
