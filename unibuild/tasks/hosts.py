"""From the setting ``host`` to the machine that runs the domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibuild.host import local, ssh

if TYPE_CHECKING:
    from unibuild.host.base import Host
    from unibuild.settings.model import Settings

__all__ = ["open_host", "open_running", "place"]


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


def open_host(settings: Settings, *, forward: bool = True) -> Host:
    """Return the host that the settings mean; the lab is started where it does not run, which standard error tells.

    Args:
        settings: all of them.
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
    from unibuild.progress import shown

    wanted = settings.lab if forward else msgspec.structs.replace(settings.lab, forward=())
    with shown() as progress:
        lab = box.up(wanted, progress)
    return ssh.Ssh(lab.alias, config=lab.ssh_config, name="lab")


def open_running(settings: Settings, *, forward: bool = True) -> Host | None:
    """Return the host that the settings mean, as ``open_host`` does; None where it is a lab that is down.

    Where another unibuild is at the lab, wait for that.

    Raises:
        SettingsError: ``host`` is no host.
        LabError: the lab runs with other settings.
    """
    if place(settings) == "lab":
        from unibuild.lab import box

        if box.running() is None:
            return None
    return open_host(settings, forward=forward)
