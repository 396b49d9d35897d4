"""Read the console of the running domain in a thread and turn its output into events."""

from __future__ import annotations

import codecs
import contextlib
import select
import threading
import time
from typing import TYPE_CHECKING, Literal

from unibuild.deploy.console_output import ConsoleOutput
from unibuild.deploy.console_session import handle_exit, reboot_delay
from unibuild.errors import UnibuildError
from unibuild.util import standard_streams, waits
from unibuild.util.lines import LineSplitter
from unibuild.util.wakeup import Waker
from unibuild.watch import events

if TYPE_CHECKING:
    from collections.abc import Callable

    from unibuild.deploy.console_session import AttachedDomain
    from unibuild.domain.exit_status import DomainExit
    from unibuild.watch.domain import NamedLock

__all__ = ["ConsoleThread", "EventConsoleOutput", "PassthroughFlag"]

_LINE = 16384  # characters of an unfinished line that are shown as they are
_PROMPT = 0.3  # seconds after which a line without an end is shown


class PassthroughFlag:
    """Whether the terminal is lent to the console; what a domain says then goes there as it is."""

    is_lent = False


class EventConsoleOutput(ConsoleOutput):
    """Tells lines of a domain, and sentences about it, as events.

    Args:
        post: hands an event to the loop, from any thread.
        loan: whether the terminal is lent.
        name: that of the domain.
        escapes: as ``[boot] escapes``.
    """

    def __init__(
        self,
        post: Callable[[events.Event], None],
        loan: PassthroughFlag,
        name: str,
        escapes: Literal["safe", "all"] = "safe",
    ) -> None:
        super().__init__(raw=True, escapes=escapes)
        self.name = name
        self.domid: int | None = None  # not known before the domain has proved itself
        self._post = post
        self._loan = loan
        self._text = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._lines = LineSplitter("\n", _LINE)
        self._prompted = ""

    @property
    def is_unfinished(self) -> bool:
        """Whether a line has begun that was not shown yet."""
        return bool(self._lines.rest) and self._lines.rest != self._prompted

    def show(self, data: bytes) -> None:
        """Tell what a console says."""
        if self._loan.is_lent:
            super().show(data)
        for line in self._lines.feed(self._text(data)):
            self._tell(line.rstrip("\r"))

    def say(self, sentence: str) -> None:
        """Tell a sentence of our own."""
        if self._loan.is_lent:
            standard_streams.write(1, f"\r\nunibuild: {sentence}\r\n".encode())
        self._post(events.Note(at=time.time(), message=sentence))

    def prompt(self) -> None:
        """Tell the beginning of a line."""
        if self.is_unfinished:
            self._prompted = self._lines.rest
            self._tell(self._prompted.rstrip("\r"), whole=False)

    def finish(self) -> None:
        """Take the beginning of a line for a line: no more is to come."""
        for line in self._lines.end():
            self._tell(line.rstrip("\r"))

    def _tell(self, text: str, *, whole: bool = True) -> None:
        if whole:
            self._prompted = ""
        if not self._loan.is_lent:
            of, domid = self.name, self.domid
            self._post(events.Output(at=time.time(), origin="console", text=text, of=of, domid=domid, whole=whole))


class ConsoleThread:
    """Reads a console until the domain is replaced, or has ended and none is in its place.

    Args:
        followed: the domain, and its reader.
        readers: holds the reader.
        voice: what the domain says, as events.
        turn: whose it is to change the domain: what is to be done at an end waits while one is put in place.
        ended: is called in the thread, when the domain has ended and no other one of it runs: with how it ended, or
            what failed.
        unheard: is called in the thread, when the console can be read no more: the host is out of reach, for example.
        remade: called in the thread when the domain was recreated after a reboot.
        waits: is called in the thread, when that is put off, with a sentence about it.
    """

    def __init__(
        self,
        followed: AttachedDomain,
        readers: contextlib.ExitStack,
        voice: EventConsoleOutput,
        turn: NamedLock,
        *,
        ended: Callable[[ConsoleThread, DomainExit | UnibuildError], None],
        unheard: Callable[[ConsoleThread, UnibuildError], None],
        remade: Callable[[ConsoleThread], None],
        waits: Callable[[ConsoleThread, str], None],
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
        self._waker = Waker()
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
                self._waker.wake()
        waits.join(self._thread)

    def _run(self) -> None:
        try:
            with self._readers:
                self._follow()
        finally:
            self.heard.set()
            with self._gate:
                self._is_over = True
                self._waker.__exit__()

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
            with self._turn.taken(f"{self.voice.name}, which has ended, is removed or recreated"):
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

    def _put_off(self, end: DomainExit, reboots: list[float]) -> None:
        """Wait before a domain that keeps rebooting is recreated, at most until the thread is told to stop."""
        seconds = 0.0
        with contextlib.suppress(UnibuildError):  # who goes on meets it too
            seconds = reboot_delay(self.followed, end, reboots, lambda why: self._waits(self, why))
        if seconds:
            select.select([self._waker], [], [], seconds)

    def _read(self) -> DomainExit | None:
        """Read to the domain's end; None: it was left."""
        while not self._is_left:
            until = time.monotonic() + _PROMPT if self.voice.is_unfinished else None
            end = self.followed.reader.pump(until, self._waker.fd)
            if end:
                self.voice.finish()
                return end
            self.voice.prompt()
        return None
