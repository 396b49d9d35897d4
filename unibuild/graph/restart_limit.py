"""Stop a make that reads its makefiles again and again without end.

make updates the makefiles that it includes, and then starts over. If such a makefile stays older than what it is made
from, because that is dated in the future, make never gets to the kernel. It counts its starts in MAKE_RESTARTS.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

from unibuild import fingerprint
from unibuild.errors import BuildError
from unibuild.settings.loader import STATE
from unibuild.util import job_control

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unibuild.graph.graph import Stage

__all__ = ["RESTARTS", "RestartLimit"]

RESTARTS = 30  # more than a chain of generated makefiles needs
_PAUSE = 1.0  # seconds between two looks
_SHOWN = 3  # files in a hint, at most


class RestartLimit:
    """Ends process groups in which a make starts over more than ``RESTARTS`` times.

    Attributes:
        is_exceeded: whether it ended one.
    """

    def __init__(self) -> None:
        self.is_exceeded = False

    @contextlib.contextmanager
    def watch(self, pid: int) -> Iterator[None]:
        """Look at the process group of a child for the time of the block."""
        is_over = threading.Event()

        def look() -> None:
            while not is_over.wait(_PAUSE):
                if any(_restarts(one) > RESTARTS for one in _members(pid)):
                    self.is_exceeded = True
                    job_control.signal_group(pid, signal.SIGTERM)

        thread = threading.Thread(target=look, name="unibuild restarts", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def check(self, stage: Stage) -> None:
        """See that no make was ended.

        Raises:
            BuildError: one was; the hint names the files that are dated in the future.
        """
        if not self.is_exceeded or stage.step is None:
            return
        now = fingerprint.clock(f"{stage.watch.root}/{STATE}").now
        ahead = [path for path in stage.watch.inputs if fingerprint.mtime(path) > now]
        names = " ".join(os.path.relpath(path, stage.step.cwd) for path in ahead[:_SHOWN])
        more = f" and {len(ahead) - _SHOWN} more" if len(ahead) > _SHOWN else ""
        hint = "`make -d` shows which makefile it updates each time, and why"
        if ahead:
            hint = f"set the dates of files that are in the future: touch {names}{more}"
        raise BuildError(f"make updates its makefiles without end in {stage.step.cwd}", hint=hint)


def _members(group: int) -> Iterator[int]:
    """Give the processes of a process group."""
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdecimal():
            with contextlib.suppress(OSError):
                if os.getpgid(int(name)) == group:
                    yield int(name)


def _restarts(pid: int) -> int:
    """Return how often a make has started over; 0 where that cannot be read."""
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
        for word in file.read().split(b"\0"):
            if word.startswith(b"MAKE_RESTARTS="):
                return abs(int(word.partition(b"=")[2]))
    return 0
