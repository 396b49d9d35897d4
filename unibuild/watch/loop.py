"""Run the watch loop: hand what happens to the reducer, and perform the actions that it returns.

The loop has one thread. Builds run in a process of their own; a replacement of the domain, and the reading of its
console, in threads. ``unibuild.watch.state`` has the loop's state, ``unibuild.watch.reducer`` all of its decisions.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from unibuild.errors import UnibuildError
from unibuild.host import resolve
from unibuild.util.wakeup import Signal, handle_signals
from unibuild.watch import events, worker_protocol
from unibuild.watch import state as of
from unibuild.watch.build_worker import WorkerLoaded, WorkerPool
from unibuild.watch.cycle import Moment, relative
from unibuild.watch.domain import DomainController
from unibuild.watch.reducer import next_wakeup, reduce
from unibuild.watch.scanner import Scanner
from unibuild.watch.ui.base import Command
from unibuild.watch.ui.console_passthrough import EventSink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unibuild.util.wakeup import WakeableQueue
    from unibuild.watch.build_worker import BuildWorker
    from unibuild.watch.inputs import InputTracker
    from unibuild.watch.ui.base import Screen

__all__ = ["Loop"]

_LONGEST_WAIT = 1.0  # seconds: a signal that comes right before the wait is handled after it


class Loop:
    """The watch loop of a project.

    Args:
        tree: the project's inputs.
        screen: shows events; it has been entered.
        inbox: hands over commands and what other threads report.
        dodo: the ``dodo.py`` that the user named; empty: none.
        keep_domain: whether the domain keeps running when the loop ends.

    Attributes:
        state: what the loop does now, and why.
    """

    def __init__(
        self, tree: InputTracker, screen: Screen, inbox: WakeableQueue, *, dodo: str = "", keep_domain: bool
    ) -> None:
        self.tree = tree
        self._sink = EventSink(screen)
        self._inbox = inbox
        self._domains = DomainController(inbox.put, self._sink.loan)
        self._scanner = Scanner(tree, inbox.wake)
        self._workers = WorkerPool(dodo, lambda: screen.columns)
        self.state = of.initial_state(
            tree.project.settings.watch,
            str(tree.project.root),
            time.monotonic(),
            keep_domain=keep_domain,
            watch_error=self._scanner.watcher.failure,
        )

    def run(self) -> int:
        """Run until the user ends the loop; return the exit code of its last state.

        Raises:
            UnibuildError: the tasks cannot be loaded in the first place.
            BrokenPipeError: nobody reads what the screen shows.
        """
        with handle_signals(self._inbox.put), contextlib.ExitStack() as stack:
            stack.callback(self._close)
            stack.enter_context(self._scanner)
            self._report_start()
            self._workers.start(self.tree.project)
            self._dispatch(of.WorkerStarted())
            while self.state.activity != "ended":
                self._wait()
                self._collect()
                self._dispatch(of.TimerDue())
                if self._sink.is_unread and not self.state.is_screen_closed:
                    self._dispatch(of.ScreenClosed())
            self._report_end()
        if self._sink.is_unread:
            raise BrokenPipeError
        return self.state.exit_code

    def _dispatch(self, happened: of.Input) -> None:
        """Let the reducer decide, and perform its actions, until nothing more follows from what happened."""
        waiting = deque([happened])
        while waiting:
            now = Moment(time.monotonic(), time.time())
            self.state, actions = reduce(self.state, waiting.popleft(), now)
            for action in actions:
                waiting.extend(self._perform(action))

    # What happened

    def _wait(self) -> None:
        """Wait until something happens, or something is due."""
        fds: list[Any] = [self._inbox, *self._workers.fds(builds=self.state.cycle is not None)]
        if self._sink.keys is not None:
            fds.append(self._sink.keys)
        due = next_wakeup(self.state)
        seconds = _LONGEST_WAIT if due is None else max(0.0, due - time.monotonic())
        ready = select.select(fds, [], [], seconds)[0]
        if self._sink.keys in ready and not self._sink.type():
            self._dispatch(of.TerminalReturned())

    def _collect(self) -> None:
        """Hand over what has happened."""
        for one in self._inbox.take():
            match one:
                case Command():
                    self._dispatch(of.KeyPressed(one))
                case Signal(name=name):
                    self._dispatch(of.StopRequested(name))
                case events.DomainEvent():
                    self._dispatch(of.DomainReported(one))
                case events.Event():
                    self._sink.report(one)
                case _:
                    self._dispatch(one)
        if self._workers.current:
            self._hear(self._workers.current)
        if self.state.cycle is None:
            self._hear_next()
        if self._scanner.is_touched and not self.state.scan.is_requested:
            self._dispatch(of.FilesTouched())

    def _hear(self, worker: BuildWorker) -> None:
        """Hand over what the build worker reports."""
        for one in worker.hear():
            match one:
                case str():
                    self._sink.report(events.Output(at=time.time(), origin="build", text=one))
                case worker_protocol.Task():
                    self._dispatch(of.TaskReported(one))
                case worker_protocol.WorkerFailure():
                    self._dispatch(of.TaskFailed(one))
                case worker_protocol.Built(exit_code=code):
                    self._dispatch(of.BuildFinished(code))
        self._sink.show_progress(worker.unfinished)
        if worker.has_ended:
            self._workers.drop()
            self._dispatch(of.WorkerDied())

    def _hear_next(self) -> None:
        """Hand over whether the worker that was loading is in use."""
        found = self._workers.hear_next()
        if isinstance(found, WorkerLoaded):
            tree, loaded = self.tree, found.message
            tree.project, tree.more, tree.modules = found.project, loaded.inputs, loaded.modules
            tree.is_racy = True  # there may be other inputs
            self._dispatch(of.WorkerReady(found.project.settings.watch, found.paths))
        elif found is not None:
            self._dispatch(found)

    # Actions

    def _perform(self, action: of.Action) -> Iterator[of.Input]:
        """Perform an action; yield what it leads to at once."""
        match action:
            case of.ReportEvent(event=event):
                self._sink.report(event)
            case of.Scan():
                yield self._scanner.scan(action)
            case of.SyncWatches():
                if found := self._scanner.sync():
                    yield found
            case of.StartWorker():
                self._workers.start(self.tree.project)
                yield of.WorkerStarted()
            case of.ReloadSettings(paths=paths):
                yield self._reload(paths)
            case of.StartBuild():
                assert self._workers.current is not None
                self.tree.begin()
                self._workers.current.build()
            case of.StopBuild(timeout=timeout):
                assert self._workers.current is not None
                self._workers.current.stop(timeout)
            case of.RecordBuild(written=written):
                self.tree.end(written)
            case of.ReplaceDomain(force=force):
                graph = self.tree.graph
                self._start_job(lambda: self._domains.put_in_place(graph, force=force))
            case of.AttachDomain():
                project = self.tree.project
                self._start_job(lambda: self._domains.attach(project))
            case of.ShutDownDomain():
                self._start_job(lambda: self._domains.shut_down(self.tree.project))
            case of.LeaveDomain():
                self._domains.leave()
            case of.LendTerminal():
                if self._sink.lend(self._domains):
                    yield of.TerminalLent()
            case of.TakeTerminalBack():
                self._sink.give_back()
            case of.Fail(error=error):
                raise error

    def _reload(self, paths: tuple[str, ...]) -> of.Input:
        """Load the settings and the graph again, because of these files."""
        project = self.tree.project
        try:
            self._workers.reload(project, relative(str(project.root), paths))
        except UnibuildError as error:
            return of.ReloadRefused(error)
        return of.WorkerStarted()

    def _start_job(self, job: Callable[[], object]) -> None:
        """Run a job in a thread; its result comes by the inbox."""

        def run() -> None:
            result: of.Input = of.JobFinished(None)
            try:
                found = job()
                if isinstance(found, of.SwapResult):
                    result = found
            except UnibuildError as error:
                result = of.JobFinished(error)
            finally:
                self._inbox.put(result)

        threading.Thread(target=run, name="unibuild swap", daemon=True).start()

    # The first and the last events

    def _report_start(self) -> None:
        project = self.tree.project
        self._sink.report(
            events.Started(
                at=time.time(),
                root=str(project.root),
                goal="boot",
                host=resolve.host_name(project.settings),
                pid=os.getpid(),
                polling=self._scanner.watcher.failure,
            )
        )
        if not self.state.keep_domain:
            message = "the domain is shut down when the watch ends; --keep-domain keeps it running"
            self._sink.report(events.Note(at=time.time(), message=message))

    def _report_end(self) -> None:
        for one in self._inbox.take():
            if isinstance(one, events.Event):
                self._sink.report(one)
        self._sink.report(
            events.Ended(at=time.time(), exit_code=self.state.exit_code, why=self.state.stop_reason or "")
        )

    def _close(self) -> None:
        self._sink.give_back()
        self._workers.close()
