"""Run a goal on several hosts at the same time: ``--host all``.

Each host gets its own child process of unibuild, which may not ask for anything, because all would ask at once. Their
output appears as it comes, with the host's name before each line. Each child sends its result as JSON
(``util.run_result``), and a table at the end shows the outcomes.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from signal import SIGTERM
from typing import IO, TYPE_CHECKING

from unibuild.errors import UnibuildError
from unibuild.host.base import BATCH
from unibuild.util import job_control, process
from unibuild.util.output import debug_variables, table
from unibuild.util.run_result import DESCRIPTOR, Result, read
from unibuild.util.waits import join

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from unibuild.settings.loader import Project

__all__ = ["run"]

_LAST_LINES = 5.0  # seconds to read what an exited child left in its pipe
TIMEOUT = 60.0  # seconds to stop after Ctrl-C: no domain is left half created
_UNIBUILD = ("-P", "-c", "import sys; from unibuild._fast_path import main; sys.exit(main())")
_OUTCOMES = {0: "done", 2: "wrong input", 3: "missing", 4: "no host", 5: "failed", 6: "not ready", 130: "interrupted"}


@dataclass
class _Run:
    """A goal on one host."""

    host: str
    child: process.Child
    pipe: int
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    result: Result = field(default_factory=Result)

    @property
    def row(self) -> tuple[str, ...]:
        """The host's row in the table."""
        code = self.child.wait()
        outcome = _OUTCOMES.get(code or 0, f"exit code {code}" if code and code > 6 else "failed")
        failure, domid = self.result.failure, self.result.domid
        sentence = failure.message if failure else self.result.sentence
        return (
            self.host,
            outcome,
            "" if domid is None else str(domid),
            f"{self.seconds:.1f} s",
            sentence.partition("\n")[0],
        )


def run(project: Project, names: Sequence[str], goal: str, words: Sequence[str] = ()) -> None:
    """Run a goal on several hosts at the same time, and print a table of the outcomes.

    Args:
        project: the project; each child gets its settings from the command line.
        names: the hosts' names.
        goal: ``boot``, ``destroy`` or ``rollback``.
        words: options and arguments of the goal.

    Raises:
        UnibuildError: it failed on a host; the exit code is the highest one of the children.
        KeyboardInterrupt: Ctrl-C; all children have ended.
    """
    settings = [word for word in project.words if not word.startswith(("host=", "boot.console="))]
    take_over = ["--take-over"] if project.take_over else []
    show = _Show(max(map(len, names)))
    with contextlib.ExitStack() as stack:
        runs: list[_Run] = []
        threads: list[threading.Thread] = []
        try:
            for name in names:
                options = [goal, *words, *take_over, "--host", name, *settings, "boot.console=none"]
                with job_control.defer_signals():  # a child that has started is in the list
                    child, pipe = _start([sys.executable, *_UNIBUILD, *options], project.root)
                    runs.append(_Run(name, stack.enter_context(child), pipe))
                    threads.append(threading.Thread(target=_read, args=(runs[-1], show), daemon=True))
                    threads[-1].start()
            for thread in threads:
                join(thread)
        except BaseException:
            _end(runs)
            for thread in threads:
                join(thread, _LAST_LINES)  # a thread that prints while the interpreter exits aborts it
            raise
        rows = [one.row for one in runs]
    if show.gone:
        raise BrokenPipeError
    print(*table(("HOST", "OUTCOME", "DOMAIN", "TIME", ""), rows), sep="\n", flush=True)
    failed = [one for one in runs if one.child.poll()]
    if failed:
        error = UnibuildError(f"{goal} failed on {', '.join(one.host for one in failed)}")
        error.exit_code = max(128 - code if code < 0 else code for code in (one.child.poll() or 0 for one in failed))
        raise error


def _start(argv: Sequence[str], root: Path) -> tuple[process.Child, int]:
    """Start a child; return it and the pipe that its result comes through."""
    pipe, child_end = os.pipe()
    try:
        env = {BATCH: "1", DESCRIPTOR: str(child_end), **debug_variables()}
        return process.start(argv, cwd=root, env=env, stderr=subprocess.STDOUT, pass_fds=(child_end,)), pipe
    except BaseException:
        os.close(pipe)
        raise
    finally:
        os.close(child_end)


class _Show:
    """Print lines from several threads to standard output."""

    def __init__(self, width: int) -> None:
        self._lock = threading.Lock()
        self._width = width
        self.gone = False

    def line(self, host: str, text: str) -> None:
        with self._lock:
            if self.gone:
                return
            try:
                print(f"{host:<{self._width}} | {text}", flush=True)
            except BrokenPipeError:  # the children's output must still be read to its end
                self.gone = True


def _read(one: _Run, show: _Show) -> None:
    pipe: IO[bytes] | None = one.child.stdout
    assert pipe is not None
    for line in pipe:
        text = line.decode(errors="replace").rstrip("\r\n")
        show.line(one.host, text)
    one.result = read(one.pipe)
    one.child.wait()
    one.seconds = time.monotonic() - one.began


def _end(runs: Sequence[_Run]) -> None:
    """Ask all children once to stop, and wait: they clean up their hosts first."""
    for one in runs:
        if one.child.poll() is None:
            job_control.signal_group(one.child.popen.pid, SIGTERM)
    deadline = time.monotonic() + TIMEOUT
    for one in runs:
        one.child.wait(max(0.0, deadline - time.monotonic()))
