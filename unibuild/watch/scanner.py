"""When the loop looks at its tree, and when what it sees there is a save that is finished."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Self

from unibuild.errors import UnibuildError
from unibuild.util.timing import Debounce
from unibuild.watch.inotify import InotifyWatcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from unibuild.watch.inputs import InputTracker

__all__ = ["Scanner"]

_LOOK = 1.0  # seconds between two looks that nothing asked for, at least
_SHARE = 0.0025  # of a core that these looks may take
_SHARE_POLLING = 0.02  # the same where nothing else tells of a change
_PAUSE = 0.005  # seconds between two looks that were asked for


class Scanner(contextlib.AbstractContextManager["Scanner"]):
    """Looks at a tree.

    Args:
        tree: the tree.
        wake: wakes the loop, from any thread.
        problem: is told what fails.

    Attributes:
        debounce: when the save that is under way is finished.
        config: the same of settings and ``dodo.py``.
    """

    def __init__(self, tree: InputTracker, wake: Callable[[], None], problem: Callable[[UnibuildError], None]) -> None:
        settings = tree.project.settings.watch
        self.tree = tree
        self.triggers = InotifyWatcher(self._woken, poll=settings.poll)
        self.debounce = Debounce(settings.debounce, settings.max_wait)
        self.config = Debounce(settings.debounce, settings.max_wait)
        self._wake = wake
        self._problem = problem
        self._is_woken = False
        self._last = self._next = time.monotonic()
        self._stale: tuple[str, ...] = ()
        self._broken = ""
        self._told: str | None = "[watch] poll is set" if settings.poll else None
        self._synced = -1

    def __enter__(self) -> Self:
        self.triggers.watch(self.tree.watched())
        return self

    def __exit__(self, *_: object) -> None:
        self.triggers.__exit__()

    def ask(self) -> None:
        """Look soon."""
        self._is_woken = True

    def at(self) -> float:
        """Return when to look next, of the clock."""
        if self._is_woken or self.tree.is_racy:
            return self._last + max(_PAUSE, 2 * self.tree.cost)
        return self._next

    def look(self, *, builds: bool) -> None:
        """Look, where it is time to; while something ``builds``, what that may write itself is left out."""
        now = time.monotonic()
        if now < self.at():
            return
        self._is_woken = False
        if paths := self.tree.reloads():
            self._stale = tuple(dict.fromkeys((*self._stale, *paths)))
            self.config.saw(now)
        if (moved := self._is_moved()) is not None:
            if not (self.tree.edited() if builds else self.tree.changed()):
                self.debounce.reset()
            elif moved or self.debounce.first is None:
                self.debounce.saw(now)
        self._last = time.monotonic()
        share = _SHARE_POLLING if self.triggers.is_polling else _SHARE
        self._next = self._last + max(_LOOK, self.tree.cost / share)
        if not builds:
            self._sync()

    def reloads(self, now: float) -> tuple[str, ...]:
        """Return what changed of that from which the graph comes, once it is finished."""
        if not self.config.over(now):
            return ()
        self.config.reset()
        stale, self._stale = self._stale, ()
        return stale

    def begins(self, now: float) -> bool:
        """Say, with one more look, whether there is a save to build that is finished."""
        if not self.debounce.over(now):
            return False
        moved = self._is_moved()
        if moved and self.debounce.first is not None and now < self.debounce.first + self.debounce.longest:
            self.debounce.saw(now)
            return False
        if moved is not None and self.tree.changed():
            return True
        self.debounce.reset()
        return False

    def begin(self, *, fresh: bool) -> tuple[float, list[str]]:
        """A build begins now: what changes from here on is for the next one.

        Args:
            fresh: whether the last look was a moment ago.

        Returns:
            The time of the first sign of what it builds, of the clock, and the paths that changed.
        """
        if not fresh:
            self._is_moved()
        first = self.debounce.first if self.debounce.first is not None else time.monotonic()
        changed = self.tree.changed()
        self.debounce.reset()
        self.tree.begin()
        return first, changed

    def begun(self) -> None:
        """A build has begun, and there is time for what it need not wait for."""
        self._sync()

    def renew(self) -> None:
        """Take over settings that changed."""
        settings = self.tree.project.settings.watch
        for one in (self.debounce, self.config):
            one.quiet, one.longest = settings.debounce, settings.max_wait

    def _woken(self) -> None:
        """Hear of a change; called in watchdog's thread."""
        if not self._is_woken:
            self._is_woken = True
            self._wake()

    def _is_moved(self) -> bool | None:
        """Look; say whether anything moved since the last time, or None: the tree cannot be built as it is."""
        try:
            moved = self.tree.look()
        except UnibuildError as error:
            self.debounce.reset()
            if error.message != self._broken:
                self._broken = error.message
                self._problem(error)
            return None
        self._broken = ""
        return moved

    def _sync(self) -> None:
        """Watch the folders that matter now."""
        self.triggers.check()
        if self._synced != self.tree.scans or self.triggers.is_stale:
            before, self._synced = self.triggers.folders, self.tree.scans
            self.triggers.watch(self.tree.watched())
            if self.triggers.folders - before:
                self._is_woken = True  # what came into them before they were watched
        failure = self.triggers.failure
        if failure is not None and failure != self._told:
            self._told = failure
            said = UnibuildError(
                f"{failure}: saves are looked for about once a second instead", hint=self.triggers.hint
            )
            said.exit_code = 0
            self._problem(said)
