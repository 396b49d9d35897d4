"""Interface between the watch loop and its screens.

The loop calls ``screen.show(event)`` for each event, always in its own thread, one at a time. So a screen needs no lock
for that, but it must return at once, because the loop waits.

In the other direction, ``inbox.put(Command.REBUILD)`` may be called from any thread and from a signal's handler, and
wakes the loop. A screen that reads keys does so in a thread; it starts the thread in ``__enter__``, and ends it and
restores the terminal in ``__exit__``.

The domain's console can have the terminal: after ``Command.CONSOLE`` the loop enters ``screen.lent()``. In that block
the screen reads no key and draws nothing, and the terminal is as it was before the screen. The loop then reads keys and
writes there itself until Ctrl-] or the end of the domain. Builds continue; their events are shown after the block.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType

    from unibuild.watch.events import AnyEvent

__all__ = ["Command", "Inbox", "Screen"]


class Command(enum.Enum):
    """What the user can ask the loop for."""

    REBUILD = "rebuild"
    """Run a cycle even if nothing changed: stages that are out of date, or failed, run."""
    REBOOT = "reboot"
    """The same, and boot the domain even if it is unchanged."""
    PAUSE = "pause"
    """Let saves start no cycle, or let them start cycles again."""
    CONSOLE = "console"
    """Give the terminal to the domain's console, until Ctrl-]."""
    QUIT = "quit"
    """End the loop."""


class Inbox(Protocol):
    """Takes commands for the loop."""

    def put(self, command: Command) -> None:
        """Hand a command to the loop and wake it; from any thread."""


class Screen(Protocol):
    """Shows the loop to the user or a program; a context manager that encloses the loop."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None: ...

    @property
    def columns(self) -> int | None:
        """The columns for a build's line with colours and progress; None: the build shall not use them."""

    def show(self, event: AnyEvent) -> None:
        """Show an event; see the head of this module.

        Raises:
            BrokenPipeError: nobody reads it any more; the loop ends.
        """

    def lent(self) -> AbstractContextManager[object]:
        """Give up the terminal while the block runs."""
