"""The goal ``destroy``: destroy the project's domain on a host."""

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
    """Destroy the project's domain at once; print a message if there is none.

    Raises:
        HostError: the host cannot be reached, or refused.
        BusyError: another run changes the domain.
    """
    screen = screen or ConsoleOutput(raw=False)
    state = state_dir(project.root)
    project = hosts.recorded(project)
    name = resolve.host_name(project.settings)
    known = records.load(state, name)
    own = known.good or known.pending
    if own is None:
        screen.say(f"no domain of this project is on {name}")
        return
    host = hosts.open_running(project.settings, any_lab=True, batch=project.batch)
    destroyed = False
    disks: tuple[str, ...] = ()
    with locked(project.root, name):
        known = records.load(state, name)
        if host:
            there = [domain for domain in host.toolstack.list_domains() if domain.uuid in known.uuids]
            destroyed = bool(there)
            copies: dict[str, tuple[str, ...]] = {host_files.host_folder(project.root, own.name): ()}
            disks = host.toolstack.clean_up(there, [ownership.entry(one) for one in known.uuids], copies)
        for uuid in known.uuids:
            GenerationStore(state).ended(uuid, "destroyed", "")
        records.forget(state, name)
    if destroyed:
        screen.say(f"destroyed {own.name} on {name}")
    else:
        screen.say(f"{own.name} no longer existed on {name}" + ("" if host else f": {hosts.DOWN}"))
    for disk in disks:
        screen.say(f"kept its written disk on {name} for the next boot: {disk}")
