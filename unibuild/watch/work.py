"""One cycle after the other: its build, its swap, and what became of it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from unibuild.errors import UnibuildError
from unibuild.util.timing import Backoff
from unibuild.watch import events, worker_protocol
from unibuild.watch.cycle import Cycle, relative
from unibuild.watch.swaps import Swapped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unibuild.watch.build_worker import Builder
    from unibuild.watch.builders import Builders
    from unibuild.watch.cycle import What
    from unibuild.watch.domain import Domains, Lost
    from unibuild.watch.inputs import Tree
    from unibuild.watch.scanner import Lookout
    from unibuild.watch.ui.console_passthrough import Teller

__all__ = ["Work"]


class Work:
    """What is being done, for the loop, in whose thread all of this runs.

    Args:
        tree: the project's tree.
        lookout: knows what has changed in it.
        builders: build it.
        domains: put its domain in place.
        teller: is told.
        put: takes what a job in a thread of its own ends with: ``Swapped``, what failed, or None.

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
        tree: Tree,
        lookout: Lookout,
        builders: Builders,
        domains: Domains,
        teller: Teller,
        put: Callable[[Swapped | UnibuildError | None], None],
    ) -> None:
        self.cycle: Cycle | None = None
        self.job: threading.Thread | None = None
        self.count = 0
        self.exit_code = 0
        self.is_ending = False
        self.backoff = Backoff()
        self._tree = tree
        self._lookout = lookout
        self._builders = builders
        self._domains = domains
        self._teller = teller
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
        assert self._builders.current is not None
        began, changed = self._lookout.begin(fresh=what in ("save", "retry") and not paths)
        found = [*paths, *(path for path in changed if path not in paths)]
        self.count += 1
        self.cycle = Cycle(self.count, what, relative(str(self._tree.project.root), found), began)
        if what == "save":
            self.cycle.phases["settle"] = time.monotonic() - began
        self.backoff.at = None
        self._builders.current.build()
        self._teller.tell(self.cycle.changed())
        self._lookout.begun()

    def stop(self, patience: float) -> None:
        """End the build: TERM, then KILL after ``patience`` seconds."""
        assert self.cycle is not None
        if self._builders.current:
            self.cycle.is_stopped = True
            self._builders.current.stop(patience)

    def hear(self, builder: Builder) -> None:
        """Hear what the builder has to say."""
        for one in builder.hear():
            match one:
                case str():
                    self._teller.tell(events.Output(at=time.time(), origin="build", text=one))
                case worker_protocol.Task() if self.cycle:
                    self._teller.tell(self.cycle.heard(one))
                case worker_protocol.Failure() if self.cycle:
                    if told := self.cycle.failed(one):
                        self._teller.tell(told)
                case worker_protocol.Built(exit_code=code) if self.cycle:
                    self._built(code)
        self._teller.show_progress(builder.unfinished)
        if builder.has_ended:
            self._teller.problem(self._builders.died(time.monotonic()))
            if self.cycle and not self.job:
                self._built(1)

    def _built(self, code: int) -> None:
        """A build has ended."""
        cycle = self.cycle
        assert cycle is not None
        self._tree.end(cycle.settled)
        self._lookout.ask()
        if cycle.is_stopped and code:
            self._over(cycle, "stopped", "a save came" if not self.is_ending else "the watch ends")
        elif cycle.failures or code:
            self._failed(cycle, code)
        elif self.is_ending:
            self._over(cycle, "stopped", "the watch ends")
        else:
            graph, anew = self._tree.graph, cycle.what == "reboot"
            self.do(lambda: self._domains.put_in_place(graph, anew=anew))

    def _failed(self, cycle: Cycle, code: int) -> None:
        """The build failed."""
        for failure in cycle.failures:
            error = UnibuildError(failure.text, hint=failure.hint)
            error.exit_code = failure.exit_code
            self._teller.problem(error, kept=self.kept())
            if failure.is_busy:
                self.backoff.failed(time.monotonic())
        if not cycle.failures:
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            self._teller.problem(UnibuildError(f"the build {how}"), kept=self.kept())
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
                self._put(result if isinstance(result, Swapped | UnibuildError) else None)

        self.job = threading.Thread(target=act, name="unibuild swap", daemon=True)
        self.job.start()

    def done(self, error: UnibuildError | None) -> None:
        """A job other than a swap has ended."""
        self.job = None
        if error and self.is_ending:
            self.exit_code = self.exit_code or error.exit_code
            self._teller.problem(error)

    def swapped(self, result: Swapped) -> None:
        """The domain was put in place, or was not."""
        cycle, self.job = self.cycle, None
        assert cycle is not None
        cycle.phases |= result.phases
        self._lookout.ask()
        if result.error is None:
            self.exit_code = 0
            if cycle.what != "retry":  # what failed again and again may do so once more
                self.backoff.reset()
            ran = {"configure", "depend", "build", "xl"} & cycle.phases.keys()
            same = "kernel and .xl are the same as before" if ran else "nothing had to be built"
            self._over(cycle, result.outcome, f"{same}: no reboot" if result.outcome == "unchanged" else "")
            return
        self.exit_code = result.error.exit_code
        self._teller.problem(result.error, kept=self.kept())
        if result.is_again:
            self.backoff.failed(time.monotonic())
        self._over(cycle, result.outcome, result.error.message)

    def lost(self, lost: Lost) -> None:
        """The domain is followed no more."""
        self._teller.give_back()  # a console that is lent says nothing any more
        if lost.error:
            self.exit_code = lost.error.exit_code
            self._teller.problem(lost.error, kept=self.kept())
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

    def _over(self, cycle: Cycle, outcome: events.Outcome, why: str) -> None:
        self.cycle = None
        self._teller.tell(cycle.over(outcome, why, self.exit_code))
