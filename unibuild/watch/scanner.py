"""Scan the inputs for the watch loop, and keep watches on the folders that matter."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Self

from unibuild.errors import UnibuildError
from unibuild.watch.inotify import InotifyWatcher
from unibuild.watch.state import FilesTouched, Scanned, WatchesFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from unibuild.watch.inputs import InputTracker
    from unibuild.watch.state import Scan

__all__ = ["Scanner"]


class Scanner(contextlib.AbstractContextManager["Scanner"]):
    """Compares a project's inputs with the last build.

    Args:
        tree: the project's inputs.
        wake: wakes the loop, from any thread.

    Attributes:
        watcher: reports changes of watched folders.
        is_touched: whether it reported one since the last ``check``.
    """

    def __init__(self, tree: InputTracker, wake: Callable[[], None]) -> None:
        self.tree = tree
        self.watcher = InotifyWatcher(self._touched, poll=tree.project.settings.watch.poll)
        self.is_touched = False
        self._wake = wake
        self._synced = -1

    def __enter__(self) -> Self:
        self.watcher.watch(self.tree.watched())
        return self

    def __exit__(self, *_: object) -> None:
        self.watcher.__exit__()

    def scan(self, request: Scan) -> Scanned:
        """Take the fingerprints of all inputs, and compare them with those of the last build."""
        began = time.monotonic()
        tree = self.tree
        sources: tuple[str, ...] = ()
        if request.purpose == "check":
            self.is_touched = False
            sources = tuple(tree.reloads())
        moved, failed = False, None
        changed: tuple[str, ...] = ()
        try:
            moved = tree.look()
        except UnibuildError as error:
            failed = error
        if failed is None or request.purpose == "build":
            changed = tuple(tree.edited() if request.only_edits else tree.changed())
        return Scanned(request, began, moved, changed, sources, failed, tree.cost, tree.is_racy)

    def sync(self) -> FilesTouched | WatchesFailed | None:
        """Watch the folders that matter now; return what the loop has to know of that."""
        self.watcher.check()
        found = None
        if self._synced != self.tree.scans or self.watcher.is_stale:
            before, self._synced = self.watcher.folders, self.tree.scans
            self.watcher.watch(self.tree.watched())
            if self.watcher.folders - before:
                found = FilesTouched()  # files may have come into them before they were watched
        failure = self.watcher.failure
        return WatchesFailed(failure, self.watcher.hint) if failure is not None else found

    def _touched(self) -> None:
        """Wake the loop; called in the thread that reads inotify's events."""
        if not self.is_touched:
            self.is_touched = True
            self._wake()
