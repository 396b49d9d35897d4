"""Waiting until a new domain is ready, with its console being read all the while."""

from __future__ import annotations

import contextlib
import re
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from unibuild.domain.crash import console_patterns
from unibuild.domain.probes import ProbeRunner
from unibuild.errors import HostError
from unibuild.util.wakeup import Waker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unibuild.domain.exit_status import DomainExit
    from unibuild.domain.probes import Probe

__all__ = ["Criteria", "ReadableConsole", "Readiness", "reported_address", "wait"]

_CRASH = 2.0  # seconds that a domain has to end once it said that it crashes
_ADDRESS = re.compile(rb"\bLease obtained! IP: (\d+(?:\.\d+){3})\b|\bip=(\d+(?:\.\d+){3})/\d")


class ReadableConsole(Protocol):
    """A console that is read, as ``domain.console.Reader`` reads one: ``end`` says how its domain ended, if it has."""

    @property
    def end(self) -> DomainExit | None: ...  # noqa: D102
    def pump(self, until: float | None = None, wake: int | None = None) -> DomainExit | None: ...  # noqa: D102
    def listen(self, hear: Callable[[bytes], None]) -> AbstractContextManager[None]: ...  # noqa: D102


@dataclass(frozen=True)
class Readiness:
    """Whether a domain was ready.

    Attributes:
        ready: whether all that was set held.
        why: completes "hello ...": "was ready after 0.8 s", "crashed before it was ready".
        seconds: how long it was waited for.
        end: how it ended, where it has.
    """

    ready: bool
    why: str
    seconds: float
    end: DomainExit | None


@dataclass(frozen=True)
class Criteria:
    """What must hold.

    Attributes:
        console: what must be found in a line of the console, as a regular expression.
        checks: those that need not know the domain's address.
        network: gives those that do, for that address; None: there are none.
        address: the domain's address; None: nobody has set it.
        likely: its address if its console tells no other.
        timeout: seconds.
    """

    console: str | None
    checks: Sequence[Probe]
    network: Callable[[str], AbstractContextManager[Sequence[Probe]]] | None
    address: str | None
    likely: str | None
    timeout: float


def reported_address(line: bytes) -> str | None:
    """Return the address that a line of the console gives as the domain's own, or None.

    Source: charrua's dhcp_client_lwt.ml ("Lease obtained! IP: 10.0.2.50, ...") and tcpip's tcpip_stack_direct.ml
    ("... stack assembled: mac=...,ip=10.0.2.50/24, ...").
    """
    found = _ADDRESS.search(line)
    return (found[1] or found[2]).decode() if found else None


def wait(reader: ReadableConsole, wanted: Criteria) -> Readiness:
    """Read the console until all that is wanted has held once, the time is up, or the domain ends or says it crashes.

    The lines that were said before count too. No thread and no child outlasts this.

    Args:
        reader: the console of the domain.
        wanted: what must hold.

    Raises:
        HostError: the host went out of reach, or refused to be asked.
        DomainError: the console cannot be read.
    """
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        waker = stack.enter_context(Waker())
        ear = _ConsoleMatcher(wanted.console, waker)
        stack.enter_context(reader.listen(ear.hear))
        asking = stack.enter_context(ProbeRunner(wanted.checks, waker))
        network = stack.enter_context(_Network(wanted, waker))
        while True:
            waker.clear()  # before we look: what comes later rings again
            network.look(wanted.address or ear.address or wanted.likely)
            missing = [*ear.missing, *asking.missing, *network.missing]
            seconds = time.monotonic() - began
            if ear.is_fatal:
                end = reader.pump(time.monotonic() + _CRASH)
                return Readiness(False, _ended(end), seconds, end)
            if reader.end and (missing or not reader.end.is_good):
                return Readiness(False, _ended(reader.end), seconds, reader.end)
            if not missing:
                return Readiness(True, f"was ready after {seconds:.1f} s", seconds, reader.end)
            if seconds >= wanted.timeout:
                why = f"was not ready within {wanted.timeout:g} s: {'; '.join(missing)}"
                return Readiness(False, why, seconds, None)
            reader.pump(began + wanted.timeout, waker.fd)


class _ConsoleMatcher:
    """Listens to the console for what is wanted, the domain's address, and a crash."""

    def __init__(self, pattern: str | None, waker: Waker) -> None:
        self._pattern = pattern
        self._waker = waker
        self._is_found = pattern is None
        self.address: str | None = None
        self.is_fatal = False

    @property
    def missing(self) -> list[str]:
        return [] if self._is_found else [f'no line of its console matches "{self._pattern}"']

    def hear(self, line: bytes) -> None:
        before = (self._is_found, self.address, self.is_fatal)
        if not self._is_found and self._pattern is not None:
            self._is_found = re.search(self._pattern, line.decode(errors="replace")) is not None
        self.address = reported_address(line) or self.address
        finding = console_patterns.read(line)
        self.is_fatal |= finding is not None and finding.is_fatal
        if before != (self._is_found, self.address, self.is_fatal):
            self._waker.wake()


class _Network(contextlib.AbstractContextManager["_Network"]):
    """The checks that need the domain's address, which may be told late, and otherwise than it was thought."""

    def __init__(self, wanted: Criteria, waker: Waker) -> None:
        self._network = wanted.network
        self._waker = waker
        self._stack = contextlib.ExitStack()
        self._address: str | None = None
        self._asking: ProbeRunner | None = None
        self._trouble = "its address is not known: set [boot.ready] address"

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def missing(self) -> list[str]:
        if self._network is None:
            return []
        return self._asking.missing if self._asking else [self._trouble]

    def look(self, address: str | None) -> None:
        """Ask at this address from now on, unless all that is asked holds already."""
        if self._network is None or address is None or address == self._address or not self.missing:
            return
        self._stack.close()
        self._address, self._asking = address, None
        try:
            checks = self._stack.enter_context(self._network(address))
        except HostError as error:
            self._trouble = error.message
            return
        self._asking = self._stack.enter_context(ProbeRunner(checks, self._waker))


def _ended(end: DomainExit | None) -> str:
    """Return the words for a domain that ended, or said that it crashes and hangs."""
    how = end.why if end else "crashed"
    code = "" if end is None or end.code is None else f" with exit code {end.code}"
    return f"{how}{code} before it was ready"
