"""Wait until a new domain is ready, and read its console meanwhile."""

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

_CRASH = 2.0  # seconds for a domain to stop after it printed that it crashes
_ADDRESS = re.compile(rb"\bLease obtained! IP: (\d+(?:\.\d+){3})\b|\bip=(\d+(?:\.\d+){3})/\d")


class ReadableConsole(Protocol):
    """A console that is being read, such as ``domain.console.Reader``; ``end`` is how its domain stopped, if it has."""

    @property
    def end(self) -> DomainExit | None: ...  # noqa: D102
    def pump(self, until: float | None = None, wake: int | None = None) -> DomainExit | None: ...  # noqa: D102
    def listen(self, on_line: Callable[[bytes], None]) -> AbstractContextManager[None]: ...  # noqa: D102


@dataclass(frozen=True)
class Readiness:
    """Whether a domain was ready.

    Attributes:
        ready: whether it met all criteria.
        why: completes "hello ...": "was ready after 0.8 s", "crashed before it was ready".
        seconds: the waiting time.
        end: how it stopped, if it has.
    """

    ready: bool
    why: str
    seconds: float
    end: DomainExit | None


@dataclass(frozen=True)
class Criteria:
    """What makes a domain ready.

    Attributes:
        console: a regular expression that a line of the console must match.
        checks: probes that do not need the domain's address.
        network: gives the probes that need the address, for that address; None: there are none.
        address: the configured address of the domain; None: it is not set.
        likely: its address, unless its console reports another one.
        timeout: seconds.
    """

    console: str | None
    checks: Sequence[Probe]
    network: Callable[[str], AbstractContextManager[Sequence[Probe]]] | None
    address: str | None
    likely: str | None
    timeout: float


def reported_address(line: bytes) -> str | None:
    """Return the address that a line of the console reports as the domain's own, or None.

    Source: charrua's dhcp_client_lwt.ml ("Lease obtained! IP: 10.0.2.50, ...") and tcpip's tcpip_stack_direct.ml
    ("... stack assembled: mac=...,ip=10.0.2.50/24, ...").
    """
    found = _ADDRESS.search(line)
    return (found[1] or found[2]).decode() if found else None


def wait(reader: ReadableConsole, wanted: Criteria) -> Readiness:
    """Wait until the domain has met all criteria once, the time is up, or the domain stops or prints that it crashes.

    Lines printed earlier count too. All threads and child processes have ended when this returns.

    Args:
        reader: the domain's console.
        wanted: the criteria.

    Raises:
        HostError: the host went out of reach, or refused a probe.
        DomainError: the console cannot be read.
    """
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        waker = stack.enter_context(Waker())
        matcher = _ConsoleMatcher(wanted.console, waker)
        stack.enter_context(reader.listen(matcher.on_line))
        probes = stack.enter_context(ProbeRunner(wanted.checks, waker))
        network = stack.enter_context(_NetworkProbes(wanted, waker))
        while True:
            waker.clear()  # before the state is read: a later change wakes the next wait
            network.use(wanted.address or matcher.address or wanted.likely)
            missing = [*matcher.missing, *probes.missing, *network.missing]
            seconds = time.monotonic() - began
            if matcher.is_fatal:
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
    """Search the console's lines for the wanted pattern, the domain's address and a crash."""

    def __init__(self, pattern: str | None, waker: Waker) -> None:
        self._pattern = pattern
        self._waker = waker
        self._is_found = pattern is None
        self.address: str | None = None
        self.is_fatal = False

    @property
    def missing(self) -> list[str]:
        return [] if self._is_found else [f'no line of its console matches "{self._pattern}"']

    def on_line(self, line: bytes) -> None:
        before = (self._is_found, self.address, self.is_fatal)
        if not self._is_found and self._pattern is not None:
            self._is_found = re.search(self._pattern, line.decode(errors="replace")) is not None
        self.address = reported_address(line) or self.address
        finding = console_patterns.read(line)
        self.is_fatal |= finding is not None and finding.is_fatal
        if before != (self._is_found, self.address, self.is_fatal):
            self._waker.wake()


class _NetworkProbes(contextlib.AbstractContextManager["_NetworkProbes"]):
    """The probes that need the domain's address; the console may report it late, and differently than expected."""

    def __init__(self, wanted: Criteria, waker: Waker) -> None:
        self._network = wanted.network
        self._waker = waker
        self._stack = contextlib.ExitStack()
        self._address: str | None = None
        self._probes: ProbeRunner | None = None
        self._problem = "its address is not known: set [boot.ready] address"

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def missing(self) -> list[str]:
        if self._network is None:
            return []
        return self._probes.missing if self._probes else [self._problem]

    def use(self, address: str | None) -> None:
        """Probe this address from now on, unless all probes have passed."""
        if self._network is None or address is None or address == self._address or not self.missing:
            return
        self._stack.close()
        self._address, self._probes = address, None
        try:
            checks = self._stack.enter_context(self._network(address))
        except HostError as error:
            self._problem = error.message
            return
        self._probes = self._stack.enter_context(ProbeRunner(checks, self._waker))


def _ended(end: DomainExit | None) -> str:
    """Return the message for a domain that stopped, or that printed a crash and hangs."""
    how = end.why if end else "crashed"
    code = "" if end is None or end.code is None else f" with exit code {end.code}"
    return f"{how}{code} before it was ready"
