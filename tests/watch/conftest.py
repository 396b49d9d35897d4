from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import termios
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

from unibuild.watch import events

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Sequence

TIMEOUT = 60.0  # seconds; a busy machine passes, a lost save does not


@dataclass
class Watch:
    """A watch that runs, and the events that it reported."""

    tree: object
    process: subprocess.Popen[str]
    told: list[events.AnyEvent] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)
    at: dict[type, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._more:
                if line.startswith("{"):
                    self.told.append(events.decode(line))
                else:
                    self.stray.append(line)
                self._more.notify_all()
        with self._more:
            self._more.notify_all()

    def until(self, kind: type, test: Callable[[object], bool] = lambda _: True, timeout: float = TIMEOUT):
        """Wait for an event of a kind, after the one of this kind that was waited for last."""
        deadline = time.monotonic() + timeout
        with self._more:
            while True:
                for place in range(self.at.get(kind, 0), len(self.told)):
                    if isinstance(self.told[place], kind) and test(self.told[place]):
                        self.at[kind] = place + 1
                        return self.told[place]
                left = deadline - time.monotonic()
                assert left > 0, self.report(kind)
                assert self._reader.is_alive(), self.report(kind)
                self._more.wait(left)

    def cycle(self, outcome: str | None = None):
        """Wait for the end of a cycle."""
        found = self.until(events.Cycle)
        assert outcome in (None, found.outcome), self.report(found)
        return found

    def said(self, text: str):
        """Wait for a line with this text."""
        return self.until(events.Output, lambda event: text in event.text)

    def wait_for(self, test: Callable[[], bool], what: str) -> None:
        """Wait until a test is true, and try it again after each cycle."""
        deadline = time.monotonic() + TIMEOUT
        while not test():
            assert time.monotonic() < deadline, self.report(what)
            with self._more:
                self._more.wait(0.1)

    def quiet(self, seconds: float = 1.5) -> None:
        """Check that no cycle begins for a while: longer than the time between two scans."""
        with self._more:
            before = len(self.told)
        time.sleep(seconds)
        assert not [one for one in self.told[before:] if isinstance(one, events.Changed)], self.report("quiet")

    def rests(self, seconds: float = 1.5) -> None:
        """Wait until no cycle begins for a while: a save during a build starts another one."""
        deadline = time.monotonic() + TIMEOUT
        before = -1
        while before != (before := self.count(events.Changed)):
            assert time.monotonic() < deadline, self.report("rest")
            time.sleep(seconds)

    def count(self, kind: type) -> int:
        with self._more:
            return sum(isinstance(one, kind) for one in self.told)

    def report(self, wanted: object) -> str:
        told = "\n".join(events.encode(one).decode() for one in self.told[-60:])
        return f"wanted: {wanted}\ntold:\n{told}\nstray:\n{''.join(self.stray)}"

    def end(self, how: signal.Signals = signal.SIGINT) -> int:
        """End the watch by a signal; return its exit code."""
        self.process.send_signal(how)
        code = self.process.wait(TIMEOUT)
        self._reader.join(TIMEOUT)
        return code


@pytest.fixture
def project(tree, xen, hello_kernels):
    """A project with a build that copies a real kernel, and a host for it."""
    shutil.copy(hello_kernels.pv, tree.root / "base.bin")
    tree.write("Makefile", "hello.xen: main.c base.bin\n\tcp base.bin $@\n\techo built >> log\n")
    tree.write("unibuild.toml", 'name = "hello"\nhost = "local"\n' + tree.read("unibuild.toml"))
    (xen.world / "script").write_text("say booted\nobey bye\n")
    return tree


@pytest.fixture
def watching(project, xen, hello_kernels) -> Iterator[Callable[..., Watch]]:
    """Start a watch of the project with these words; it ends with the test."""
    with contextlib.ExitStack() as stack:

        def start(*words: str, command: str = "unibuild", argv: Sequence[str] = (), **env: str) -> Watch:
            started = Watch(project, project.start(*(argv or (command, "watch", "--json", *words)), **env))

            def end() -> None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(started.process.pid, signal.SIGKILL)
                started.process.wait()
                started.process.stdout.close()

            stack.callback(end)
            return started

        yield start


@pytest.fixture
def other_kernel(project, hello_kernels):
    """Replace the kernel that the build copies, and save a source."""

    def change(kernel: str = "pvh") -> None:
        source = getattr(hello_kernels, kernel)
        new = project.root / "base.new"
        shutil.copy(source, new)
        new.replace(project.root / "base.bin")
        project.write("main.c", f"for {kernel} {time.monotonic_ns()}")

    return change


class Played(pexpect.spawn):
    """A program on a pseudo-terminal of its own, as a terminal with colours and without links."""

    def __init__(self, command, folder, columns=80, **environ):
        env = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", **environ}
        for name in ("NO_COLOR", "FORCE_COLOR", "TERM_PROGRAM", "VTE_VERSION", "KONSOLE_VERSION", "WT_SESSION"):
            env.setdefault(name, "")
        super().__init__(
            command[0], command[1:], cwd=folder, env=env, dimensions=(24, columns), timeout=TIMEOUT, encoding="utf-8"
        )
        self.delaybeforesend = None

    def modes(self):
        return termios.tcgetattr(self.child_fd)[:4]

    def ends(self):
        """Wait for the end; return how, and what else was written."""
        self.expect(pexpect.EOF)
        self.wait()
        return self.exitstatus if self.signalstatus is None else -self.signalstatus, self.before


@pytest.fixture
def on_terminal(on_terminals) -> Callable[..., Played]:
    """Start a program on a pseudo-terminal; it ends with the test."""

    def start(*args: object, **more: object) -> Played:
        on_terminals.append(Played(*args, **more))
        return on_terminals[-1]

    return start


@pytest.fixture
def unikernel(project, tmp_path, hello_kernels, monkeypatch):
    """Make the project a MirageOS unikernel, which the stand-ins for mirage and opam build."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "standins"))
    import mirage_standin

    programs = tmp_path / "programs"
    for folder in (programs, tmp_path / "switch"):
        folder.mkdir()
    mirage_standin.install(programs, "4.11.1")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("OPAMROOT", str(tmp_path / "opam"))
    monkeypatch.setenv("STANDIN_SWITCH", str(tmp_path / "switch"))
    monkeypatch.setenv("STANDIN_PVH", str(hello_kernels.pvh))
    for name in ("Makefile", "main.c", "dodo.py"):
        (project.root / name).unlink()
    project.write("config.ml", 'let main = main "Unikernel.Main" job\nlet () = register "hello" [ main ]\n')
    project.write("unikernel.ml", "let start () = ()\n")
    project.write("unibuild.toml", 'host = "local"\n')
    return project
