"""The terminal, lent to the console of the domain until Ctrl-]."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from unibuild.domain.terminal import LEAVE, Keyboard

if TYPE_CHECKING:
    from unibuild.watch.domains import Domains
    from unibuild.watch.events import Screen
    from unibuild.watch.voice import Loan

__all__ = ["Lent"]

_HELD = 2000  # events that are told afterwards; the older ones go


class Lent:
    """The terminal for the console; events wait meanwhile.

    Args:
        screen: gives up the terminal, and has it again.
        domains: whose console it is.
        loan: tells the console's reader.
    """

    def __init__(self, screen: Screen, domains: Domains, loan: Loan) -> None:
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
        os.write(1, f"unibuild: this is the console of {follower.voice.name}; Ctrl-] leaves it\r\n".encode())

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
