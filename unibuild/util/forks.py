"""A copy of this process that does one thing, with all that is loaded, and ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from typing import TYPE_CHECKING

from unibuild.util import job_control
from unibuild.util.process import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Fork", "fork"]


class Fork:
    """A copy of this process that does one thing; its file descriptor is readable once it has ended."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._fd

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its process group, and let what was stopped there go on."""
        job_control.signal_group(self.pid, number)
        job_control.signal_group(self.pid, signal.SIGCONT)

    def reap(self) -> int:
        """Wait for its end; return its exit code, minus the signal's number where one ended it."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self._fd)
        return os.waitstatus_to_exitcode(status)

    def stop(self, patience: float = PATIENCE) -> int:
        """End its process group: TERM, then KILL after ``patience`` seconds; return as ``reap`` does."""
        self.signal(signal.SIGTERM)
        if not select.select([self], [], [], patience)[0]:
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
        with contextlib.suppress(OSError):  # the copy was faster, or has ended
            os.setpgid(pid, 0)
        return Fork(pid)
    code = 1
    try:
        os.setpgid(0, 0)
        code = act()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:  # whatever was raised: nothing of it is for the caller of the copied function
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
