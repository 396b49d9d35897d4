"""What the loop tells its screen, and the console that has the screen's terminal for a while."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from unibuild.watch import events
from unibuild.watch.lent import Lent
from unibuild.watch.voice import Loan

if TYPE_CHECKING:
    from unibuild.errors import UnibuildError
    from unibuild.watch.domains import Domains

__all__ = ["Teller"]


class Teller:
    """Tells events.

    Args:
        screen: what shows them.

    Attributes:
        loan: whether the terminal is lent to the console.
        is_unread: nobody reads what the screen shows any more.
    """

    def __init__(self, screen: events.Screen) -> None:
        self.loan = Loan()
        self.is_unread = False
        self._screen = screen
        self._lent: Lent | None = None

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

    def problem(self, error: UnibuildError, kept: str | None = None) -> None:
        """Tell a failure, and what still runs."""
        self.tell(
            events.Problem(at=time.time(), message=error.message, hint=error.hint, exit_code=error.exit_code, kept=kept)
        )

    def lend(self, domains: Domains) -> None:
        """Lend the terminal to the console of the domain."""
        if not domains.is_following:
            self.tell(events.Note(at=time.time(), message="no domain runs"))
        elif self._lent is None:
            self._lent = Lent(self._screen, domains, self.loan)

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
