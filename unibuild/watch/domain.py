"""The project's domain on its host, for the loop: put in place, followed, lost, found and ended."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from unibuild.deploy import boot, hosts
from unibuild.deploy.console_session import AttachedDomain, reattach
from unibuild.deploy.destroy import destroy
from unibuild.domain import records
from unibuild.errors import BusyError, FileError, HostError, NotReadyError, UnibuildError
from unibuild.host import resolve
from unibuild.settings.loader import state_dir
from unibuild.util.output import debug_enabled
from unibuild.watch import events
from unibuild.watch.console_thread import Follower
from unibuild.watch.swaps import Swap, Swapped
from unibuild.watch.turn import Turn
from unibuild.watch.voice import Loan, Voice

if TYPE_CHECKING:
    from collections.abc import Callable

    from unibuild.domain.console import End
    from unibuild.graph.graph import Graph
    from unibuild.host.base import Host
    from unibuild.settings.loader import Project

__all__ = ["Domains", "Lost"]


@dataclass(frozen=True)
class Lost:
    """The domain that was followed is followed no more.

    Attributes:
        error: how it ended, if badly; or why its console cannot be read.
        is_again: it did not end: it is worth trying to follow it again.
    """

    error: UnibuildError | None
    is_again: bool = False


class Domains:
    """The domain of a project.

    Args:
        post: takes an event, or ``Lost``, from any thread.
        loan: whether the terminal is lent to the console.
    """

    def __init__(self, post: Callable[[Any], None], loan: Loan) -> None:
        self.post = post
        self.follower: Follower | None = None
        self._loan = loan
        self._turn = Turn()

    def put_in_place(self, graph: Graph, *, anew: bool) -> Swapped:
        """Put the domain of what was built in place, unless it runs unchanged, and follow it.

        Whatever goes wrong is in what is returned: a loop that waits for it would wait for ever.
        """
        try:
            return self._put_in_place(graph, anew=anew)
        except UnibuildError as error:
            return Swapped("failed", error=error, is_again=isinstance(error, HostError | BusyError))
        except OSError as error:
            return Swapped("failed", error=FileError.of(error))
        except Exception as error:  # a fault of ours
            if debug_enabled():
                traceback.print_exception(error)
            hint = "that is a fault of unibuild's; --debug shows where"
            return Swapped("failed", error=UnibuildError(f"the domain was not put in place: {error!r}", hint=hint))

    def _put_in_place(self, graph: Graph, *, anew: bool) -> Swapped:
        project = _shown(graph.project)
        voice = Voice(self.post, self._loan, graph.xl.stem, project.settings.boot.escapes)
        swap = Swap(self)
        with contextlib.ExitStack() as reading, self._turn.taken("the new domain is in place", voice.say):
            try:
                host = self._open_host(project)
                made = boot.boot_in_place(
                    project, host, graph.xl, graph.kernel, voice, reading, observer=swap, anew=anew
                )
            except UnibuildError as error:
                swap.ended("failed")
                outcome: Literal["not ready", "failed"] = "not ready" if isinstance(error, NotReadyError) else "failed"
                self._take_up(project, swap, voice, reading)
                again = isinstance(error, HostError | BusyError)
                return Swapped(outcome, swap.phases, error, is_again=again)
            swap.ended("done")
            self._take_up(project, swap, voice, reading)
        if made is None:
            return Swapped("unchanged", swap.phases)
        return Swapped("ready" if project.settings.boot.ready.is_set else "booted", swap.phases)

    def _open_host(self, project: Project) -> Host:
        host = hosts.open_host(project.settings)
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
        known = records.load(state_dir(project.root), resolve.place(project.settings))
        if not known.uuids:
            return False
        name = known.good.name if known.good else known.pending.name if known.pending else ""
        voice = Voice(self.post, self._loan, name, project.settings.boot.escapes)
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

    def end(self, project: Project) -> None:
        """End the domain, where there is one.

        Raises:
            UnibuildError: it cannot be ended.
        """
        if self.follower:
            self.follower.replaced = True
        voice = Voice(self.post, self._loan, "")
        with self._turn.taken("the domain is ended", voice.say):
            destroy(project, voice)
        self.leave()

    def _take_up(self, project: Project, swap: Swap, voice: Voice, reading: contextlib.ExitStack) -> None:
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
        self.post(events.Domain(at=time.time(), name=voice.name, host=project.settings.host, state=state))

    def _follow(self, followed: AttachedDomain, voice: Voice, readers: contextlib.ExitStack) -> None:
        voice.name = followed.domain.name
        self.follower = Follower(
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

    def _tell(self, follower: Follower) -> None:
        """Tell what runs now."""
        domain, host, project = follower.followed.domain, follower.followed.host, follower.followed.project
        follower.voice.domid = domain.domid
        good = records.load(state_dir(project.root), host.name).good
        ours = good if good and good.uuid == domain.uuid else None
        self.post(
            events.Domain(
                at=time.time(),
                name=domain.name,
                host=host.name,
                state="ready" if project.settings.boot.ready.is_set else "running",
                domid=domain.domid,
                generation=ours.generation if ours else None,
                since=_seconds(ours.since) if ours else None,
            )
        )

    def _lost(self, follower: Follower, end: End | UnibuildError) -> None:
        """Tell that a domain has ended."""
        if isinstance(end, UnibuildError):
            state: events.State = "gone" if isinstance(end, HostError) else "crashed"
            self._tell_lost(follower, state, end.message)
            self.post(Lost(end, is_again=isinstance(end, HostError | BusyError)))
        else:
            self._tell_lost(follower, "ended", end.why)
            self.post(Lost(None))

    def _unheard(self, follower: Follower, error: UnibuildError) -> None:
        """Tell that a domain cannot be heard, whatever becomes of it."""
        self._tell_lost(follower, "gone" if isinstance(error, HostError) else "running", error.message)
        self.post(Lost(error, is_again=True))

    def _waits(self, follower: Follower, why: str) -> None:
        """Tell that a domain will run again, but not yet."""
        domain, host = follower.followed.domain, follower.followed.host
        self.post(events.Domain(at=time.time(), name=domain.name, host=host.name, state="ended", why=why))

    def _tell_lost(self, follower: Follower, state: events.State, why: str) -> None:
        if self.follower is follower:
            self.follower = None
        domain, host = follower.followed.domain, follower.followed.host
        domid = domain.domid if state == "running" else None
        self.post(events.Domain(at=time.time(), name=domain.name, host=host.name, state=state, domid=domid, why=why))


def _shown(project: Project) -> Project:
    """Return the project with a console that is read, whatever ``[boot]`` says for a boot alone."""
    import msgspec

    settings = project.settings
    shown = msgspec.structs.replace(settings.boot, console="print", wait=None)
    return dataclasses.replace(project, settings=msgspec.structs.replace(settings, boot=shown))


def _seconds(since: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(since).timestamp()
