"""Open the host that the setting ``host`` names."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import TYPE_CHECKING

from unibuild.domain import records
from unibuild.errors import UnibuildError
from unibuild.host import local, resolve, ssh
from unibuild.host.base import BATCH
from unibuild.host.toolstack import open_toolstack
from unibuild.settings.loader import state_dir
from unibuild.util import standard_streams

if TYPE_CHECKING:
    from collections.abc import Collection

    from unibuild.host.base import Host
    from unibuild.lab.vm import LabVm
    from unibuild.settings.loader import Project
    from unibuild.settings.model import Settings

__all__ = ["DOWN", "as_recorded", "open_host", "open_running", "recorded"]

DOWN = "the lab is down"
_LONG = 10.0  # seconds for an answer after which the user sees what unibuild waits for


def as_recorded(settings: Settings, names: Collection[str]) -> Settings:
    """Return the settings with the host's name as in the records, if they know it only by another name.

    Args:
        settings: all settings.
        names: the hosts in the records.

    Raises:
        SettingsError: ``host`` is not a host.
        InputError: it means several hosts.
    """
    import msgspec

    where = resolve.address(settings)
    if resolve.host_name(settings) in names:
        return settings
    for name in names:
        other = msgspec.structs.replace(settings, host=name)
        with contextlib.suppress(UnibuildError):  # a name that unibuild.toml no longer has
            if resolve.address(other) == where:
                return other
    return settings


def recorded(project: Project) -> Project:
    """Return the project with its host's name as it was when the domain was created; see ``as_recorded``."""
    known = records.load_all(state_dir(project.root))
    return dataclasses.replace(project, settings=as_recorded(project.settings, known))


def open_host(settings: Settings, *, batch: bool = False) -> Host:
    """Return the host in the settings; start the lab if it is down, and report that on standard error.

    Args:
        settings: all settings.
        batch: whether no command may ask for a password; in a child of ``--host all`` none may either.

    Raises:
        SettingsError: ``host`` is not a host.
        LabError: the lab does not start, or runs with less than the settings require.
    """
    if resolve.address(settings) != "lab":
        return _open(settings, batch)
    from unibuild.lab import vm
    from unibuild.util.progress import shown

    with shown() as progress:
        return _lab(vm.up(settings.lab, progress), settings, batch)


def open_running(settings: Settings, *, any_lab: bool = False, batch: bool = False) -> Host | None:
    """Return the host in the settings, like ``open_host``, but None for a lab that is down.

    If another unibuild is starting or stopping the lab, wait for it.

    Args:
        settings: all settings.
        any_lab: whether to use the lab as it runs, whatever ``[lab]`` says, and leave its ports alone.
        batch: see ``open_host``.

    Raises:
        SettingsError: ``host`` is not a host.
        LabError: the lab runs with less than the settings require.
    """
    if resolve.address(settings) == "lab":
        from unibuild.lab import vm

        lab = vm.running()
        if lab is None or any_lab:
            return _lab(lab, settings, batch) if lab else None
    return open_host(settings, batch=batch)


def _open(settings: Settings, batch: bool) -> Host:
    table = settings.hosts.get(settings.host)
    where, name = resolve.address(settings), resolve.host_name(settings)
    sudo = table is None or table.sudo == "auto"
    host = local.Local(name=name, sudo=sudo) if where == "local" else ssh.Ssh(*ssh.parse(where), name=name, sudo=sudo)
    return _report_waiting(_configured(host, settings, batch))


def _lab(lab: LabVm, settings: Settings, batch: bool) -> Host:
    host = ssh.Ssh(lab.alias, config=lab.ssh_config, name=resolve.host_name(settings), address="lab")
    return _report_waiting(_configured(host, settings, batch))


def _configured(host: Host, settings: Settings, batch: bool) -> Host:
    """Set whether it may ask, and the toolstack of the host's table; an unknown one raises its error now."""
    host.is_batch = batch or bool(os.environ.get(BATCH))
    table = settings.hosts.get(settings.host)
    if table:
        host.toolstack = open_toolstack(table.toolstack, host)
    return host


def _report_waiting(host: Host) -> Host:
    """Report on standard error what unibuild waits for on the host, one line a command."""
    is_shown = False

    def show(what: str | None) -> None:
        nonlocal is_shown
        if what and not is_shown:
            standard_streams.text(2, f"unibuild: waiting for {what}\n")  # inside a swap, so a failure must not raise
        is_shown = what is not None

    host.show_waiting(show, after=_LONG)
    return host
