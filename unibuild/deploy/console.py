"""The console of the domain that we made last: the goal ``console``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibuild.deploy import hosts
from unibuild.deploy.console_output import opened
from unibuild.deploy.follow import Followed, follow
from unibuild.domain import records
from unibuild.domain.console import Reader
from unibuild.domain.console_log import Log, log_path
from unibuild.errors import DomainError
from unibuild.host import resolve, xl
from unibuild.settings.loader import state_dir

if TYPE_CHECKING:
    from unibuild.deploy.console_output import Screen
    from unibuild.host.base import Host
    from unibuild.settings.loader import Project

__all__ = ["console", "reread"]


def console(project: Project) -> None:
    """Follow the console of the domain that we made last, as ``[boot]`` says.

    One that has ended meanwhile still tells its last lines.

    Raises:
        HostError: the host cannot be reached, or refused.
        DomainError: there is none; its console is being read already; or it ended badly.
    """
    screen, attached = opened(project.settings)
    follow(reread(project, screen), screen, attached=attached)


def reread(project: Project, screen: Screen) -> Followed:
    """Begin to read the console of the domain that we made last.

    Raises:
        HostError: the host cannot be reached, or refused.
        DomainError: there is none; its console is being read already.
    """
    state = state_dir(project.root)
    project = hosts.recorded(project)
    place = resolve.place(project.settings)
    known = records.load(state, place)
    host = hosts.open_running(project.settings, any_lab=True) if known.uuids else None
    domain = _ours(host, known) if host else None
    if host is None or domain is None:
        down = f": {hosts.DOWN}" if known.uuids and not host else ""
        raise DomainError(f"no domain of this project is on {place}{down}", hint="`unibuild boot` makes one")
    reader = Reader(host, domain, Log(log_path(state, domain.name, host.name)), screen.show)
    return Followed(project, host, domain, reader)


def _ours(host: Host, known: records.Record) -> xl.Domain | None:
    """Return our domain: the one that a swap has begun with where it runs, else the good one."""
    there = {domain.uuid: domain for domain in xl.domains(host) if domain.uuid in known.uuids}
    found = [there[one.uuid] for one in (known.pending, known.good) if one and one.uuid in there]
    return next((one for one in found if not one.is_paused), found[0] if found else None)
