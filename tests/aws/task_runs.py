"""Run tasks of forking_program.py against an emulator, and kill them at a given call."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emulator import Emulator


@dataclass
class Kill:
    """The kill of a run: at which call, before or after its effect, by which signal, and what follows."""

    call: int
    moment: str
    signal: signal.Signals
    then: str


@dataclass
class TaskRunner:
    """Run the tasks of forking_program.py against an emulator."""

    emulator: Emulator
    process: subprocess.Popen[str]
    folder: Path

    def run_task(self, task: str, kill: Kill | None = None, **how: object) -> int:
        """Run a task of forking_program.py and return its exit code; each call takes a second on the world's clock."""
        start, started, process = len(self.emulator.calls), threading.Event(), 0

        def watch(call, moment):
            self.emulator.world.clock.advance(0.5)
            if kill and moment == kill.moment and len(self.emulator.calls) - start == kill.call:
                started.wait()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, kill.signal)

        self.emulator.faults.watch = watch
        process = self.start_task(task, **how)
        started.set()
        code = self.wait()
        allowed = (0,) if kill is None else (0, 130, -signal.SIGKILL)
        assert code in allowed, self.log
        return code

    def start_task(self, task: str, **how: object) -> int:
        asked = {"task": task, "log": str(self.folder / "log"), **how}
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def wait(self) -> int:
        """Return the exit code of the started task."""
        return int(self.process.stdout.readline())

    @property
    def log(self) -> str:
        log = self.folder / "log"
        return log.read_text() if log.exists() else ""


@contextlib.contextmanager
def forking_program(emulator: Emulator) -> Iterator[subprocess.Popen[str]]:
    """Run forking_program.py; yield its process."""
    with subprocess.Popen(
        [sys.executable, Path(__file__).with_name("forking_program.py")],
        env={**os.environ, **emulator.environment()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()
