"""What the loop does in a swap of domains: it reads the old console to its end, and takes the time of each part."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from unibuild.deploy.replacement import ConsoleDrain, ReplaceObserver
from unibuild.util import waits
from unibuild.watch import events

if TYPE_CHECKING:
    from pathlib import Path

    from unibuild.deploy.replacement import NewDomain
    from unibuild.errors import UnibuildError
    from unibuild.host.base import Host
    from unibuild.host.toolstack import Domain
    from unibuild.watch.console_thread import Follower
    from unibuild.watch.domain import Domains

__all__ = ["Swap", "Swapped"]

_PATIENCE = 20.0  # seconds for what an ended domain still has to say


@dataclass(frozen=True)
class Swapped:
    """How an attempt to put a domain in place ended.

    Attributes:
        outcome: as ``events.Cycle`` has it.
        phases: seconds of its parts.
        error: what failed.
        is_again: whether it is worth trying again without a save: the host, or another run, was in the way.
    """

    outcome: Literal["unchanged", "booted", "ready", "failed", "not ready"]
    phases: dict[events.Phase, float] = field(default_factory=dict)
    error: UnibuildError | None = None
    is_again: bool = False


class Swap(ReplaceObserver):
    """Takes part in a change: the old console is read to its end by who follows it, the new one is handed on."""

    def __init__(self, domains: Domains) -> None:
        self.phases: dict[events.Phase, float] = {}
        self.made: NewDomain | None = None
        self._domains = domains
        self._phase: events.Phase | None = None
        self._began = 0.0
        self._created = (0.0, 0.0)  # when that began last, of the clock, and how long it took

    def drain_console(self, host: Host, domain: Domain, state: Path) -> ConsoleDrain:
        """Let who follows the old console read it to its end."""
        follower = self._domains.follower
        if follower is None or follower.followed.domain.uuid != domain.uuid or not follower.is_alive:
            return ConsoleDrain(host, domain, state)
        follower.replaced = True
        return _Heard(follower)

    def phase_began(self, phase: Literal["copy", "create", "ready"] | None) -> None:
        """Tell of a part that begins."""
        self.ended("done")
        self._phase, self._began = phase, time.monotonic()
        if phase is not None:
            self._tell(phase, "running", None)

    def ended(self, state: Literal["done", "failed"]) -> None:
        """Tell of the end of the part that is under way, and note its time."""
        if self._phase is not None:
            took = time.monotonic() - self._began
            self._spent(self._phase, took)
            self._tell(self._phase, state, took)
            if self._phase == "create":
                self._created = (self._began, took)
        self._phase = None

    def down_for(self, seconds: float) -> None:
        """Note how long no domain ran."""
        self._spent("outage", seconds)
        began, took = self._created
        if began >= time.monotonic() - seconds:  # it is in the outage, and counts there
            self._spent("create", -took)

    def new_domain_accepted(self, made: NewDomain) -> None:
        """Keep what runs now: the loop follows it."""
        self.made = made

    def _spent(self, phase: events.Phase, seconds: float) -> None:
        self.phases[phase] = self.phases.get(phase, 0.0) + seconds

    def _tell(self, name: str, state: Literal["running", "done", "failed"], took: float | None) -> None:
        self._domains.post(events.Stage(at=time.time(), name=name, state=state, seconds=took))


class _Heard(ConsoleDrain):
    """The last words of a domain that a follower reads."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def __exit__(self, *_: object) -> None:
        if not self._follower.heard.is_set():  # it runs on
            self._follower.replaced = False

    def drain(self) -> None:
        waits.wait(self._follower.heard, _PATIENCE)
