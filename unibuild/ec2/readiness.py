"""Read the console of an EC2 instance by polling, and wait until the instance is ready."""

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
    """Return whether ``[boot.ready]`` has checks for an instance; EC2's XenStore is out of reach."""
    wanted = settings.boot.ready
    return bool(wanted.console or wanted.tcp or wanted.http)


def address(settings: Settings, found: Instance) -> str | None:
    """Return the address where an instance is probed, by ``[launch] address``; None: it lacks that address."""
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
    """Check that an instance is ready; return why, in words.

    Args:
        settings: the project's settings.
        console: its console.
        found: the instance.
        timeout: seconds.
        who: its name in messages.
        old: the previous instance, which messages name too.
        with_console: see ``await_ready``.

    Raises:
        NotReadyError: it is not ready, or lacks an address.
        AwsError: AWS refused.
    """
    at = address(settings, found)
    if at is None:
        raise NotReadyError(
            f"{found.id} lacks a {settings.launch.address} address to probe",
            hint='set [launch] subnet to one with public addresses, or, inside the VPC, address = "private"',
        )
    verdict = await_ready(settings, console, at, timeout, with_console=with_console)
    if not verdict.ready:
        runs = f"{old.id} runs on" if old else "no instance runs"
        raise NotReadyError(f"{who} {verdict.why}", hint=f"console output: {console.log.path}\n{runs}")
    return verdict.why


def await_ready(
    settings: Settings, console: InstanceConsole, at: str | None, timeout: float, *, with_console: bool = True
) -> Readiness:
    """Wait until an instance is ready, has stopped, or the time is up; its console is read meanwhile.

    Args:
        settings: the project's settings.
        console: its console.
        at: its address.
        timeout: seconds.
        with_console: whether to wait for a line of the console too.

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
            address=at,  # the console reports the address in the VPC
            likely=None,
            timeout=timeout,
        ),
    )


_PAUSES = (1.0, 10.0)  # seconds between two queries to EC2, the first and the longest


class InstanceConsole(contextlib.AbstractContextManager["InstanceConsole"]):
    """The console of an instance, and whether it still runs; see ``domain.console.Reader``.

    Args:
        aws: the account.
        region: the instance's region.
        name: its id.
        log: records the output.
        show: called with the output as it arrives.
    """

    end: DomainExit | None = None
    """How the instance stopped, once it has."""

    def __init__(self, aws: Aws, region: str, name: str, log: Log, show: Callable[[bytes], None]) -> None:
        self.log = log
        self._aws, self._region, self._name = aws, region, name
        self._show = show
        self._kept = b""  # EC2's last answer
        self._said = bytearray()
        self._listeners: list[Lines] = []
        self._pause = _PAUSES[0]
        self._next = 0.0

    def __exit__(self, *_: object) -> None:
        self.log.close()

    def pump(self, until: float | None = None, wake: int | None = None) -> DomainExit | None:
        """Read until the instance stops, ``wake`` is readable or the time is up; see ``Reader.pump``.

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
    def listen(self, on_line: Callable[[bytes], None]) -> Iterator[None]:
        """For the time of the block, call ``on_line`` with each complete line, the earlier ones first."""
        lines = Lines(on_line)
        lines.feed(bytes(self._said))
        self._listeners.append(lines)
        try:
            yield
        finally:
            self._listeners.remove(lines)

    def _ask(self) -> None:
        """Query the console and the state; read the last output of an instance that has stopped too."""
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
    """Return the words for an instance that stopped, to follow "the instance ..."."""
    if found is None:
        return "was terminated"
    state = {"shutting-down": "terminated", "stopping": "stopped"}.get(found.state, found.state)
    return f"was {state}" + (f" ({found.reason})" if found.reason else "")
