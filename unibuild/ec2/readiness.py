"""The console of an EC2 instance, read as that of a domain is: asked for again and again, for EC2 streams none."""

from __future__ import annotations

import contextlib
import select
import time
from typing import TYPE_CHECKING

from unibuild.aws.launch import instance
from unibuild.aws.launch.instance import new_output
from unibuild.domain import readiness
from unibuild.domain.exit_status import DomainExit, exit_code
from unibuild.domain.probes import HttpProbe, TcpProbe
from unibuild.errors import NotReadyError
from unibuild.util.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unibuild.aws.client import Aws
    from unibuild.aws.launch.instance import Instance
    from unibuild.domain.console_log import Log
    from unibuild.domain.probes import Probe
    from unibuild.domain.readiness import Readiness
    from unibuild.settings.model import Settings

__all__ = ["InstanceConsole", "address", "await_ready", "check_ready", "has_checks"]


def has_checks(settings: Settings) -> bool:
    """Say whether ``[boot.ready]`` asks for something that an instance can be asked; XenStore is the host's own."""
    wanted = settings.boot.ready
    return bool(wanted.console or wanted.tcp or wanted.http)


def address(settings: Settings, found: Instance) -> str | None:
    """Return the address where an instance is asked, by ``[launch] address``; None: it has none such."""
    match settings.launch.address:
        case "public":
            return found.public
        case "private":
            return found.private
    return found.public or found.private


def check_ready(
    settings: Settings,
    console: InstanceConsole,
    found: Instance,
    timeout: float,
    *,
    who: str,
    old: Instance | None,
    with_console: bool = True,
) -> str:
    """See that an instance is ready; return the words that say why it is held to be so.

    Args:
        settings: the project's.
        console: its console.
        found: the instance.
        timeout: seconds.
        who: what to call it.
        old: the one that runs beside it, to tell of it.
        with_console: see ``await_ready``.

    Raises:
        NotReadyError: it is not, or has no address where it could be asked.
        AwsError: AWS refused.
    """
    at = address(settings, found)
    if at is None:
        raise NotReadyError(
            f"{found.id} has no {settings.launch.address} address to ask it at",
            hint='[launch] subnet: one that gives public addresses; or address = "private", from inside the VPC',
        )
    verdict = await_ready(settings, console, at, timeout, with_console=with_console)
    if not verdict.ready:
        runs = f"{old.id} runs on" if old else "no instance runs"
        raise NotReadyError(f"{who} {verdict.why}", hint=f"what it said: {console.log.path}\n{runs}")
    return verdict.why


def await_ready(
    settings: Settings, console: InstanceConsole, at: str | None, timeout: float, *, with_console: bool = True
) -> Readiness:
    """Wait until an instance is ready, is not in time, or has ended; its console is read meanwhile.

    Args:
        settings: the project's.
        console: its console.
        at: its address.
        timeout: seconds.
        with_console: whether a line of the console is waited for too.

    Raises:
        AwsError: AWS refused.
    """
    wanted = settings.boot.ready
    is_asked = bool(wanted.tcp or wanted.http)

    @contextlib.contextmanager
    def network(at: str) -> Iterator[list[Probe]]:
        checks: list[Probe] = [TcpProbe(at, wanted.tcp)] if wanted.tcp else []
        if wanted.http:
            port = TcpProbe(at, wanted.http.port)
            checks.append(HttpProbe(wanted.http, at, (at, wanted.http.port), first=port))
        yield checks

    return readiness.wait(
        console,
        readiness.Criteria(
            console=wanted.console if with_console else None,
            checks=[],
            network=network if is_asked else None,
            address=at,  # what the console tells is the one in the VPC
            likely=None,
            timeout=timeout,
        ),
    )


_PAUSES = (1.0, 10.0)  # seconds between two questions to EC2, the first and the longest


class InstanceConsole(contextlib.AbstractContextManager["InstanceConsole"]):
    """What an instance says, and whether it still runs; see ``domain.console.Reader``.

    Args:
        aws: the account.
        region: where it is.
        name: its id.
        log: keeps what it says.
        show: is given what it says, as it comes.
    """

    end: DomainExit | None = None
    """How the instance ended, once it has."""

    def __init__(self, aws: Aws, region: str, name: str, log: Log, show: Callable[[bytes], None]) -> None:
        self.log = log
        self._aws, self._region, self._name = aws, region, name
        self._show = show
        self._kept = b""  # what EC2 gave last
        self._said = bytearray()
        self._listeners: list[Lines] = []
        self._pause = _PAUSES[0]
        self._next = 0.0

    def __exit__(self, *_: object) -> None:
        self.log.close()

    def pump(self, until: float | None = None, wake: int | None = None) -> DomainExit | None:
        """Read until the instance ends, something else is to be done, or the time is up; see ``Reader.pump``.

        Raises:
            AwsError: AWS refused.
        """
        while self.end is None:
            now = time.monotonic()
            if now >= self._next:
                self._ask()
                self._next = time.monotonic() + self._pause
                self._pause = min(self._pause * 1.3, _PAUSES[1])
                continue
            moments = [self._next] if until is None else [self._next, until]
            woken, _, _ = select.select([] if wake is None else [wake], [], [], max(0.0, min(moments) - now))
            if woken or (until is not None and time.monotonic() >= until):
                break
        return self.end

    @contextlib.contextmanager
    def listen(self, hear: Callable[[bytes], None]) -> Iterator[None]:
        """For the time of the block, give ``hear`` each whole line, those that were said before first."""
        lines = Lines(hear)
        lines.feed(bytes(self._said))
        self._listeners.append(lines)
        try:
            yield
        finally:
            self._listeners.remove(lines)

    def _ask(self) -> None:
        """Ask for the console and the state; an instance that has ended is asked for its last words too."""
        found = instance.describe(self._aws, self._region, self._name)
        now = instance.console_output(self._aws, self._region, self._name) if found else self._kept
        data = new_output(self._kept, now)
        if now:
            self._kept = now
        if data:
            self._said += data
            self.log.feed(data)
            self._show(data)
            for lines in self._listeners:
                lines.feed(data)
        if found is None or not found.is_alive:
            for lines in self._listeners:
                lines.end()
            self.end = DomainExit(_ending(found), exit_code(bytes(self._said)))


def _ending(found: instance.Instance | None) -> str:
    """Return the words for an instance that ended, to stand after "the instance ..."."""
    if found is None:
        return "was terminated"
    state = {"shutting-down": "terminated", "stopping": "stopped"}.get(found.state, found.state)
    return f"was {state}" + (f" ({found.reason})" if found.reason else "")
