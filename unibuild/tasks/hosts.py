"""From the setting ``host`` to the machine that runs the domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibuild.host import local, ssh

if TYPE_CHECKING:
    from unibuild.host.base import Host
    from unibuild.lab.box import Box
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


def open_host(settings: Settings) -> Host:
    """Return the host that the settings mean; the lab is started where it does not run, which standard error tells.

    Raises:
        SettingsError: ``host`` is no host.
        LabError: the lab does not start, or runs with less than the settings want.
    """
    name = place(settings)
    if name == "local":
        return local.Local()
    if name != "lab":
        return ssh.Ssh(*ssh.parse(name))
    from unibuild.lab import box
    from unibuild.progress import shown

    with shown() as progress:
        return _lab(box.up(settings.lab, progress))


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
    if place(settings) == "lab":
        from unibuild.lab import box

        lab = box.running()
        if lab is None or any_lab:
            return _lab(lab) if lab else None
    return open_host(settings)


def _lab(lab: Box) -> Host:
    return ssh.Ssh(lab.alias, config=lab.ssh_config, name="lab")
