"""Reading a domain's console to its end, without losing a line.

The order is: create paused, start the reader, unpause. What the domain says before the reader is there waits in dom0
(xenconsoled keeps 1 MiB, then the domain has to wait); but xenconsoled drops what is left when the domain is
destroyed. So the ``.xl`` keeps an ended domain (``on_poweroff = "preserve"`` ...): we see that it ended, read on until
nothing more comes, and only then may it go.

xenstore tells that *some* domain ended (``xenstore-watch @releaseDomain``); which one, and why, ``xl list -v`` does.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import subprocess
import time
import tty
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol

from unibuild.domain import xl
from unibuild.domain.terminal import LEAVE
from unibuild.errors import DomainError
from unibuild.process import Completed

if TYPE_CHECKING:
    from collections.abc import Callable

    from unibuild.domain.log import Log
    from unibuild.host.base import Host
    from unibuild.process import Child

__all__ = ["End", "Left", "Reader", "Source", "exit_code"]

INTERRUPT = b"\x03"  # Ctrl-C
QUIET = 0.4  # seconds of silence, and a question to the host besides, after which a dead domain has said all
SILENT = 6.0  # seconds to wait for the first byte of a dead domain: xenconsole takes up to 5 to find its terminal
POLL = 2.0  # seconds between two looks at the domain, where xenstore-watch is missing
_TAIL = 8192  # bytes of the end that are searched for the exit code


class Source(Protocol):
    """Where keys come from: ``read`` returns nothing when there will be no more."""

    fd: int

    def read(self) -> bytes: ...  # noqa: D102


@dataclass(frozen=True)
class End:
    """The domain ended: ``why`` completes "the domain ..."; ``code`` is what Solo5 says it exited with."""

    why: str
    code: int | None

    @property
    def is_good(self) -> bool:
        """Whether a person would call it a success.

        Xen loses the code: Solo5 powers off with every one but that of abort(), so only the console tells.
        """
        return self.why not in (xl.REASONS[3], xl.REASONS[4]) and not self.code


@dataclass(frozen=True)
class Left:
    """The console was left, with Ctrl-] or because the time was up, and the domain runs on."""


def exit_code(said: bytes) -> int | None:
    """Return N of the last line ``Solo5: solo5_exit(N) called``, or None where there is none."""
    found = re.findall(rb"^Solo5: solo5_exit\((\d+)\) called", said, re.MULTILINE)
    return int(found[-1]) if found else None


class Reader(contextlib.AbstractContextManager["Reader"]):
    """The console of one domain, being read from the moment this is made.

    Args:
        host: where the domain is.
        domain: which one; it may be paused, running or dead.
        log: keeps what it says.
        show: is given what it says, as it comes.
    """

    def __init__(self, host: Host, domain: xl.Domain, log: Log, show: Callable[[bytes], None]) -> None:
        self._host = host
        self._domain = domain
        self.log = log
        self._show = show
        self._tail = b""
        self._count = 0
        self._stack = contextlib.ExitStack()
        self._keys: int | None = None  # where keys are written to
        try:
            self._console = self._start(["xl", "console", str(domain.domid)], LEAVE)
            self._watch = self._start(["xenstore-watch", "@releaseDomain"], INTERRUPT)
        except BaseException:
            self._stack.close()
            raise

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self.log.close()

    def follow(self, keys: Source | None = None, wait: float | None = None) -> End | Left:
        """Read until the domain ends, the person leaves, or the time is up.

        Args:
            keys: what is typed goes to the domain.
            wait: seconds after which to leave; None: never.

        Raises:
            HostError: the host went out of reach.
            DomainError: the console cannot be read, or ended before the domain.
        """
        deadline = None if wait is None else time.monotonic() + wait
        with selectors.DefaultSelector() as ready:
            for source in (self._console.stdout, self._watch.stdout):
                assert source is not None
                ready.register(source, selectors.EVENT_READ)
            if keys:
                ready.register(keys.fd, selectors.EVENT_READ)
            is_told = True  # when some domain ends
            while True:
                pause = None if is_told else POLL
                if deadline is not None:
                    left = max(0.0, deadline - time.monotonic())
                    pause = left if pause is None else min(left, pause)
                events = {event.fileobj for event, _ in ready.select(pause)}
                if self._console.stdout in events and not self._read():
                    end = self._end()
                    if end is None:
                        self._broken()
                    return end
                if self._watch.stdout in events:
                    assert self._watch.stdout is not None
                    is_told = bool(os.read(self._watch.stdout.fileno(), 65536))
                    if not is_told:
                        ready.unregister(self._watch.stdout)
                if not events or self._watch.stdout in events:
                    end = self._end()
                    if end:
                        return end
                if keys and keys.fd in events and not self._type(keys):
                    return Left()
                if deadline is not None and time.monotonic() >= deadline:
                    return Left()

    def _start(self, argv: list[str], leave: bytes) -> Child:
        """Start a command on the host.

        Over SSH it gets a terminal there, and we one to type on, whose settings ssh hands on: no key is echoed or
        changed. A kept connection does not tell the far side that its ssh is gone, so ``leave`` is typed in the end.
        """
        if not self._host.has_ttys:
            return self._stack.enter_context(self._host.start(argv))
        keys, terminal = os.openpty()
        self._stack.callback(os.close, keys)
        self._stack.callback(os.close, terminal)
        if leave == LEAVE:
            tty.setraw(terminal)
            self._keys = keys
        child = self._stack.enter_context(self._host.start(argv, tty=True, stdin=terminal))
        self._stack.callback(_leave, child, keys, leave)
        return child

    def _read(self) -> bool:
        """Take what the console says; return whether there can be more."""
        assert self._console.stdout is not None
        data = os.read(self._console.stdout.fileno(), 65536)
        self._count += len(data)
        self._tail = (self._tail + data)[-_TAIL:]
        self.log.feed(data)
        self._show(data)
        return bool(data)

    def _type(self, keys: Source) -> bool:
        """Hand keys to the domain; return whether more are welcome."""
        data = keys.read()
        before, leave, _ = data.partition(LEAVE)
        if before:
            self._send(before)
        return bool(data) and not leave

    def _send(self, data: bytes) -> None:
        """Write keys to the console.

        `xl console` itself takes keys only on a terminal. Behind sudo here it has none (sudo would put its own
        between), so they go to the terminal in dom0 that xenconsoled made for the domain (its name is in xenstore).
        """
        if self._keys is None:
            path = f"/local/domain/{self._domain.domid}/console/tty"
            there = self._host.run(["xenstore-read", path], background=True).text.strip()
            child = self._host.start(["tee", "-a", there], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            self._stack.enter_context(child)
            assert child.stdin is not None
            self._keys = child.stdin.fileno()
        with contextlib.suppress(BrokenPipeError):
            os.write(self._keys, data)

    def _look(self) -> xl.Domain | None:
        return xl.find(self._host, uuid=self._domain.uuid, background=True)

    def _end(self) -> End | None:
        """Look at the domain; where it has ended, read what is left and say why it did."""
        domain = self._look()
        if domain and not domain.has_ended:
            return None
        self._drain()
        if domain is None:
            return End("was destroyed", exit_code(self._tail))
        return End(xl.REASONS.get(domain.reason or 0, "ended"), exit_code(self._tail))

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
        while self._readable(QUIET if self._count else SILENT):
            if not self._read():
                return False
        return True

    def _readable(self, pause: float) -> bool:
        with selectors.DefaultSelector() as ready:
            assert self._console.stdout is not None
            ready.register(self._console.stdout, selectors.EVENT_READ)
            return bool(ready.select(pause))

    def _broken(self) -> NoReturn:
        """Raise the error of a console that ended while its domain lives."""
        assert self._console.stderr is not None
        status = self._console.wait(1.0)
        said = self._console.stderr.read() if status is not None else b""
        self._host.check(Completed(self._console.argv, status or 0, b"", said))
        said += self._tail  # on a terminal of its own they are one
        name = self._domain.name
        if b"Could not lock" in said:
            raise DomainError(
                f"the console of {name} on {self._host.name} is being read already",
                hint="leave it where it is read (Ctrl-]), or end the process `xenconsole` on the host",
            )
        raise DomainError(f"the console of {name} on {self._host.name} ended, and the domain runs on")


def _leave(child: Child, keys: int, key: bytes) -> None:
    """End a command by the key that it knows; it may miss one that comes together with others."""
    for _ in range(4):
        if child.poll() is not None:
            return
        os.write(keys, key)
        child.wait(0.5)
