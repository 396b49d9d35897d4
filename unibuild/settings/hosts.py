"""Named hosts: the settings that ``[hosts.NAME]`` changes for that host."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unibuild.settings.loader import Project
    from unibuild.settings.model import Settings, Xl

__all__ = ["ALL", "apply_host", "at", "xl_owner"]

ALL = "all"
"""The value of ``host`` that means all ``[hosts]`` tables."""


def at(project: Project, host: str) -> Project:
    """Return the project with another ``host``, without the changes of that host's table."""
    import msgspec

    return dataclasses.replace(project, settings=msgspec.structs.replace(project.settings, host=host))


def xl_owner(settings: Settings) -> str | None:
    """Return the owner of the ``.xl``: the host's name if its ``[hosts.NAME.xl]`` sets something, else ``others``.

    If no host has such a table, return None.
    """
    from unibuild.settings.model import Xl

    own = [name for name, table in settings.hosts.items() if table.xl != Xl()]
    return settings.host if settings.host in own else "others" if own else None


def apply_host(project: Project) -> Project:
    """Return the project with the host's ``[hosts.NAME.xl]`` merged into ``[xl]``; a second call changes nothing."""
    import msgspec

    settings = project.settings
    if xl_owner(settings) != settings.host:
        return project
    xl = _over(settings.xl, settings.hosts[settings.host].xl)
    return dataclasses.replace(project, settings=msgspec.structs.replace(settings, xl=xl))


def _over(base: Xl, own: Xl) -> Xl:
    import msgspec

    from unibuild.settings.model import Xl

    return msgspec.convert(_merged(msgspec.to_builtins(base), msgspec.to_builtins(own)), Xl)


def _merged(base: object, own: object) -> object:
    """Merge ``own`` into ``base``: tables key by key, and None means not set."""
    if isinstance(base, dict) and isinstance(own, dict):
        return {key: _merged(base.get(key), own.get(key)) for key in (*base, *(key for key in own if key not in base))}
    return base if own is None else own
