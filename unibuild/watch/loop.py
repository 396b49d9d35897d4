"""The loop: what wakes it, what it does next. One thread; what takes long is done by a process or thread beside it.

The stamps decide what is built, and not what the kernel reports: after each sign, and about once a second without any,
the inputs are looked at, and a build begins exactly when one of them is not as it was before the last build began. So
nothing is lost that happens during a build, however it is reported, and nothing is built twice.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Any

from unibuild.errors import UnibuildError
from unibuild.tasks import hosts
from unibuild.watch import events, wire
from unibuild.watch.builders import Builders
from unibuild.watch.cycle import Backoff, Cycle, relative
from unibuild.watch.domains import Domains, Lost, Swapped
from unibuild.watch.events import Command
from unibuild.watch.lookout import Lookout
from unibuild.watch.signals import Signal, heeded
from unibuild.watch.teller import Teller

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unibuild.watch.builder import Builder
    from unibuild.watch.cycle import What
    from unibuild.watch.inbox import Box
    from unibuild.watch.tree import Tree

__all__ = ["Loop"]


class Loop:
    """The watch loop of a project.

    Args:
        tree: the project's tree.
        screen: is told; it has been entered.
        box: what commands come in by.
        dodo: the ``dodo.py`` that a person named, or nothing.
        keep_domain: whether the domain runs on in the end.
    """

    def __init__(self, tree: Tree, screen: events.Screen, box: Box, *, dodo: str = "", keep_domain: bool) -> None:
        self.tree = tree
        self.exit_code = 0
        self._screen = screen
        self._teller = Teller(screen)
        self._box = box
        self._keep = keep_domain
        self._domains = Domains(box.put, self._teller.loan)
        self._lookout = Lookout(tree, box.wake, lambda error: self._teller.problem(error, kept=self._kept()))
        self._builders = Builders(dodo, lambda: screen.columns)
        self._backoff = Backoff()
        self._cycle: Cycle | None = None
        self._count = 0
        self._job: threading.Thread | None = None
        self._wanted: What | None = "start"
        self._reloaded: tuple[str, ...] = ()
        self._is_paused = False
        self._ending: str | None = None
        self._begun = ""  # of a line of the build

    @property
    def _settings(self) -> Any:  # noqa: ANN401
        return self.tree.project.settings.watch

    def run(self) -> int:
        """Run until told to end; return the exit code: that of the last state.

        Raises:
            UnibuildError: the tasks cannot be loaded in the first place.
            BrokenPipeError: nobody reads what the screen shows.
        """
        project = self.tree.project
        with heeded(self._box.put), contextlib.ExitStack() as stack:
            stack.callback(self._close)
            stack.enter_context(self._lookout)
            self._teller.tell(
                events.Started(
                    at=time.time(),
                    root=str(project.root),
                    goal="boot",
                    host=hosts.place(project.settings),
                    pid=os.getpid(),
                    polling=self._lookout.triggers.failure,
                )
            )
            self._builders.start(project)
            while self._ending is None or self._cycle is not None or self._job is not None:
                self._wait()
                self._hear()
                if self._may_look:
                    self._lookout.look(builds=not self._is_idle)
                self._step()
                if self._teller.is_unread:
                    self._ending = self._ending or "nobody reads it"
            self._finish()
        if self._teller.is_unread:
            raise BrokenPipeError
        return self.exit_code

    # What happens

    def _wait(self) -> None:
        """Wait for anything to happen, or for the next thing to do."""
        fds: list[Any] = [self._box, *self._builders.fds(builds=self._cycle is not None)]
        if self._teller.keys is not None:
            fds.append(self._teller.keys)
        moments = [] if self._ending else [self._lookout.config.due, self._builders.at]
        if self._may_look:
            moments.append(self._lookout.at())
        if self._is_idle and self._builders.current and not self._is_paused:
            moments += [self._lookout.settle.due, self._backoff.at]
        elif self._may_restart:
            moments.append(self._lookout.settle.due)
        now = time.monotonic()
        until = min((max(0.0, moment - now) for moment in moments if moment is not None), default=None)
        ready = select.select(fds, [], [], until)[0]
        if self._teller.keys in ready:
            self._teller.type()

    def _hear(self) -> None:
        """Answer what came in."""
        for one in self._box.take():
            match one:
                case Command():
                    self._obey(one)
                case Signal(name=name):
                    self._end(name)
                case Swapped():
                    self._swapped(one)
                case Lost():
                    self._lost(one)
                case UnibuildError():
                    self._job = None
                    if self._ending:
                        self.exit_code = self.exit_code or one.exit_code
                        self._teller.problem(one)
                case None:
                    self._job = None
                case _:
                    self._teller.tell(one)
        if self._builders.current:
            self._hear_builder(self._builders.current)
        if self._cycle is None:
            self._hear_next()

    def _obey(self, command: Command) -> None:
        match command:
            case Command.REBUILD:
                self._wanted = self._wanted or "rebuild"
            case Command.REBOOT:
                self._wanted = "reboot"
            case Command.PAUSE:
                self._is_paused = not self._is_paused
                self._teller.tell((events.Paused if self._is_paused else events.Resumed)(at=time.time()))
                self._lookout.ask()
            case Command.CONSOLE:
                self._teller.lend(self._domains)
            case Command.QUIT:
                self._end("q")

    def _end(self, why: str) -> None:
        """End, as soon as what may not be interrupted is done."""
        if self._ending is None and self._cycle is not None and self._job is not None:
            self._teller.tell(events.Note(at=time.time(), message="the swap is finished first; Ctrl-C twice: at once"))
        self._ending = self._ending or why

    @property
    def _is_idle(self) -> bool:
        return self._cycle is None and self._job is None

    @property
    def _may_look(self) -> bool:
        return not self._ending and (self._is_idle or self._settings.on_save == "restart")

    @property
    def _may_restart(self) -> bool:
        """Whether a save stops the build."""
        builds = self._cycle is not None and self._job is None and not self._cycle.is_stopped
        return builds and self._settings.on_save == "restart"

    # What is next

    def _step(self) -> None:
        """Begin or end what is due."""
        now = time.monotonic()
        if not self._ending:
            self._builders.revive(self.tree.project, now)
            if stale := self._lookout.reloads(now):
                self._reload(stale)
        if self._cycle is not None and self._job is None:
            restart = self._may_restart and self._lookout.settle.over(now)
            if (self._ending or restart) and not self._cycle.is_stopped and self._builders.current:
                self._cycle.is_stopped = True
                self._builders.current.stop(self._settings.patience)
            return
        if self._ending or not self._is_idle or self._builders.current is None:
            return
        if self._wanted:
            self._begin(self._wanted)
        elif self._is_paused:
            return
        elif self._reloaded:
            self._begin("save", self._reloaded)
        elif self._lookout.begins(now):
            self._begin("save")
        elif self._backoff.at is not None and now >= self._backoff.at:
            self._begin("retry")

    def _begin(self, what: What, paths: Sequence[str] = ()) -> None:
        """Begin a cycle."""
        assert self._builders.current is not None
        began, changed = self._lookout.begin(fresh=what in ("save", "retry") and not paths)
        found = [*paths, *(path for path in changed if path not in paths)]
        self._count += 1
        self._cycle = Cycle(self._count, what, relative(str(self.tree.project.root), found), began)
        if what == "save":
            self._cycle.phases["settle"] = time.monotonic() - began
        self._wanted, self._reloaded = None, ()
        self._backoff.at = None
        self._builders.current.build()
        self._teller.tell(self._cycle.changed())
        self._lookout.begun()

    # The build

    def _hear_builder(self, builder: Builder) -> None:
        for one in builder.hear():
            match one:
                case str():
                    self._teller.tell(events.Output(at=time.time(), origin="build", text=one))
                case wire.Task() if self._cycle:
                    self._teller.tell(self._cycle.heard(one))
                case wire.Failure() if self._cycle:
                    if told := self._cycle.failed(one):
                        self._teller.tell(told)
                case wire.Built(exit_code=code) if self._cycle:
                    self._built(code)
        self._show_progress(builder.unfinished)
        if builder.has_ended:
            self._teller.problem(self._builders.died(time.monotonic()))
            if self._cycle and not self._job:
                self._built(1)

    def _show_progress(self, text: str) -> None:
        """Tell the beginning of a line, where a person sees it and it is another one."""
        if text != self._begun and self._screen.columns:
            self._teller.tell(events.Output(at=time.time(), origin="build", text=text, whole=False))
        self._begun = text

    def _built(self, code: int) -> None:
        """A build has ended."""
        cycle = self._cycle
        assert cycle is not None
        self.tree.end(cycle.dated)
        self._lookout.ask()
        if cycle.is_stopped and code:
            self._over(cycle, "stopped", "a save came" if not self._ending else "the watch ends")
        elif cycle.failures or code:
            for failure in cycle.failures:
                error = UnibuildError(failure.text, hint=failure.hint)
                error.exit_code = failure.exit_code
                self._teller.problem(error, kept=self._kept())
                if failure.is_busy:
                    self._backoff.failed(time.monotonic())
            if not cycle.failures:
                how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
                self._teller.problem(UnibuildError(f"the build {how}"), kept=self._kept())
            first = cycle.failures[0] if cycle.failures else None
            self.exit_code = first.exit_code if first else max(1, code)
            self._over(cycle, "failed", first.text if first else "the build ended early")
        elif self._ending:
            self._over(cycle, "stopped", "the watch ends")
        else:
            graph, anew = self.tree.graph, cycle.what == "reboot"
            self._do(lambda: self._domains.put_in_place(graph, anew=anew))

    # The domain

    def _do(self, what: Any) -> None:  # noqa: ANN401
        """Do something in a thread of its own, whose result comes by the box."""

        def act() -> None:
            result = None
            try:
                result = what()
            except UnibuildError as error:
                result = error
            finally:
                self._box.put(result if isinstance(result, Swapped | UnibuildError) else None)

        self._job = threading.Thread(target=act, name="unibuild swap", daemon=True)
        self._job.start()

    def _swapped(self, result: Swapped) -> None:
        """The domain was put in place, or was not."""
        cycle, self._job = self._cycle, None
        assert cycle is not None
        cycle.phases |= result.phases
        self._lookout.ask()
        if result.error is None:
            self.exit_code = 0
            self._backoff.reset()
            ran = {"configure", "depend", "build", "xl"} & cycle.phases.keys()
            same = "kernel and .xl are the same as before" if ran else "nothing had to be built"
            self._over(cycle, result.outcome, f"{same}: no reboot" if result.outcome == "unchanged" else "")
            return
        self.exit_code = result.error.exit_code
        self._teller.problem(result.error, kept=self._kept())
        if result.is_again:
            self._backoff.failed(time.monotonic())
        self._over(cycle, result.outcome, result.error.message)

    def _lost(self, lost: Lost) -> None:
        """The domain is followed no more."""
        self._teller.give_back()  # a console that is lent says nothing any more
        if lost.error:
            self.exit_code = lost.error.exit_code
            self._teller.problem(lost.error, kept=self._kept())
        if lost.is_again:
            self._backoff.failed(time.monotonic())
        elif lost.error is None and self._is_idle and not self._ending:  # perhaps another run has replaced it
            project = self.tree.project
            self._do(lambda: self._domains.attach(project))

    def _kept(self) -> str:
        follower = self._domains.follower
        if follower is None or not self._domains.is_following:
            return "no domain runs"
        domain = follower.followed.domain
        return f"{domain.name} runs on (domain {domain.domid})"

    # Settings

    def _reload(self, stale: Sequence[str]) -> None:
        """Load what the graph comes from anew, because of these files."""
        project = self.tree.project
        try:
            self._builders.reload(project, relative(str(project.root), stale))
        except UnibuildError as error:
            self._teller.problem(error, kept="the last good settings are in force")

    def _hear_next(self) -> None:
        """Hear whether another builder has loaded everything, and is in force."""
        heard = self._builders.hear_next(time.monotonic())
        if isinstance(heard, UnibuildError):
            if self._builders.current is None and self._count == 0:
                raise heard
            self._teller.problem(heard, kept="the last good one is in force")
        elif heard is not None:
            self.tree.project, self.tree.more, self.tree.modules = (
                heard.project,
                heard.message.inputs,
                heard.message.modules,
            )
            self.tree.is_racy = True  # its inputs may be others: look again
            self._lookout.renew()
            if heard.paths:
                self._reloaded = heard.paths
                self._teller.tell(events.Reloaded(at=time.time(), paths=heard.paths))

    # The end, and what is told

    def _over(self, cycle: Cycle, outcome: events.Outcome, why: str) -> None:
        self._cycle = None
        self._teller.tell(cycle.over(outcome, why, self.exit_code))

    def _finish(self) -> None:
        """End the domain, or leave it, and say good-bye."""
        self._teller.give_back()
        if self._keep or self._teller.is_unread:  # nobody said that it shall end
            self._domains.leave()
        else:
            self._do(lambda: self._domains.end(self.tree.project))
            while self._job is not None:
                self._wait()
                self._hear()
        for one in self._box.take():
            if isinstance(one, events.Event):
                self._teller.tell(one)
        self._teller.tell(events.Ended(at=time.time(), exit_code=self.exit_code, why=self._ending or ""))

    def _close(self) -> None:
        self._teller.give_back()
        self._builders.close()
