"""How reading a console ends: the domain stops, or the reader detaches."""

from __future__ import annotations

import re
from dataclasses import dataclass

from unibuild.host.toolstack import SHUTDOWN_REASONS

__all__ = ["GONE", "Detached", "DomainExit", "exit_code"]

GONE = "was destroyed"
"""Why a domain stopped that no longer exists: the reason is unknown."""


@dataclass(frozen=True)
class DomainExit:
    """The domain stopped: ``why`` completes "the domain ..."; ``code`` is the exit code that Solo5 printed."""

    why: str
    code: int | None

    @property
    def is_good(self) -> bool:
        """Whether the domain succeeded.

        Xen does not keep the code: Solo5 powers off with every code but that of abort(). So only the console has it.
        """
        return self.why not in (SHUTDOWN_REASONS[3], SHUTDOWN_REASONS[4]) and not self.code


@dataclass(frozen=True)
class Detached:
    """The reader detached, with Ctrl-] or because the time was up, and the domain runs on."""


def exit_code(output: bytes) -> int | None:
    """Return N of the last line ``Solo5: solo5_exit(N) called``, or None if there is none."""
    found = re.findall(rb"^Solo5: solo5_exit\((\d+)\) called", output, re.MULTILINE)
    return int(found[-1]) if found else None
