"""The lock that lets one build at a time run in a tree."""

from __future__ import annotations

import math
import os
import signal
import threading
from typing import TYPE_CHECKING

from unibuild.errors import FileError
from unibuild.settings.loader import state_dir
from unibuild.util import files, standard_streams

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TreeLock"]


class TreeLock:
    """The lock on a project's tree, held from the first stage that runs to the last.

    It is created before doit forks its workers (``-n 2``), so that all processes of the run share one lock.

    Args:
        root: the project's folder.
    """

    def __init__(self, root: Path) -> None:
        self._lock: files.Lock | None = None
        self._error: FileError | None = None
        try:
            self._lock = files.Lock(state_dir(root) / "lock", f"the build in {root}")
        except FileError as error:  # the tree may be read-only: `doit list` works there
            self._error = error

    def hold(self) -> None:
        """Take the lock for the rest of the run; if another run has it, print that and wait until that run ends.

        Raises:
            BusyError: the build that has the lock started this run.
            FileError: the lock's file cannot be created in this tree.
        """
        if self._lock is None:
            assert self._error is not None
            raise self._error
        what = self._lock.what
        self._lock.acquire(
            math.inf, lambda holder: standard_streams.text(2, f"unibuild: waiting for {what}: {holder} has it\n")
        )
        _end_with_parent()

    def release(self) -> None:
        """Let other runs build: this run does not touch the tree any more."""
        if self._lock is not None:
            self._lock.release()


def _end_with_parent() -> None:
    """In a worker of doit, end when the parent process is killed: doit's workers would wait for ever."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is None or any(thread.name == "unibuild parent" for thread in threading.enumerate()):
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="unibuild parent", daemon=True).start()
