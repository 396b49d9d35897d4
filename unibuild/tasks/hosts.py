"""From the setting ``host`` to the machine that runs the domain."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from unibuild.host import local, ssh

if TYPE_CHECKING:
    from unibuild.host.base import Host
    from unibuild.settings.model import Settings

__all__ = ["Progress", "lines", "open_host", "place"]

Progress = Callable[[str, float | None], None]  # what takes long, and how far it is: 0 to 1, None while unknown


def lines() -> Progress:
    """Return a progress that is told on standard error, a line for each thing."""
    told = ""

    def tell(what: str, fraction: float | None) -> None:  # noqa: ARG001 (a line cannot move)
        nonlocal told
        if what != told:
            told = what
            print(f"unibuild: {what}", file=sys.stderr, flush=True)

    return tell


def place(settings: Settings) -> str:
    """Return the name of the host that the settings mean: ``local``, ``lab`` or an ``ssh://`` address.

    Raises:
        SettingsError: ``host`` is none of these.
    """
    if settings.host == "auto":
        return "local" if local.is_dom0() else "lab"
    if settings.host not in ("local", "lab"):
        return ssh.Ssh(*ssh.parse(settings.host)).name
    return settings.host


def open_host(settings: Settings, progress: Progress | None = None, *, forward: bool = True) -> Host:
    """Return the host that the settings mean; the lab is started where it does not run.

    Args:
        settings: all of them.
        progress: is told what takes long; None: ``lines()``.
        forward: whether the ports of ``[lab] forward`` are wanted.

    Raises:
        SettingsError: ``host`` is no host.
        LabError: the lab does not start.
    """
    name = place(settings)
    if name == "local":
        return local.Local()
    if name != "lab":
        return ssh.Ssh(*ssh.parse(name))
    import msgspec

    from unibuild.lab import box

    wanted = settings.lab if forward else msgspec.structs.replace(settings.lab, forward=())
    lab = box.up(wanted, progress or lines())
    return ssh.Ssh(lab.alias, config=lab.ssh_config, name="lab")
