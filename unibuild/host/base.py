"""Where ``xl`` runs: the protocol that this machine and every machine behind SSH answer alike."""

from __future__ import annotations

import os
import re
import subprocess
from abc import ABC, abstractmethod
from typing import IO, TYPE_CHECKING

from unibuild import process
from unibuild.errors import CommandError, HostError, LostError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["BATCH", "ENV", "SBIN", "Host", "check_sudo", "is_batch", "is_question"]

ENV: Mapping[str, str] = {"LC_ALL": "C"}  # we read what sudo, ssh and xl say

BATCH = "UNIBUILD_BATCH"
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # where xl stands; not on every user's PATH

_QUESTIONS = (
    *("cat", "df", "find", "id", "ls", "pwd", "sha256sum", "stat", "test", "true", "uname", "wc"),
    *("xenstore-exists", "xenstore-list", "xenstore-ls", "xenstore-read"),
)
_XL_QUESTIONS = ("block-list", "dmesg", "domid", "info", "list", "network-list", "pci-assignable-list", "vcpu-list")
_SUDO = (  # sudo's own words (its plugins/sudoers), and why it refused
    (r"incorrect password attempt|no password was provided", "the password was wrong"),
    (r"a (?:terminal|password) is required|no tty present|no askpass program", "it wants a password"),
    (r"is not in the sudoers file|is not allowed to (?:execute|run)|may not run sudo", "its rules do not allow it"),
    (r"must have a tty to run sudo", "it wants a terminal"),
    (r"effective uid is not 0|must be owned by uid 0|unable to (?:initialize|load)", "it is not set up there"),
)


def is_batch() -> bool:
    """Say whether nothing may ask for a password: several runs share the terminal, or nobody sits at it."""
    return bool(os.environ.get(BATCH))


def is_question(argv: Sequence[str]) -> bool:
    """Say whether a command only asks, so that it can be run again whatever became of it the first time."""
    return (argv[1] in _XL_QUESTIONS) if argv[0] == "xl" else argv[0] in _QUESTIONS


class Host(ABC):
    """A machine that runs Xen.

    ``name`` says which one, in sentences and records: that of its ``[hosts]`` table, else its address. ``address`` is
    ``local``, ``lab`` or the ``ssh://`` address. ``has_ttys`` says whether ``start(..., tty=True)`` can give a command
    a terminal of its own over there.
    """

    name: str
    address: str
    has_ttys: bool = False

    @property
    @abstractmethod
    def user(self) -> str:
        """Who we are there."""

    @property
    @abstractmethod
    def needs_sudo(self) -> bool:
        """Whether what needs the rights of root goes through sudo there."""

    @abstractmethod
    def command(
        self, argv: Sequence[str], *, tty: bool = False, root: bool = True, background: bool = False
    ) -> list[str]:
        """Return the local argument list that runs ``argv`` on the host; runs nothing.

        Args:
            argv: program and arguments, as they shall arrive there.
            tty: give it a terminal of its own there, which hangs up when the local command ends.
            root: run it with the rights that xl needs.
            background: it may not ask for a password: it does not own our terminal.
        """

    @abstractmethod
    def check(self, done: process.Completed) -> None:
        """Raise the error of a command that did not get as far as running on the host.

        Raises:
            LostError: the connection broke.
            HostError: ssh or sudo refused.
        """

    @abstractmethod
    def put(self, path: Path, *, folder: str = "", own: str | None = None) -> str:
        """Make a file readable there; return its absolute path on the host.

        Args:
            path: the file here.
            folder: name of a folder of the domain's own among the copies there.
            own: a disk that will be written to: this names its working copy there, which is left alone where it is
                there already.

        Raises:
            FileError: the file cannot be read.
            HostError: it cannot be written there.
        """

    @abstractmethod
    def discard(self, folder: str, keep: Sequence[str] = ()) -> tuple[str, ...]:
        """Remove copies that ``put`` made.

        A working copy stays, unless ``keep`` has another one of its name: that takes its place.

        Args:
            folder: the folder of the domain's own.
            keep: paths there of what is still needed.

        Returns:
            The paths of the working copies that stay besides.
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
    ) -> process.Completed:
        """Run a command on the host to its end; the arguments are those of ``process.run`` and ``command``.

        Raises:
            HostError: the host cannot be reached, or refused; ``LostError`` where its connection broke: a question
                (``is_question``) has been asked twice then, anything else may have been done.
            CommandError: the command failed there (with ``check``).
        """
        background = background or is_batch()
        local = self.command(argv, root=root, background=background)

        def once() -> process.Completed:
            if background and input is None and timeout is None:  # the terminal stays ours
                with process.start(local, env=ENV, stderr=subprocess.PIPE) as child:
                    out, err = child.popen.communicate()
                done = process.Completed(tuple(local), child.popen.returncode, out, err)
            else:
                done = process.run(local, env=ENV, input=input, timeout=timeout, check=False)
            if done.returncode:
                self.check(done)
            return done

        try:
            done = once()
        except LostError:
            if not is_question(argv):
                raise
            done = once()
        if check and done.returncode:
            raise CommandError(argv, done.returncode, (done.stderr or done.stdout).decode(errors="replace"))
        return done

    def start(
        self,
        argv: Sequence[str],
        *,
        tty: bool = False,
        root: bool = True,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = subprocess.PIPE,
    ) -> process.Child:
        """Start a command on the host in the background, where it cannot ask for anything; see ``process.start``."""
        return process.start(
            self.command(argv, tty=tty, root=root, background=True),
            env=ENV,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )


def check_sudo(said: str, where: str, hints: Mapping[str, str]) -> None:
    """Raise the error of sudo, where ``said`` is its refusal.

    Args:
        said: the standard error of the command that failed.
        where: the machine, for the sentence: "on this machine".
        hints: the mend by the reason in ``_SUDO``; the key "" holds the one for all others.

    Raises:
        HostError: sudo refused.
    """
    for pattern, reason in _SUDO:
        if re.search(pattern, said):
            raise HostError(f"sudo did not let us run xl as root {where}: {reason}", hint=hints.get(reason, hints[""]))
