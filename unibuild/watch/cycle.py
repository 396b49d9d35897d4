"""One cycle of the watch loop as a value: its cause, its phases and its failures."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from unibuild.watch import events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unibuild.watch.worker_protocol import Task, WorkerFailure

__all__ = ["Cause", "CycleState", "Moment", "relative"]

Cause = Literal["save", "start", "rebuild", "reboot", "retry"]
_STAGES = frozenset(("configure", "depend", "build", "xl")) & {*get_args(events.Phase)}
_SHORTEST_REST = 0.005  # seconds; a shorter rest would be shown as 0.00


class Moment(NamedTuple):
    """One moment on two clocks.

    Attributes:
        clock: of the monotonic clock, in seconds; durations are counted by it.
        wall: seconds since the epoch; events report it.
    """

    clock: float
    wall: float


@dataclass(frozen=True)
class CycleState:
    """A cycle that runs.

    Attributes:
        number: from 1.
        what: what started it.
        paths: the changed files, relative to the project's folder where they are in it.
        began: when the first change was seen, of the monotonic clock.
        phases: seconds by phase so far.
        failures: the tasks that failed.
        written: inputs that the build itself wrote, with their fingerprints.
    """

    number: int
    what: Cause
    paths: tuple[str, ...]
    began: float
    phases: Mapping[events.Phase, float] = field(default_factory=dict)
    failures: tuple[WorkerFailure, ...] = ()
    written: Mapping[str, str] = field(default_factory=dict)

    @property
    def trigger(self) -> str:
        """The file that started the cycle; empty: a command did."""
        return self.paths[0] if self.paths and self.what == "save" else ""

    @property
    def ran_a_stage(self) -> bool:
        """Whether a stage of the build had something to do."""
        return not _STAGES.isdisjoint(self.phases)

    def changed(self, now: Moment) -> events.Changed:
        """Return the event that reports the cycle's start."""
        return events.Changed(at=now.wall, paths=self.paths, first=self.trigger, what=self.what)

    def add_task(self, task: Task) -> CycleState:
        """Return the cycle after a task began or ended."""
        return replace(
            self, written={**self.written, **task.written}, phases=self._phases_with(task.name, task.seconds)
        )

    def add_failure(self, failure: WorkerFailure) -> CycleState:
        """Return the cycle after a task failed."""
        phases = self._phases_with(failure.name, failure.seconds)
        return replace(self, failures=(*self.failures, failure), phases=phases)

    def add_phases(self, phases: Mapping[events.Phase, float]) -> CycleState:
        """Return the cycle with the phases of the domain's replacement."""
        return replace(self, phases={**self.phases, **phases})

    def ended(self, now: Moment, outcome: events.Outcome, why: str, exit_code: int) -> events.Cycle:
        """Return the event that reports the cycle's end; time outside its phases is reported as ``other``."""
        seconds = round(now.clock - self.began, 6)
        spent = {phase: round(self.phases.get(phase, 0.0), 6) for phase in events.PHASES}
        phases = {phase: took for phase, took in spent.items() if took > 0}
        rest = round(seconds - sum(phases.values()), 6)
        if rest >= _SHORTEST_REST:
            phases["other"] = rest
        return events.Cycle(
            at=now.wall,
            number=self.number,
            trigger=self.trigger,
            outcome=outcome,
            phases=phases,
            seconds=seconds,
            why=why,
            exit_code=exit_code,
        )

    def _phases_with(self, task: str, seconds: float | None) -> Mapping[events.Phase, float]:
        stage = task.partition(":")[0]
        if seconds is None or stage not in _STAGES:
            return self.phases
        phase: events.Phase = stage  # type: ignore[assignment]  # one of the phases
        return {**self.phases, phase: self.phases.get(phase, 0.0) + seconds}


def relative(root: str, paths: Sequence[str]) -> tuple[str, ...]:
    """Return paths relative to the project's folder where they are in it."""
    below = root.rstrip(os.sep) + os.sep
    return tuple(path.removeprefix(below) for path in paths)
