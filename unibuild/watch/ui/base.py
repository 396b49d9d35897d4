"""How a screen and the loop meet: what the loop can be asked for, and what it asks of a screen.

The loop calls ``screen.show(event)`` for each event, always in its own thread and one at a time: a screen needs no
lock for that. What takes long belongs elsewhere, for the loop stands still meanwhile.

A screen has ``inbox``, the other way round: ``inbox.put(Command.REBUILD)`` may be called from any thread and from a
signal's handler, and wakes the loop. A screen that reads keys does so in a thread of its own; it starts it in
``__enter__`` and ends it in ``__exit__``, where the terminal is restored too.

The full console is lent the terminal: after ``Command.CONSOLE`` the loop enters ``screen.lent()``; within that block
the screen reads no key, draws nothing, and the terminal is as it was before the screen. The loop then types and shows
there itself until Ctrl-] or the end of the domain. Builds go on; what there is to tell of them is told after the block.
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
    """What the loop can be asked for."""

    REBUILD = "rebuild"
    """Run a cycle although nothing changed; a stage that is up to date stays so, one that failed is tried again."""
    REBOOT = "reboot"
    """The same, and boot the domain although it is unchanged."""
    PAUSE = "pause"
    """Let saves begin nothing, or if that is so already, let them count again."""
    CONSOLE = "console"
    """Lend the terminal to the console of the domain, until Ctrl-]."""
    QUIT = "quit"
    """End the loop."""


class Inbox(Protocol):
    """Where commands go in."""

    def put(self, command: Command) -> None:
        """Hand a command to the loop, which wakes; from any thread."""


class Screen(Protocol):
    """What a person, or a program, sees of the loop; a context manager around the whole of it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None: ...

    @property
    def columns(self) -> int | None:
        """How much room there is for a line of a build that shows its colours and progress; None: it shall not."""

    def show(self, event: AnyEvent) -> None:
        """Tell an event; see the head of this module.

        Raises:
            BrokenPipeError: nobody reads it any more; the loop ends.
        """

    def lent(self) -> AbstractContextManager[object]:
        """For the time of the block give up the terminal."""
