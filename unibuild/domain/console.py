"""Read a domain's console to its end without losing a line.

The order is: create the domain paused, start the reader, unpause. Output before the reader starts waits in dom0:
xenconsoled keeps 1 MiB, then the domain blocks. But xenconsoled drops unread output when the domain is destroyed. So
the ``.xl`` preserves a domain that stops (``on_poweroff = "preserve"`` ...): unibuild sees that it stopped, reads on
until no more output comes, and only then destroys it.

A watch on the host reports only that *some* domain stopped; a list of the domains shows which one, and why.
"""

from __future__ import annotations

import contextlib
import selectors
import threading
import time
from typing import TYPE_CHECKING, NoReturn

from unibuild.domain.crash.host_queries import triple_faulted
from unibuild.domain.exit_status import GONE, Detached, DomainExit, exit_code
from unibuild.errors import DomainError
from unibuild.host.toolstack import SHUTDOWN_REASONS, Domain
from unibuild.util import waits
from unibuild.util.lines import Lines
from unibuild.util.terminal import LEAVE
from unibuild.util.wakeup import Waker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unibuild.domain.console_log import Log
    from unibuild.host.base import Host
    from unibuild.host.toolstack import Console
    from unibuild.util.terminal import KeySource

__all__ = ["Reader"]

QUIET = 0.4  # seconds of silence, plus one query to the host, after which a stopped domain's output is complete
SILENT = 6.0  # the same for a new reader: xenconsole takes up to 5 to find its terminal
SLOW = 12  # on a slow host, a new reader may need the time of this many queries
POLL = 2.0  # seconds between queries for the domain, if the watch has ended
ATTENTION = 1.0  # seconds of one wait: a signal just before a wait is handled only after it
_RELEASE_TIMEOUT = 10.0  # seconds for a reader that was terminated to release the console
_VANISH_TIMEOUT = 2.0  # seconds for a reader that is exiting by itself
_PAUSE = 0.3  # seconds before each new attempt
SAID = 65536  # bytes of the latest output that are kept in memory


class Reader(contextlib.AbstractContextManager["Reader"]):
    """The console of one domain, read from the moment this object is created.

    Args:
        host: the domain's host.
        domain: the domain: paused, running or stopped.
        log: records the output.
        show: called with the output as it arrives.
        silent: seconds to wait for the first byte of a stopped domain; None: ``SILENT``.
        kind: which console of an HVM domain, ``serial`` or ``pv``; None: the one that xl uses first.
    """

    end: DomainExit | None = None
    """How the domain stopped, once it has."""

    def __init__(
        self,
        host: Host,
        domain: Domain,
        log: Log,
        show: Callable[[bytes], None],
        *,
        silent: float | None = None,
        kind: str | None = None,
    ) -> None:
        self.silent = SILENT if silent is None else silent
        self._host = host
        self._domain = domain
        self.log = log
        self._show = show
        self._said = bytearray()
        self._count = 0
        self._slowness = 0.0  # seconds of the host's slowest answer
        self._listeners: list[Lines] = []
        self._is_watching = True  # whether the host's watch still reports domains that stop
        self._next_query = 0.0  # if not: when to query, by ``time.monotonic``
        self._kind = kind
        self._released_by: float | None = None  # when a terminated reader must have released the console
        self._is_leaving = False
        self._failed: Exception | None = None  # what the thread of ``reading`` met
        self._attach()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._attached.close()
        self.log.close()
        failed, self._failed = self._failed, None
        if failed and kind is None:  # no ``pump`` came after ``reading``
            raise failed

    def follow(self, keys: KeySource | None = None, wait: float | None = None) -> DomainExit | Detached:
        """Read until the domain stops, the user detaches, or the time is up.

        Args:
            keys: passes what the user types to the domain.
            wait: seconds after which to detach; None: never.

        Raises:
            HostError: the host went out of reach.
            DomainError: the console cannot be read, or it ended before the domain.
        """
        deadline = None if wait is None else time.monotonic() + wait
        while True:
            end = self.pump(deadline, keys.fd if keys else None)
            if end:
                return end
            if deadline is not None and time.monotonic() >= deadline:
                return Detached()
            if keys and not self._type(keys):
                return Detached()

    def pump(self, until: float | None = None, wake: int | None = None) -> DomainExit | None:
        """Read until the domain stops, ``wake`` is readable, or the time is up.

        Args:
            until: when to return (``time.monotonic``); None: never.
            wake: a file descriptor; return once it is readable. It is not read.

        Returns:
            How the domain stopped, once it has and all output is read; else None.

        Raises:
            HostError: the host went out of reach.
            DomainError: the console cannot be read, or it ended before the domain.
        """
        failed, self._failed = self._failed, None
        if failed:
            raise failed
        attached = self._attached
        console, watch = attached.fd, attached.watch_fd
        with selectors.DefaultSelector() as ready:
            for fd in (console, watch if self._is_watching else None, wake):
                if fd is not None:
                    ready.register(fd, selectors.EVENT_READ)
            while self.end is None:
                events = {key.fd for key, _ in ready.select(self._pause(until))}
                if console in events and not self._read():
                    self.end = self._end()
                    if self.end is None and not self._replace_dead_reader():
                        self._broken()
                    break
                if self._attached is not attached:
                    break
                has_news = False
                if watch in events:
                    has_news, self._is_watching = attached.read_watch()
                    if not self._is_watching:
                        ready.unregister(watch)
                if has_news or (not self._is_watching and time.monotonic() >= self._next_query):
                    self.end = self._end()
                    self._next_query = time.monotonic() + POLL
                if wake in events or (until is not None and time.monotonic() >= until):
                    break
        return self.end if self._attached is attached else self.pump(until, wake)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Read in a thread while the block runs; do not ask what became of the domain, the next ``pump`` does.

        The block is not interrupted if the thread fails. The next ``pump`` raises the error, or else ``__exit__`` does.
        """
        with Waker() as waker:
            thread = threading.Thread(target=self._read_until, args=(waker.fd,), name="unibuild new console")
            thread.start()
            try:
                yield
            finally:
                waker.wake()
                waits.join(thread)

    def _read_until(self, wake: int) -> None:
        """Read output until ``wake`` is readable or the console ends."""
        console = self._attached.fd
        with selectors.DefaultSelector() as ready:
            for fd in (console, wake):
                ready.register(fd, selectors.EVENT_READ)
            try:
                while wake not in {key.fd for key, _ in ready.select()} and self._read_available():
                    pass
            except Exception as error:  # whatever ``show`` raises
                self._failed = error

    @contextlib.contextmanager
    def listen(self, on_line: Callable[[bytes], None]) -> Iterator[None]:
        """For the time of the block, call ``on_line`` with each complete line, without CR and LF.

        The lines of ``said`` come first, at once. When the domain stops, its last line counts as complete.
        """
        lines = Lines(on_line)
        lines.feed(self.said)
        self._listeners.append(lines)
        try:
            yield
        finally:
            self._listeners.remove(lines)

    @property
    def said(self) -> bytes:
        """The latest output since this object was created, at most ``SAID`` bytes."""
        return bytes(self._said)

    def _pause(self, until: float | None) -> float:
        """Return the seconds to wait for an event, at most ``ATTENTION``.

        Python runs a signal's handler between two bytecodes. If the signal arrives just before the wait, nothing
        interrupts the wait, and TERM would be ignored until the domain prints something.
        """
        moments = [moment for moment in (until, None if self._is_watching else self._next_query) if moment is not None]
        return max(0.0, min([ATTENTION, *(moment - time.monotonic() for moment in moments)]))

    def _attach(self) -> None:
        self._is_leaving = False
        self._attached = self._host.toolstack.open_console(self._domain, kind=self._kind, on_close=self._read_rest)

    def _read_rest(self, attached: Console) -> None:
        """Read the output that is on its way when unibuild detaches: the next reader begins after it."""
        self._attached = attached  # not set yet if attaching failed
        self._is_leaving = True
        attached.stop()
        while self._readable(0) and self._read():
            pass

    def _read(self) -> bool:
        """Read some output; return whether more can follow, after attaching again where that helps."""
        return self._read_available() or self._replace_dead_reader()

    def _read_available(self) -> bool:
        """Read some output; return whether more can follow."""
        data, goes_on = self._attached.read()
        self._count += len(data)
        self._said += data
        del self._said[:-SAID]
        self.log.feed(data)
        self._show(data)
        for lines in self._listeners:
            lines.feed(data)
        return goes_on

    def _replace_dead_reader(self) -> bool:
        """Attach again if nobody or a dead unibuild's reader holds the console; return whether. End that reader."""
        is_late = self._released_by is not None and time.monotonic() > self._released_by
        if self._is_leaving or is_late or not self._attached.is_refused:
            return False
        holders = self._attached.readers()
        dead = [holder for holder in holders if holder.process.is_dead]
        if self._released_by is None:
            if holders and not dead:
                return False
            self._released_by = time.monotonic() + (_RELEASE_TIMEOUT if dead else _VANISH_TIMEOUT)
        for holder in dead:
            self._attached.end_reader(holder)
        self._attached.close()
        time.sleep(_PAUSE)
        self._attach()
        return True

    def _type(self, keys: KeySource) -> bool:
        """Pass keys to the domain; return whether more can follow."""
        data = keys.read()
        before, leave, _ = data.partition(LEAVE)
        if before:
            self.send(before)
        return bool(data) and not leave

    def send(self, data: bytes) -> None:
        """Write keys to the console."""
        self._attached.send(data)

    def _query(self) -> Domain | None:
        began = time.monotonic()
        domain = self._host.toolstack.find(uuid=self._domain.uuid, background=True)
        self._slowness = max(self._slowness, time.monotonic() - began)
        return domain

    def _end(self) -> DomainExit | None:
        """Query the domain; if it has stopped, read the remaining output and return why it stopped."""
        domain = self._query()
        if domain and not domain.has_ended:
            return None
        self._drain()
        for lines in self._listeners:
            lines.end()
        if domain is None:
            why = GONE
        elif domain.reason == 1 and triple_faulted(self._host, domain):
            why = SHUTDOWN_REASONS[3]
        else:
            why = SHUTDOWN_REASONS.get(domain.reason or 0, "ended")
        return DomainExit(why, exit_code(self.said))

    def _drain(self) -> None:
        """Read until no output comes for a while, and for as long as the host takes to answer a query.

        The query adapts the waiting time to a slow host.
        """
        while self._read_until_quiet():
            before = self._count
            self._query()
            if not self._readable(0) and before == self._count:
                return

    def _read_until_quiet(self) -> bool:
        """Read until the console is quiet; return whether more can follow."""
        while self._readable(QUIET if self._count else max(self.silent, SLOW * self._slowness)):
            if not self._read():
                return False
        return True

    def _readable(self, pause: float) -> bool:
        with selectors.DefaultSelector() as ready:
            ready.register(self._attached.fd, selectors.EVENT_READ)
            return bool(ready.select(pause))

    def _broken(self) -> NoReturn:
        """Raise the error of a console that ended while its domain still runs."""
        self._attached.check()
        name = self._domain.name
        if self._attached.is_refused:
            reader = next((f" by {one.user} (process {one.process.pid})" for one in self._attached.readers()), "")
            raise DomainError(
                f"the console of {name} on {self._host.name} is already being read{reader}",
                hint="detach there (Ctrl-]), or terminate the process that reads it on the host",
            )
        raise DomainError(f"the console of {name} on {self._host.name} ended, but the domain still runs")
