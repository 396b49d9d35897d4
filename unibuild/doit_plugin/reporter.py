"""Report the progress of tasks: why each runs, how long it took, and at the end which were up to date."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from doit.reporter import ConsoleReporter

from unibuild.doit_plugin.tasks import DomainUpToDate, Failed, StageUpToDate
from unibuild.graph.graph import GOALS
from unibuild.util import run_result, standard_streams
from unibuild.util.output import interrupted, lost_output, print_error

if TYPE_CHECKING:
    from typing import TextIO

    from doit.exceptions import BaseFail
    from doit.task import Task

__all__ = ["Reporter", "item_of"]


class Reporter(ConsoleReporter):  # type: ignore[misc]  # doit has no types
    """Reports on unibuild's tasks in short lines, and on the user's own tasks as doit does."""

    desc = "short lines: what runs and why (unibuild's)"

    def __init__(self, outstream: TextIO, options: dict[str, Any]) -> None:
        super().__init__(outstream, options)
        self._began: dict[str, float] = {}
        self._fresh: list[str] = []
        self._selected: list[str] = []
        self._exit_code = 0

    def initialize(self, tasks: dict[str, Task], selected_tasks: list[str]) -> None:
        """Remember which tasks the user asked for."""
        super().initialize(tasks, selected_tasks)
        self._selected = list(selected_tasks)

    def execute_task(self, task: Task) -> None:
        """Print that a task runs, and why."""
        if task.actions:
            self._began[task.name] = time.monotonic()
        item = item_of(task)
        if item is None and not _is_goal(task):
            super().execute_task(task)
        elif item is not None:
            self._line(f"{task.name}: {item.reason or 'asked for'}")

    def add_success(self, task: Task) -> None:
        """Print that a stage is done."""
        if isinstance(item_of(task), StageUpToDate):
            self._line(f"{task.name}: done in {time.monotonic() - self._began[task.name]:.1f} s")

    def skip_uptodate(self, task: Task) -> None:
        """Print that the domain runs already, or remember a task that is up to date for the end of the run."""
        if isinstance(item_of(task), DomainUpToDate):
            self._line(f"{task.name}: the domain runs already, and nothing has changed")
            run_result.note(sentence="the domain runs already, and nothing has changed")
        elif _is_goal(task):
            self._fresh.append(task.name)
        else:
            super().skip_uptodate(task)

    def add_failure(self, task: Task, fail: BaseFail) -> None:
        """Print the message of a failure."""
        if not isinstance(fail, Failed):
            super().add_failure(task, fail)
            return
        self.outstream.flush()
        if fail.traceback:
            standard_streams.text(2, "".join(fail.traceback))
        self._exit_code = self._exit_code or print_error(fail.error())

    def complete_run(self) -> None:
        """Print what was up to date if nothing ran, and set the exit code.

        Raises:
            SystemExit: with the exit code of the first failure; doit itself knows only 1 and 2. After Ctrl-C with 130,
                because doit would let the interpreter print a traceback.
        """
        if isinstance(sys.exception(), KeyboardInterrupt):
            raise SystemExit(interrupted()) from None
        super().complete_run()
        goals = [name.partition(":")[0] for name in self._fresh]
        asked = [name for name in self._selected if name in (*self._fresh, *goals)]
        if asked and not self._began:
            self._line(f"{', '.join(asked)}: up to date")
        code = self._exit_code or lost_output()
        if code and not isinstance(sys.exception(), SystemExit):
            raise SystemExit(code)

    def _line(self, text: str) -> None:
        self.write(f"{text}\n")
        self.outstream.flush()  # the output of a child process follows this line


def item_of(task: Task) -> StageUpToDate | DomainUpToDate | None:
    """Return the ``uptodate`` item of one of unibuild's tasks; None for other tasks."""
    for item, _args, _kwargs in task.uptodate or ():
        if isinstance(item, StageUpToDate | DomainUpToDate):
            return item
    return None


def _is_goal(task: Task) -> bool:
    return task.name.partition(":")[0] in GOALS
