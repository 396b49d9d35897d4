"""The builder that is in force, and the one that loads changed settings or a changed ``dodo.py`` to take its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unibuild.errors import UnibuildError
from unibuild.settings.loader import load
from unibuild.watch import worker_protocol
from unibuild.watch.build_worker import Builder

if TYPE_CHECKING:
    from collections.abc import Callable

    from unibuild.settings.loader import Project

__all__ = ["Builders", "Loaded"]

_MINUTE = 60.0  # seconds within which a builder that dies again is one that dies repeatedly
_LONGEST = 30.0  # seconds between the death of one and the start of the next, at most


@dataclass(frozen=True)
class Loaded:
    """A builder has loaded everything, and is in force: for which project, because of which files, and what it says."""

    project: Project
    paths: tuple[str, ...]
    message: worker_protocol.Loaded


class Builders:
    """The builders of a loop.

    Args:
        dodo: the ``dodo.py`` that a person named, or nothing.
        columns: gives the columns that what a build writes may take; None: it writes to a pipe.

    Attributes:
        current: the one in force; None: none has loaded yet, or it has died.
        at: when, of the clock, another one is started in the place of one that has died; None: no such thing is due.
    """

    def __init__(self, dodo: str, columns: Callable[[], int | None]) -> None:
        self.current: Builder | None = None
        self.at: float | None = None
        self._said: list[str] = []  # by the one that loads
        self._died: list[float] = []  # when, of the clock
        self._dodo = dodo
        self._columns = columns
        self._next: tuple[Builder, Project, tuple[str, ...]] | None = None

    def start(self, project: Project, paths: tuple[str, ...] = ()) -> None:
        """Start another one, which shall take over."""
        if self._next:
            self._next[0].__exit__()
        self.at = None
        self._said = []
        self._next = (Builder(project.root, self._dodo, project.words, self._columns), project, paths)

    def reload(self, project: Project, paths: tuple[str, ...]) -> None:
        """Load the project's settings anew, because of these files, and start a builder for them.

        Raises:
            UnibuildError: they are wrong.
        """
        words = dict(word.split("=", 1) for word in project.words)
        self.start(load(project.root, words, take_over=project.take_over), paths)

    def fds(self, *, builds: bool) -> list[Any]:
        """Return what to wait for; while one builds, the next one waits too."""
        heard = [self.current, None if builds else self._next and self._next[0]]
        return [fd for builder in heard if builder for fd in (builder.talk, builder.output)]

    def hear_next(self, now: float) -> Loaded | UnibuildError | None:
        """Return what became of the one that loads: it is in force now, or why it cannot be; None: it loads still."""
        if self._next is None:
            return None
        builder, project, paths = self._next
        for message in builder.hear():
            if isinstance(message, str):
                self._said.append(message)
            elif isinstance(message, worker_protocol.Loaded):
                old, self.current, self._next = self.current, builder, None
                if old:
                    old.__exit__()
                return Loaded(project, paths, message)
            elif isinstance(message, worker_protocol.Refused):
                return self._refuse(message.text, message.hint or "", message.exit_code)
        if not builder.has_ended:
            return None
        error = self._refuse("the builder could not be started", "", 1)
        if self.current is None:
            error.add(self._again(now))
        return error

    def died(self, now: float) -> UnibuildError:
        """Note that the current one has died, and see when another one takes its place; return what to tell of it.

        At once the first time, and the more often it happens within a minute, the later.
        """
        if self.current:
            self.current.__exit__()
        self.current = None
        return UnibuildError("the builder has died", hint=self._again(now))

    def revive(self, project: Project, now: float) -> None:
        """Start another one in the place of one that has died, where that is due."""
        if self.at is not None and now >= self.at:
            self.start(project)

    def close(self) -> None:
        """End all."""
        for builder in (self.current, self._next and self._next[0]):
            if builder:
                builder.__exit__()
        self.current = self._next = None

    def _again(self, now: float) -> str:
        """See when another one is started in the place of one that has died; return what to tell of it."""
        self._died = [*(then for then in self._died if now - then < _MINUTE), now]
        pause = 0.0 if len(self._died) < 2 else min(_LONGEST, 2.0 ** (len(self._died) - 2))
        if self._next is None:
            self.at = now + pause
        return f"it is started again{f' in {pause:g} s' if pause else ''}"

    def _refuse(self, text: str, hint: str, code: int) -> UnibuildError:
        assert self._next is not None
        self._next[0].__exit__()
        self._next = None
        error = UnibuildError(text, hint="\n".join((*self._said, hint)).strip("\n") or None)
        error.exit_code = code
        return error
