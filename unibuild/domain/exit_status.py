"""How the reading of a console ends: with the domain, or because it is left."""

from __future__ import annotations

import re
from dataclasses import dataclass

from unibuild.host.toolstack import SHUTDOWN_REASONS

__all__ = ["GONE", "Detached", "DomainExit", "exit_code"]

GONE = "was destroyed"
"""Why a domain ended that is there no more: nobody can say."""


@dataclass(frozen=True)
class DomainExit:
    """The domain ended: ``why`` completes "the domain ..."; ``code`` is what Solo5 says it exited with."""

    why: str
    code: int | None

    @property
    def is_good(self) -> bool:
        """Whether a person would call it a success.

        Xen loses the code: Solo5 powers off with every one but that of abort(), so only the console tells.
        """
        return self.why not in (SHUTDOWN_REASONS[3], SHUTDOWN_REASONS[4]) and not self.code


@dataclass(frozen=True)
class Detached:
    """The console was left, with Ctrl-] or because the time was up, and the domain runs on."""


def exit_code(said: bytes) -> int | None:
    """Return N of the last line ``Solo5: solo5_exit(N) called``, or None where there is none."""
    found = re.findall(rb"^Solo5: solo5_exit\((\d+)\) called", said, re.MULTILINE)
    return int(found[-1]) if found else None
