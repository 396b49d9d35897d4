"""Hand events to the screen, and let the domain's console have the terminal."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from unibuild.util import standard_streams
from unibuild.util.terminal import LEAVE, Keyboard
from unibuild.watch import events
from unibuild.watch.console_thread import PassthroughFlag

if TYPE_CHECKING:
    from unibuild.watch.domain import DomainController
    from unibuild.watch.ui import base

__all__ = ["EventSink"]

_HELD = 2000  # events that are shown after the console had the terminal; older ones are dropped


class _ConsolePassthrough:
    """The domain's console on the terminal; events wait meanwhile.

    Args:
        screen: gives up the terminal.
        domains: follows the domain.
        loan: shows the console's reader that the console has the terminal.
    """

    def __init__(self, screen: base.Screen, domains: DomainController, loan: PassthroughFlag) -> None:
        self._domains = domains
        self._loan = loan
        self._held: list[Any] = []
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(screen.lent())
        self._stack.callback(setattr, loan, "is_lent", False)
        self._keys = self._stack.enter_context(Keyboard())
        loan.is_lent = True
        follower = domains.follower
        assert follower is not None
        standard_streams.write(
            1, f"unibuild: this is the console of {follower.output.name}; Ctrl-] leaves it\r\n".encode()
        )

    @property
    def fd(self) -> int:
        """The file descriptor of the keys."""
        return self._keys.fd

    def hold(self, event: object) -> None:
        """Keep an event for later."""
        self._held = [*self._held[1 - _HELD :], event]

    def type(self) -> bool:
        """Send keys to the domain; return whether the user stays in the console."""
        data = self._keys.read()
        before, leave, _ = data.partition(LEAVE)
        if before and self._domains.follower and self._domains.is_following:
            self._domains.follower.attached.reader.send(before)
        return bool(data) and not leave

    def close(self) -> list[Any]:
        """Give the terminal back; return the events that waited."""
        self._stack.close()
        return self._held


class EventSink:
    """Hands events to the screen; while the console has the terminal, they wait.

    Args:
        screen: what shows them.

    Attributes:
        loan: whether the console has the terminal.
        is_unread: whether nobody reads what the screen shows any more.
    """

    def __init__(self, screen: base.Screen) -> None:
        self.loan = PassthroughFlag()
        self.is_unread = False
        self._screen = screen
        self._lent: _ConsolePassthrough | None = None
        self._progress = ""  # the beginning of a build's line, as it was shown last

    def report(self, event: Any) -> None:  # noqa: ANN401 (one of events.AnyEvent)
        """Show an event, at the latest once the screen has the terminal again."""
        if self.is_unread:
            return
        if self._lent:
            self._lent.hold(event)
            return
        try:
            self._screen.show(event)
        except BrokenPipeError:  # a swap is finished all the same
            self.is_unread = True

    def show_progress(self, text: str) -> None:
        """Show the beginning of a build's line on a terminal, if it has changed."""
        if text != self._progress and self._screen.columns:
            self.report(events.Output(at=time.time(), origin="build", text=text, whole=False))
        self._progress = text

    def lend(self, domains: DomainController) -> bool:
        """Give the terminal to the domain's console; return whether there is one."""
        if not domains.is_following:
            self.report(events.Note(at=time.time(), message="no domain runs"))
            return False
        if self._lent is None:
            self._lent = _ConsolePassthrough(self._screen, domains, self.loan)
        return True

    @property
    def keys(self) -> int | None:
        """The file descriptor of the keys that ``type`` is to read; None: the screen has the terminal."""
        return self._lent.fd if self._lent else None

    def type(self) -> bool:
        """Send keys to the domain; return whether the console still has the terminal."""
        if self._lent and not self._lent.type():
            self.give_back()
        return self._lent is not None

    def give_back(self) -> None:
        """Give the terminal back to the screen, and show the events that waited."""
        lent, self._lent = self._lent, None
        for event in lent.close() if lent else ():
            self.report(event)
