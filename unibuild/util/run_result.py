"""Send the result of a run as JSON to the unibuild that started it: ``--host all`` starts one run for each host.

The parent names a file descriptor in the environment. It reads fields, never the messages for people.
"""

from __future__ import annotations

import contextlib
import os
from typing import Literal

import msgspec

from unibuild.errors import UnibuildError
from unibuild.util.failure import Failure

__all__ = ["DESCRIPTOR", "Result", "begin", "has_parent", "note", "note_failure", "read", "send"]

DESCRIPTOR = "UNIBUILD_RESULT"
"""The environment variable that names the file descriptor."""

_MOST = 1 << 20  # bytes of a result


class Result(msgspec.Struct):
    """The result of a run.

    Attributes:
        sentence: the last message that it printed, for people.
        domid: the number of the domain that runs now; None: none is known.
        failure: the first error that ended a goal.
        version: of this format.
    """

    sentence: str = ""
    domid: int | None = None
    failure: Failure | None = None
    version: Literal[1] = 1


_result = Result()
_fd: int | None = None


def note(*, sentence: str | None = None, domid: int | None = None) -> None:
    """Keep what a run reported, or the domain that runs now."""
    if sentence is not None:
        _result.sentence = sentence
    if domid is not None:
        _result.domid = domid


def note_failure(error: UnibuildError) -> None:
    """Keep the first error of a run."""
    if _result.failure is None:
        _result.failure = Failure.of(error)


def begin() -> None:
    """Open the file descriptor that the parent named, if it named one; children of this run do not inherit it."""
    global _fd
    fd = os.environ.pop(DESCRIPTOR, "")
    if fd.isdecimal():
        _fd = int(fd)
        with contextlib.suppress(OSError):
            os.set_inheritable(_fd, False)


def has_parent() -> bool:
    """Return whether another unibuild started this one and waits for its result."""
    return _fd is not None


def send() -> None:
    """Write the result to the parent, if it waits for one."""
    global _fd
    fd, _fd = _fd, None
    if fd is not None:
        with contextlib.suppress(OSError), os.fdopen(fd, "wb") as pipe:  # the parent may have gone
            pipe.write(msgspec.json.encode(_result))


def read(fd: int) -> Result:
    """Return the result that a child has sent, and close the file descriptor; an empty result if it sent none.

    A result that cannot be read counts as a failure.
    """
    with os.fdopen(fd, "rb") as pipe:
        content = pipe.read(_MOST)
    try:
        return msgspec.json.decode(content, type=Result) if content else Result()
    except msgspec.DecodeError:  # another release wrote it, or it was killed
        return Result(failure=Failure.of(UnibuildError("the result of the run cannot be read")))
