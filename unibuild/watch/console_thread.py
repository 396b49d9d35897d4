"""Read the console of the running domain in a thread and turn its output into events."""

from __future__ import annotations

import codecs
import select
import threading
import time
from typing import TYPE_CHECKING, Literal, Protocol

from unibuild.deploy.console_output import ConsoleOutput
from unibuild.deploy.console_session import ConsoleSession, report_log_failure
from unibuild.errors import UnibuildError
from unibuild.util import standard_streams, waits
from unibuild.util.lines import LineSplitter
from unibuild.util.wakeup import Waker
from unibuild.watch import events

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

    from unibuild.deploy.console_session import AttachedDomain
    from unibuild.domain.exit_status import DomainExit
    from unibuild.watch.domain import NamedLock

__all__ = ["ConsoleCallbacks", "ConsoleThread", "EventConsoleOutput", "PassthroughFlag"]

_LINE = 16384  # characters of an unfinished line that are shown as they are
_PROMPT = 0.3  # seconds after which a line without an end is shown


class PassthroughFlag:
    """Whether the domain's console has the terminal; its output then goes there unchanged."""

    is_lent = False


class EventConsoleOutput(ConsoleOutput):
    """Turns the output of a domain, and sentences about it, into events.

    Args:
        post: hands an event to the loop, from any thread.
        loan: whether the console has the terminal.
        name: the domain's name.
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
        self.domid: int | None = None  # unknown until the domain is accepted
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
        """Report what the domain wrote."""
        if self._loan.is_lent:
            super().show(data)
        for line in self._lines.feed(self._text(data)):
            self._report(line.rstrip("\r"))

    def say(self, sentence: str) -> None:
        """Report a sentence of unibuild's."""
        if self._loan.is_lent:
            standard_streams.write(1, f"\r\nunibuild: {sentence}\r\n".encode())
        self._post(events.Note(at=time.time(), message=sentence))

    def prompt(self) -> None:
        """Report the beginning of a line."""
        if self.is_unfinished:
            self._prompted = self._lines.rest
            self._report(self._prompted.rstrip("\r"), whole=False)

    def finish(self) -> None:
        """Report the beginning of a line as a whole line: the rest never comes."""
        for line in self._lines.end():
            self._report(line.rstrip("\r"))

    def _report(self, text: str, *, whole: bool = True) -> None:
        if whole:
            self._prompted = ""
        if not self._loan.is_lent:
            of, domid = self.name, self.domid
            self._post(events.Output(at=time.time(), origin="console", text=text, of=of, domid=domid, whole=whole))


class ConsoleCallbacks(Protocol):
    """What a console's thread calls, in that thread."""

    def on_ended(self, thread: ConsoleThread, end: DomainExit | UnibuildError) -> None:
        """The domain has ended and none replaces it; ``end`` says how, or what failed then."""

    def on_unreadable(self, thread: ConsoleThread, error: UnibuildError) -> None:
        """The console cannot be read any more: the host is out of reach, for example."""

    def on_recreated(self, thread: ConsoleThread) -> None:
        """The domain was recreated after a reboot."""

    def on_pause(self, thread: ConsoleThread, why: str) -> None:
        """The domain is recreated later; ``why`` is a sentence."""


class ConsoleThread(ConsoleSession):
    """Follows a console in a thread until the domain is replaced, has ended for good, or is left.

    Args:
        attached: the domain, and the reader of its console.
        readers: holds the reader.
        output: turns the console's output into events.
        lock: is held while the domain is changed: the end of a domain is handled after a replacement that runs.
        callbacks: what to call.

    Attributes:
        drained: set once everything that the domain wrote was read.
        is_replaced: whether another domain replaces this one, so that its end means nothing.
    """

    output: EventConsoleOutput

    def __init__(
        self,
        attached: AttachedDomain,
        readers: contextlib.ExitStack,
        output: EventConsoleOutput,
        lock: NamedLock,
        callbacks: ConsoleCallbacks,
    ) -> None:
        super().__init__(attached, output, readers)
        self.drained = threading.Event()
        self.is_replaced = False
        self._lock = lock
        self._callbacks = callbacks
        self._waker = Waker()
        self._is_left = False
        self._is_over = False
        self._waker_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="unibuild console", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def leave(self) -> None:
        """Stop reading; the domain keeps running."""
        self._is_left = True
        with self._waker_lock:
            if not self._is_over:
                self._waker.wake()
        waits.join(self._thread)

    def _run(self) -> None:
        try:
            with self.readers:
                self.follow()
        finally:
            self.drained.set()
            with self._waker_lock:
                self._is_over = True
                self._waker.__exit__()

    def read(self) -> DomainExit | None:
        """Read the console until the domain ends; None: it was left, or cannot be read."""
        try:
            end = self._pump()
        except UnibuildError as error:
            self.drained.set()
            if not self.is_replaced:
                self._callbacks.on_unreadable(self, error)
            return None
        self.drained.set()
        report_log_failure(self.attached.reader, self.output)
        return end

    def _pump(self) -> DomainExit | None:
        while not self._is_left:
            until = time.monotonic() + _PROMPT if self.output.is_unfinished else None
            end = self.attached.reader.pump(until, self._waker.fd)
            if end:
                self.output.finish()
                return end
            self.output.prompt()
        return None

    def pause(self, seconds: float) -> None:
        """Wait before the domain is recreated, at most until it is left."""
        select.select([self._waker], [], [], seconds)

    def report_pause(self, why: str) -> None:
        """Report that the domain is recreated later."""
        self._callbacks.on_pause(self, why)

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """Wait for a replacement of the domain that runs."""
        return self._lock.taken(f"{self.output.name}, which has ended, is removed or recreated")

    @property
    def is_stopped(self) -> bool:
        """Whether another domain replaces this one, or nobody follows it."""
        return self.is_replaced or self._is_left

    def ended(self, outcome: DomainExit | UnibuildError) -> None:
        """Report that the domain has ended and none replaces it, or what failed then."""
        self._callbacks.on_ended(self, outcome)

    def recreated(self) -> None:
        """Report the recreated domain."""
        self.drained.clear()
        self._callbacks.on_recreated(self)
