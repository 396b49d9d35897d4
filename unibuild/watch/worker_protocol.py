"""Messages between the watch loop and its build worker: JSON, one message a line, on one socket.

Before each message the worker writes ``MARK`` to its output, where the commands that it runs write too. So the loop
knows which output came before the message: a pseudo-terminal delivers output late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from unibuild.errors import UnibuildError
from unibuild.util.failure import Failure
from unibuild.util.lines import LineSplitter

if TYPE_CHECKING:
    import socket

__all__ = [
    "MARK",
    "BuildRequest",
    "Built",
    "Loaded",
    "Message",
    "MessageReader",
    "Refused",
    "Stop",
    "Task",
    "WorkerFailure",
    "send",
]

_HINT = "if unibuild was upgraded meanwhile, start watch again"

MARK = b"\x1b_unibuild\x1b\\"  # a string that terminals do not show (ECMA-48, APC)


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="message", tag=str.lower):
    version: Literal[1] = 1


class BuildRequest(_Message, frozen=True, kw_only=True):
    """To the worker: bring the goals up to date."""


class Stop(_Message, frozen=True, kw_only=True):
    """To the worker: stop the build; ``timeout`` is the time in seconds until it is killed."""

    timeout: float


class Loaded(_Message, frozen=True, kw_only=True):
    """Settings and ``dodo.py`` are loaded.

    Attributes:
        goals: the tasks that a boot needs.
        modules: the files of the loaded Python modules that are in the project's folder.
        inputs: the files that the user's own tasks read, as far as the goals need these tasks.
    """

    goals: tuple[str, ...]
    modules: tuple[str, ...]
    inputs: tuple[str, ...] = ()


class Refused(_Message, frozen=True, kw_only=True):
    """Settings or ``dodo.py`` cannot be loaded; the worker ends."""

    failure: Failure


class Task(_Message, frozen=True, kw_only=True):
    """A task begins or has succeeded; ``written`` are inputs that the build wrote, with their fingerprints."""

    name: str
    state: Literal["running", "done", "failed", "current"]
    seconds: float | None = None
    reason: str | None = None
    written: dict[str, str] = {}


class WorkerFailure(_Message, frozen=True, kw_only=True):
    """A task failed after ``seconds``; ``name`` is empty if it was the check of the tree before the first task."""

    name: str
    failure: Failure
    seconds: float | None = None


class Built(_Message, frozen=True, kw_only=True):
    """The build has ended; ``exit_code`` is minus the signal's number if a signal ended it."""

    exit_code: int


Message = BuildRequest | Stop | Loaded | Refused | Task | WorkerFailure | Built

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def send(to: socket.socket, message: Message) -> None:
    """Send a message.

    Raises:
        OSError: the other side has ended.
    """
    to.sendall(_encoder.encode(message) + b"\n")


class MessageReader:
    """Decodes the messages in what is received."""

    def __init__(self) -> None:
        self._lines = LineSplitter(b"\n", longest=None)

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that are whole now.

        Raises:
            UnibuildError: the other side is another release of unibuild, or not unibuild.
        """
        try:
            return [_decoder.decode(line) for line in self._lines.feed(data)]
        except msgspec.DecodeError as error:
            raise UnibuildError(f"a message of the build worker cannot be read: {error}", hint=_HINT) from None
