"""Boot, follow, find and shut down the project's domain for the watch loop."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, Literal

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

_PATIENCE = 20.0  # seconds for what an ended domain still has to say


class NamedLock:
    """A lock that knows what it is held for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._what = ""

    @contextlib.contextmanager
    def taken(self, what: str, tell: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        """Hold it for the time of the block.

        Args:
            what: what is done in the block; completes "waiting until ...".
            tell: called with a sentence if another holder comes first.
        """
        if not self._lock.acquire(blocking=False):
            tell(f"waiting until {self._what or 'the domain is free'}")
            self._lock.acquire()
        self._what = what
        try:
            yield
        finally:
            self._lock.release()


class SwapObserver(ReplaceObserver):
    """Takes part in a change: the old console is read to its end by who follows it, the new one is handed on."""

    def __init__(self, domains: DomainController) -> None:
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
        return _FollowerDrain(follower)

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
        self._spent("downtime", seconds)
        began, took = self._created
        if began >= time.monotonic() - seconds:  # it is in the downtime, and counts there
            self._spent("create", -took)

    def new_domain_accepted(self, made: NewDomain) -> None:
        """Keep what runs now: the loop follows it."""
        self.made = made

    def _spent(self, phase: events.Phase, seconds: float) -> None:
        self.phases[phase] = self.phases.get(phase, 0.0) + seconds

    def _tell(self, name: str, state: Literal["running", "done", "failed"], took: float | None) -> None:
        self._domains.post(events.StageEvent(at=time.time(), name=name, state=state, seconds=took))


class _FollowerDrain(ConsoleDrain):
    """The last words of a domain that a follower reads."""

    def __init__(self, follower: ConsoleThread) -> None:
        self._follower = follower

    def __exit__(self, *_: object) -> None:
        if not self._follower.heard.is_set():  # it runs on
            self._follower.replaced = False

    def drain(self) -> None:
        waits.wait(self._follower.heard, _PATIENCE)


class DomainController:
    """The domain of a project.

    Args:
        post: takes an event, or ``DomainLost``, from any thread.
        loan: whether the terminal is lent to the console.
    """

    def __init__(self, post: Callable[[Any], None], loan: PassthroughFlag) -> None:
        self.post = post
        self.follower: ConsoleThread | None = None
        self._loan = loan
        self._turn = NamedLock()

    def put_in_place(self, graph: Graph, *, force: bool) -> SwapResult:
        """Put the domain of what was built in place, unless it runs unchanged, and follow it.

        Whatever goes wrong is in what is returned: a loop that waits for it would wait for ever.
        """
        try:
            return self._put_in_place(graph, force=force)
        except UnibuildError as error:
            return SwapResult("failed", error=error, is_again=isinstance(error, HostError | BusyError))
        except OSError as error:
            return SwapResult("failed", error=FileError.of(error))
        except Exception as error:  # a fault of unibuild
            if debug_enabled():
                traceback.print_exception(error)
            hint = "that is a fault of unibuild's; --debug shows where"
            return SwapResult("failed", error=UnibuildError(f"the domain was not put in place: {error!r}", hint=hint))

    def _put_in_place(self, graph: Graph, *, force: bool) -> SwapResult:
        project = _shown(graph.project)
        voice = EventConsoleOutput(self.post, self._loan, graph.xl.stem, project.settings.boot.escapes)
        swap = SwapObserver(self)
        with contextlib.ExitStack() as reading, self._turn.taken("the new domain is in place", voice.say):
            try:
                host = self._open_host(project)
                made = boot.boot_in_place(
                    project, host, graph.xl, graph.kernel, voice, reading, observer=swap, force=force
                )
            except UnibuildError as error:
                swap.ended("failed")
                outcome: Literal["not ready", "failed"] = "not ready" if isinstance(error, NotReadyError) else "failed"
                self._take_up(project, swap, voice, reading)
                again = isinstance(error, HostError | BusyError)
                return SwapResult(outcome, swap.phases, error, is_again=again)
            swap.ended("done")
            self._take_up(project, swap, voice, reading)
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
        project = _shown(project)
        known = records.load(state_dir(project.root), resolve.host_name(project.settings))
        if not known.uuids:
            return False
        name = known.good.name if known.good else known.pending.name if known.pending else ""
        voice = EventConsoleOutput(self.post, self._loan, name, project.settings.boot.escapes)
        with contextlib.ExitStack() as readers:
            followed = reattach(project, voice)
            readers.enter_context(followed.reader)
            self._follow(followed, voice, readers)
        return True

    @property
    def is_following(self) -> bool:
        """Whether a domain is followed."""
        return self.follower is not None and self.follower.is_alive

    def leave(self) -> None:
        """Follow nothing any more; the domain runs on."""
        follower, self.follower = self.follower, None
        if follower and follower.is_alive:
            follower.leave()

    def shut_down(self, project: Project) -> None:
        """Shut the domain down, if there is one.

        Raises:
            UnibuildError: it cannot be shut down.
        """
        if self.follower:
            self.follower.replaced = True
        voice = EventConsoleOutput(self.post, self._loan, "")
        with self._turn.taken("the domain is ended", voice.say):
            destroy(project, voice)
        self.leave()

    def _take_up(
        self, project: Project, swap: SwapObserver, voice: EventConsoleOutput, reading: contextlib.ExitStack
    ) -> None:
        """Follow what runs after a change, whether that did what it should or not."""
        made = swap.made
        if made and made.reader:
            host = self._open_host(project)
            self._follow(AttachedDomain(project, host, made.domain, made.reader), voice, reading)
            return
        state: Literal["gone", "none"] = "none"
        try:
            if self.attach(project):
                return
        except UnibuildError as error:  # what failed before was told
            state = "gone" if isinstance(error, HostError) else "none"
        self.post(events.DomainEvent(at=time.time(), name=voice.name, host=project.settings.host, state=state))

    def _follow(self, followed: AttachedDomain, voice: EventConsoleOutput, readers: contextlib.ExitStack) -> None:
        voice.name = followed.domain.name
        self.follower = ConsoleThread(
            followed,
            readers.pop_all(),
            voice,
            self._turn,
            ended=self._lost,
            unheard=self._unheard,
            remade=self._tell,
            waits=self._waits,
        )
        self._tell(self.follower)

    def _tell(self, follower: ConsoleThread) -> None:
        """Tell what runs now."""
        domain, host, project = follower.followed.domain, follower.followed.host, follower.followed.project
        follower.voice.domid = domain.domid
        good = records.load(state_dir(project.root), host.name).good
        ours = good if good and good.uuid == domain.uuid else None
        self.post(
            events.DomainEvent(
                at=time.time(),
                name=domain.name,
                host=host.name,
                state="ready" if project.settings.boot.ready.is_set else "running",
                domid=domain.domid,
                generation=ours.generation if ours else None,
                since=_seconds(ours.since) if ours else None,
            )
        )

    def _lost(self, follower: ConsoleThread, end: DomainExit | UnibuildError) -> None:
        """Tell that a domain has ended."""
        if isinstance(end, UnibuildError):
            state: events.State = "gone" if isinstance(end, HostError) else "crashed"
            self._tell_lost(follower, state, end.message)
            self.post(DomainLost(end, is_again=isinstance(end, HostError | BusyError)))
        else:
            self._tell_lost(follower, "ended", end.why)
            self.post(DomainLost(None))

    def _unheard(self, follower: ConsoleThread, error: UnibuildError) -> None:
        """Tell that a domain cannot be heard, whatever becomes of it."""
        self._tell_lost(follower, "gone" if isinstance(error, HostError) else "running", error.message)
        self.post(DomainLost(error, is_again=True))

    def _waits(self, follower: ConsoleThread, why: str) -> None:
        """Tell that a domain will run again, but not yet."""
        domain, host = follower.followed.domain, follower.followed.host
        self.post(events.DomainEvent(at=time.time(), name=domain.name, host=host.name, state="ended", why=why))

    def _tell_lost(self, follower: ConsoleThread, state: events.State, why: str) -> None:
        if self.follower is follower:
            self.follower = None
        domain, host = follower.followed.domain, follower.followed.host
        domid = domain.domid if state == "running" else None
        self.post(
            events.DomainEvent(at=time.time(), name=domain.name, host=host.name, state=state, domid=domid, why=why)
        )


def _shown(project: Project) -> Project:
    """Return the project with a console that is read, whatever ``[boot]`` says for a boot alone."""
    import msgspec

    settings = project.settings
    shown = msgspec.structs.replace(settings.boot, console="print", wait=None)
    return dataclasses.replace(project, settings=msgspec.structs.replace(settings, boot=shown))


def _seconds(since: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(since).timestamp()
