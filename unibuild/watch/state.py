"""The state of the watch loop, what changes it (inputs), and what it asks for (actions): plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from unibuild.util.timing import Backoff, Debounce

if TYPE_CHECKING:
    from unibuild.errors import UnibuildError
    from unibuild.settings.model import Watch
    from unibuild.watch import events
    from unibuild.watch.cycle import Cause, CycleState
    from unibuild.watch.ui.base import Command
    from unibuild.watch.worker_protocol import Task, WorkerFailure

__all__ = [
    "Action",
    "Activity",
    "AttachDomain",
    "BuildFinished",
    "DomainLost",
    "DomainReported",
    "Fail",
    "FilesTouched",
    "Input",
    "JobFinished",
    "KeyPressed",
    "LeaveDomain",
    "LendTerminal",
    "RecordBuild",
    "ReloadRefused",
    "ReloadSettings",
    "ReplaceDomain",
    "ReportEvent",
    "Scan",
    "ScanSchedule",
    "Scanned",
    "ScreenClosed",
    "ShutDownDomain",
    "StartBuild",
    "StartWorker",
    "StopBuild",
    "StopRequested",
    "SwapResult",
    "SyncWatches",
    "TakeTerminalBack",
    "TaskFailed",
    "TaskReported",
    "TerminalLent",
    "TerminalReturned",
    "TimerDue",
    "WatchState",
    "WatchesFailed",
    "WorkerDied",
    "WorkerReady",
    "WorkerRefused",
    "WorkerStarted",
    "WorkerState",
    "initial_state",
]

Activity = Literal["idle", "building", "stopping", "swapping", "attaching", "shutting down", "ended"]
"""What the loop does now. One value, so never two builds, and never a build during a replacement of the domain.

``building`` and ``stopping``: a build runs; in ``stopping`` it was asked to stop. ``swapping``: a job replaces the
domain, or finds it unchanged. ``attaching``: a job looks for a running domain to follow. ``shutting down``: a job
shuts the domain down, because the loop ends. ``ended``: the loop is over."""


@dataclass(frozen=True)
class ScanSchedule:
    """When the inputs are compared with the last build.

    Attributes:
        last: when the last scan ended, of the monotonic clock.
        next: when the next one is due if nothing asks for one earlier.
        is_requested: whether one is due as soon as possible.
        cost: seconds of processor time of a scan that finds no change.
    """

    last: float
    next: float
    is_requested: bool = True
    cost: float = 0.0


@dataclass(frozen=True)
class WorkerState:
    """The build worker.

    Attributes:
        is_ready: whether one is in use.
        is_loading: whether another one loads the settings and ``dodo.py``.
        restart_at: when one that died is started again, of the monotonic clock; None: it is not due.
        deaths: when workers died within the last minute.
    """

    is_ready: bool = False
    is_loading: bool = False
    restart_at: float | None = None
    deaths: tuple[float, ...] = ()


@dataclass(frozen=True)
class WatchState:
    """Everything that the decisions of the watch loop depend on.

    Attributes:
        settings: ``[watch]`` as it was last good.
        root: the project's folder.
        keep_domain: whether the domain keeps running when the loop ends.
        save: the changes of inputs since the last build.
        config: the changes of settings, ``dodo.py`` and templates since they were loaded.
        scan: when to scan.
        activity: what the loop does now.
        cycle: the cycle that runs; there is one exactly in ``building``, ``stopping`` and ``swapping``.
        count: how many cycles began.
        exit_code: what the loop would end with now.
        stop_reason: why the loop ends as soon as it may; None: it goes on.
        requested: a cycle that a command asked for.
        config_paths: the files behind ``config``.
        reloaded: the files that made the loop load the settings again; empty once a cycle began.
        is_paused: whether saves start no cycle.
        is_screen_closed: whether nobody reads the screen any more.
        is_terminal_lent: whether the domain's console has the terminal.
        worker: the build worker.
        backoff: when to try again what needs no save: the host, or another run, was in the way.
        domain: the domain that is followed, as it was reported last; None: none is.
        tree_error: why the inputs cannot be found, as it was reported; empty: they can.
        watch_error: why the kernel reports no changes, as it was reported; None: it does.
    """

    settings: Watch
    root: str
    keep_domain: bool
    save: Debounce
    config: Debounce
    scan: ScanSchedule
    activity: Activity = "idle"
    cycle: CycleState | None = None
    count: int = 0
    exit_code: int = 0
    stop_reason: str | None = None
    requested: Cause | None = "start"
    config_paths: tuple[str, ...] = ()
    reloaded: tuple[str, ...] = ()
    is_paused: bool = False
    is_screen_closed: bool = False
    is_terminal_lent: bool = False
    worker: WorkerState = field(default_factory=WorkerState)
    backoff: Backoff = field(default_factory=Backoff)
    domain: events.DomainEvent | None = None
    tree_error: str = ""
    watch_error: str | None = None

    @property
    def still_runs(self) -> str:
        """A sentence for a problem's report: which domain still runs."""
        if self.domain is None:
            return "no domain runs"
        return f"{self.domain.name} runs on (domain {self.domain.domid})"

    @property
    def last_seen(self) -> str:
        """As ``still_runs``, where the host was lost: the domain may have been asked to shut down."""
        if self.domain is None:
            return self.still_runs
        return f"{self.domain.name} ran when it was last seen (domain {self.domain.domid})"

    @property
    def may_scan(self) -> bool:
        """Whether a change of the inputs means something now."""
        return self.stop_reason is None and (self.activity == "idle" or self.settings.on_save == "restart")

    @property
    def save_stops_build(self) -> bool:
        """Whether a save stops the build that runs."""
        return self.activity == "building" and self.settings.on_save == "restart"


def initial_state(
    settings: Watch, root: str, now: float, *, keep_domain: bool, watch_error: str | None = None
) -> WatchState:
    """Return the state of a loop that starts ``now``, of the monotonic clock: a first cycle is requested."""
    return WatchState(
        settings=settings,
        root=root,
        keep_domain=keep_domain,
        save=Debounce(settings.debounce, settings.max_wait),
        config=Debounce(settings.debounce, settings.max_wait),
        scan=ScanSchedule(now, now),
        watch_error=watch_error,
    )


# Inputs: what happened


@dataclass(frozen=True)
class TimerDue:
    """Time passed, or everything that happened was handed over: do what is due."""


@dataclass(frozen=True)
class FilesTouched:
    """The kernel reports that something changed in a watched folder."""


@dataclass(frozen=True)
class Scanned:
    """A scan has ended.

    Attributes:
        scan: which one.
        began: when, of the monotonic clock.
        moved: whether an input changed since the scan before.
        changed: the inputs that differ from the last build.
        sources: files behind settings and graph that changed since the scan before.
        error: why the inputs cannot be found; None: they were.
        cost: as in ``ScanSchedule``.
        is_racy: whether a folder may have changed while it was listed, so that another scan is needed soon.
    """

    scan: Scan
    began: float
    moved: bool = False
    changed: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    error: UnibuildError | None = None
    cost: float = 0.0
    is_racy: bool = False


@dataclass(frozen=True)
class WatchesFailed:
    """Folders cannot be watched, so that only scans find changes."""

    failure: str
    hint: str | None


@dataclass(frozen=True)
class KeyPressed:
    """The user asked for something."""

    command: Command


@dataclass(frozen=True)
class StopRequested:
    """The loop is to end: by a signal, for example."""

    why: str


@dataclass(frozen=True)
class ScreenClosed:
    """Nobody reads the screen any more."""


@dataclass(frozen=True)
class TerminalLent:
    """The domain's console has the terminal."""


@dataclass(frozen=True)
class TerminalReturned:
    """The screen has the terminal again."""


@dataclass(frozen=True)
class WorkerStarted:
    """A worker was started; it loads settings and ``dodo.py``."""


@dataclass(frozen=True)
class WorkerReady:
    """The worker that was loading is in use.

    Attributes:
        settings: ``[watch]`` as it is now.
        paths: the files that made the loop load them again; none at the start and after a worker's death.
    """

    settings: Watch
    paths: tuple[str, ...]


@dataclass(frozen=True)
class WorkerRefused:
    """The worker that was loading cannot be used.

    Attributes:
        error: why.
        has_died: whether it died, rather than found something wrong.
    """

    error: UnibuildError
    has_died: bool


@dataclass(frozen=True)
class WorkerDied:
    """The worker in use has died."""


@dataclass(frozen=True)
class ReloadRefused:
    """The settings cannot be loaded again."""

    error: UnibuildError


@dataclass(frozen=True)
class TaskReported:
    """A task of the build began or ended."""

    task: Task


@dataclass(frozen=True)
class TaskFailed:
    """A task of the build failed."""

    failure: WorkerFailure


@dataclass(frozen=True)
class BuildFinished:
    """The build has ended.

    Attributes:
        exit_code: 0: it is up to date; minus a signal's number where a signal ended it.
    """

    exit_code: int


@dataclass(frozen=True)
class SwapResult:
    """How an attempt to put a domain in place ended.

    Attributes:
        outcome: as ``events.Cycle`` has it.
        phases: seconds of its parts.
        error: why it failed.
        is_again: whether to try again without a save: the host, or another run, was in the way.
    """

    outcome: Literal["unchanged", "booted", "ready", "failed", "not ready"]
    phases: dict[events.Phase, float] = field(default_factory=dict)
    error: UnibuildError | None = None
    is_again: bool = False


@dataclass(frozen=True)
class JobFinished:
    """A job that attaches to a domain, or shuts it down, has ended; ``error`` says why it failed."""

    error: UnibuildError | None


@dataclass(frozen=True)
class DomainReported:
    """The state of the domain changed."""

    event: events.DomainEvent


@dataclass(frozen=True)
class DomainLost:
    """The domain that was followed is no longer followed.

    Attributes:
        error: how it ended, if badly; or why its console cannot be read.
        is_again: whether it did not end, so that following it again may succeed.
    """

    error: UnibuildError | None
    is_again: bool = False


Input = (
    TimerDue
    | FilesTouched
    | Scanned
    | WatchesFailed
    | KeyPressed
    | StopRequested
    | ScreenClosed
    | TerminalLent
    | TerminalReturned
    | WorkerStarted
    | WorkerReady
    | WorkerRefused
    | WorkerDied
    | ReloadRefused
    | TaskReported
    | TaskFailed
    | BuildFinished
    | SwapResult
    | JobFinished
    | DomainReported
    | DomainLost
)
"""Everything that can happen to the loop."""


# Actions: what the loop asks for


@dataclass(frozen=True)
class ReportEvent:
    """Show an event to the user."""

    event: events.AnyEvent


@dataclass(frozen=True)
class Scan:
    """Compare the inputs with the last build; the answer is ``Scanned``.

    Attributes:
        purpose: ``check``: is there a save? ``confirm``: is the save complete? ``build``: what does the cycle that is
            about to begin build?
        only_edits: whether to leave out what the build that runs may write itself.
        what: of ``build``: what starts the cycle.
        paths: of ``build``: changed files that are known already.
    """

    purpose: Literal["check", "confirm", "build"]
    only_edits: bool = False
    what: Cause = "save"
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class SyncWatches:
    """Watch the folders that matter now."""


@dataclass(frozen=True)
class StartWorker:
    """Start a build worker for the same settings."""


@dataclass(frozen=True)
class ReloadSettings:
    """Load the settings again, because of these files, and start a worker for them."""

    paths: tuple[str, ...]


@dataclass(frozen=True)
class StartBuild:
    """Take the inputs as of the last scan for built, and build."""


@dataclass(frozen=True)
class StopBuild:
    """Stop the build: TERM, then KILL after ``timeout`` seconds."""

    timeout: float


@dataclass(frozen=True)
class RecordBuild:
    """Record the inputs that the build wrote itself, with their fingerprints."""

    written: dict[str, str]


@dataclass(frozen=True)
class ReplaceDomain:
    """Replace the domain by one of what was built; ``force``: even if it is unchanged."""

    force: bool


@dataclass(frozen=True)
class AttachDomain:
    """Follow the domain that runs, if there is one."""


@dataclass(frozen=True)
class ShutDownDomain:
    """Shut the domain down."""


@dataclass(frozen=True)
class LeaveDomain:
    """Stop following the domain, which keeps running."""


@dataclass(frozen=True)
class LendTerminal:
    """Give the terminal to the domain's console."""


@dataclass(frozen=True)
class TakeTerminalBack:
    """Give the terminal back to the screen."""


@dataclass(frozen=True)
class Fail:
    """End the loop with this error: nothing could be loaded in the first place."""

    error: UnibuildError


Action = (
    ReportEvent
    | Scan
    | SyncWatches
    | StartWorker
    | ReloadSettings
    | StartBuild
    | StopBuild
    | RecordBuild
    | ReplaceDomain
    | AttachDomain
    | ShutDownDomain
    | LeaveDomain
    | LendTerminal
    | TakeTerminalBack
    | Fail
)
"""Everything that the loop can ask for."""
