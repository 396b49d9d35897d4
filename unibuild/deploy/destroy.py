"""The end of the domain that we made last: the goal ``destroy``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibuild.deploy import host_files, hosts
from unibuild.deploy.console_output import ConsoleOutput
from unibuild.deploy.replacement import locked
from unibuild.domain import ownership, records
from unibuild.domain.generations import GenerationStore
from unibuild.host import resolve
from unibuild.settings.loader import state_dir

if TYPE_CHECKING:
    from unibuild.settings.loader import Project

__all__ = ["destroy"]


def destroy(project: Project, screen: ConsoleOutput | None = None) -> None:
    """End the domain that we made last, at once; where there is none, say so.

    Raises:
        HostError: the host cannot be reached, or refused.
        BusyError: another run is at it.
    """
    screen = screen or ConsoleOutput(raw=False)
    state = state_dir(project.root)
    project = hosts.recorded(project)
    place = resolve.host_name(project.settings)
    known = records.load(state, place)
    ours = known.good or known.pending
    if ours is None:
        screen.say(f"no domain of this project is on {place}")
        return
    host = hosts.open_running(project.settings, any_lab=True)
    ended = False
    disks: tuple[str, ...] = ()
    with locked(project.root, place):
        known = records.load(state, place)
        if host:
            for domain in host.toolstack.list_domains():
                if domain.uuid in known.uuids:
                    host.toolstack.destroy(domain)
                    ended = True
            ownership.clear_owner(host, *known.uuids)
            disks = host.toolstack.discard(host_files.host_folder(project.root, ours.name))
        for uuid in known.uuids:
            GenerationStore(state).ended(uuid, "destroyed", "")
        records.forget(state, place)
    if ended:
        screen.say(f"{ours.name} is gone from {place}")
    else:
        screen.say(f"{ours.name} was not on {place} any more" + ("" if host else f": {hosts.DOWN}"))
    for disk in disks:
        screen.say(f"what it wrote stays on {place} for the next boot: {disk}")
