"""Seeing that an instance of EC2 is ready, as ``[boot.ready]`` says it: its console and its ports, as of a domain."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from unibuild.domain import ready
from unibuild.domain.probe import Connection, Page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unibuild.aws.instance import Instance
    from unibuild.domain.asking import Check
    from unibuild.domain.ready import Verdict
    from unibuild.settings.model import Settings
    from unibuild.tasks.instance_console import Console

__all__ = ["address", "asks_anything", "await_ready"]


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
    def network(at: str) -> Iterator[list[Check]]:
        checks: list[Check] = [Connection(at, wanted.tcp)] if wanted.tcp else []
        if wanted.http:
            port = Connection(at, wanted.http.port)
            checks.append(Page(wanted.http, at, (at, wanted.http.port), first=port))
        yield checks

    return ready.wait(
        console,
        ready.Wanted(
            console=wanted.console if with_console else None,
            checks=[],
            network=network if is_asked else None,
            address=at,  # what the console tells is the one in the VPC
            likely=None,
            timeout=timeout,
        ),
    )
