"""Resolve the setting ``host`` to a host's name and address, without opening it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibuild.errors import InputError, SettingsError
from unibuild.host import local, ssh
from unibuild.settings.hosts import ALL

if TYPE_CHECKING:
    from unibuild.settings.model import Settings

__all__ = ["address", "all_names", "host_name"]


def host_name(settings: Settings) -> str:
    """Return the name of the host in the settings: its name in ``[hosts]``, else its address.

    Raises:
        SettingsError: ``host`` is not a host.
        InputError: it means several hosts.
    """
    return settings.host if settings.host in settings.hosts else address(settings)


def all_names(settings: Settings) -> tuple[str, ...]:
    """Return the names of all ``[hosts]`` tables, for ``--host all``.

    Raises:
        SettingsError: there are no such tables.
    """
    if not settings.hosts:
        raise SettingsError(
            '"all" means the hosts that have names, and no host has a name',
            hint='give them names: [hosts.xen1] address = "ssh://root@xen1"',
        )
    return tuple(settings.hosts)


def address(settings: Settings) -> str:
    """Return ``local``, ``lab`` or the ``ssh://`` address of the host in the settings.

    Raises:
        SettingsError: ``host`` is not a host.
        InputError: it means several hosts.
    """
    table = settings.hosts.get(settings.host)
    value, key = (table.address, f"[hosts.{settings.host}] address") if table else (settings.host, "host")
    if table is None and value == "auto":
        return "local" if local.is_dom0() else "lab"
    if table is None and value == ALL:
        raise InputError("this goal takes one host, not all", hint=f"--host {' or --host '.join(all_names(settings))}")
    if value in ("local", "lab"):
        return value
    if table is None and "/" not in value:
        raise _unknown(settings)
    return ssh.format_address(*ssh.parse(value, key))


def _unknown(settings: Settings) -> SettingsError:
    import difflib

    known = ("local", "lab", *settings.hosts)
    close = difflib.get_close_matches(settings.host, known, 1)
    mean = f"did you mean `{close[0]}`? " if close else ""
    others = ", ".join(dict.fromkeys(known))
    return SettingsError(
        f"unknown host: {settings.host}", hint=f"{mean}known: {others}; or an address, ssh://[user@]host[:port]"
    )
