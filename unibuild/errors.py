"""The tree of errors that unibuild reports to the user, with their exit codes.

    UnibuildError               exit code 1: a step failed
    ├── CommandError            a program that unibuild ran failed (has .argv and .returncode)
    ├── BuildError              the toolchain's own command failed, or left no kernel
    ├── InputError              exit code 2: the user's input is wrong
    │   ├── SettingsError       unibuild.toml, UNIBUILD_..., key=value
    │   ├── XlSyntaxError       an .xl that xl would refuse (has .line and .column, from 1)
    │   └── KernelError         a file is not a Xen kernel, or not of the wanted type
    ├── MissingError            exit code 3: a program, package or the network is not there
    ├── FileError               exit code 3: a file cannot be read or written (disk full, permission)
    ├── BusyError               exit code 3: another unibuild holds the lock
    ├── HostError               exit code 4: the Xen host cannot be reached, or refused
    │   ├── LostError           its connection broke: the command may have been carried out
    │   │   ├── NoAnswerError   it gave no answer in time (has .seconds)
    │   │   └── ProgramDiedError  a signal ended the program there (has .signal)
    │   └── LabError            the lab VM does not start or does not answer
    ├── DomainError             exit code 5: the domain could not be created, failed, or has another owner
    │   └── NotReadyError       exit code 6: the new domain was not ready; the hint says what runs now
    └── AwsError                exit code 7: AWS refused or cannot be reached (has .code)
        └── AwsLostError        its answer was lost: the call may have been carried out

Each has a message (what failed and where) and may have a hint (what to do next).
The command line prints both and no traceback; ``--debug`` shows the traceback too.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AwsError",
    "AwsLostError",
    "BuildError",
    "BusyError",
    "CommandError",
    "DomainError",
    "FileError",
    "HostError",
    "InputError",
    "KernelError",
    "LabError",
    "LostError",
    "MissingError",
    "NoAnswerError",
    "NotReadyError",
    "ProgramDiedError",
    "SettingsError",
    "UnibuildError",
    "XlSyntaxError",
]


class UnibuildError(Exception):
    """A failure that the user sees.

    Args:
        message: what failed and where, in one sentence without a full stop.
        hint: what the user can do next; may have several lines.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def kind(self) -> str:
        """The name of its class, which identifies it in another process."""
        return type(self).__name__

    @property
    def fields(self) -> dict[str, str | int | float | bool | list[str] | None]:
        """Its attributes except the message and the hint: text, numbers, lists of text or None."""
        plain = (str, int, float, bool, list, type(None))
        found = {key: value for key, value in vars(self).items() if isinstance(value, plain)}
        return {key: value for key, value in found.items() if key not in ("message", "hint", "exit_code")}

    def add(self, hint: str) -> None:
        """Add a line to the hint."""
        self.hint = "\n".join(filter(None, (self.hint, hint)))

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class CommandError(UnibuildError):
    """A program that unibuild ran failed.

    Args:
        argv: the argument list.
        returncode: its exit status; minus the signal's number if a signal ended it.
        output: its output, or the end of it.
    """

    def __init__(self, argv: Sequence[str], returncode: int, output: str = "", *, hint: str | None = None) -> None:
        how = f"was ended by signal {-returncode}" if returncode < 0 else f"failed with exit code {returncode}"
        printed = f":\n{output.rstrip()}" if output.strip() else ""
        super().__init__(f"`{shlex.join(argv)}` {how}{printed}", hint=hint)
        self.argv = list(argv)
        self.returncode = returncode
        self.output = output


class BuildError(UnibuildError):
    """The toolchain's own command failed, or succeeded and left no kernel."""


class InputError(UnibuildError):
    """The user's input is wrong."""

    exit_code = 2


class SettingsError(InputError):
    """A setting is unknown, of the wrong type, or contradicts another."""


class XlSyntaxError(InputError):
    """An ``.xl`` file that xl would refuse.

    Args:
        message: what is wrong there.
        path: the file's name as the user knows it.
        line: line number, from 1.
        column: column in characters, from 1.
        hint: what to do next.
    """

    def __init__(self, message: str, *, path: str, line: int, column: int, hint: str | None = None) -> None:
        super().__init__(f"{path}:{line}:{column}: {message}", hint=hint)
        self.line = line
        self.column = column


class KernelError(InputError):
    """A file is not a Xen kernel, or not of the wanted type."""


class MissingError(UnibuildError):
    """A program, a package or the network is not there."""

    exit_code = 3


class FileError(UnibuildError):
    """A file cannot be read or written."""

    exit_code = 3

    @classmethod
    def of(cls, error: OSError) -> FileError:
        """Return the error for an unexpected error of the operating system."""
        where = f"{error.filename}: " if error.filename else ""
        return cls(f"{where}{error.strerror or error}")


class BusyError(UnibuildError):
    """Another unibuild holds the lock."""

    exit_code = 3


class HostError(UnibuildError):
    """The Xen host cannot be reached, or refused."""

    exit_code = 4


class LostError(HostError):
    """The connection to the host broke while a command was running there, which may have been carried out."""


class NoAnswerError(LostError):
    """A command on the host had no end in time; it may have been done.

    Args:
        message: the command, and the host.
        hint: what to do next.
        seconds: how long it had.
    """

    def __init__(self, message: str, *, hint: str | None = None, seconds: float) -> None:
        super().__init__(message, hint=hint)
        self.seconds = seconds


class ProgramDiedError(LostError):
    """A signal ended a program on the host; what it was asked for may have been done.

    Args:
        message: which program, on which host, and its last words.
        hint: what to do next.
        number: the signal's number.
    """

    def __init__(self, message: str, *, hint: str | None = None, number: int) -> None:
        super().__init__(message, hint=hint)
        self.signal = number


class LabError(HostError):
    """The lab VM does not start or does not answer."""


class DomainError(UnibuildError):
    """The domain could not be created, failed, or has another owner."""

    exit_code = 5


class NotReadyError(DomainError):
    """The new domain was not ready in time, or ended first."""

    exit_code = 6


class AwsError(UnibuildError):
    """AWS refused, or cannot be reached.

    Args:
        message: what failed and where.
        hint: what to do next.
        code: AWS's own code, as ``UnauthorizedOperation``, or the name of botocore's exception.
        reason: the reason that the EBS direct API adds to its code, as ``INVALID_SNAPSHOT_ID``.
        passing: the fault may be over when it is tried again later.
    """

    exit_code = 7

    def __init__(
        self, message: str, *, hint: str | None = None, code: str = "", reason: str = "", passing: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.reason = reason
        self.passing = passing


class AwsLostError(AwsError):
    """The answer to a call was lost. AWS may have carried the call out, and it must not be made twice."""


def _with_subclasses(kind: type[UnibuildError]) -> list[type[UnibuildError]]:
    return [kind, *(one for below in kind.__subclasses__() for one in _with_subclasses(below))]


KINDS = {kind.__name__: kind for kind in _with_subclasses(UnibuildError)}
"""Each class of this module by its name, which identifies it in another process."""
