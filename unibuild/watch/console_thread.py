"""The console of the domain that runs, read in a thread of its own while the loop builds."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import TYPE_CHECKING

from unibuild.deploy.console_session import handle_exit, reboot_delay
from unibuild.errors import UnibuildError
from unibuild.util import waits

if TYPE_CHECKING:
    from collections.abc import Callable

    from unibuild.deploy.console_session import AttachedDomain
    from unibuild.domain.console import End
    from unibuild.watch.turn import Turn
    from unibuild.watch.voice import Voice

__all__ = ["Follower"]

_PROMPT = 0.3  # seconds after which a line without an end is shown


class Follower:
    """Reads a console until the domain is replaced, or has ended and none is in its place.

    Args:
        followed: the domain, and its reader.
        readers: holds the reader.
        voice: what the domain says, as events.
        turn: whose it is to change the domain: what is to be done at an end waits while one is put in place.
        ended: is called in the thread, when the domain has ended and no other one of it runs: with how it ended, or
            what failed.
        unheard: is called in the thread, when the console can be read no more: the host is out of reach, for example.
        remade: is called in the thread, when the domain was made anew after a reboot.
        waits: is called in the thread, when that is put off, with a sentence about it.
    """

    def __init__(
        self,
        followed: AttachedDomain,
        readers: contextlib.ExitStack,
        voice: Voice,
        turn: Turn,
        *,
        ended: Callable[[Follower, End | UnibuildError], None],
        unheard: Callable[[Follower, UnibuildError], None],
        remade: Callable[[Follower], None],
        waits: Callable[[Follower, str], None],
    ) -> None:
        self.followed = followed
        self.voice = voice
        self.heard = threading.Event()
        self.replaced = False
        self._readers = readers
        self._turn = turn
        self._ended = ended
        self._unheard = unheard
        self._remade = remade
        self._waits = waits
        self._wake, self._wakes = os.pipe()
        self._is_left = False
        self._is_over = False
        self._gate = threading.Lock()  # before the pipe
        self._thread = threading.Thread(target=self._run, name="unibuild console", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it reads."""
        return self._thread.is_alive()

    def leave(self) -> None:
        """Stop reading; the domain runs on."""
        self._is_left = True
        with self._gate:
            if not self._is_over:
                os.write(self._wakes, b".")
        waits.join(self._thread)

    def _run(self) -> None:
        try:
            with self._readers:
                self._follow()
        finally:
            self.heard.set()
            with self._gate:
                self._is_over = True
                os.close(self._wake)
                os.close(self._wakes)

    def _follow(self) -> None:
        reboots: list[float] = []
        while True:
            try:
                end = self._read()
            except UnibuildError as error:
                self.heard.set()
                if not self.replaced:
                    self._unheard(self, error)
                return
            self.heard.set()  # all that it said was read: it may go
            if end is None:
                return
            self._put_off(end, reboots)
            with self._turn.taken(f"{self.voice.name}, which has ended, is cleared up or made anew"):
                if self.replaced or self._is_left:
                    return
                try:
                    again = handle_exit(self.followed, end, reboots, self.voice, self._readers)
                except UnibuildError as error:
                    self._ended(self, error)
                    return
                if again is None:
                    self._ended(self, end)
                    return
                self.heard.clear()
                self.followed = again
            self._remade(self)

    def _put_off(self, end: End, reboots: list[float]) -> None:
        """Wait, before a domain that reboots again and again is made anew; until it is left at most."""
        seconds = 0.0
        with contextlib.suppress(UnibuildError):  # who goes on meets it too
            seconds = reboot_delay(self.followed, end, reboots, lambda why: self._waits(self, why))
        if seconds:
            select.select([self._wake], [], [], seconds)

    def _read(self) -> End | None:
        """Read to the domain's end; None: it was left."""
        while not self._is_left:
            until = time.monotonic() + _PROMPT if self.voice.is_unfinished else None
            end = self.followed.reader.pump(until, self._wake)
            if end:
                self.voice.finish()
                return end
            self.voice.prompt()
        return None
