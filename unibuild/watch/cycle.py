"""Run cycles one after the other: the build, the swap of domains, and the outcome."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from unibuild.errors import UnibuildError
from unibuild.util.timing import Backoff
from unibuild.watch import events, worker_protocol
from unibuild.watch.domain import SwapResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unibuild.watch.build_worker import BuildWorker, WorkerPool
    from unibuild.watch.domain import DomainController, DomainLost
    from unibuild.watch.inputs import InputTracker
    from unibuild.watch.scanner import Scanner
    from unibuild.watch.ui.console_passthrough import EventSink
    from unibuild.watch.worker_protocol import Task, WorkerFailure

__all__ = ["CycleRunner", "CycleState", "relative"]

What = Literal["save", "start", "rebuild", "reboot", "retry"]
_STAGES = frozenset(("configure", "depend", "build", "xl")) & {*get_args(events.Phase)}
_TOLD = 0.005  # seconds: less is 0.00 on a screen


@dataclass
class CycleState:
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
    failures: list[WorkerFailure] = field(default_factory=list)
    settled: dict[str, str] = field(default_factory=dict)
    is_stopped: bool = False

    @property
    def trigger(self) -> str:
        """The file that began it; empty: a command did."""
        return self.paths[0] if self.paths and self.what == "save" else ""

    def changed(self) -> events.Changed:
        """Return the event of its beginning."""
        return events.Changed(at=time.time(), paths=self.paths, first=self.trigger, what=self.what)

    def heard(self, task: Task) -> events.StageEvent:
        """Note what became of a task; return its event."""
        self.settled |= task.settled
        self._spent(task.name, task.seconds)
        return events.StageEvent(
            at=time.time(), name=task.name, state=task.state, seconds=task.seconds, reason=task.reason
        )

    def failed(self, failure: WorkerFailure) -> events.StageEvent | None:
        """Note a failure; return the event of the task that failed, None: it was none."""
        self.failures.append(failure)
        self._spent(failure.name, failure.seconds)
        if not failure.name:
            return None
        return events.StageEvent(at=time.time(), name=failure.name, state="failed", seconds=failure.seconds)

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


class CycleRunner:
    """What is being done, for the loop, in whose thread all of this runs.

    Args:
        tree: the project's tree.
        scanner: knows what has changed in it.
        workers: build it.
        domains: put its domain in place.
        sink: what reports events.
        put: takes what a job in a thread of its own ends with: ``SwapResult``, what failed, or None.

    Attributes:
        cycle: the one that is under way.
        job: the thread that puts a domain in place, ends or finds one; no other one is begun meanwhile.
        count: how many cycles there were.
        exit_code: that of the last state.
        is_ending: whether the loop ends: nothing new is begun.
        backoff: when to try again what needs no save for that.
    """

    def __init__(
        self,
        tree: InputTracker,
        scanner: Scanner,
        workers: WorkerPool,
        domains: DomainController,
        sink: EventSink,
        put: Callable[[SwapResult | UnibuildError | None], None],
    ) -> None:
        self.cycle: CycleState | None = None
        self.job: threading.Thread | None = None
        self.count = 0
        self.exit_code = 0
        self.is_ending = False
        self.backoff = Backoff()
        self._tree = tree
        self._scanner = scanner
        self._workers = workers
        self._domains = domains
        self._sink = sink
        self._put = put

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return self.cycle is None and self.job is None

    @property
    def builds(self) -> bool:
        """Whether a build runs that nobody has told to end."""
        return self.cycle is not None and self.job is None and not self.cycle.is_stopped

    @property
    def swaps(self) -> bool:
        """Whether a domain is put in place, which is not interrupted."""
        return self.cycle is not None and self.job is not None

    def begin(self, what: What, paths: Sequence[str] = ()) -> None:
        """Begin a cycle."""
        assert self._workers.current is not None
        began, changed = self._scanner.begin(fresh=what in ("save", "retry") and not paths)
        found = [*paths, *(path for path in changed if path not in paths)]
        self.count += 1
        self.cycle = CycleState(self.count, what, relative(str(self._tree.project.root), found), began)
        if what == "save":
            self.cycle.phases["debounce"] = time.monotonic() - began
        self.backoff.at = None
        self._workers.current.build()
        self._sink.tell(self.cycle.changed())
        self._scanner.begun()

    def stop(self, patience: float) -> None:
        """End the build: TERM, then KILL after ``patience`` seconds."""
        assert self.cycle is not None
        if self._workers.current:
            self.cycle.is_stopped = True
            self._workers.current.stop(patience)

    def hear(self, worker: BuildWorker) -> None:
        """Hear what the worker has to say."""
        for one in worker.hear():
            match one:
                case str():
                    self._sink.tell(events.Output(at=time.time(), origin="build", text=one))
                case worker_protocol.Task() if self.cycle:
                    self._sink.tell(self.cycle.heard(one))
                case worker_protocol.WorkerFailure() if self.cycle:
                    if told := self.cycle.failed(one):
                        self._sink.tell(told)
                case worker_protocol.Built(exit_code=code) if self.cycle:
                    self._built(code)
        self._sink.show_progress(worker.unfinished)
        if worker.has_ended:
            self._sink.problem(self._workers.died(time.monotonic()))
            if self.cycle and not self.job:
                self._built(1)

    def _built(self, code: int) -> None:
        """A build has ended."""
        cycle = self.cycle
        assert cycle is not None
        self._tree.end(cycle.settled)
        self._scanner.ask()
        if cycle.is_stopped and code:
            self._over(cycle, "stopped", "a save came" if not self.is_ending else "the watch ends")
        elif cycle.failures or code:
            self._failed(cycle, code)
        elif self.is_ending:
            self._over(cycle, "stopped", "the watch ends")
        else:
            graph, force = self._tree.graph, cycle.what == "reboot"
            self.do(lambda: self._domains.put_in_place(graph, force=force))

    def _failed(self, cycle: CycleState, code: int) -> None:
        """The build failed."""
        for failure in cycle.failures:
            error = UnibuildError(failure.text, hint=failure.hint)
            error.exit_code = failure.exit_code
            self._sink.problem(error, kept=self.kept())
            if failure.is_busy:
                self.backoff.failed(time.monotonic())
        if not cycle.failures:
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            self._sink.problem(UnibuildError(f"the build {how}"), kept=self.kept())
        first = cycle.failures[0] if cycle.failures else None
        self.exit_code = first.exit_code if first else max(1, code)
        self._over(cycle, "failed", first.text if first else "the build ended early")

    def do(self, what: Callable[[], object]) -> None:
        """Do something in a thread of its own, whose result comes by the box."""

        def act() -> None:
            result = None
            try:
                result = what()
            except UnibuildError as error:
                result = error
            finally:
                self._put(result if isinstance(result, SwapResult | UnibuildError) else None)

        self.job = threading.Thread(target=act, name="unibuild swap", daemon=True)
        self.job.start()

    def done(self, error: UnibuildError | None) -> None:
        """A job other than a swap has ended."""
        self.job = None
        if error and self.is_ending:
            self.exit_code = self.exit_code or error.exit_code
            self._sink.problem(error)

    def swapped(self, result: SwapResult) -> None:
        """The domain was put in place, or was not."""
        cycle, self.job = self.cycle, None
        assert cycle is not None
        cycle.phases |= result.phases
        self._scanner.ask()
        if result.error is None:
            self.exit_code = 0
            if cycle.what != "retry":  # what failed again and again may do so once more
                self.backoff.reset()
            ran = {"configure", "depend", "build", "xl"} & cycle.phases.keys()
            same = "kernel and .xl are the same as before" if ran else "nothing had to be built"
            self._over(cycle, result.outcome, f"{same}: no reboot" if result.outcome == "unchanged" else "")
            return
        self.exit_code = result.error.exit_code
        self._sink.problem(result.error, kept=self.kept())
        if result.is_again:
            self.backoff.failed(time.monotonic())
        self._over(cycle, result.outcome, result.error.message)

    def lost(self, lost: DomainLost) -> None:
        """The domain is followed no more."""
        self._sink.give_back()  # a console that is lent says nothing any more
        if lost.error:
            self.exit_code = lost.error.exit_code
            self._sink.problem(lost.error, kept=self.kept())
        if lost.is_again:
            self.backoff.failed(time.monotonic())
        elif lost.error is None and self.is_idle and not self.is_ending:  # perhaps another run has replaced it
            project = self._tree.project
            self.do(lambda: self._domains.attach(project))

    def kept(self) -> str:
        """Say what runs on."""
        follower = self._domains.follower
        if follower is None or not self._domains.is_following:
            return "no domain runs"
        domain = follower.followed.domain
        return f"{domain.name} runs on (domain {domain.domid})"

    def _over(self, cycle: CycleState, outcome: events.Outcome, why: str) -> None:
        self.cycle = None
        self._sink.tell(cycle.over(outcome, why, self.exit_code))
