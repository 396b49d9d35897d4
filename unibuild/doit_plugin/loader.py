"""The doit loader (``loader = "unibuild"``), and the names that a ``dodo.py`` of two lines imports.

from unibuild import DOIT_CONFIG, unikernel

app = unikernel()
"""

from __future__ import annotations

import gc
import io
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from doit import loader
from doit.cmd_base import DodoTaskLoader, check_tasks_exist, opt_dodo
from doit.cmd_clean import Clean
from doit.cmd_completion import TabCompletion
from doit.cmd_forget import Forget
from doit.cmd_help import Help
from doit.cmd_ignore import Ignore
from doit.cmd_info import Info
from doit.cmd_list import List
from doit.cmd_resetdep import ResetDep
from doit.cmd_run import Run
from doit.cmdparse import CmdParseError
from doit.doit_cmd import DoitMain
from doit.exceptions import InvalidCommand, InvalidDodoFile

from unibuild.doit_plugin.goals import later_tasks, tasks, tasks_for_all, watch_task
from unibuild.doit_plugin.reporter import Reporter, item_of
from unibuild.doit_plugin.tasks import Checker, StageTask
from unibuild.doit_plugin.usage import GoalOptions, options_after_goal, unknown_option
from unibuild.errors import FileError, InputError, UnibuildError
from unibuild.graph.graph import BUILT_ALREADY, GOALS
from unibuild.settings.loader import FILE, STATE
from unibuild.util import interrupts, standard_streams
from unibuild.util.files import find_upward
from unibuild.util.output import handle_broken_pipe, print_error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from typing import TextIO

    from doit.cmd_base import Command
    from doit.task import Task

    from unibuild.settings.loader import Project

__all__ = ["Loader", "Main", "Unikernel", "doit_config", "unikernel"]


def doit_config(start: Path) -> dict[str, Any]:
    """Return doit's configuration (a dodo.py's DOIT_CONFIG) for the project that ``start`` belongs to."""
    file = find_upward(FILE, start.absolute())
    root = file.parent if file else start.absolute()
    return {
        "backend": "unibuild",
        "check_file_uptodate": Checker,
        "default_tasks": ["build"],
        "dep_file": str(root / STATE / "state.json"),
        "reporter": Reporter,
        "sort": "definition",  # `list` shows the graph's order
        "verbosity": 2,
    }


class Unikernel:
    """The tasks of one project, for doit to find in a ``dodo.py``.

    Args:
        own: names of the dodo.py's own command line variables (``doit.get_var``); any other ``key=value`` on the
            command line is a setting.
    """

    def __init__(self, own: Collection[str] = ()) -> None:
        self._own = frozenset(own)
        self.asked: GoalOptions | None = None  # None: read them from the command line
        self.command_line: Sequence[str] | None = None  # None: sys.argv, because the program is doit
        self.held: Project | None = None
        self.dodo: str | None = None  # None: doit's own loader loads the dodo.py: read the command line
        # An attribute of the instance: doit looks for the name on everything in a dodo.py, and would call it on the
        # class too.
        self.create_doit_tasks = self._create

    def _create(self) -> Iterator[Task]:
        yield from self.tasks()

    def tasks(self) -> list[Task]:
        """Return the tasks of the held project, or else of the project that the current folder belongs to.

        Raises:
            UnibuildError: a project is held, and its tree cannot be built.
        """
        from unibuild.graph.graph import graph
        from unibuild.host import resolve
        from unibuild.settings.hosts import ALL, at

        gc.freeze()  # what is loaded by now stays to the end: the garbage collector need not scan it
        if self.held is not None:
            return tasks(graph(self.held))
        try:
            project = self.project()
        except UnibuildError as error:
            raise SystemExit(print_error(error)) from None
        try:
            if project.settings.host == ALL:
                graphs = [graph(at(project, name)) for name in resolve.all_names(project.settings)]
                built = tasks_for_all(graphs, project)
            else:
                built = tasks(graph(project))
            return [
                *built,
                watch_task(project, _named_dodo(self._words) if self.dodo is None else self.dodo),
                *later_tasks(project),
            ]
        except UnibuildError as error:
            if _needs_graph(self._words):
                raise SystemExit(print_error(error)) from None
            return later_tasks(project)

    @property
    def _words(self) -> Sequence[str]:
        return sys.argv[1:] if self.command_line is None else self.command_line  # doit does not pass on its own copy

    def project(self) -> Project:
        """Load the project, with the settings of the command line."""
        from doit import doit_cmd

        from unibuild.settings.loader import load

        asked = options_after_goal(self._words) if self.asked is None else self.asked
        words = doit_cmd._CMDLINE_VARS or {}  # doit.get_var returns one by name, and cannot list them
        settings = {key: value for key, value in words.items() if key not in self._own}
        return load(Path.cwd(), settings | ({"host": asked.host} if asked.host else {}), take_over=asked.take_over)


def _named_dodo(words: Sequence[str]) -> str:
    """Return the path of the ``dodo.py`` that a command line of plain doit names, or an empty string."""
    for place, word in enumerate(words):
        if word in ("-f", "--file") and place + 1 < len(words):
            return os.path.abspath(words[place + 1])  # noqa: PTH100
        if word.startswith("--file="):
            return os.path.abspath(word.partition("=")[2])  # noqa: PTH100
    return ""


def unikernel(*, own: Collection[str] = ()) -> Unikernel:
    """Return the project's tasks, for assignment to any name in a ``dodo.py``; see ``Unikernel``."""
    return Unikernel(own)


class Loader(DodoTaskLoader):  # type: ignore[misc]  # doit has no types
    """Loads the tasks of the project that the current folder belongs to, and those of its ``dodo.py`` if there is one.

    A dodo.py that contains a ``unikernel()`` is loaded unchanged.
    """

    asked: GoalOptions | None = None
    """The options of the goals, if they were removed from the command line; None: read them from it."""

    command_line: Sequence[str] | None = None
    """The goals and what follows them; None: ``sys.argv``, because the program is doit."""

    held: Project | None = None
    """The project, if it need not be loaded again."""

    dodo = ""
    """The path of the ``dodo.py`` that the command line names; empty: it names none."""

    def __init__(self) -> None:
        interrupts.install()
        super().__init__()

    def setup(self, opt_values: dict[str, Any]) -> None:
        """Load the ``dodo.py``, which may also be next to ``unibuild.toml``, and change to the project's folder."""
        named = opt_values["dodoFile"]
        self.dodo = os.path.abspath(named) if named != opt_dodo["default"] else ""  # noqa: PTH100
        dodo = find_upward(named, Path.cwd()) if opt_values["seek_file"] else Path(named)
        file = find_upward(FILE, Path(opt_values["cwdPath"] or "").absolute())
        beside = file.parent / named if file else None
        if dodo is not None and dodo.is_file():
            super().setup(opt_values)
        elif beside is not None and beside.is_file():
            super().setup({**opt_values, "dodoFile": str(beside)})
        elif named != opt_dodo["default"]:
            raise InvalidDodoFile(f"there is no file {named}")
        else:
            loader.initial_workdir = str(Path.cwd())
            self.namespace: dict[str, Any] = {}
        if file is not None:
            os.chdir(file.parent)

    def load_doit_config(self) -> dict[str, Any]:
        """Return unibuild's configuration for doit; that of the ``dodo.py`` takes precedence."""
        return {**doit_config(Path.cwd()), **super().load_doit_config()}

    def load_tasks(self, cmd: Command, pos_args: list[str]) -> list[Task]:
        """Return the project's tasks and those of the ``dodo.py``."""
        held = [value for value in self.namespace.values() if isinstance(value, Unikernel)]
        own = held or [Unikernel()]
        for each in own:
            each.asked, each.held, each.dodo = self.asked, self.held, self.dodo
            each.command_line = self.command_line
        found = list(super().load_tasks(cmd, pos_args))
        if not held:
            found += own[0].tasks()
            for task in found:
                task.cfg_values = (self.config or {}).get(f"task:{task.name}", task.cfg_values)
        if isinstance(cmd, (Help, Info)):  # the other commands check by themselves that the task exists
            cmd.task_list = found
            check_tasks_exist({task.name for task in found}, pos_args)
        return found


class _Told:
    """Prints the errors of a doit command as sentences, where doit itself would print a traceback."""

    task_list: list[Task]

    def parse_execute(self, in_args: list[str]) -> int:
        """Run the command.

        Raises:
            SystemExit: with unibuild's exit code.
        """
        try:
            return int(super().parse_execute(in_args) or 0)  # type: ignore[misc]  # of the other base class
        except UnibuildError as error:
            raise SystemExit(print_error(error)) from None
        except BrokenPipeError:
            raise SystemExit(handle_broken_pipe()) from None
        except OSError as error:
            standard_streams.hang_up(error)
            raise SystemExit(print_error(FileError.of(error))) from None
        except CmdParseError as error:
            reason = re.sub(r"^Error parsing \w+: | \(parsing options.*", "", str(error), flags=re.DOTALL).strip()
            unknown = re.fullmatch(r"option (-\S+) not recognized", reason)
            hint = "`unibuild --help` and `unibuild GOAL --help` list the options"
            problem = unknown_option(unknown[1], in_args) if unknown else InputError(reason, hint=hint)
            raise SystemExit(print_error(problem)) from None
        except InvalidCommand as error:
            no_task = re.fullmatch("'(.*)' is not a task.", str(error))  # doit.cmd_base.check_tasks_exist
            goal = no_task[1] if no_task else error.not_found
            if goal is None:
                raise
            raise SystemExit(print_error(_unknown(goal, [task.name for task in self.task_list]))) from None


class _List(List):  # type: ignore[misc]
    """doit's ``list``, with the state of a goal in words, and why it would run."""

    name = "list"

    STATUS_MAP: ClassVar = {"ignore": "ignored", "up-to-date": "up to date", "run": "to run", "error": "error"}
    outstream: TextIO
    _is_filtered = True

    def _list_all(self, include_subtasks: bool) -> list[Task]:
        self._is_filtered = False
        return list(super()._list_all(include_subtasks))

    def _print_task(self, template: str, task: Task, status: bool, *more: Any) -> None:  # noqa: ANN401 (doit's)
        always_runs = task.uptodate == [(False, None, None)]
        if not status or self._is_filtered or not always_runs:  # a task that always runs has no state worth showing
            own = template.replace("{status} {name:<", "{status:<12}{name:<")  # doit's own
            out = self.outstream
            self.outstream = shown = io.StringIO()
            try:
                super()._print_task(own, task, status, *more)
                text = shown.getvalue()
            finally:
                self.outstream = out
            item = item_of(task) if status and own != template else None
            if item is not None and (reason := item.explain()):
                line, end, rest = text.partition("\n")
                text = f"{line} ({reason}){end}{rest}"
            self.outstream.write(text)


class _ResetDep(ResetDep):  # type: ignore[misc]
    """doit's ``reset-dep``: record the existing files as up to date, without running anything."""

    doc_purpose = "record what is there as up to date, without building"
    doc_description = "The kernel is copied to .unibuild as after a build. A goal without its file is skipped."

    def _execute(self, pos_args: list[str] | None = None) -> None:
        names = pos_args or [task.name for task in self.task_list if not _is_export(task)]
        known = {task.name: task for task in self.task_list}
        check_tasks_exist(known, names)
        for name in names:
            task = known[name]
            if isinstance(task, StageTask):
                self.outstream.write(f"{name}: {self._record(task, known)}\n")
        others = [name for name in names if not isinstance(known[name], StageTask) and name not in GOALS]
        if others:
            super()._execute(others)
        else:
            self.dep_manager.close()

    def _record(self, task: StageTask, known: dict[str, Task]) -> str:
        """Record the files of a stage; return what to print about it."""
        missing = task.accept()
        if missing:
            return f"{missing} is missing; nothing recorded"
        if self.dep_manager.get_status(task, known).status == "up-to-date":
            return "up to date already"
        task.save_extra_values()
        self.dep_manager.save_success(task)
        return "recorded as up to date"


class Main(DoitMain):  # type: ignore[misc]
    """doit's command line with unibuild's loader and settings, whatever doit configuration the folder has."""

    BIN_NAME = "unibuild"
    DOIT_CMDS = tuple(
        type(command.__name__, (_Told, command), {"name": command.get_name()})
        for command in (Help, Run, _List, Info, Clean, Forget, Ignore, TabCompletion, _ResetDep)
    )

    def __init__(self, asked: GoalOptions | None = None) -> None:
        backend = {"unibuild": "unibuild.doit_plugin.state:StateFile"}
        self._loader = Loader()
        self._loader.asked = asked
        super().__init__(self._loader, config_filenames=(), extra_config={"BACKEND": backend})

    def run(self, all_args: Sequence[str]) -> int:
        """Run a command line; return the exit code."""
        self._loader.command_line = list(all_args)
        return int(super().run(list(all_args)))


def _is_export(task: Task) -> bool:
    return isinstance(task, StageTask) and task.fresh.stage in task.fresh.graph.exports


def _needs_graph(words: Sequence[str]) -> bool:
    """Return whether the goals of a command line need a tree that can be built."""
    goals = GOALS.keys() & words
    return not goals or not goals <= {*BUILT_ALREADY}


def _unknown(goal: str, names: list[str]) -> InputError:
    import difflib

    if goal in GOALS:
        return InputError(f"this project has nothing to do for `{goal}`", hint=f"its goals: {', '.join(names)}")
    close = difflib.get_close_matches(goal, names, 1)
    return InputError(
        f"there is no goal `{goal}`", hint=f"{f'did you mean `{close[0]}`? ' if close else ''}goals: {', '.join(names)}"
    )
