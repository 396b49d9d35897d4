"""What the loop tells its screen, and the console that has the screen's terminal for a while."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from unibuild.util import standard_streams
from unibuild.util.terminal import LEAVE, Keyboard
from unibuild.watch import events
from unibuild.watch.console_thread import PassthroughFlag

if TYPE_CHECKING:
    from unibuild.errors import UnibuildError
    from unibuild.watch.domain import DomainController
    from unibuild.watch.ui import base

__all__ = ["EventSink"]

_HELD = 2000  # events that are told after the console had the terminal; the older ones go


class _ConsolePassthrough:
    """The terminal for the console; events wait meanwhile.

    Args:
        screen: gives up the terminal, and has it again.
        domains: whose console it is.
        loan: tells the console's reader.
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
            1, f"unibuild: this is the console of {follower.voice.name}; Ctrl-] leaves it\r\n".encode()
        )

    @property
    def fd(self) -> int:
        """Where keys come from."""
        return self._keys.fd

    def hold(self, event: object) -> None:
        """Keep an event for later."""
        self._held = [*self._held[1 - _HELD :], event]

    def type(self) -> bool:
        """Hand keys to the domain; return whether more are welcome."""
        data = self._keys.read()
        before, leave, _ = data.partition(LEAVE)
        if before and self._domains.follower and self._domains.is_following:
            self._domains.follower.followed.reader.send(before)
        return bool(data) and not leave

    def close(self) -> list[Any]:
        """Give the terminal back; return the events that waited."""
        self._stack.close()
        return self._held


class EventSink:
    """Tells events.

    Args:
        screen: what shows them.

    Attributes:
        loan: whether the terminal is lent to the console.
        is_unread: nobody reads what the screen shows any more.
    """

    def __init__(self, screen: base.Screen) -> None:
        self.loan = PassthroughFlag()
        self.is_unread = False
        self._screen = screen
        self._lent: _ConsolePassthrough | None = None
        self._begun = ""  # of a build's line

    def tell(self, event: Any) -> None:  # noqa: ANN401 (one of events.AnyEvent)
        """Tell an event; while the terminal is lent it waits."""
        if self.is_unread:
            return
        if self._lent:
            self._lent.hold(event)
            return
        try:
            self._screen.show(event)
        except BrokenPipeError:  # no reason to leave a swap half done
            self.is_unread = True

    def show_progress(self, text: str) -> None:
        """Tell the beginning of a build's line, where a person sees it and it is another one."""
        if text != self._begun and self._screen.columns:
            self.tell(events.Output(at=time.time(), origin="build", text=text, whole=False))
        self._begun = text

    def problem(self, error: UnibuildError, kept: str | None = None) -> None:
        """Tell a failure, and what still runs."""
        self.tell(
            events.ProblemEvent(
                at=time.time(), message=error.message, hint=error.hint, exit_code=error.exit_code, kept=kept
            )
        )

    def lend(self, domains: DomainController) -> None:
        """Lend the terminal to the console of the domain."""
        if not domains.is_following:
            self.tell(events.Note(at=time.time(), message="no domain runs"))
        elif self._lent is None:
            self._lent = _ConsolePassthrough(self._screen, domains, self.loan)

    @property
    def keys(self) -> int | None:
        """Where keys come from that ``type`` is to be called for; None: the terminal is not lent."""
        return self._lent.fd if self._lent else None

    def type(self) -> None:
        """Hand keys to the domain; the one that leaves the console gives the terminal back."""
        if self._lent and not self._lent.type():
            self.give_back()

    def give_back(self) -> None:
        """Give the terminal back to the screen, and tell what waited."""
        lent, self._lent = self._lent, None
        for event in lent.close() if lent else ():
            self.tell(event)
