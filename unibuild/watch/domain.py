"""Boot, follow, find and shut down the project's domain for the watch loop."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
import traceback
from typing import TYPE_CHECKING, Literal

from unibuild.deploy import boot, hosts
from unibuild.deploy.console_session import AttachedDomain, reattach
from unibuild.deploy.destroy import destroy
from unibuild.deploy.replacement import ConsoleDrain, ReplaceObserver
from unibuild.domain import records
from unibuild.errors import BusyError, FileError, HostError, NotReadyError, UnibuildError
from unibuild.host import resolve
from unibuild.settings.loader import state_dir
from unibuild.util import waits
from unibuild.util.output import debug_enabled
from unibuild.watch import events
from unibuild.watch.console_thread import ConsoleThread, EventConsoleOutput, PassthroughFlag
from unibuild.watch.state import DomainLost, SwapResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from unibuild.deploy.replacement import NewDomain
    from unibuild.domain.exit_status import DomainExit
    from unibuild.graph.graph import Graph
    from unibuild.host.base import Host
    from unibuild.host.toolstack import Domain
    from unibuild.settings.loader import Project

__all__ = ["DomainController", "NamedLock", "SwapObserver"]

_DRAIN_TIMEOUT = 20.0  # seconds to read what a domain that ended wrote last


class NamedLock:
    """A lock that knows what it is held for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._what = ""

    @contextlib.contextmanager
    def taken(self, what: str, report: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        """Hold the lock while the block runs.

        Args:
            what: what is done in the block; completes "waiting until ...".
            report: called with a sentence if another thread holds the lock.
        """
        if not self._lock.acquire(blocking=False):
            report(f"waiting until {self._what or 'the domain is free'}")
            self._lock.acquire()
        self._what = what
        try:
            yield
        finally:
            self._lock.release()


class SwapObserver(ReplaceObserver):
    """Reports and times the phases of a replacement, and lets the console's thread read the old console to its end."""

    def __init__(self, domains: DomainController) -> None:
        self.phases: dict[events.Phase, float] = {}
        self.made: NewDomain | None = None
        self._domains = domains
        self._phase: events.Phase | None = None
        self._began = 0.0
        self._created = (0.0, 0.0)  # when the last creation began, of the monotonic clock, and how long it took

    def drain_console(self, host: Host, domain: Domain, state: Path) -> ConsoleDrain:
        """Return what reads the old console to its end: the thread that follows it, if there is one."""
        follower = self._domains.follower
        if follower is None or follower.attached.domain.uuid != domain.uuid or not follower.is_alive:
            return ConsoleDrain(host, domain, state)
        follower.is_replaced = True
        return _FollowerDrain(follower)

    def phase_began(self, phase: Literal["copy", "create", "ready"] | None) -> None:
        """Report a phase that begins; the one before has ended."""
        self.ended("done")
        self._phase, self._began = phase, time.monotonic()
        if phase is not None:
            self._report(phase, "running", None)

    def ended(self, state: Literal["done", "failed"]) -> None:
        """Report the end of the current phase, and note its time."""
        if self._phase is not None:
            took = time.monotonic() - self._began
            self._spent(self._phase, took)
            self._report(self._phase, state, took)
            if self._phase == "create":
                self._created = (self._began, took)
        self._phase = None

    def down_for(self, seconds: float) -> None:
        """Note the downtime."""
        self._spent("downtime", seconds)
        began, took = self._created
        if began >= time.monotonic() - seconds:  # the creation is part of the downtime: count it once
            self._spent("create", -took)

    def new_domain_accepted(self, made: NewDomain) -> None:
        """Keep the domain that runs now: the loop follows it."""
        self.made = made

    def _spent(self, phase: events.Phase, seconds: float) -> None:
        self.phases[phase] = self.phases.get(phase, 0.0) + seconds

    def _report(self, name: str, state: Literal["running", "done", "failed"], took: float | None) -> None:
        self._domains.post(events.StageEvent(at=time.time(), name=name, state=state, seconds=took))


class _FollowerDrain(ConsoleDrain):
    """Waits until the thread that follows the old console has read it to its end."""

    def __init__(self, follower: ConsoleThread) -> None:
        self._follower = follower

    def __exit__(self, *_: object) -> None:
        if not self._follower.drained.is_set():  # the old domain still runs
            self._follower.is_replaced = False

    def drain(self) -> None:
        waits.wait(self._follower.drained, _DRAIN_TIMEOUT)


class DomainController:
    """Boots, follows and shuts down the domain of a project, and reports what happens to it.

    Args:
        post: takes an event, or an input of the reducer, from any thread.
        loan: whether the domain's console has the terminal.
    """

    def __init__(self, post: Callable[[events.Event | DomainLost], None], loan: PassthroughFlag) -> None:
        self.post = post
        self.follower: ConsoleThread | None = None
        self._loan = loan
        self._lock = NamedLock()

    def put_in_place(self, graph: Graph, *, force: bool) -> SwapResult:
        """Replace the domain by one of what was built, unless it runs unchanged, and follow it.

        Every failure is in the result, because the loop waits for one.
        """
        try:
            return self._put_in_place(graph, force=force)
        except UnibuildError as error:
            return SwapResult("failed", error=error, is_again=isinstance(error, HostError | BusyError))
        except OSError as error:
            return SwapResult("failed", error=FileError.of(error))
        except Exception as error:  # a bug in unibuild
            if debug_enabled():
                traceback.print_exception(error)
            hint = "this is a bug in unibuild; --debug shows where"
            return SwapResult("failed", error=UnibuildError(f"the domain was not replaced: {error!r}", hint=hint))

    def _put_in_place(self, graph: Graph, *, force: bool) -> SwapResult:
        project = _with_console(graph.project)
        output = EventConsoleOutput(self.post, self._loan, graph.xl.stem, project.settings.boot.escapes)
        swap = SwapObserver(self)
        with contextlib.ExitStack() as readers, self._lock.taken("the new domain is in place", output.say):
            try:
                host = self._open_host(project)
                made = boot.boot_in_place(
                    project, host, graph.xl, graph.kernel, output, readers, observer=swap, force=force
                )
            except UnibuildError as error:
                swap.ended("failed")
                outcome: Literal["not ready", "failed"] = "not ready" if isinstance(error, NotReadyError) else "failed"
                self._follow_current(project, swap, output, readers)
                again = isinstance(error, HostError | BusyError)
                return SwapResult(outcome, swap.phases, error, is_again=again)
            swap.ended("done")
            self._follow_current(project, swap, output, readers)
        if made is None:
            return SwapResult("unchanged", swap.phases)
        return SwapResult("ready" if project.settings.boot.ready.is_set else "booted", swap.phases)

    def _open_host(self, project: Project) -> Host:
        host = hosts.open_host(project.settings, batch=project.batch)
        host.show_waiting(lambda what: self.post(events.Waiting(at=time.time(), what=what)))
        return host

    def attach(self, project: Project) -> bool:
        """Follow the domain that runs, unless it is followed already; return whether there is one.

        Raises:
            UnibuildError: its host is out of reach, or its console cannot be read.
        """
        if self.is_following:
            return True
        project = _with_console(project)
        known = records.load(state_dir(project.root), resolve.host_name(project.settings))
        if not known.uuids:
            return False
        name = known.good.name if known.good else known.pending.name if known.pending else ""
        output = EventConsoleOutput(self.post, self._loan, name, project.settings.boot.escapes)
        with contextlib.ExitStack() as readers:
            attached = reattach(project, output)
            readers.enter_context(attached.reader)
            self._follow(attached, output, readers)
        return True

    @property
    def is_following(self) -> bool:
        """Whether a domain is followed."""
        return self.follower is not None and self.follower.is_alive

    def leave(self) -> None:
        """Stop following the domain, which keeps running."""
        follower, self.follower = self.follower, None
        if follower and follower.is_alive:
            follower.leave()

    def shut_down(self, project: Project) -> None:
        """Shut the domain down, if there is one.

        Raises:
            UnibuildError: it cannot be shut down.
        """
        if self.follower:
            self.follower.is_replaced = True
        output = EventConsoleOutput(self.post, self._loan, "")
        with self._lock.taken("the domain is shut down", output.say):
            destroy(project, output)
        self.leave()

    def _follow_current(
        self, project: Project, swap: SwapObserver, output: EventConsoleOutput, readers: contextlib.ExitStack
    ) -> None:
        """Follow the domain that runs after a replacement, whether that succeeded or not."""
        made = swap.made
        if made and made.reader:
            host = self._open_host(project)
            self._follow(AttachedDomain(project, host, made.domain, made.reader), output, readers)
            return
        state: Literal["gone", "none"] = "none"
        try:
            if self.attach(project):
                return
        except UnibuildError as error:  # the replacement's own failure is reported
            state = "gone" if isinstance(error, HostError) else "none"
        self.post(events.DomainEvent(at=time.time(), name=output.name, host=project.settings.host, state=state))

    def _follow(self, attached: AttachedDomain, output: EventConsoleOutput, readers: contextlib.ExitStack) -> None:
        output.name = attached.domain.name
        self.follower = ConsoleThread(attached, readers.pop_all(), output, self._lock, self)
        self.on_recreated(self.follower)

    # What a console's thread calls

    def on_recreated(self, thread: ConsoleThread) -> None:
        """Report the domain that runs now."""
        domain, host, project = thread.attached.domain, thread.attached.host, thread.attached.project
        thread.output.domid = domain.domid
        good = records.load(state_dir(project.root), host.name).good
        own = good if good and good.uuid == domain.uuid else None
        self.post(
            events.DomainEvent(
                at=time.time(),
                name=domain.name,
                host=host.name,
                state="ready" if project.settings.boot.ready.is_set else "running",
                domid=domain.domid,
                generation=own.generation if own else None,
                since=_seconds(own.since) if own else None,
            )
        )

    def on_ended(self, thread: ConsoleThread, end: DomainExit | UnibuildError) -> None:
        """Report that the domain has ended, and how."""
        if isinstance(end, UnibuildError):
            state: events.State = "gone" if isinstance(end, HostError) else "crashed"
            self._report_lost(thread, state, end.message)
            self.post(DomainLost(end, is_again=isinstance(end, HostError | BusyError)))
        else:
            self._report_lost(thread, "ended", end.why)
            self.post(DomainLost(None))

    def on_unreadable(self, thread: ConsoleThread, error: UnibuildError) -> None:
        """Report that the console cannot be read; the domain may run."""
        self._report_lost(thread, "gone" if isinstance(error, HostError) else "running", error.message)
        self.post(DomainLost(error, is_again=True))

    def on_pause(self, thread: ConsoleThread, why: str) -> None:
        """Report that the domain will be recreated, but not yet."""
        domain, host = thread.attached.domain, thread.attached.host
        self.post(events.DomainEvent(at=time.time(), name=domain.name, host=host.name, state="ended", why=why))

    def _report_lost(self, thread: ConsoleThread, state: events.State, why: str) -> None:
        if self.follower is thread:
            self.follower = None
        domain, host = thread.attached.domain, thread.attached.host
        domid = domain.domid if state == "running" else None
        self.post(
            events.DomainEvent(at=time.time(), name=domain.name, host=host.name, state=state, domid=domid, why=why)
        )


def _with_console(project: Project) -> Project:
    """Return the project with a console that is read, whatever ``[boot]`` says of a boot without watch."""
    import msgspec

    settings = project.settings
    shown = msgspec.structs.replace(settings.boot, console="print", wait=None)
    return dataclasses.replace(project, settings=msgspec.structs.replace(settings, boot=shown))


def _seconds(since: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(since).timestamp()
