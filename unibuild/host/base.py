"""The protocol of a Xen host: this machine and SSH hosts run commands alike."""

from __future__ import annotations

import functools
import re
import shlex
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, TypeVar

from unibuild.errors import CommandError, HostError, LostError, NoAnswerError, ProgramDiedError
from unibuild.host.exchange import HostChild, LateError, Limits, Progress, exchange
from unibuild.util import files, output, process, standard_streams

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from unibuild.host.batch import BatchStep
    from unibuild.host.exchange import Call
    from unibuild.host.toolstack import Toolstack

__all__ = [
    "BATCH",
    "ENV",
    "FOLDERS",
    "SBIN",
    "Host",
    "WaitStatus",
    "check_sudo",
    "is_question",
    "limit",
    "shown",
    "twice",
]

ENV: Mapping[str, str] = {"LC_ALL": "C"}  # unibuild parses the output of sudo, ssh and xl

BATCH = "UNIBUILD_BATCH"
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # where xl is; not on every user's PATH
FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where sudo looks for programs: Debian's ``secure_path``, in its order."""

_ANSWER = 30.0  # seconds for a query
_ACTION = 300.0  # seconds for any other command
_ACTIONS = {  # seconds; libxl waits 40 for each device's script, 60 for a domain that is asked to shut down
    ("xl", "create"): 600.0,
    ("xl", "destroy"): 120.0,
    ("xl", "pause"): 60.0,
    ("xl", "rename"): 60.0,
    ("xl", "shutdown"): 120.0,
    ("xl", "unpause"): 60.0,
    ("tar",): 3600.0,
    ("xenstore-rm",): 60.0,
    ("xenstore-write",): 60.0,
}
_LONG = 60  # characters of a command that messages show
_Answer = TypeVar("_Answer")
_BEFORE_SHOWN = 3.0  # seconds of waiting before a user is shown what unibuild waits for

_QUESTIONS = (
    *("cat", "df", "find", "id", "ls", "pwd", "sha256sum", "stat", "test", "true", "uname", "wc"),
    *("xenstore-exists", "xenstore-list", "xenstore-ls", "xenstore-read"),
)
_XL_QUESTIONS = ("block-list", "dmesg", "domid", "info", "list", "network-list", "pci-assignable-list", "vcpu-list")
_SUDO = (  # messages of sudo (its plugins/sudoers), and why it refused
    (r"incorrect password attempt|no password was provided", "the password was wrong"),
    (r"a (?:terminal|password) is required|no tty present|no askpass program", "it wants a password"),
    (r"is not in the sudoers file|is not allowed to (?:execute|run)|may not run sudo", "its rules do not allow it"),
    (r"must have a tty to run sudo", "it wants a terminal"),
    (r"effective uid is not 0|must be owned by uid 0|unable to (?:initialize|load)", "it is not set up there"),
)


def is_question(argv: Sequence[str]) -> bool:
    """Return whether a command is a query, which can be run again whatever became of it the first time."""
    return (argv[1] in _XL_QUESTIONS) if argv[0] == "xl" else argv[0] in _QUESTIONS


def limit(argv: Sequence[str]) -> float:
    """Return the seconds that a command may take on a host."""
    if is_question(argv):
        return _ANSWER
    return _ACTIONS.get(tuple(argv[:2]), _ACTIONS.get(tuple(argv[:1]), _ACTION))


@dataclass(frozen=True)
class WaitStatus:
    """What a command that runs is waited for.

    Attributes:
        mark: a number that grows with each progress.
        name: what error messages call it.
        text: what the user is shown.
        seconds: in which the next progress must come; None: the command's own limit.
    """

    mark: int
    name: str
    text: str
    seconds: float | None = None


class Host(ABC):
    """A machine that runs Xen.

    ``name`` names it in messages and records: its name in ``[hosts]``, else its address. ``address`` is ``local``,
    ``lab`` or the ``ssh://`` address. ``has_ttys`` is whether ``start(..., tty=True)`` can give a command a terminal of
    its own on the host. ``is_batch`` says that no command may ask for a password: several runs share the terminal, or
    watch draws on it.
    """

    name: str
    address: str
    has_ttys: bool = False
    is_batch: bool = False
    _show: Callable[[str | None], None] | None = None
    _show_after: float = _BEFORE_SHOWN

    @functools.cached_property
    def toolstack(self) -> Toolstack:
        """The toolstack that manages the host's domains: ``xl``, unless another one was assigned."""
        from unibuild.host.toolstack import open_toolstack

        return open_toolstack("xl", self)

    @property
    @abstractmethod
    def user(self) -> str:
        """The user's name on the host."""

    @property
    @abstractmethod
    def needs_sudo(self) -> bool:
        """Whether commands that need root's rights run through sudo there."""

    @property
    def as_root(self) -> tuple[str, ...]:
        """The words before a command in a script of ``run(..., root=not needs_sudo)`` that needs xl's rights."""
        return ()

    @abstractmethod
    def call(self, argv: Sequence[str], *, tty: bool = False, root: bool = True, background: bool = False) -> Call:
        """Return the local command that runs ``argv`` on the host, without running it.

        Args:
            argv: program and arguments, as the host shall get them.
            tty: give it a terminal of its own there, which hangs up when the local command ends.
            root: run it with the rights that xl needs.
            background: it may not ask for a password, because it does not own the user's terminal.
        """

    @abstractmethod
    def locate(self, names: Sequence[str]) -> dict[str, str]:
        """Return the full paths of the programs that ``call`` finds on the host.

        Raises:
            HostError: the host cannot be reached.
        """

    @abstractmethod
    def answer(self, child: HostChild) -> process.Completed:
        """Return the output of a command that has ended, and its exit status on the host.

        Raises:
            LostError: the connection broke.
            HostError: ssh or sudo refused.
            MissingError: the program is not installed there.
        """

    @abstractmethod
    def limits(self, seconds: float, *, background: bool) -> Limits:
        """Return the limits of a command that may take ``seconds``, password prompts not included."""

    def renew(self) -> None:  # noqa: B027 (a host without a kept connection has nothing to do)
        """Prepare to repeat a command that did not start in time: stop using a connection that may hang."""

    def show_waiting(self, show: Callable[[str | None], None], after: float = _BEFORE_SHOWN) -> None:
        """Call ``show`` with what unibuild waits for, from any thread.

        Args:
            show: takes the name of a command and its host ("`xl list -v` on lab"), and None once it has ended.
            after: seconds that a command runs before it is shown.
        """
        self._show, self._show_after = show, after

    @abstractmethod
    def put(self, path: Path, *, folder: str = "", own: str | None = None) -> str:
        """Make a file readable on the host; return its absolute path there.

        Args:
            path: the local file.
            folder: the domain's folder among the copies there.
            own: names the working copy of a disk that will be written to; an existing copy is left unchanged.

        Raises:
            FileError: the file cannot be read.
            HostError: it cannot be written there.
        """

    def place(self, path: Path, *, folder: str = "", own: str | None = None) -> str:
        """Return the path on the host that ``put`` returns for a file; copy nothing. See ``put``."""
        return self.put(path, folder=folder, own=own)

    def put_step(
        self,
        path: Path,  # noqa: ARG002 (nothing is copied here)
        *,
        folder: str,  # noqa: ARG002
        exact: bool = False,  # noqa: ARG002
    ) -> BatchStep | None:
        """Return the command that does what ``put`` does, given the file as its input; None: the file is there.

        Args:
            path: the local file.
            folder: see ``put``.
            exact: the command reads no byte after the file's, because other input follows; slow for a large file.

        Raises:
            FileError: the file cannot be read.
        """
        return None

    def check_put(self, path: Path, done: process.Completed, target: str) -> None:  # noqa: B027 (nothing is copied here)
        """Raise the error of the command of ``put_step``, if it failed; else note that the copy is there.

        Args:
            path: the local file.
            done: what became of the command.
            target: what ``place`` returned.

        Raises:
            HostError: the file did not arrive.
        """

    def list_copies(self, folder: str) -> BatchStep | None:  # noqa: ARG002
        """Return the command that lists the copies in a folder, for ``note_copies``; None: there are none here."""
        return None

    def note_copies(self, folder: str, done: process.Completed) -> None:  # noqa: B027
        """Read the answer to ``list_copies``: the next ``put`` and ``discard`` of this folder need not ask again."""

    def leftovers(
        self,
        folder: str,  # noqa: ARG002
        keep: Sequence[str] = (),  # noqa: ARG002
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the copies that ``discard`` removes, and the working copies that stay besides; remove nothing."""
        return (), ()

    @abstractmethod
    def discard(self, folder: str, keep: Sequence[str] = ()) -> tuple[str, ...]:
        """Remove copies that ``put`` made.

        A working copy stays, unless ``keep`` has another one of its name, which replaces it.

        Args:
            folder: the domain's folder.
            keep: paths on the host that are still needed.

        Returns:
            The paths of the other working copies that stay.
        """

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes | None = None,  # noqa: A002 (the name that subprocess uses)
        timeout: float | None = None,
        check: bool = True,
        root: bool = True,
        background: bool = False,
        question: bool | None = None,
    ) -> process.Completed:
        """Run a command on the host to its end.

        Args:
            argv: program and arguments.
            input: bytes for its standard input.
            timeout: seconds that it may take; None: ``limit``.
            check: whether an exit status other than 0 is an error.
            root: see ``call``.
            background: see ``call``.
            question: whether it is a query, which can be repeated; None: ``is_question`` decides.

        Raises:
            HostError: the host cannot be reached, or refused.
            LostError: its connection broke, it did not answer in time, or the program died. A query was tried twice
                (once, if it exceeded its ``timeout``); any other command may have had its effect.
            CommandError: the command failed there (with ``check``).
        """
        background = background or self.is_batch
        again = is_question(argv) if question is None else question
        seconds = timeout if timeout is not None else _ANSWER if again else limit(argv)

        def once() -> process.Completed:
            limits = self.limits(seconds, background=background or timeout is not None)
            return self.exchange(argv, limits, data=input, root=root, background=background)

        done = twice(once, has_limit=timeout is not None) if again else once()
        if check and done.returncode:
            raise CommandError(argv, done.returncode, (done.stderr or done.stdout).decode(errors="replace"))
        return done

    def run_all(
        self,
        steps: Sequence[BatchStep],
        *,
        uploads: Sequence[Path] = (),
        background: bool = False,
        question: bool = False,
        on_done: Callable[[int], object] | None = None,
    ) -> tuple[process.Completed, ...]:
        """Run commands one after the other, up to the first that fails; on a host behind SSH in one exchange.

        Args:
            steps: the commands.
            uploads: the files that are the standard input of the first ones, a file each; the others have none. Each of
                these commands but the last reads exactly the bytes of its file.
            background: see ``call``.
            question: whether they only ask, so that all can be asked again.
            on_done: is called with the number of commands that have ended, whenever it has grown.

        Returns:
            What those that ran wrote, and their exit status. A step that may not fail, and did, is the last one.

        Raises:
            FileError: a file cannot be read.
            HostError: as those of ``run``.
            LostError: as those of ``run``.
        """
        found: list[process.Completed] = []
        for step in steps:
            data = None
            for path in uploads[len(found) : len(found) + 1]:
                with files.reading(path):
                    data = path.read_bytes()
            how: dict[str, bool] = {"root": step.root, "background": background}
            ask, seconds = question or None, step.seconds
            found.append(self.run(step.argv, input=data, check=False, question=ask, timeout=seconds, **how))
            if on_done:
                on_done(len(found))
            if found[-1].returncode and not step.may_fail:
                break
        return tuple(found)

    def exchange(
        self,
        argv: Sequence[str],
        limits: Limits,
        *,
        data: bytes | None = None,
        file: IO[bytes] | None = None,
        progress: Callable[[bytearray], WaitStatus] | None = None,
        root: bool = True,
        background: bool = False,
        name: str | None = None,
    ) -> process.Completed:
        """Run a command on the host once; most callers want ``run``.

        Args:
            argv: the command.
            limits: how long it may take, or, with ``progress``, how long it may make none.
            data: bytes for its standard input.
            file: its standard input, instead of ``data``.
            progress: takes what the command wrote so far, and returns what is waited for.
            root: see ``call``.
            background: see ``call``.
            name: its name in messages; None: the command itself.

        Raises:
            NoAnswerError: it did not end in time.
            ProgramDiedError: a signal killed it.
            HostError: see ``answer``.
        """
        name = name or shown(argv)
        stdin: int | IO[bytes] = file or (subprocess.DEVNULL if data is None else subprocess.PIPE)
        child = self._start(self.call(argv, root=root, background=background), stdin, subprocess.PIPE)
        told, began = "", time.monotonic()

        def waiting() -> WaitStatus:
            return progress(child.out.data) if progress else WaitStatus(0, name, f"{name} on {self.name}")

        def show(passed: float) -> None:
            nonlocal told
            text = waiting().text
            if self._show and passed >= self._show_after and text != told:
                told = text
                self._show(text)

        try:
            watched = Progress(show, lambda: waiting().mark, lambda: waiting().seconds)
            interrupted = exchange(child, limits, watched, data=data, lend=not background)
        except LateError as late:
            raise self._late(waiting().name, late) from None
        finally:
            if told and self._show:
                self._show(None)
            if output.debug_enabled():
                standard_streams.text(2, f"{1000 * (time.monotonic() - began):.0f} ms on {self.name}: {name}\n")
        if interrupted or child.popen.returncode == -signal.SIGINT:
            raise KeyboardInterrupt
        return self.answer(child)

    def _late(self, name: str, late: LateError) -> NoAnswerError:
        if not late.has_begun:
            self.renew()
            what = f"{self.name} did not start {name} within {late.seconds:g} s"
        else:
            what = f"{name} on {self.name} did not answer within {late.seconds:g} s"
        where = "run `unibuild lab down`" if self.address == "lab" else "check the host"
        return NoAnswerError(what, hint=f"{where}, then run again", seconds=late.seconds)

    def died(self, argv: Sequence[str], number: int, said: str) -> ProgramDiedError:
        """Return the error of a command that a signal killed on the host."""
        shells = signal.strsignal(number) or ""  # the remote shell adds it
        last = [line for line in said.splitlines() if line.strip() and not (shells and shells in line)][-1:]
        return ProgramDiedError(
            ": ".join([f"{shown(argv)} on {self.name} was killed by signal {number} ({_signal(number)})", *last]),
            hint="run again: unibuild first checks what was done",
            number=number,
        )

    def start(
        self,
        argv: Sequence[str],
        *,
        tty: bool = False,
        root: bool = True,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = subprocess.PIPE,
    ) -> HostChild:
        """Start a command on the host in the background, where it cannot ask for a password; see ``process.start``."""
        return self._start(self.call(argv, tty=tty, root=root, background=True), stdin, stdout)

    def _start(self, call: Call, stdin: int | IO[bytes] | None, stdout: int | IO[bytes] | None) -> HostChild:
        child = process.start(call.argv, env=ENV, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE)
        return HostChild(child.popen, call, self.answer)


def twice(once: Callable[[], _Answer], *, has_limit: bool = False) -> _Answer:
    """Ask a question, and once more where no answer came; not where it had a time limit that it did not keep."""
    try:
        return once()
    except LostError as error:
        if has_limit and isinstance(error, NoAnswerError):
            raise
    try:
        return once()
    except NoAnswerError as late:
        raise NoAnswerError(f"{late.message}, twice", hint=late.hint, seconds=late.seconds) from None


def shown(argv: Sequence[str]) -> str:
    """Return a command as messages show it: quoted, and cut where it is long."""
    words = shlex.join(argv)
    return f"`{words}`" if len(words) <= _LONG else f"`{words[:_LONG]}...`"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def check_sudo(said: str, where: str, hints: Mapping[str, str]) -> None:
    """Raise an error if ``said`` is a refusal of sudo.

    Args:
        said: the standard error of the command that failed.
        where: the machine, for the message: "on this machine".
        hints: the hint by the reason in ``_SUDO``; the key "" holds the one for all others.

    Raises:
        HostError: sudo refused.
    """
    for pattern, reason in _SUDO:
        if re.search(pattern, said):
            raise HostError(f"cannot run xl as root {where}: sudo refused: {reason}", hint=hints.get(reason, hints[""]))
