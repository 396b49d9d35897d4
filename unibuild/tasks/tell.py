"""How a failure is told on the terminal, the same from every front door."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unibuild.errors import UnibuildError

__all__ = ["DEBUG", "debugging", "hang_up", "interrupted", "tell"]

DEBUG = "UNIBUILD_DEBUG"


def debugging() -> bool:
    """Say whether tracebacks are wanted: ``unibuild --debug`` or the environment variable ``UNIBUILD_DEBUG``."""
    return bool(os.environ.get(DEBUG))


def tell(error: UnibuildError) -> int:
    """Write a failure to standard error, with what to do next; return the exit code."""
    if debugging():
        import traceback

        traceback.print_exception(error)
    print(f"unibuild: {error.message}", file=sys.stderr)
    if error.hint:
        print("\n".join(f"  {line}" for line in error.hint.splitlines()), file=sys.stderr)
    return error.exit_code


def interrupted() -> int:
    """Answer Ctrl-C with a line on standard error; return the exit code."""
    print("unibuild: interrupted", file=sys.stderr)
    return 128 + signal.SIGINT


def hang_up() -> int:
    """Answer a reader of our output that has gone (``unibuild list | head -1``): say no more; return the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE
