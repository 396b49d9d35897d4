"""Decide what the watch loop does next: a pure function from state and input to state and actions.

``unibuild.watch.loop`` runs the actions. Files decide what is built, not what the kernel reports: after each report,
and about once a second without one, a scan compares the inputs with the last build. A cycle begins exactly when they
differ, so no save is lost during a build, and none is built twice.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from unibuild.errors import BusyError, LostError, UnibuildError
from unibuild.util.timing import backoff_delay
from unibuild.watch import events
from unibuild.watch import state as of
from unibuild.watch.cycle import CycleState, relative
from unibuild.watch.ui.base import Command

if TYPE_CHECKING:
    from unibuild.settings.model import Watch
    from unibuild.watch.cycle import Cause, Moment
    from unibuild.watch.state import Action, Input, WatchState

__all__ = ["next_wakeup", "reduce"]

_INTERVAL = 1.0  # seconds between two scans that nothing asked for, at least
_SHARE = 0.0025  # of a core that these scans may take
_SHARE_POLLING = 0.02  # the same where the kernel reports no changes
_PAUSE = 0.005  # seconds between two scans that were asked for
_MINUTE = 60.0  # seconds for which the death of a worker counts
_LONGEST = 30.0  # seconds between the death of a worker and the start of the next, at most

Transition = tuple["WatchState", tuple["Action", ...]]


def reduce(state: WatchState, happened: Input, now: Moment) -> Transition:
    """Return the state after what happened, and the actions that it asks for, in their order."""
    match happened:
        case of.TimerDue():
            return _tick(state, now)
        case of.FilesTouched():
            return _scan_soon(state), ()
        case of.Scanned():
            return _scanned(state, happened, now)
        case of.KeyPressed(command=command):
            return _key(state, command, now)
        case of.StopRequested(why=why):
            return _stop(state, why, now)
        case of.ScreenClosed():
            return replace(state, is_screen_closed=True, stop_reason=state.stop_reason or "nobody reads it"), ()
        case of.TerminalLent():
            return replace(state, is_terminal_lent=True), ()
        case of.TerminalReturned():
            return replace(state, is_terminal_lent=False), ()
        case of.TaskReported() | of.TaskFailed() | of.BuildFinished():
            return _build_progress(state, happened, now)
        case of.SwapResult():
            return _swapped(state, happened, now)
        case of.JobFinished(error=error):
            return _job_finished(state, error, now)
        case of.DomainReported(event=event):
            runs = event.state in ("running", "ready")
            return replace(state, domain=event if runs else None), (of.ReportEvent(event),)
        case of.DomainLost():
            return _domain_lost(state, happened, now)
        case of.WatchesFailed(failure=failure, hint=hint):
            return _watches_failed(state, failure, hint, now)
        case _:
            return _worker(state, happened, now)


def next_wakeup(state: WatchState) -> float | None:
    """Return when, by the monotonic clock, the next ``TimerDue`` matters; None: only after another input."""
    if state.stop_reason is not None:
        return 0.0 if state.activity == "idle" else None
    moments = [state.config.due, state.worker.restart_at]
    if state.may_scan:
        moments.append(_scan_due(state))
    if state.activity == "idle" and state.worker.is_ready and not state.is_paused:
        moments += [state.save.due, state.backoff.at]
    elif state.save_stops_build:
        moments.append(state.save.due)
    return min((moment for moment in moments if moment is not None), default=None)


# Time


def _tick(state: WatchState, now: Moment) -> Transition:
    """Scan if that is due, otherwise do what is due."""
    if state.may_scan and now.clock >= _scan_due(state):
        return state, (of.Scan("check", only_edits=state.activity != "idle"),)
    return _do_due(state, now)


def _do_due(state: WatchState, now: Moment) -> Transition:
    """Start, stop or reload what is due."""
    actions: list[Action] = []
    if state.stop_reason is None:
        if state.worker.restart_at is not None and now.clock >= state.worker.restart_at:
            state = replace(state, worker=replace(state.worker, restart_at=None))
            actions.append(of.StartWorker())
        if state.config.over(now.clock):
            actions.append(of.ReloadSettings(state.config_paths))
            state = replace(state, config=state.config.reset(), config_paths=())
    elif state.activity == "idle":
        return _end(state)
    is_overtaken = state.save_stops_build and state.save.over(now.clock)
    if state.activity == "building" and (state.stop_reason is not None or is_overtaken):
        state = replace(state, activity="stopping")
        actions.append(of.StopBuild(state.settings.stop_timeout))
    if state.stop_reason is None and state.activity == "idle" and state.worker.is_ready:
        actions += _next_scan(state, now)
    return state, tuple(actions)


def _next_scan(state: WatchState, now: Moment) -> list[Action]:
    """Return the scan with which the next cycle begins, if one is due."""
    if state.requested:
        return [of.Scan("build", what=state.requested)]
    if state.is_paused:
        return []
    if state.reloaded:
        return [of.Scan("build", paths=state.reloaded)]
    if state.save.over(now.clock):
        return [of.Scan("confirm")]
    if state.backoff.at is not None and now.clock >= state.backoff.at:
        return [of.Scan("build", what="retry")]
    return []


def _end(state: WatchState) -> Transition:
    """End the loop: give the terminal back, then shut the domain down or leave it."""
    if state.is_terminal_lent:
        return replace(state, is_terminal_lent=False), (of.TakeTerminalBack(),)
    if state.keep_domain or state.is_screen_closed:  # nobody asked to shut it down
        return replace(state, activity="ended"), (of.LeaveDomain(),)
    return replace(state, activity="shutting down"), (of.ShutDownDomain(),)


# Files


def _scan_due(state: WatchState) -> float:
    scan = state.scan
    return scan.last + max(_PAUSE, 2 * scan.cost) if scan.is_requested else scan.next


def _scan_soon(state: WatchState) -> WatchState:
    return replace(state, scan=replace(state.scan, is_requested=True))


def _scanned(state: WatchState, found: of.Scanned, now: Moment) -> Transition:
    state, actions = _tree_found(state, found.error, now)
    if found.scan.purpose == "build":
        return _begin(state, found, actions, now)
    if found.scan.purpose == "confirm":
        return _confirm(state, found, actions, now)
    if found.sources:
        paths = tuple(dict.fromkeys((*state.config_paths, *found.sources)))
        state = replace(state, config=state.config.saw(found.began), config_paths=paths)
    if found.error is None:
        if not found.changed:
            state = replace(state, save=state.save.reset())
        elif found.moved or state.save.first is None:
            state = replace(state, save=state.save.saw(found.began))
    share = _SHARE if state.watch_error is None else _SHARE_POLLING
    due = now.clock + max(_INTERVAL, found.cost / share)
    state = replace(state, scan=of.ScanSchedule(now.clock, due, is_requested=found.is_racy, cost=found.cost))
    if state.activity == "idle":
        actions = (*actions, of.SyncWatches())
    state, more = _do_due(state, now)
    return state, (*actions, *more)


def _tree_found(state: WatchState, error: UnibuildError | None, now: Moment) -> Transition:
    """Note whether the inputs could be found; report once that they cannot."""
    if error is None:
        return replace(state, tree_error=""), ()
    state = replace(state, save=state.save.reset())
    if error.message == state.tree_error:
        return state, ()
    return replace(state, tree_error=error.message), (_problem(error, now, kept=state.still_runs),)


def _confirm(state: WatchState, found: of.Scanned, actions: tuple[Action, ...], now: Moment) -> Transition:
    """Begin a cycle if the save is complete, and is still there."""
    if found.error is not None:
        return state, actions
    save = state.save
    if found.moved and save.first is not None and now.clock < save.first + save.longest:
        return replace(state, save=save.saw(now.clock)), actions
    if found.changed:
        return _begin(state, found, actions, now)
    return replace(state, save=save.reset()), actions


def _watches_failed(state: WatchState, failure: str, hint: str | None, now: Moment) -> Transition:
    if failure == state.watch_error:
        return state, ()
    error = UnibuildError(f"{failure}: scanning for saves about once a second instead", hint=hint)
    error.exit_code = 0
    return replace(state, watch_error=failure), (_problem(error, now, kept=state.still_runs),)


# Keys and the end


def _key(state: WatchState, command: Command, now: Moment) -> Transition:
    match command:
        case Command.REBUILD:
            return replace(state, requested=state.requested or "rebuild"), ()
        case Command.REBOOT:
            return replace(state, requested="reboot"), ()
        case Command.PAUSE:
            state = replace(_scan_soon(state), is_paused=not state.is_paused)
            event = events.Paused(at=now.wall) if state.is_paused else events.Resumed(at=now.wall)
            return state, (of.ReportEvent(event),)
        case Command.CONSOLE:
            return state, () if state.is_terminal_lent else (of.LendTerminal(),)
        case Command.QUIT:
            return _stop(state, "q", now)


def _stop(state: WatchState, why: str, now: Moment) -> Transition:
    """End the loop once what may not be interrupted is done."""
    if state.stop_reason is not None:
        return state, ()
    note = events.Note(at=now.wall, message="finishing the swap first; press Ctrl-C twice to end at once")
    return replace(state, stop_reason=why), (of.ReportEvent(note),) if state.activity == "swapping" else ()


# The build


def _begin(state: WatchState, found: of.Scanned, actions: tuple[Action, ...], now: Moment) -> Transition:
    """Begin a cycle."""
    if state.activity != "idle" or not state.worker.is_ready or state.stop_reason is not None:
        return state, actions
    what: Cause = found.scan.what
    began = now.clock if state.save.first is None else state.save.first
    paths = tuple(dict.fromkeys((*found.scan.paths, *found.changed)))
    phases: dict[events.Phase, float] = {"debounce": now.clock - began} if what == "save" else {}
    cycle = CycleState(state.count + 1, what, relative(state.root, paths), began, phases)
    state = replace(
        state,
        activity="building",
        cycle=cycle,
        count=cycle.number,
        requested=None,
        reloaded=(),
        save=state.save.reset(),
        backoff=state.backoff.started(),
    )
    return state, (*actions, of.StartBuild(), of.ReportEvent(cycle.changed(now)), of.SyncWatches())


def _build_progress(
    state: WatchState, happened: of.TaskReported | of.TaskFailed | of.BuildFinished, now: Moment
) -> Transition:
    cycle = state.cycle
    if cycle is None or state.activity not in ("building", "stopping"):
        return state, ()
    match happened:
        case of.TaskReported(task=task):
            event = events.StageEvent(
                at=now.wall, name=task.name, state=task.state, seconds=task.seconds, reason=task.reason
            )
            return replace(state, cycle=cycle.add_task(task)), (of.ReportEvent(event),)
        case of.TaskFailed(failure=failure):
            state = replace(state, cycle=cycle.add_failure(failure))
            if not failure.name:  # the scan before the first task failed
                return state, ()
            event = events.StageEvent(at=now.wall, name=failure.name, state="failed", seconds=failure.seconds)
            return state, (of.ReportEvent(event),)
        case of.BuildFinished(exit_code=code):
            return _built(state, cycle, code, now)


def _built(state: WatchState, cycle: CycleState, code: int, now: Moment) -> Transition:
    """Replace the domain if the build succeeded, otherwise end the cycle."""
    record = of.RecordBuild({**cycle.written})
    is_stopped = state.activity == "stopping" and code != 0
    state = _scan_soon(state)
    if not is_stopped and (cycle.failures or code):
        state, actions = _build_failed(state, cycle, code, now)
        return state, (record, *actions)
    if is_stopped or state.stop_reason is not None:
        why = "stopped by a save" if state.stop_reason is None else "stopped by the end of the watch"
        state, actions = _end_cycle(state, cycle, "stopped", why, now)
        return state, (record, *actions)
    return replace(state, activity="swapping"), (record, of.ReplaceDomain(force=cycle.what == "reboot"))


def _build_failed(state: WatchState, cycle: CycleState, code: int, now: Moment) -> Transition:
    actions: list[Action] = []
    for failure in cycle.failures:
        error = failure.failure.rebuild()
        actions.append(_problem(error, now, kept=state.still_runs))
        if isinstance(error, BusyError):
            state = replace(state, backoff=state.backoff.failed(now.clock))
    if not cycle.failures:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        actions.append(_problem(UnibuildError(f"the build {how}"), now, kept=state.still_runs))
    first = cycle.failures[0] if cycle.failures else None
    state = replace(state, exit_code=first.failure.exit_code if first else max(1, code))
    state, more = _end_cycle(state, cycle, "failed", first.failure.message if first else "the build ended early", now)
    return state, (*actions, *more)


def _end_cycle(state: WatchState, cycle: CycleState, outcome: events.Outcome, why: str, now: Moment) -> Transition:
    event = cycle.ended(now, outcome, why, state.exit_code)
    return replace(state, activity="idle", cycle=None), (of.ReportEvent(event),)


# The domain


def _swapped(state: WatchState, result: of.SwapResult, now: Moment) -> Transition:
    """End the cycle after the attempt to replace the domain."""
    if state.cycle is None or state.activity != "swapping":
        return state, ()
    cycle = state.cycle.add_phases(result.phases)
    state = _scan_soon(state)
    if result.error is None:
        state = replace(state, exit_code=0)
        if cycle.what != "retry":  # it may fail once more
            state = replace(state, backoff=state.backoff.reset())
        same = "kernel and .xl are the same as before" if cycle.ran_a_stage else "nothing had to be built"
        return _end_cycle(
            state, cycle, result.outcome, f"{same}: no reboot" if result.outcome == "unchanged" else "", now
        )
    state = replace(state, exit_code=result.error.exit_code)
    kept = state.last_seen if isinstance(result.error, LostError) else state.still_runs
    problem = _problem(result.error, now, kept=kept)
    if result.is_again:
        state = replace(state, backoff=state.backoff.failed(now.clock))
    state, actions = _end_cycle(state, cycle, result.outcome, result.error.message, now)
    return state, (problem, *actions)


def _job_finished(state: WatchState, error: UnibuildError | None, now: Moment) -> Transition:
    """A job that attached to a domain or shut it down has ended."""
    if state.activity not in ("attaching", "shutting down"):
        return state, ()
    state = replace(state, activity="ended" if state.activity == "shutting down" else "idle")
    if error is None or state.stop_reason is None:
        return state, ()
    return replace(state, exit_code=state.exit_code or error.exit_code), (_problem(error, now),)


def _domain_lost(state: WatchState, lost: of.DomainLost, now: Moment) -> Transition:
    """The domain is not followed any more: report why, and look for another one."""
    actions: list[Action] = [of.TakeTerminalBack()] if state.is_terminal_lent else []  # its console is silent now
    state = replace(state, domain=None, is_terminal_lent=False)
    if lost.error:
        state = replace(state, exit_code=lost.error.exit_code)
        actions.append(_problem(lost.error, now, kept=state.still_runs))
    if lost.is_again:
        state = replace(state, backoff=state.backoff.failed(now.clock))
    elif lost.error is None and state.activity == "idle" and state.stop_reason is None:
        state = replace(state, activity="attaching")  # another run may have replaced it
        actions.append(of.AttachDomain())
    return state, tuple(actions)


# The build worker


def _worker(
    state: WatchState,
    happened: of.WorkerStarted | of.WorkerReady | of.WorkerRefused | of.WorkerDied | of.ReloadRefused,
    now: Moment,
) -> Transition:
    worker = state.worker
    match happened:
        case of.WorkerStarted():
            return replace(state, worker=replace(worker, is_loading=True, restart_at=None)), ()
        case of.WorkerReady(settings=settings, paths=paths):
            return _worker_ready(state, settings, paths, now)
        case of.ReloadRefused(error=error):
            return state, (_problem(error, now, kept="the last good settings stay in use"),)
        case of.WorkerRefused(error=error, has_died=has_died):
            state = replace(state, worker=replace(worker, is_loading=False))
            if not worker.is_ready and state.count == 0:
                return replace(state, activity="ended"), (of.Fail(error),)
            hint = error.hint
            if has_died and not worker.is_ready:
                state, again = _restart_worker(state, now)
                hint = "\n".join(filter(None, (hint, again)))
            return state, (_problem(error, now, kept="the last good dodo.py and settings stay in use", hint=hint),)
        case of.WorkerDied():
            state, hint = _restart_worker(replace(state, worker=replace(worker, is_ready=False)), now)
            problem = _problem(UnibuildError("the build worker has died", hint=hint), now)
            state, actions = _build_progress(state, of.BuildFinished(1), now)
            return state, (problem, *actions)


def _worker_ready(state: WatchState, settings: Watch, paths: tuple[str, ...], now: Moment) -> Transition:
    """Use the settings that the worker has loaded."""
    limits = {"quiet": settings.debounce, "longest": settings.max_wait}
    state = replace(
        _scan_soon(state),  # there may be other inputs
        settings=settings,
        worker=replace(state.worker, is_ready=True, is_loading=False),
        save=replace(state.save, **limits),
        config=replace(state.config, **limits),
        reloaded=paths or state.reloaded,
    )
    return state, (of.ReportEvent(events.Reloaded(at=now.wall, paths=paths)),) if paths else ()


def _restart_worker(state: WatchState, now: Moment) -> tuple[WatchState, str]:
    """Plan the start of another worker: at once after the first death, later after each one within a minute.

    Returns:
        The state, and a sentence for the report.
    """
    worker = state.worker
    deaths = (*(at for at in worker.deaths if now.clock - at < _MINUTE), now.clock)
    pause = backoff_delay(len(deaths) - 1, longest=_LONGEST)
    restart_at = worker.restart_at if worker.is_loading else now.clock + pause
    state = replace(state, worker=replace(worker, deaths=deaths, restart_at=restart_at))
    return state, f"starting it again{f' in {pause:g} s' if pause else ''}"


def _problem(error: UnibuildError, now: Moment, kept: str | None = None, hint: str | None = None) -> of.ReportEvent:
    return of.ReportEvent(
        events.ProblemEvent(
            at=now.wall, message=error.message, hint=hint or error.hint, exit_code=error.exit_code, kept=kept
        )
    )
