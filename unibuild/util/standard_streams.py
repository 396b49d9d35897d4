"""Standard output and error that never raise: what cannot be written is dropped, and the failure is remembered.

A closed pipe, a closed terminal or a full disk must not stop the replacement of a domain half way. The
``unibuild`` command calls ``install`` first; where ``doit`` is the entry point, ``write`` and ``text`` do the same for
what the tasks themselves report. ``check`` raises the failure when it is safe to end.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]  # of Python 3.12

__all__ = ["check", "failure", "hang_up", "install", "note", "text", "write"]

_GONE = (errno.EPIPE, errno.EIO)  # the reader has ended; the terminal was closed

_failures: dict[int, OSError] = {}  # the first one of each file descriptor


class _Raw(io.FileIO):
    """A file descriptor that accepts all output; what cannot be written is dropped."""

    def write(self, data: Buffer, /) -> int:
        """Return the number of bytes that were written; after a failure, the number of all bytes."""
        try:
            while (written := super().write(data)) is None:  # a pipe that another program made non-blocking
                select.select([], [self.fileno()], [])
        except OSError as error:
            note(self.fileno(), error)
            return memoryview(data).nbytes
        return written


def install() -> None:
    """Replace ``sys.stdout`` and ``sys.stderr`` by streams that never raise for a full disk or an unknown character."""
    for name, fd in (("stdout", 1), ("stderr", 2)):
        old = getattr(sys, name)
        if not isinstance(old, io.TextIOWrapper) or isinstance(getattr(old.buffer, "raw", None), _Raw):
            continue
        new = io.TextIOWrapper(
            io.BufferedWriter(_Raw(fd, "wb", closefd=False)),
            encoding=old.encoding,
            errors="backslashreplace" if old.errors == "strict" else old.errors,
            line_buffering=old.line_buffering,
            write_through=old.write_through,
        )
        setattr(sys, name, new)


def write(fd: Literal[1, 2], data: bytes) -> None:
    """Write all bytes to standard output (1) or standard error (2); a failure is remembered."""
    try:
        while data:
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:
                select.select([], [fd], [])
    except OSError as error:
        note(fd, error)


def text(fd: Literal[1, 2], text: str) -> None:
    """Write text to ``sys.stdout`` (1) or ``sys.stderr`` (2), and flush it; a failure is remembered."""
    stream = sys.stdout if fd == 1 else sys.stderr
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            stream.write(text.encode(stream.encoding, "backslashreplace").decode(stream.encoding))
        stream.flush()
    except OSError as error:
        note(fd, error)
        _redirect(fd)  # the stream would write the same text again when it is flushed at exit


def note(fd: int, error: OSError) -> None:
    """Remember that a standard stream could not be written; redirect a closed one to /dev/null from now on."""
    _failures.setdefault(fd, error)
    if error.errno in _GONE:
        _redirect(fd)


def _redirect(fd: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)


def hang_up(error: OSError) -> None:
    """Give up standard output, which could not be written: nothing more is written there, also not at exit."""
    note(1, error)
    _redirect(1)


def failure(fd: int | None = None) -> OSError | None:
    """Return the first failure of a standard stream, or of either; None: there was none."""
    found = list(_failures.values()) if fd is None else [_failures[fd]] if fd in _failures else []
    return found[0] if found else None


def check(fd: int | None = None) -> None:
    """Raise the failure of a standard stream, or of either, if there was one.

    Raises:
        BrokenPipeError: its reader has ended, or its terminal was closed.
        OSError: it could not be written for another reason.
    """
    error = failure(fd)
    if error is None:
        return
    if error.errno in _GONE:
        raise BrokenPipeError(error.errno, error.strerror)
    is_output = _failures.get(1) is error
    raise OSError(error.errno, error.strerror, "standard output" if is_output else "standard error")
