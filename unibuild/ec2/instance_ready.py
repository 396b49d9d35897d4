"""Seeing that an instance of EC2 is ready, as ``[boot.ready]`` says it: its console and its ports, as of a domain."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from unibuild.domain import readiness
from unibuild.domain.probes import HttpProbe, TcpProbe
from unibuild.errors import NotReadyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unibuild.aws.instance import Instance
    from unibuild.domain.probes import Probe
    from unibuild.domain.readiness import Verdict
    from unibuild.ec2.readiness import Console
    from unibuild.settings.model import Settings

__all__ = ["address", "asks_anything", "await_ready", "prove"]


def asks_anything(settings: Settings) -> bool:
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


def prove(
    settings: Settings,
    console: Console,
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
    settings: Settings, console: Console, at: str | None, timeout: float, *, with_console: bool = True
) -> Verdict:
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
        readiness.Wanted(
            console=wanted.console if with_console else None,
            checks=[],
            network=network if is_asked else None,
            address=at,  # what the console tells is the one in the VPC
            likely=None,
            timeout=timeout,
        ),
    )
