"""From the setting ``host`` to the machine that runs the domain."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from typing import TYPE_CHECKING

from unibuild.domain import record
from unibuild.errors import InputError, SettingsError, UnibuildError
from unibuild.host import local, ssh
from unibuild.settings.named import ALL
from unibuild.settings.sources import state_dir

if TYPE_CHECKING:
    from collections.abc import Collection

    from unibuild.host.base import Host
    from unibuild.lab.box import Box
    from unibuild.settings.model import Settings
    from unibuild.settings.sources import Project

__all__ = ["DOWN", "address", "as_recorded", "every", "open_host", "open_running", "place", "recorded"]

DOWN = "the lab is down"
_LONG = 10.0  # seconds for an answer after which the user sees what unibuild waits for


def place(settings: Settings) -> str:
    """Return the name of the host that the settings mean: that of a ``[hosts]`` table, else the host's address.

    Raises:
        SettingsError: ``host`` is none of these.
        InputError: it means more than one.
    """
    return settings.host if settings.host in settings.hosts else address(settings)


def as_recorded(settings: Settings, names: Collection[str]) -> Settings:
    """Return the settings with the host called as the records call it, where they know it by another name only.

    Args:
        settings: all of them.
        names: the hosts that there are records of.

    Raises:
        SettingsError: ``host`` is no host.
        InputError: it means more than one.
    """
    import msgspec

    where = address(settings)
    if place(settings) in names:
        return settings
    for name in names:
        other = msgspec.structs.replace(settings, host=name)
        with contextlib.suppress(UnibuildError):  # a name that unibuild.toml has no more
            if address(other) == where:
                return other
    return settings


def recorded(project: Project) -> Project:
    """Return the project with its host called as it was when the domain was made; see ``as_recorded``."""
    known = record.every(state_dir(project.root))
    return dataclasses.replace(project, settings=as_recorded(project.settings, known))


def every(settings: Settings) -> tuple[str, ...]:
    """Return the names of all ``[hosts]`` tables, for ``--host all``.

    Raises:
        SettingsError: there is none.
    """
    if not settings.hosts:
        raise SettingsError(
            '"all" means the hosts that have names, and there is none',
            hint='give them names: [hosts.xen1] address = "ssh://root@xen1"',
        )
    return tuple(settings.hosts)


def open_host(settings: Settings) -> Host:
    """Return the host that the settings mean; the lab is started where it does not run, which standard error tells.

    Raises:
        SettingsError: ``host`` is no host.
        LabError: the lab does not start, or runs with less than the settings want.
    """
    if address(settings) != "lab":
        return _open(settings)
    from unibuild.lab import box
    from unibuild.progress import shown

    with shown() as progress:
        return _lab(box.up(settings.lab, progress), place(settings))


def open_running(settings: Settings, *, any_lab: bool = False) -> Host | None:
    """Return the host that the settings mean, as ``open_host`` does; None where it is a lab that is down.

    Where another unibuild is at the lab, wait for that.

    Args:
        settings: all of them.
        any_lab: whether the lab is taken as it runs, whatever ``[lab]`` says, and its ports are left alone.

    Raises:
        SettingsError: ``host`` is no host.
        LabError: the lab runs with less than the settings want.
    """
    if address(settings) == "lab":
        from unibuild.lab import box

        lab = box.running()
        if lab is None or any_lab:
            return _lab(lab, place(settings)) if lab else None
    return open_host(settings)


def address(settings: Settings) -> str:
    """Return ``local``, ``lab`` or the ``ssh://`` address of the host that the settings mean.

    Raises:
        SettingsError: ``host`` is none of these.
        InputError: it means more than one.
    """
    table = settings.hosts.get(settings.host)
    said, key = (table.address, f"[hosts.{settings.host}] address") if table else (settings.host, "host")
    if table is None and said == "auto":
        return "local" if local.is_dom0() else "lab"
    if table is None and said == ALL:
        raise InputError(
            "this goal takes one host, not all of them", hint=f"--host {' or --host '.join(every(settings))}"
        )
    if said in ("local", "lab"):
        return said
    if table is None and "/" not in said:
        raise _unknown(settings)
    return ssh.format_address(*ssh.parse(said, key))


def _unknown(settings: Settings) -> SettingsError:
    import difflib

    known = ("local", "lab", *settings.hosts)
    close = difflib.get_close_matches(settings.host, known, 1)
    mean = f"did you mean `{close[0]}`? " if close else ""
    others = ", ".join(dict.fromkeys(known))
    return SettingsError(
        f"there is no host `{settings.host}`", hint=f"{mean}known: {others}; or an address, ssh://[user@]host[:port]"
    )


def _open(settings: Settings) -> Host:
    table = settings.hosts.get(settings.host)
    where, name = address(settings), place(settings)
    sudo = table is None or table.sudo == "auto"
    if where == "local":
        return _telling(local.Local(name=name, sudo=sudo))
    return _telling(ssh.Ssh(*ssh.parse(where), name=name, sudo=sudo))


def _lab(lab: Box, name: str) -> Host:
    return _telling(ssh.Ssh(lab.alias, config=lab.ssh_config, name=name, address="lab"))


def _telling(host: Host) -> Host:
    """Let standard error name what the host takes long for, a line for each command."""
    is_told = False

    def tell(what: str | None) -> None:
        nonlocal is_told
        if what and not is_told:
            print(f"unibuild: waiting for {what}", file=sys.stderr, flush=True)
        is_told = what is not None

    host.show_waiting(tell, after=_LONG)
    return host
