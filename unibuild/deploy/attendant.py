"""What a change of a domain gives to whom it concerns: the domain that was made, and word of each part of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from unibuild.deploy.words import LastWords

if TYPE_CHECKING:
    from pathlib import Path

    from unibuild.domain import records
    from unibuild.domain.console import Reader
    from unibuild.host import xl
    from unibuild.host.base import Host
    from unibuild.xlcfg import grammar

__all__ = ["Attendant", "Made"]


@dataclass(frozen=True)
class Made:
    """A domain that runs now: its row of ``xl list``, our note of it, its ``.xl``, its console, and the log of that."""

    domain: xl.Domain
    instance: records.Instance
    config: grammar.Config
    reader: Reader | None
    log: Path


class Attendant:
    """Who takes part in a change from outside: nobody, as here, or the watch loop, which follows consoles meanwhile."""

    def last_words(self, host: Host, domain: xl.Domain, state: Path) -> LastWords:
        """Return what reads the console of the old domain to its end."""
        return LastWords(host, domain, state)

    def began(self, phase: Literal["copy", "create", "ready"] | None) -> None:
        """Hear that a part of the change begins, and the one before it ends; None: none begins."""

    def away(self, seconds: float) -> None:
        """Hear how long no domain ran."""

    def accepted(self, made: Made) -> None:
        """Hear that a domain is the good one now; its reader is the hearer's from now on."""
