"""One cycle, from the change to what came of it: pure bookkeeping."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from unibuild.watch import events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unibuild.watch.worker_protocol import Failure, Task

__all__ = ["Cycle", "relative"]

What = Literal["save", "start", "rebuild", "reboot", "retry"]
_STAGES = frozenset(("configure", "depend", "build", "xl")) & {*get_args(events.Phase)}
_TOLD = 0.005  # seconds: less is 0.00 on a screen


@dataclass
class Cycle:
    """A cycle that runs.

    Attributes:
        number: from 1.
        what: what began it.
        paths: the files that did, relative where they are in the project.
        began: the first sign of it, of the clock.
        phases: seconds of its parts so far.
        failures: what failed.
        is_stopped: whether its build was told to end.
    """

    number: int
    what: What
    paths: tuple[str, ...]
    began: float
    phases: dict[events.Phase, float] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    settled: dict[str, str] = field(default_factory=dict)
    is_stopped: bool = False

    @property
    def trigger(self) -> str:
        """The file that began it; empty: a command did."""
        return self.paths[0] if self.paths and self.what == "save" else ""

    def changed(self) -> events.Changed:
        """Return the event of its beginning."""
        return events.Changed(at=time.time(), paths=self.paths, first=self.trigger, what=self.what)

    def heard(self, task: Task) -> events.Stage:
        """Note what became of a task; return its event."""
        self.settled |= task.settled
        self._spent(task.name, task.seconds)
        return events.Stage(at=time.time(), name=task.name, state=task.state, seconds=task.seconds, reason=task.reason)

    def failed(self, failure: Failure) -> events.Stage | None:
        """Note a failure; return the event of the task that failed, None: it was none."""
        self.failures.append(failure)
        self._spent(failure.name, failure.seconds)
        if not failure.name:
            return None
        return events.Stage(at=time.time(), name=failure.name, state="failed", seconds=failure.seconds)

    def over(self, outcome: events.Outcome, why: str, exit_code: int) -> events.Cycle:
        """Return the event of its end; what none of its parts took is told as ``other``."""
        seconds = round(time.monotonic() - self.began, 6)
        spent = {phase: round(self.phases.get(phase, 0.0), 6) for phase in events.PHASES}
        phases = {phase: took for phase, took in spent.items() if took > 0}
        left = round(seconds - sum(phases.values()), 6)
        if left >= _TOLD:
            phases["other"] = left
        return events.Cycle(
            at=time.time(),
            number=self.number,
            trigger=self.trigger,
            outcome=outcome,
            phases=phases,
            seconds=seconds,
            why=why,
            exit_code=exit_code,
        )

    def _spent(self, task: str, seconds: float | None) -> None:
        stage = task.partition(":")[0]
        if seconds is not None and stage in _STAGES:
            phase: events.Phase = stage  # type: ignore[assignment]  # it is one of them
            self.phases[phase] = self.phases.get(phase, 0.0) + seconds


def relative(root: str, paths: Sequence[str]) -> tuple[str, ...]:
    """Return paths as a person in the project's folder would write them."""
    below = root.rstrip(os.sep) + os.sep
    return tuple(path.removeprefix(below) for path in paths)
