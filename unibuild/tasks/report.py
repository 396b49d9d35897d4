"""What is told of a domain that ended badly, or was not ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unibuild.domain import xl
    from unibuild.domain.console import End, Reader
    from unibuild.host.base import Host
    from unibuild.settings.sources import Project

__all__ = ["bad_end"]

_CODES = {  # Mirage's functoria_runtime.ml
    63: "63 is how MirageOS ends after --help",
    64: "64 means that MirageOS did not understand an argument: see [boot] args",
}


def bad_end(project: Project, host: Host, domain: xl.Domain, end: End | None, reader: Reader) -> str:
    """Return lines on why a domain is no good, and what to do; the domain is there still."""
    more = _CODES.get(end.code or 0) if end else None
    return (f"{more}\n" if more else "") + f"what it said: {reader.log.path}"
