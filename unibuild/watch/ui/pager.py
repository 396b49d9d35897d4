"""A person's pager on the terminal, which is lent to it as a shell does."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import time
from typing import TYPE_CHECKING

from unibuild.errors import UnibuildError
from unibuild.util import job_control, process
from unibuild.util.tty import undisturbed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["command", "page"]

_AGAIN = 0.1  # seconds between two looks at it


def command(path: Path, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return what shows a file: ``$PAGER``, divided into words as the shell does it, else less at the file's end.

    Raises:
        UnibuildError: ``$PAGER`` has a quote that is not closed.
    """
    try:
        words = shlex.split(environ.get("PAGER", ""))
    except ValueError as error:
        raise UnibuildError(f"PAGER={environ['PAGER']} cannot be divided into words: {error}") from None
    if not words:
        words = ["less", "+G"] if shutil.which("less") else ["more"]
    return [*words, str(path)]


def page(argv: list[str], is_over: Callable[[], bool]) -> None:
    """Run a pager to its end, with the terminal of standard input; end it when ``is_over`` says so.

    The terminal has to be as it was before us, and nobody else may read it. Ctrl-Z stops the pager and us. Unlike
    ``process.run_interactive`` this is for any thread.

    Raises:
        MissingError: the program is not there.
        UnibuildError: it cannot be started.
    """
    with process.start(argv, stdin=None, stdout=None, stderr=None) as child:
        group = child.popen.pid
        try:
            _bring_to_front(group)
            while child.poll() is None and not is_over():
                with undisturbed(signal.SIGTTOU):
                    job_control.follow_stop(group)
                time.sleep(_AGAIN)
            child.stop(1.0)
        finally:
            _bring_to_front(os.getpgrp(), of=group)


def _bring_to_front(group: int, of: int | None = None) -> None:
    """Make a group the terminal's foreground, in which ``of``, by default our own group, is now."""
    try:
        if os.tcgetpgrp(0) == (of or os.getpgrp()):
            with undisturbed(signal.SIGTTOU):
                os.tcsetpgrp(0, group)
    except OSError:
        pass  # the terminal is gone, or the pager has ended already
