"""The loop: what wakes it, what it does next. One thread; what takes long is done by a process or thread beside it.

The stamps decide what is built, and not what the kernel reports: after each sign, and about once a second without any,
the inputs are looked at, and a build begins exactly when one of them is not as it was before the last build began. So
nothing is lost that happens during a build, however it is reported, and nothing is built twice.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from typing import TYPE_CHECKING, Any

from unibuild.errors import UnibuildError
from unibuild.settings.sources import load
from unibuild.tasks import hosts
from unibuild.watch import events, wire
from unibuild.watch.builder import Builder
from unibuild.watch.cycle import Backoff, Cycle, relative
from unibuild.watch.domains import Domains, Lost, Swapped
from unibuild.watch.events import Command
from unibuild.watch.lent import Lent
from unibuild.watch.settle import Settle
from unibuild.watch.signals import Signal, heeded
from unibuild.watch.triggers import Triggers
from unibuild.watch.voice import Loan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unibuild.settings.sources import Project
    from unibuild.watch.cycle import What
    from unibuild.watch.inbox import Box
    from unibuild.watch.tree import Tree

__all__ = ["Loop"]

_LOOK = 1.0  # seconds between two looks that nothing asked for, at least
_SHARE = 0.0025  # of a core that these looks may take
_SHARE_POLLING = 0.02  # the same where nothing else tells of a change
_REST = 1 << 23  # bytes that an ended build may have left to be told
_PAUSE = 0.005  # seconds between two looks that were asked for


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
        self._box = box
        self._dodo = dodo
        self._keep = keep_domain
        self._loan = Loan()
        self._domains = Domains(box.put, self._loan)
        self._triggers = Triggers(self._woken, poll=self._settings.poll)
        self._settle = Settle(self._settings.settle, self._settings.max_wait)
        self._config = Settle(self._settings.settle, self._settings.max_wait)
        self._stale: tuple[str, ...] = ()
        self._broken = ""
        self._backoff = Backoff()
        self._builder: Builder | None = None
        self._candidate: tuple[Builder, Project, tuple[str, ...]] | None = None
        self._cycle: Cycle | None = None
        self._count = 0
        self._job: threading.Thread | None = None
        self._wanted: What | None = "start"
        self._reloaded: tuple[str, ...] = ()
        self._is_paused = False
        self._is_woken = False
        self._last_look = self._next_look = time.monotonic()
        self._told = ""
        self._synced = -1
        self._ending: str | None = None
        self._lent: Lent | None = None
        self._is_unread = False  # what the screen shows

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
            stack.enter_context(self._triggers)
            self._triggers.watch(self.tree.watched())
            self._emit(
                events.Started(
                    at=time.time(),
                    root=str(project.root),
                    goal="boot",
                    host=hosts.place(project.settings),
                    pid=_pid(),
                    polling=self._triggers.failure,
                )
            )
            self._tell_polling()
            self._candidate = (self._start_builder(project), project, ())
            while self._ending is None or self._cycle is not None or self._job is not None:
                self._wait()
                self._hear()
                self._look()
                self._step()
            self._finish()
        if self._is_unread:
            raise BrokenPipeError
        return self.exit_code

    # What happens

    def _woken(self) -> None:
        """Hear of a change; called in watchdog's thread."""
        if not self._is_woken:
            self._is_woken = True
            self._box.wake()

    def _wait(self) -> None:
        """Wait for anything to happen, or for the next thing to do."""
        fds: list[Any] = [self._box]
        for builder in (self._builder, self._candidate[0] if self._candidate and self._is_free else None):
            if builder:
                fds += [builder.talk, builder.output]
        if self._lent:
            fds.append(self._lent.fd)
        now = time.monotonic()
        moments = [self._look_at(), self._config.due]
        if self._is_idle and self._builder and not self._is_paused:
            moments += [self._settle.due, self._backoff.at]
        elif self._cycle and not self._cycle.is_stopped and not self._job and self._settings.on_save == "restart":
            moments.append(self._settle.due)
        until = min((max(0.0, moment - now) for moment in moments if moment is not None), default=None)
        ready = select.select(fds, [], [], until)[0]
        if self._lent and self._lent.fd in ready and not self._lent.type():
            self._give_back()

    def _hear(self) -> None:
        """Answer what came in."""
        for one in self._box.take():
            match one:
                case Command():
                    self._obey(one)
                case Signal(name=name):
                    self._ending = self._ending or name
                case Swapped():
                    self._swapped(one)
                case Lost():
                    self._lost(one)
                case UnibuildError():
                    self._job = None
                case None:
                    self._job = None
                case _:
                    self._emit(one)
        if self._candidate and self._is_free:
            self._hear_candidate(*self._candidate)
        if self._builder:
            self._hear_builder(self._builder)

    def _obey(self, command: Command) -> None:
        match command:
            case Command.REBUILD:
                self._wanted = self._wanted or "rebuild"
            case Command.REBOOT:
                self._wanted = "reboot"
            case Command.PAUSE:
                self._is_paused = not self._is_paused
                self._emit((events.Paused if self._is_paused else events.Resumed)(at=time.time()))
                self._is_woken = True
            case Command.CONSOLE:
                self._lend()
            case Command.QUIT:
                self._ending = self._ending or "q"

    # The look

    @property
    def _is_idle(self) -> bool:
        return self._cycle is None and self._job is None

    @property
    def _is_free(self) -> bool:
        """Whether another builder may take over."""
        return self._builder is None or self._cycle is None

    def _look_at(self) -> float | None:
        """Return when to look at the inputs next; None: not before something has ended."""
        if not self._is_idle and self._settings.on_save == "wait":
            return None
        if self._is_woken or self.tree.is_racy:
            return self._last_look + max(_PAUSE, 2 * self.tree.cost)
        return self._next_look

    def _look(self) -> None:
        """Look at the inputs, where it is time to."""
        at, now = self._look_at(), time.monotonic()
        if at is None or now < at:
            return
        self._is_woken = False
        if paths := self.tree.reloads():
            self._stale = tuple(dict.fromkeys((*self._stale, *paths)))
            self._config.saw(now)
        if (moved := self._is_moved()) is not None:
            changed = self.tree.changed() if self._is_idle else self.tree.edited()
            if not changed:
                self._settle.reset()
            elif moved or self._settle.first is None:
                self._settle.saw(now)
        self._last_look = time.monotonic()
        share = _SHARE_POLLING if self._triggers.is_polling else _SHARE
        self._next_look = self._last_look + max(_LOOK, self.tree.cost / share)
        if self._is_idle:
            self._sync()

    def _is_moved(self) -> bool | None:
        """Look; say whether anything moved since the last time, or None: the tree cannot be built as it is."""
        try:
            moved = self.tree.look()
        except UnibuildError as error:
            self._settle.reset()
            if error.message != self._broken:
                self._broken = error.message
                self._problem(error, kept=self._kept())
            return None
        self._broken = ""
        return moved

    def _sync(self) -> None:
        """Watch the folders that matter now."""
        self._triggers.check()
        if self._synced != self.tree.scans or self._triggers.is_stale:
            before, self._synced = self._triggers.folders, self.tree.scans
            self._triggers.watch(self.tree.watched())
            if self._triggers.folders - before:
                self._is_woken = True  # what came into them before they were watched
        self._tell_polling()

    def _tell_polling(self) -> None:
        failure = self._triggers.failure
        if failure is None or self._settings.poll or failure == self._told:
            return
        self._told = failure
        message = f"{failure}: saves are looked for about once a second instead"
        self._emit(events.Problem(at=time.time(), message=message, hint=self._triggers.hint, exit_code=0))

    # What is next

    def _step(self) -> None:
        """Begin or end what is due."""
        now = time.monotonic()
        if self._config.over(now) and not self._ending:
            self._config.reset()
            stale, self._stale = self._stale, ()
            self._reload(stale)
        if self._cycle is not None and self._job is None:
            restart = self._settings.on_save == "restart" and self._settle.over(now)
            if (self._ending or restart) and not self._cycle.is_stopped and self._builder:
                self._cycle.is_stopped = True
                self._builder.stop(self._settings.patience)
            return
        if self._ending or not self._is_idle or self._builder is None:
            return
        if self._wanted:
            self._begin(self._wanted)
        elif self._is_paused:
            return
        elif self._reloaded:
            self._begin("save", self._reloaded)
        elif self._settle.over(now):
            self._begin_settled(now)
        elif self._backoff.at is not None and now >= self._backoff.at:
            self._begin("retry")

    def _begin_settled(self, now: float) -> None:
        """Begin a cycle for a save, unless it turns out that it goes on."""
        moved = self._is_moved()
        if moved and self._settle.first is not None and now < self._settle.first + self._settle.longest:
            self._settle.saw(now)
        elif self.tree.changed() and moved is not None:
            self._begin("save")
        else:
            self._settle.reset()

    def _begin(self, what: What, paths: Sequence[str] = ()) -> None:
        assert self._builder is not None
        now = time.monotonic()
        began = self._settle.first if self._settle.first is not None else now
        if what not in ("save", "retry"):
            self._is_moved()
        found = [*paths, *(path for path in self.tree.changed() if path not in paths)]
        self._count += 1
        self._cycle = Cycle(self._count, what, relative(str(self.tree.project.root), found), began)
        if what == "save":
            self._cycle.phases["settle"] = now - began
        self._settle.reset()
        self._wanted, self._reloaded = None, ()
        self._backoff.at = None
        self.tree.begin()
        self._builder.build()
        self._emit(self._cycle.changed())
        self._sync()

    # The build

    def _start_builder(self, project: Project) -> Builder:
        return Builder(project.root, self._dodo, project.words)

    def _hear_builder(self, builder: Builder) -> None:
        messages = builder.messages()
        has_ended = messages is None or any(isinstance(message, wire.Built) for message in messages)
        lines = builder.lines(_REST) if has_ended else builder.lines()
        for line in lines:  # before what the messages say: it was written before
            self._emit(events.Output(at=time.time(), origin="build", text=line))
        if messages is None:
            self._builder = None
            builder.__exit__()
            self._problem(UnibuildError("the builder has died", hint="it is started again"))
            self._candidate = self._candidate or (self._start_builder(self.tree.project), self.tree.project, ())
            if self._cycle and not self._job:
                self._built(1)
            return
        for message in messages:
            match message:
                case wire.Task() if self._cycle:
                    self._emit(self._cycle.heard(message))
                case wire.Failure() if self._cycle:
                    self._cycle.failures.append(message)
                    if message.name:
                        self._emit(events.Stage(at=time.time(), name=message.name, state="failed"))
                case wire.Built(exit_code=code) if self._cycle:
                    self._built(code)

    def _built(self, code: int) -> None:
        """A build has ended."""
        cycle = self._cycle
        assert cycle is not None
        self.tree.end(cycle.dated)
        self._is_woken = True
        if cycle.is_stopped and code:
            self._over(cycle, "stopped", "a save came" if not self._ending else "the watch ends")
        elif cycle.failures or code:
            for failure in cycle.failures:
                error = UnibuildError(failure.text, hint=failure.hint)
                error.exit_code = failure.exit_code
                self._problem(error, kept=self._kept())
                if failure.is_busy:
                    self._backoff.failed(time.monotonic())
            if not cycle.failures:
                how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
                self._problem(UnibuildError(f"the build {how}"), kept=self._kept())
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
        self._is_woken = True
        if result.error is None:
            self.exit_code = 0
            self._backoff.reset()
            ran = {"configure", "depend", "build", "xl"} & cycle.phases.keys()
            same = "kernel and .xl are the same as before" if ran else "nothing had to be built"
            self._over(cycle, result.outcome, f"{same}: no reboot" if result.outcome == "unchanged" else "")
            return
        self.exit_code = result.error.exit_code
        self._problem(result.error, kept=self._kept())
        if result.is_again:
            self._backoff.failed(time.monotonic())
        self._over(cycle, result.outcome, result.error.message)

    def _lost(self, lost: Lost) -> None:
        """The domain is followed no more."""
        if lost.error:
            self.exit_code = lost.error.exit_code
            self._problem(lost.error, kept=self._kept())
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

    def _lend(self) -> None:
        if not self._domains.is_following:
            self._emit(events.Note(at=time.time(), message="no domain runs"))
        elif self._lent is None:
            self._lent = Lent(self._screen, self._domains, self._loan)

    def _give_back(self) -> None:
        lent, self._lent = self._lent, None
        for event in lent.close() if lent else ():
            self._emit(event)

    # Settings

    def _reload(self, paths: Sequence[str]) -> None:
        """Load what the graph comes from anew, because of these files."""
        project = self.tree.project
        words = dict(word.split("=", 1) for word in project.words)
        try:
            found = load(project.root, words, take=project.take)
        except UnibuildError as error:
            self._problem(error, kept="the last good settings are in force")
            return
        if self._candidate:
            self._candidate[0].__exit__()
        self._candidate = (self._start_builder(found), found, relative(str(project.root), paths))

    def _hear_candidate(self, builder: Builder, project: Project, paths: tuple[str, ...]) -> None:
        """Take a new builder in the place of the old one, once it has loaded everything."""
        messages = builder.messages()
        said = builder.lines()
        refused = None
        if messages is None:
            refused = UnibuildError("the builder could not be started", hint="\n".join(said) or None)
        for message in messages or ():
            if isinstance(message, wire.Refused):
                refused = UnibuildError(message.text, hint="\n".join(filter(None, (*said, message.hint))) or None)
                refused.exit_code = message.exit_code
            elif isinstance(message, wire.Loaded):
                self._adopt(builder, project, message, paths)
        if refused is None:
            return
        self._candidate = None
        builder.__exit__()
        if self._count == 0 and self._builder is None:
            raise refused
        self._problem(refused, kept="the last good one is in force")

    def _adopt(self, builder: Builder, project: Project, loaded: wire.Loaded, paths: tuple[str, ...]) -> None:
        old, self._builder, self._candidate = self._builder, builder, None
        if old:
            old.__exit__()
        self.tree.project, self.tree.modules, self.tree.more = project, loaded.modules, loaded.inputs
        self.tree.reloads()
        try:
            self.tree.scan()
        except UnibuildError as error:
            self._problem(error)
        self._settle = Settle(self._settings.settle, self._settings.max_wait, self._settle.first, self._settle.last)
        if paths:
            self._reloaded = paths
            self._emit(events.Reloaded(at=time.time(), paths=paths))

    # The end, and what is told

    def _over(self, cycle: Cycle, outcome: events.Outcome, why: str) -> None:
        self._cycle = None
        self._emit(cycle.over(outcome, why, self.exit_code))

    def _problem(self, error: UnibuildError, kept: str | None = None) -> None:
        self._emit(
            events.Problem(at=time.time(), message=error.message, hint=error.hint, exit_code=error.exit_code, kept=kept)
        )

    def _emit(self, event: Any) -> None:  # noqa: ANN401
        if self._is_unread:
            return
        if self._lent:
            self._lent.hold(event)
            return
        try:
            self._screen.show(event)
        except BrokenPipeError:  # no reason to leave a swap half done
            self._is_unread = True
            self._ending = self._ending or "nobody reads it"

    def _finish(self) -> None:
        """End the domain, or leave it, and say good-bye."""
        self._give_back()
        if self._keep or self._is_unread:  # nobody said that it shall end
            self._domains.leave()
        else:
            try:
                self._domains.end(self.tree.project)
            except UnibuildError as error:
                self.exit_code = self.exit_code or error.exit_code
                self._problem(error)
        for one in self._box.take():
            if isinstance(one, events.Event):
                self._emit(one)
        self._emit(events.Ended(at=time.time(), exit_code=self.exit_code, why=self._ending or ""))

    def _close(self) -> None:
        self._give_back()
        for builder in (self._builder, self._candidate[0] if self._candidate else None):
            if builder:
                builder.__exit__()


def _pid() -> int:
    import os

    return os.getpid()
