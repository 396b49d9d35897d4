"""How a failure is told on the terminal, the same from every front door."""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING

from unibuild.errors import FileError
from unibuild.util import run_result, standard_streams

if TYPE_CHECKING:
    from unibuild.errors import UnibuildError

__all__ = ["DEBUG", "debugging", "hang_up", "interrupted", "lost_output", "tell"]

DEBUG = "UNIBUILD_DEBUG"


def debugging() -> bool:
    """Say whether tracebacks are wanted: ``unibuild --debug`` or the environment variable ``UNIBUILD_DEBUG``."""
    return bool(os.environ.get(DEBUG))


def tell(error: UnibuildError) -> int:
    """Write a failure to standard error, with what to do next; return the exit code."""
    if debugging():
        import traceback

        standard_streams.text(2, "".join(traceback.format_exception(error)))
    run_result.note_failure(error)
    hint = "".join(f"  {line}\n" for line in (error.hint or "").splitlines())
    standard_streams.text(2, f"unibuild: {error.message}\n{hint}")
    return error.exit_code


def lost_output() -> int:
    """Return the exit code for output that could not be written, which a full disk is reported as; 0: all was."""
    try:
        standard_streams.check()
    except BrokenPipeError:
        return hang_up()
    except OSError as error:
        return tell(FileError.of(error))
    return 0


def interrupted() -> int:
    """Answer Ctrl-C with a line on standard error; return the exit code."""
    standard_streams.text(2, "unibuild: interrupted\n")
    return 128 + signal.SIGINT


def hang_up() -> int:
    """Answer a reader of our output that has gone (``unibuild list | head -1``): say no more; return the exit code."""
    standard_streams.hang_up(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))
    return 128 + signal.SIGPIPE
