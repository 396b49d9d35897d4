"""Reading a domain's console to its end, without losing a line.

The order is: create paused, start the reader, unpause. What the domain says before the reader is there waits in dom0
(xenconsoled keeps 1 MiB, then the domain has to wait); but xenconsoled drops what is left when the domain is
destroyed. So the ``.xl`` keeps an ended domain (``on_poweroff = "preserve"`` ...): we see that it ended, read on until
nothing more comes, and only then may it go.

A watch on the host reports that *some* domain ended; which one, and why, a list of the domains does.
"""

from __future__ import annotations

import contextlib
import selectors
import time
from typing import TYPE_CHECKING, NoReturn

from unibuild.domain.crash.host_queries import triple_faulted
from unibuild.domain.exit_status import GONE, Detached, DomainExit, exit_code
from unibuild.errors import DomainError
from unibuild.host.toolstack import SHUTDOWN_REASONS, Domain
from unibuild.util.lines import Lines
from unibuild.util.terminal import LEAVE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unibuild.domain.console_log import Log
    from unibuild.host.base import Host
    from unibuild.host.toolstack import Console
    from unibuild.util.terminal import KeySource

__all__ = ["Reader"]

QUIET = 0.4  # seconds of silence, and a question to the host besides, after which a dead domain has said all
SILENT = 6.0  # of a reader that has just begun: xenconsole takes up to 5 to find its terminal
SLOW = 12  # questions to the host, whose time a reader's beginning may take where the host is slow
POLL = 2.0  # seconds between two looks at the domain, where the watch has ended
ATTENTION = 1.0  # seconds of one wait: a signal in the instant before it is answered only after it
_RELEASE_TIMEOUT = 10.0  # seconds for a reader that was ended to release the console
_VANISH_TIMEOUT = 2.0  # seconds for a reader that is ending by itself
_PAUSE = 0.3  # seconds before each, for that to be gone
SAID = 65536  # bytes of the end that are kept in memory


class Reader(contextlib.AbstractContextManager["Reader"]):
    """The console of one domain, being read from the moment this is made.

    Args:
        host: where the domain is.
        domain: which one; it may be paused, running or dead.
        log: keeps what it says.
        show: is given what it says, as it comes.
        silent: seconds to wait for the first byte of a dead domain; None: ``SILENT``.
        kind: which of an HVM domain's consoles, ``serial`` or ``pv``; None: the one that xl takes for the first.
    """

    end: DomainExit | None = None
    """How the domain ended, once it has."""

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
        self._slowness = 0.0  # seconds that the host took for a question, at most
        self._listeners: list[Lines] = []
        self._is_told = True  # when some domain ends
        self._next_look = 0.0  # of the clock, where it is not
        self._kind = kind
        self._released_by: float | None = None  # when an ended reader must have released the console
        self._is_leaving = False
        self._attach()

    def __exit__(self, *_: object) -> None:
        self._attached.close()
        self.log.close()

    def follow(self, keys: KeySource | None = None, wait: float | None = None) -> DomainExit | Detached:
        """Read until the domain ends, the person leaves, or the time is up.

        Args:
            keys: what is typed goes to the domain.
            wait: seconds after which to leave; None: never.

        Raises:
            HostError: the host went out of reach.
            DomainError: the console cannot be read, or ended before the domain.
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
        """Read until the domain ends, until something else is to be done, or the time is up.

        Args:
            until: time of the clock (``time.monotonic``) at which to return; None: never.
            wake: a file descriptor; return once it is readable. It is not read.

        Returns:
            How the domain ended, once it has and has said all; else None.

        Raises:
            HostError: the host went out of reach.
            DomainError: the console cannot be read, or ended before the domain.
        """
        attached = self._attached
        console, watch = attached.fd, attached.watch_fd
        with selectors.DefaultSelector() as ready:
            for fd in (console, watch if self._is_told else None, wake):
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
                    has_news, self._is_told = attached.read_watch()
                    if not self._is_told:
                        ready.unregister(watch)
                if has_news or (not self._is_told and time.monotonic() >= self._next_look):
                    self.end = self._end()
                    self._next_look = time.monotonic() + POLL
                if wake in events or (until is not None and time.monotonic() >= until):
                    break
        return self.end if self._attached is attached else self.pump(until, wake)

    @contextlib.contextmanager
    def listen(self, hear: Callable[[bytes], None]) -> Iterator[None]:
        """For the time of the block, give ``hear`` each whole line as it comes, without CR and LF.

        The lines of ``said`` come first, at once. When the domain has ended, its last line is whole too.
        """
        lines = Lines(hear)
        lines.feed(self.said)
        self._listeners.append(lines)
        try:
            yield
        finally:
            self._listeners.remove(lines)

    @property
    def said(self) -> bytes:
        """What the domain said since this was made: the last ``SAID`` bytes of it."""
        return bytes(self._said)

    def _pause(self, until: float | None) -> float:
        """Return the seconds to wait for a sign, at most ``ATTENTION``.

        Python runs a signal's handler between two bytecodes. If the signal arrives after the last one before the wait,
        nothing ends the wait, and TERM would be ignored until the domain speaks again.
        """
        moments = [moment for moment in (until, None if self._is_told else self._next_look) if moment is not None]
        return max(0.0, min([ATTENTION, *(moment - time.monotonic() for moment in moments)]))

    def _attach(self) -> None:
        self._is_leaving = False
        self._attached = self._host.toolstack.open_console(self._domain, kind=self._kind, on_close=self._take_rest)

    def _take_rest(self, attached: Console) -> None:
        """Take what was on its way when we left: whoever reads the console next begins after that."""
        self._attached = attached  # where this comes of a failure to start the rest
        self._is_leaving = True
        attached.stop()
        while self._readable(0) and self._read():
            pass

    def _read(self) -> bool:
        """Take what the console says; return whether there can be more."""
        data, goes_on = self._attached.read()
        self._count += len(data)
        self._said += data
        del self._said[:-SAID]
        self.log.feed(data)
        self._show(data)
        for lines in self._listeners:
            lines.feed(data)
        return goes_on or self._replace_dead_reader()

    def _replace_dead_reader(self) -> bool:
        """Attach again if a reader of a dead unibuild, which is ended, or none holds the console; return whether."""
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
        """Hand keys to the domain; return whether more are welcome."""
        data = keys.read()
        before, leave, _ = data.partition(LEAVE)
        if before:
            self.send(before)
        return bool(data) and not leave

    def send(self, data: bytes) -> None:
        """Write keys to the console."""
        self._attached.send(data)

    def _look(self) -> Domain | None:
        began = time.monotonic()
        domain = self._host.toolstack.find(uuid=self._domain.uuid, background=True)
        self._slowness = max(self._slowness, time.monotonic() - began)
        return domain

    def _end(self) -> DomainExit | None:
        """Look at the domain; where it has ended, read what is left and say why it did."""
        domain = self._look()
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
        """Read until nothing comes for a while, and for as long as the host takes to answer a question.

        The question makes the patience fit a host that is slow.
        """
        while self._read_until_quiet():
            before = self._count
            self._look()
            if not self._readable(0) and before == self._count:
                return

    def _read_until_quiet(self) -> bool:
        """Return whether there can be more."""
        while self._readable(QUIET if self._count else max(self.silent, SLOW * self._slowness)):
            if not self._read():
                return False
        return True

    def _readable(self, pause: float) -> bool:
        with selectors.DefaultSelector() as ready:
            ready.register(self._attached.fd, selectors.EVENT_READ)
            return bool(ready.select(pause))

    def _broken(self) -> NoReturn:
        """Raise the error of a console that ended while its domain lives."""
        self._attached.check()
        name = self._domain.name
        if self._attached.is_refused:
            who = next((f" by {one.user} (process {one.process.pid})" for one in self._attached.readers()), "")
            raise DomainError(
                f"the console of {name} on {self._host.name} is being read already{who}",
                hint="leave it where it is read (Ctrl-]), or end the program that reads it on the host",
            )
        raise DomainError(f"the console of {name} on {self._host.name} ended, and the domain runs on")
