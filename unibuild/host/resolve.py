"""Resolve the setting ``host`` to a host's name and address; nothing is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibuild.errors import InputError, SettingsError
from unibuild.host import local, ssh
from unibuild.settings.hosts import ALL

if TYPE_CHECKING:
    from unibuild.settings.model import Settings

__all__ = ["address", "every", "place"]


def place(settings: Settings) -> str:
    """Return the name of the host that the settings mean: that of a ``[hosts]`` table, else the host's address.

    Raises:
        SettingsError: ``host`` is none of these.
        InputError: it means more than one.
    """
    return settings.host if settings.host in settings.hosts else address(settings)


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
