"""The builder of the watch loop: ``python -m unibuild.doit_plugin.build_worker ROOT DODO [KEY=VALUE]...``.

It loads Python's modules, the settings and the ``dodo.py`` once, then builds each time the loop asks for it. Each build
runs in a fork of this process. So a build starts with everything loaded and unchanged, can be stopped without harm to
the next one, and frees its memory at its end. Because of the forks the builder has only one thread; the loop, which
has several, is another process.

Standard input is the socket to the loop (``unibuild.watch.worker_protocol``). When the socket is closed, also because
the loop was killed, the builder stops its build and exits. The output of tasks and their commands goes to standard
output.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit.cmd_list import List
from doit.cmd_run import Run
from doit.doit_cmd import DoitMain

from unibuild.doit_plugin.loader import Loader
from unibuild.doit_plugin.reporter import Reporter, item_of
from unibuild.doit_plugin.tasks import Failed, OwnFileDep
from unibuild.errors import InputError, UnibuildError
from unibuild.settings.loader import load
from unibuild.util.failure import Failure
from unibuild.util.output import debug_enabled
from unibuild.util.process import Fork, fork
from unibuild.watch import worker_protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from doit.cmd_base import Command
    from doit.exceptions import BaseFail
    from doit.task import Task

    from unibuild.settings.loader import Project

__all__ = ["main"]

_LOCK_TIMEOUT = 5.0  # seconds for a build to end after the loop has closed the socket
_TRACE = 12  # lines of a traceback that are reported


class _Loader(Loader):
    """A loader with the project already loaded, and with a reporter that reports to the loop."""

    def __init__(self, project: Project, reporter: type[Reporter]) -> None:
        super().__init__()
        self.held = project
        self.reporter = reporter
        self.found: list[Task] = []

    def load_doit_config(self) -> dict[str, Any]:
        return {**super().load_doit_config(), "reporter": self.reporter}

    def load_tasks(self, cmd: Command, pos_args: list[str]) -> list[Task]:
        self.found = super().load_tasks(cmd, pos_args)
        return self.found


def _reporter(loop: socket.socket) -> type[Reporter]:
    """Return the reporter that reports to the loop."""

    class Wired(Reporter):
        def execute_task(self, task: Task) -> None:
            if task.actions:
                self._began[task.name] = time.monotonic()
                item = item_of(task)
                _send(loop, worker_protocol.Task(name=task.name, state="running", reason=item.reason if item else None))

        def _took(self, task: Task) -> float | None:
            began = self._began.get(task.name)
            return None if began is None else time.monotonic() - began

        def add_success(self, task: Task) -> None:
            if task.actions:
                written = task.meta.get("written") if isinstance(task.meta, dict) else None
                _send(
                    loop,
                    worker_protocol.Task(name=task.name, state="done", seconds=self._took(task), written=written or {}),
                )

        def skip_uptodate(self, task: Task) -> None:
            _send(loop, worker_protocol.Task(name=task.name, state="current"))

        def add_failure(self, task: Task, fail: BaseFail) -> None:
            if isinstance(fail, Failed):
                failure = fail.failure
                self._exit_code = self._exit_code or failure.exit_code
            else:
                said = fail.get_msg().strip().splitlines()
                text, hint = f"{task.title()}: {said[-1] if said else 'failed'}", "\n".join(said[:-1][-_TRACE:])
                failure = Failure.of(UnibuildError(text, hint=hint or None))
            _send(loop, worker_protocol.WorkerFailure(name=task.name, failure=failure, seconds=self._took(task)))

        def runtime_error(self, msg: str) -> None:
            _send(loop, worker_protocol.WorkerFailure(name="", failure=Failure.of(InputError(msg.strip()))))

        def complete_run(self) -> None:
            if self._exit_code and not isinstance(sys.exception(), SystemExit):
                raise SystemExit(self._exit_code)

    return Wired


class BuildWorkerServer:
    """Everything loaded.

    Raises:
        UnibuildError: the settings are wrong.
        Exception: what the ``dodo.py`` raises.
    """

    def __init__(self, loop: socket.socket, root: Path, dodo: str, words: Sequence[str]) -> None:
        self.loop = loop
        self.words = tuple(words)
        project = load(root, dict(word.split("=", 1) for word in words), report=False)  # watch has reported
        DoitMain(config_filenames=()).process_args(list(words))  # for a dodo.py that asks for them (doit.get_var)
        self.loader = _Loader(project, _reporter(loop))
        self.command = self._command(Run, dodo)
        with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):  # noqa: PTH123
            self._command(List, dodo).parse_execute(["--quiet"])
        boot = next((task for task in self.loader.found if task.name == "boot"), None)
        self.goals = tuple(dict.fromkeys(boot.task_dep)) if boot else ("xl",)
        with contextlib.suppress(ImportError):  # Python was built without libffi
            importlib.import_module("ctypes")
        for module in ("unibuild.graph.run_stage", "unibuild.graph.xl_file", "unibuild.toolchain.gitignore"):
            importlib.import_module(module)  # a build would import it otherwise

    @property
    def inputs(self) -> tuple[str, ...]:
        """The absolute paths of the files that the user's own tasks read and no task makes."""
        by_name = {task.name: task for task in self.loader.found}
        made = {os.path.abspath(path) for task in self.loader.found for path in task.targets}  # noqa: PTH100
        found: set[str] = set()
        left, seen = list(self.goals), set[str]()
        while left:
            name = left.pop()
            task = by_name.get(name)
            if task is None or name in seen:
                continue
            seen.add(name)
            left += [*task.task_dep, *task.setup_tasks, *task.calc_dep]
            left += [other.name for other in self.loader.found if {*other.targets} & {*task.file_dep}]
            found |= {os.path.abspath(path) for path in task.file_dep if not isinstance(path, OwnFileDep)}  # noqa: PTH100
        return tuple(sorted(found - made))

    def _command(self, kind: type[Command], dodo: str) -> Command:
        """Return one of doit's commands. This is slow, because doit searches all installed packages for plugins."""
        config = {"BACKEND": {"unibuild": "unibuild.doit_plugin.state:StateFile"}}
        named = {"dodoFile": dodo} if dodo else {}
        return kind(task_loader=self.loader, config=config, bin_name="unibuild", cmds={}, opt_vals=named)

    def build(self) -> int:
        """Bring the goals up to date; return the exit code."""
        try:
            return int(self.command.parse_execute(list(self.goals)) or 0)
        except UnibuildError as error:
            found = error
        except Exception as error:  # whatever a dodo.py raises
            found = _traced(error)
        _send(self.loop, worker_protocol.WorkerFailure(name="", failure=Failure.of(found)))
        return found.exit_code


def main(argv: Sequence[str]) -> int:
    """Load the project, and build on request until the socket is closed; return the exit code."""
    root, dodo, *words = argv
    loop = socket.socket(fileno=os.dup(0))
    os.set_inheritable(loop.fileno(), False)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is not a StringIO
    os.chdir(root)
    try:
        builder = BuildWorkerServer(loop, Path(root), dodo, words)
    except UnibuildError as error:
        return _refuse(loop, error)
    except SystemExit as error:  # a dodo.py called sys.exit, or a signal arrived
        return _refuse(loop, InputError(f"loading the tasks ended with exit code {error.code}"))
    except Exception as error:  # whatever a dodo.py raises
        return _refuse(loop, _traced(error))
    _send(loop, worker_protocol.Loaded(goals=builder.goals, modules=_modules(root), inputs=builder.inputs))
    _serve(builder)
    return 0


def _send(loop: socket.socket, message: worker_protocol.Message) -> None:
    """Send a message to the loop, and mark in the output where it was sent."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(1, worker_protocol.MARK)
    worker_protocol.send(loop, message)


def _refuse(loop: socket.socket, error: UnibuildError) -> int:
    _send(loop, worker_protocol.Refused(failure=Failure.of(error)))
    return error.exit_code


def _serve(builder: BuildWorkerServer) -> None:
    """Build on request; return when the socket is closed and no build is running."""
    lines, running = worker_protocol.MessageReader(), None
    deadline = None
    while True:
        waited: list[socket.socket | Fork] = [builder.loop, *([running] if running else [])]
        ready = select.select(waited, [], [], _until(deadline))[0]
        if running and running in ready:
            _send(builder.loop, worker_protocol.Built(exit_code=running.reap()))
            running, deadline = None, None
        elif running and deadline is not None and time.monotonic() >= deadline:
            running.signal(signal.SIGKILL)
            deadline = None
        if builder.loop not in ready:
            continue
        data = _receive(builder.loop)
        for message in lines.feed(data):
            match message:
                case worker_protocol.BuildRequest() if running is None:
                    running = fork(builder.build)
                case worker_protocol.Stop(timeout=timeout) if running:
                    running.signal(signal.SIGTERM)
                    deadline = time.monotonic() + timeout
        if not data:
            if running:
                running.stop(_LOCK_TIMEOUT)
            return


def _until(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _receive(loop: socket.socket) -> bytes:
    try:
        return loop.recv(65536)
    except ConnectionError:
        return b""


def _traced(error: BaseException) -> InputError:
    """Return an exception that a ``dodo.py`` raised as an error; the hint says where."""
    found = traceback.extract_tb(error.__traceback__)
    ours = str(Path(__file__).parents[1])
    theirs = [
        frame for frame in found if not frame.filename.startswith((ours, "<frozen")) and "/doit/" not in frame.filename
    ]
    lines = "".join(traceback.format_list(found if debug_enabled() else theirs)).splitlines()
    said = traceback.format_exception_only(error)
    return InputError(said[-1].strip(), hint="\n".join((*lines[-_TRACE:], *"".join(said[:-1]).splitlines())))


def _modules(root: str) -> tuple[str, ...]:
    """Return the files of the loaded modules that are the project's own."""
    files = {str(getattr(module, "__file__", None) or "") for module in list(sys.modules.values())}
    below = root.rstrip("/") + "/"
    return tuple(sorted(file for file in files if file.startswith(below) and "/site-packages/" not in file))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
