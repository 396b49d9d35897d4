"""The loop: what wakes it, what it does next. One thread; what takes long is done by a process or thread beside it.

The stamps decide what is built, and not what the kernel reports: after each sign, and about once a second without any,
the inputs are looked at, and a build begins exactly when one of them is not as it was before the last build began. So
nothing is lost that happens during a build, however it is reported, and nothing is built twice.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import TYPE_CHECKING, Any

from unibuild.errors import UnibuildError
from unibuild.host import resolve
from unibuild.util.wakeup import Signal, handle_signals
from unibuild.watch import events
from unibuild.watch.build_worker import WorkerPool
from unibuild.watch.cycle import CycleRunner, relative
from unibuild.watch.domain import DomainController, DomainLost, SwapResult
from unibuild.watch.scanner import Scanner
from unibuild.watch.ui.base import Command
from unibuild.watch.ui.console_passthrough import EventSink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unibuild.util.wakeup import WakeableQueue
    from unibuild.watch.cycle import What
    from unibuild.watch.inputs import InputTracker
    from unibuild.watch.ui.base import Screen

__all__ = ["Loop"]

_ATTENTION = 1.0  # seconds of the longest wait: a signal in the instant before it is answered only after it


class Loop:
    """The watch loop of a project.

    Args:
        tree: the project's tree.
        screen: is told; it has been entered.
        box: what commands come in by.
        dodo: the ``dodo.py`` that a person named, or nothing.
        keep_domain: whether the domain runs on in the end.
    """

    def __init__(
        self, tree: InputTracker, screen: Screen, box: WakeableQueue, *, dodo: str = "", keep_domain: bool
    ) -> None:
        self.tree = tree
        self._sink = EventSink(screen)
        self._box = box
        self._keep = keep_domain
        self._domains = DomainController(box.put, self._sink.loan)
        self._scanner = Scanner(tree, box.wake, lambda error: self._sink.problem(error, kept=self._work.kept()))
        self._workers = WorkerPool(dodo, lambda: screen.columns)
        self._work = CycleRunner(tree, self._scanner, self._workers, self._domains, self._sink, box.put)
        self._wanted: What | None = "start"
        self._reloaded: tuple[str, ...] = ()
        self._is_paused = False
        self._ending: str | None = None

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
        with handle_signals(self._box.put), contextlib.ExitStack() as stack:
            stack.callback(self._close)
            stack.enter_context(self._scanner)
            self._sink.tell(
                events.Started(
                    at=time.time(),
                    root=str(project.root),
                    goal="boot",
                    host=resolve.host_name(project.settings),
                    pid=os.getpid(),
                    polling=self._scanner.triggers.failure,
                )
            )
            if not self._keep:
                told = "the domain is shut down when the watch ends; --keep-domain keeps it running"
                self._sink.tell(events.Note(at=time.time(), message=told))
            self._workers.start(project)
            while self._ending is None or not self._work.is_idle:
                self._wait()
                self._hear()
                if self._may_look:
                    self._scanner.look(builds=not self._work.is_idle)
                self._step()
                if self._sink.is_unread:
                    self._end("nobody reads it")
            self._finish()
        if self._sink.is_unread:
            raise BrokenPipeError
        return self._work.exit_code

    # What happens

    def _wait(self) -> None:
        """Wait for anything to happen, or for the next thing to do."""
        fds: list[Any] = [self._box, *self._workers.fds(builds=self._work.cycle is not None)]
        if self._sink.keys is not None:
            fds.append(self._sink.keys)
        moments = [] if self._ending else [self._scanner.config.due, self._workers.at]
        if self._may_look:
            moments.append(self._scanner.at())
        if self._work.is_idle and self._workers.current and not self._is_paused:
            moments += [self._scanner.debounce.due, self._work.backoff.at]
        elif self._may_restart:
            moments.append(self._scanner.debounce.due)
        now = time.monotonic()
        until = min((max(0.0, moment - now) for moment in moments if moment is not None), default=_ATTENTION)
        ready = select.select(fds, [], [], until)[0]
        if self._sink.keys in ready:
            self._sink.type()

    def _hear(self) -> None:
        """Answer what came in."""
        for one in self._box.take():
            match one:
                case Command():
                    self._obey(one)
                case Signal(name=name):
                    self._end(name)
                case SwapResult():
                    self._work.swapped(one)
                case DomainLost():
                    self._work.lost(one)
                case UnibuildError() | None:
                    self._work.done(one)
                case _:
                    self._sink.tell(one)
        if self._workers.current:
            self._work.hear(self._workers.current)
        if self._work.cycle is None:
            self._hear_next()

    def _obey(self, command: Command) -> None:
        match command:
            case Command.REBUILD:
                self._wanted = self._wanted or "rebuild"
            case Command.REBOOT:
                self._wanted = "reboot"
            case Command.PAUSE:
                self._is_paused = not self._is_paused
                self._sink.tell((events.Paused if self._is_paused else events.Resumed)(at=time.time()))
                self._scanner.ask()
            case Command.CONSOLE:
                self._sink.lend(self._domains)
            case Command.QUIT:
                self._end("q")

    def _end(self, why: str) -> None:
        """End, as soon as what may not be interrupted is done."""
        if self._ending is None and self._work.swaps:
            self._sink.tell(events.Note(at=time.time(), message="the swap is finished first; Ctrl-C twice: at once"))
        self._ending = self._ending or why
        self._work.is_ending = True

    @property
    def _may_look(self) -> bool:
        return not self._ending and (self._work.is_idle or self._settings.on_save == "restart")

    @property
    def _may_restart(self) -> bool:
        """Whether a save stops the build."""
        return self._work.builds and self._settings.on_save == "restart"

    # What is next

    def _step(self) -> None:
        """Begin or end what is due."""
        now = time.monotonic()
        if not self._ending:
            self._workers.revive(self.tree.project, now)
            if stale := self._scanner.reloads(now):
                self._reload(stale)
        if self._work.builds and (self._ending or (self._may_restart and self._scanner.debounce.over(now))):
            self._work.stop(self._settings.stop_timeout)
        if self._ending or not self._work.is_idle or self._workers.current is None:
            return
        if self._wanted:
            self._begin(self._wanted)
        elif self._is_paused:
            return
        elif self._reloaded:
            self._begin("save", self._reloaded)
        elif self._scanner.begins(now):
            self._begin("save")
        elif self._work.backoff.at is not None and now >= self._work.backoff.at:
            self._begin("retry")

    def _begin(self, what: What, paths: Sequence[str] = ()) -> None:
        self._wanted, self._reloaded = None, ()
        self._work.begin(what, paths)

    # Settings

    def _reload(self, stale: Sequence[str]) -> None:
        """Load the settings and the graph again, because of these files."""
        project = self.tree.project
        try:
            self._workers.reload(project, relative(str(project.root), stale))
        except UnibuildError as error:
            self._sink.problem(error, kept="the last good settings are in force")

    def _hear_next(self) -> None:
        """Hear whether another worker has loaded everything, and is in force."""
        heard = self._workers.hear_next(time.monotonic())
        if isinstance(heard, UnibuildError):
            if self._workers.current is None and self._work.count == 0:
                raise heard
            self._sink.problem(heard, kept="the last good one is in force")
        elif heard is not None:
            self.tree.project, self.tree.more, self.tree.modules = (
                heard.project,
                heard.message.inputs,
                heard.message.modules,
            )
            self.tree.is_racy = True  # its inputs may be others: look again
            self._scanner.renew()
            if heard.paths:
                self._reloaded = heard.paths
                self._sink.tell(events.Reloaded(at=time.time(), paths=heard.paths))

    # The end, and what is told

    def _finish(self) -> None:
        """End the domain, or leave it, and say good-bye."""
        self._sink.give_back()
        if self._keep or self._sink.is_unread:  # nobody said that it shall end
            self._domains.leave()
        else:
            self._work.do(lambda: self._domains.end(self.tree.project))
            while not self._work.is_idle:
                self._wait()
                self._hear()
        for one in self._box.take():
            if isinstance(one, events.Event):
                self._sink.tell(one)
        self._sink.tell(events.Ended(at=time.time(), exit_code=self._work.exit_code, why=self._ending or ""))

    def _close(self) -> None:
        self._sink.give_back()
        self._workers.close()
