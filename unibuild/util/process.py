"""Start child processes; no other module does.

A child is an argument list, never a shell string. It gets a process group of its own, so that ending it ends what
it started too: TERM first, KILL after some seconds. If this process owns the terminal, the child's group becomes its
foreground group, as in a shell: Ctrl-C reaches it, Ctrl-Z stops both, and sudo or opam can prompt.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from unibuild.errors import CommandError, MissingError, UnibuildError
from unibuild.util import job_control

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    Watch = Callable[[int], contextlib.AbstractContextManager[object]]

__all__ = ["KILL_TIMEOUT", "Child", "Completed", "Fork", "fork", "need", "run", "run_interactive", "start"]

KILL_TIMEOUT = 5.0  # seconds from TERM to KILL: a package manager needs a few to put its files right
PACKAGES = {  # the Debian package of each program that unibuild calls by name
    "addr2line": "binutils",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "gcc": "gcc",
    "make": "make",
    "opam": "opam",
    "qemu-system-x86_64": "qemu-system-x86",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sudo": "sudo",
    "xl": "xen-utils-4.17",
}
_TAIL = 4000  # characters of a failed command's output that go into the error


def _unwatched(pid: int) -> contextlib.AbstractContextManager[object]:  # noqa: ARG001
    return contextlib.nullcontext()


@dataclass(frozen=True)
class Completed:
    """The result of a child; ``returncode`` is minus the signal's number if a signal ended it."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are not UTF-8 are replaced."""
        return self.stdout.decode(errors="replace")


class Child(contextlib.AbstractContextManager["Child"]):
    """A running child, which is ended at the latest at the end of its ``with`` block."""

    def __init__(self, popen: subprocess.Popen[bytes], argv: Sequence[str]) -> None:
        self.popen = popen
        self.argv = tuple(argv)

    @property
    def stdin(self) -> IO[bytes] | None:
        """The pipe to its standard input, if ``start`` created one."""
        return self.popen.stdin

    @property
    def stdout(self) -> IO[bytes] | None:
        """The pipe from its standard output, if ``start`` created one."""
        return self.popen.stdout

    @property
    def stderr(self) -> IO[bytes] | None:
        """The pipe from its standard error, if ``start`` created one."""
        return self.popen.stderr

    def poll(self) -> int | None:
        """Return its exit status, or None while it runs."""
        return self.popen.poll()

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait at most ``timeout`` seconds for its end; return its exit status, or None while it runs."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def end(self, timeout: float = KILL_TIMEOUT) -> int:
        """End its whole process group: TERM, then KILL after ``timeout`` seconds. Its output can still be read."""
        if self.popen.poll() is None:
            job_control.signal_group(self.popen.pid, signal.SIGTERM)
            job_control.signal_group(self.popen.pid, signal.SIGCONT)
            if self.wait(timeout) is None:
                job_control.signal_group(self.popen.pid, signal.SIGKILL)
        return self.popen.wait()

    def stop(self, timeout: float = KILL_TIMEOUT) -> int:
        """End it as ``end`` does, and close its pipes."""
        status = self.end(timeout)
        for pipe in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return status

    def __exit__(self, *_: object) -> None:
        self.stop()


def need(program: str, *, hint: str | None = None) -> str:
    """Return the full path of a program.

    Raises:
        MissingError: it is not on PATH; the hint names its Debian package if unibuild knows it.
    """
    path = shutil.which(program)
    if path is None:
        raise _missing(program, hint)
    return path


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: bytes | None = None,  # noqa: A002 (the name that subprocess uses)
    timeout: float | None = None,
    check: bool = True,
    watched: Watch = _unwatched,
) -> Completed:
    """Run a command to its end and capture its output.

    Args:
        argv: program and arguments.
        cwd: the folder to run it in.
        env: variables to set in addition to those of this process.
        input: bytes for its standard input; None gives it an empty one.
        timeout: seconds after which it is ended.
        check: whether an exit status other than 0 is an error.
        watched: returns a context that is entered while the child with this process number runs.

    Raises:
        MissingError: the program is not there.
        CommandError: it failed (with ``check``), or the time ran out.
        KeyboardInterrupt: Ctrl-C ended it.
    """
    stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
    with start(argv, cwd=cwd, env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        deadline = None if timeout is None else time.monotonic() + timeout
        with job_control.foreground_group(child.popen.pid) as loan, watched(child.popen.pid):
            while True:
                try:
                    pause = 0.2 if loan.is_lent else None
                    if deadline is not None:
                        left = max(0.0, deadline - time.monotonic())
                        pause = left if pause is None else min(pause, left)
                    out, err = child.popen.communicate(input, pause)
                    break
                except subprocess.TimeoutExpired as expired:
                    if deadline is not None and time.monotonic() >= deadline:
                        child.stop()
                        output = (expired.output or b"").decode(errors="replace").rstrip()
                        raise CommandError(argv, -signal.SIGTERM, f"{output}\n(no end after {timeout:g} s)") from None
                    job_control.follow_stop(child.popen.pid)
        status = child.popen.returncode
    if loan.interrupted or status == -signal.SIGINT:
        raise KeyboardInterrupt
    if check and status:
        raise CommandError(argv, status, (err or out).decode(errors="replace")[-_TAIL:])
    return Completed(tuple(argv), status, out, err)


def run_interactive(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    watched: Watch = _unwatched,
) -> int:
    """Run a command to its end with the standard input, output and error of this process; return its exit status.

    The command gets GNU make's jobserver if this process has one. ``watched`` is as for ``run``.

    Raises:
        MissingError: the program is not there.
        KeyboardInterrupt: Ctrl-C ended it.
    """
    with (
        start(argv, cwd=cwd, env=env, stdin=None, stdout=None, stderr=None) as child,
        job_control.foreground_group(child.popen.pid) as loan,
        watched(child.popen.pid),
    ):
        while True:
            state = os.waitid(os.P_PID, child.popen.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
            if state is None or state.si_code != os.CLD_STOPPED:
                break
            job_control.follow_stop(child.popen.pid)
        status = child.popen.wait()
    if status == -signal.SIGINT or (status and loan.interrupted):  # a child may handle Ctrl-C and succeed
        raise KeyboardInterrupt
    return status


def start(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = subprocess.PIPE,
    stderr: int | IO[bytes] | None = subprocess.PIPE,
    session: bool = False,
    pass_fds: Sequence[int] = (),
) -> Child:
    """Start a command in a process group of its own and return at once; use it in a ``with`` block.

    ``stdin``, ``stdout`` and ``stderr`` are as in ``subprocess.Popen``; None means those of this process. In a
    ``session`` of its own the command has no terminal: what it runs cannot prompt, and fails instead of waiting for
    ever. ``pass_fds`` are file descriptors that it inherits, under the same numbers.

    Raises:
        MissingError: the program is not there.
    """
    popen = None
    try:
        with job_control.spawning():
            popen = subprocess.Popen(
                list(argv),
                cwd=cwd,
                env=_environment(cwd, env),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                process_group=None if session else 0,
                start_new_session=session,
                pass_fds=(*_jobserver(), *pass_fds),
            )
    except FileNotFoundError:
        if cwd is not None and not cwd.is_dir():
            raise MissingError(f"there is no folder {cwd} to run {argv[0]} in") from None
        raise _missing(argv[0], None) from None
    except OSError as error:
        if not _is_anywhere(argv[0], {**os.environ, **(env or {})}):
            raise _missing(argv[0], None) from None
        raise UnibuildError(f"cannot start {argv[0]}: {error.strerror}") from error
    except BaseException:
        if popen is not None:
            Child(popen, argv).stop()
        raise
    return Child(popen, argv)


def _environment(cwd: Path | None, env: Mapping[str, str] | None) -> dict[str, str] | None:
    """Return the environment of a child that runs in ``cwd``; None: that of this process.

    A shell sets PWD when it changes the folder, and Makefiles rely on it. A PWD that names ``cwd`` through a symbolic
    link stays as it is, as it does in a shell.
    """
    if cwd is None:
        return None if env is None else {**os.environ, **env}
    found = {**os.environ, **(env or {})}
    try:
        is_there = os.path.samefile(found.get("PWD", ""), cwd)  # noqa: PTH121 (PWD may be empty)
    except OSError:
        is_there = False
    if not is_there:
        found["PWD"] = str(cwd)
    return found


def _is_anywhere(program: str, env: Mapping[str, str]) -> bool:
    """Return whether a program is in a folder of PATH that can be searched, or is named by a path.

    A folder of PATH that cannot be searched (another user's, a loop of links) gives exec's error instead of ENOENT.
    """
    return os.sep in program or shutil.which(program, os.F_OK, env.get("PATH")) is not None


def _missing(program: str, hint: str | None) -> MissingError:
    package = PACKAGES.get(program)
    hint = hint or (
        f"on Debian or Ubuntu: apt install {package}" if package else "install it, or put its folder on PATH"
    )
    return MissingError(f"the program {program} is not installed", hint=hint)


def _jobserver() -> tuple[int, ...]:
    """Return the file descriptors of the jobserver that MAKEFLAGS names, if they are open in this process.

    Format: "--jobserver-auth=R,W", before GNU make 4.2 "--jobserver-fds=R,W" (GNU make manual, "POSIX Jobserver");
    the newer "fifo:PATH" needs no descriptor.
    """
    found = re.search(r"--jobserver-(?:auth|fds)=(\d+),(\d+)", os.environ.get("MAKEFLAGS", ""))
    fds = tuple(int(fd) for fd in found.groups()) if found else ()
    try:
        for fd in fds:
            os.fstat(fd)
    except OSError:
        return ()
    return fds


class Fork:
    """A copy of this process that does one thing; its file descriptor is readable once it has ended."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._fd

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its process group, and continue stopped processes there."""
        job_control.signal_group(self.pid, number)
        job_control.signal_group(self.pid, signal.SIGCONT)

    def reap(self) -> int:
        """Wait for its end; return its exit code, or minus the signal's number if one ended it."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self._fd)
        return os.waitstatus_to_exitcode(status)

    def stop(self, timeout: float = KILL_TIMEOUT) -> int:
        """End its process group: TERM, then KILL after ``timeout`` seconds; return as ``reap`` does."""
        self.signal(signal.SIGTERM)
        if not select.select([self], [], [], timeout)[0]:
            self.signal(signal.SIGKILL)
        return self.reap()


def fork(act: Callable[[], int]) -> Fork:
    """Run ``act`` in a copy of this process, in a process group of its own; return at once.

    The copy ends with what ``act`` returns, or with the code of its ``SystemExit``. Only a process without a second
    thread may call this: a lock that another thread held would be held in the copy for ever.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        with contextlib.suppress(OSError):  # the copy has done it already, or has ended
            os.setpgid(pid, 0)
        return Fork(pid)
    code = 1
    try:
        os.setpgid(0, 0)
        code = act()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:  # no exception may reach the caller's code in the copy
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
