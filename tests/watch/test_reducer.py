"""Decisions of the watch loop: for chosen inputs, and for any sequence of them in a model of the world."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unibuild.errors import BuildError, HostError, LostError, UnibuildError
from unibuild.settings.model import Watch
from unibuild.util.failure import Failure
from unibuild.watch import events, worker_protocol
from unibuild.watch import state as of
from unibuild.watch.cycle import Moment
from unibuild.watch.reducer import next_wakeup, reduce
from unibuild.watch.ui.base import Command

CHANGING = (of.ReplaceDomain, of.ShutDownDomain, of.AttachDomain)
FAILURE = worker_protocol.WorkerFailure(name="build", failure=Failure.of(BuildError("no")))


class World:
    """A model of all that the loop acts on: inputs, a build worker, a domain; ``versions`` count saves.

    It answers each action as the real ones do: scans and commands at once, builds and jobs when ``finish`` is called.
    """

    def __init__(self, *, on_save="wait", keep_domain=False):
        self.now = 100.0
        self.settings = Watch(on_save=on_save)
        self.state = of.initial_state(self.settings, "/p", self.now, keep_domain=keep_domain)
        self.saved, self.scanned, self.built = 1, 0, 0
        self.is_broken = False
        self.worker, self.running, self.job = "loading", None, None
        self.domain = None
        self.told = []
        self.done = []  # actions, in their order
        self.dispatch(of.WorkerStarted())

    def dispatch(self, happened):
        waiting = [happened]
        while waiting:
            before = self.state
            self.state, actions = reduce(before, waiting.pop(0), Moment(self.now, 1e9 + self.now))
            for action in actions:
                self.check(before, action)
                self.done.append(action)
                waiting += self.perform(action)
            assert (self.state.cycle is not None) == (self.state.activity in ("building", "stopping", "swapping"))

    def check(self, before, action):
        """See that an action is allowed in this world."""
        if isinstance(action, of.StartBuild):
            assert (self.running, self.job, self.worker) == (None, None, "ready")
            assert before.stop_reason is None
        if isinstance(action, of.StopBuild):
            assert self.running is not None
        if isinstance(action, CHANGING):
            assert (self.running, self.job) == (None, None)
        if isinstance(action, of.ShutDownDomain | of.LeaveDomain):
            assert before.stop_reason is not None
        if isinstance(action, of.ShutDownDomain):
            assert not before.keep_domain

    def perform(self, action):
        match action:
            case of.ReportEvent(event=event):
                self.told.append(event)
            case of.Scan():
                moved, self.scanned = self.scanned != self.saved, self.saved
                changed = ("main.c",) if self.scanned != self.built else ()
                error = UnibuildError("nothing to build") if self.is_broken else None
                return [of.Scanned(action, self.now, moved, changed, error=error)]
            case of.StartWorker():
                self.worker = "loading"
                return [of.WorkerStarted()]
            case of.ReloadSettings():
                return [of.ReloadRefused(UnibuildError("broken"))]
            case of.StartBuild():
                self.running, self.built = self.scanned, self.scanned
            case of.ReplaceDomain() | of.AttachDomain() | of.ShutDownDomain():
                self.job = action
            case of.LendTerminal():
                return [of.TerminalLent()] if self.domain else []
        return []

    # What may happen

    def tick(self, seconds=0.0):
        self.now += seconds
        self.dispatch(of.TimerDue())

    def save(self):
        self.saved += 1
        self.dispatch(of.FilesTouched())

    def save_unseen(self):
        """Save a file without a report of the kernel."""
        self.saved += 1

    def break_tree(self):
        """Make the inputs impossible to find, or possible again."""
        self.is_broken = not self.is_broken

    def load_worker(self, *, is_good=True):
        if self.worker == "loading" and is_good:
            self.worker = "ready"
            self.dispatch(of.WorkerReady(self.settings, ()))

    def kill_worker(self):
        if self.worker == "ready":
            self.worker, self.running = "dead", None
            self.dispatch(of.WorkerDied())

    def finish_build(self, *, is_good=True):
        if self.running is not None:
            self.running = None
            if not is_good:
                self.dispatch(of.TaskFailed(FAILURE))
            self.dispatch(of.BuildFinished(0 if is_good else 1))
            if not is_good:
                assert self.job is None  # a failed build leaves the domain alone

    def finish_job(self, *, is_good=True):
        job, self.job = self.job, None
        if isinstance(job, of.ReplaceDomain):
            if is_good:
                self.report_domain()
            error = None if is_good else HostError("out of reach")
            self.dispatch(of.SwapResult("booted" if is_good else "failed", error=error, is_again=not is_good))
        elif job is not None:
            self.dispatch(of.JobFinished(None if is_good else HostError("out of reach")))

    def report_domain(self):
        self.domain = events.DomainEvent(at=0, name="hello", host="local", state="running", domid=1)
        self.dispatch(of.DomainReported(self.domain))

    def lose_domain(self, *, is_good=True):
        if self.domain:
            self.domain = None
            self.dispatch(of.DomainLost(None if is_good else HostError("out of reach"), is_again=not is_good))

    def press(self, command):
        self.dispatch(of.KeyPressed(command))

    def rest(self, *, is_good=True):
        """Let everything that runs end, and time pass, until nothing more is due."""
        for _ in range(60):
            self.load_worker()
            self.finish_build(is_good=is_good)
            self.finish_job()
            due = next_wakeup(self.state)
            self.tick(0.0 if due is None else max(0.0, due - self.now))
        return self

    def cycles(self):
        return [one.outcome for one in self.told if isinstance(one, events.Cycle)]

    def count(self, kind):
        return sum(isinstance(one, kind) for one in self.done)


@pytest.fixture
def world():
    """A world after its first cycle, with a domain."""
    found = World().rest()
    assert found.cycles() == ["booted"]
    return found


def test_save_starts_one_build_once_it_is_quiet(world):
    world.save()
    world.tick(0.01)
    world.tick(0.001)
    assert world.count(of.StartBuild) == 1
    world.rest()
    assert (world.count(of.StartBuild), world.cycles()[-1]) == (2, "booted")


def test_saves_during_a_build_are_built_once_after_it(world):
    world.press(Command.REBUILD)
    world.tick()
    for _ in range(5):
        world.save()
        world.tick(0.1)
    assert world.count(of.StartBuild) == 2
    assert world.rest().count(of.StartBuild) == 3
    assert world.built == world.saved


def test_save_stops_a_build_if_the_setting_asks_for_it():
    world = World(on_save="restart").rest()
    for _ in range(2):
        world.save()
        world.tick(0.01)
        world.tick(0.03)
    assert (world.state.activity, world.count(of.StopBuild)) == ("stopping", 1)
    world.running = None
    world.dispatch(of.BuildFinished(-15))
    assert world.rest().cycles() == ["booted", "stopped", "booted"]


def test_failed_build_reports_the_domain_that_still_runs_and_leaves_it(world):
    world.save()
    world.rest(is_good=False)
    problem = next(one for one in world.told if isinstance(one, events.ProblemEvent))
    assert (problem.kept, problem.exit_code) == ("hello runs on (domain 1)", 1)
    assert (world.state.exit_code, world.count(of.ReplaceDomain)) == (1, 1)


def test_connection_that_breaks_during_a_swap_leaves_open_whether_the_domain_runs(world):
    world.press(Command.REBOOT)
    world.tick()
    world.finish_build()
    world.dispatch(of.SwapResult("failed", error=LostError("the connection broke"), is_again=True))
    problem = next(one for one in world.told if isinstance(one, events.ProblemEvent))
    assert problem.kept == "hello ran when it was last seen (domain 1)"


def test_unreachable_host_is_tried_again_and_less_and_less_often(world):
    begun = []
    world.press(Command.REBUILD)
    for _ in range(4):
        while world.job is None:
            due = next_wakeup(world.state)
            world.tick(max(0.0, due - world.now))
            world.finish_build()
        begun.append(world.now)
        world.finish_job(is_good=False)
    pauses = [later - earlier for earlier, later in itertools.pairwise(begun)]
    assert pauses == pytest.approx([1, 2, 4], abs=0.1)


def test_stop_during_a_swap_ends_after_it(world):
    world.press(Command.REBOOT)
    world.tick()
    world.finish_build()
    assert world.done[-1] == of.ReplaceDomain(force=True)
    world.dispatch(of.StopRequested("Ctrl-C"))
    world.tick()
    assert world.state.activity == "swapping"
    assert isinstance(world.told[-1], events.Note)
    assert world.rest().state.activity == "ended"
    assert world.done[-1] == of.ShutDownDomain()


def test_closed_screen_leaves_the_domain(world):
    world.dispatch(of.ScreenClosed())
    world.rest()
    assert world.done[-1] == of.LeaveDomain()


def test_stop_takes_the_terminal_back_before_the_domain_is_shut_down(world):
    world.press(Command.CONSOLE)
    world.dispatch(of.StopRequested("TERM"))
    world.rest()
    assert world.done[-2:] == [of.TakeTerminalBack(), of.ShutDownDomain()]


def test_saves_count_again_after_a_pause(world):
    world.press(Command.PAUSE)
    world.save()
    assert world.rest().count(of.StartBuild) == 1
    world.press(Command.PAUSE)
    assert world.rest().count(of.StartBuild) == 2


def test_settings_that_fail_at_the_start_end_the_loop():
    world = World()
    world.dispatch(of.WorkerRefused(UnibuildError("no"), has_died=False))
    assert isinstance(world.done[-1], of.Fail)
    assert world.state.activity == "ended"


def test_settings_that_fail_later_are_reported_and_the_loop_goes_on(world):
    scan = of.Scan("check")
    world.dispatch(of.Scanned(scan, world.now, sources=("/p/unibuild.toml",)))
    world.rest()
    assert of.ReloadSettings(("/p/unibuild.toml",)) in world.done
    assert world.told[-1].kept == "the last good settings stay in use"
    assert world.state.activity == "idle"


def test_reload_starts_a_cycle_for_the_files_that_caused_it(world):
    world.dispatch(of.WorkerReady(Watch(debounce=7.0), ("unibuild.toml",)))
    assert world.state.save.quiet == 7.0
    world.rest()
    changed = [one for one in world.told if isinstance(one, events.Changed)][-1]
    assert (changed.what, changed.first) == ("save", "unibuild.toml")


def test_worker_that_dies_again_is_started_later(world):
    pauses = []
    for _ in range(4):
        world.kill_worker()
        pauses.append(world.state.worker.restart_at - world.now)
        world.tick(pauses[-1])
        world.load_worker()
    assert pauses == [0.0, 1.0, 2.0, 4.0]


def test_tree_that_cannot_be_scanned_is_reported_once_and_again_after_it_was_well(world):
    broken = of.Scanned(of.Scan("check"), world.now, error=UnibuildError("nothing to build"))
    for scanned in (broken, broken, replace(broken, error=None), broken):
        world.dispatch(scanned)
    assert [one.message for one in world.told if isinstance(one, events.ProblemEvent)] == ["nothing to build"] * 2


def test_save_while_the_tree_cannot_be_scanned_is_built_once_it_can(world):
    world.break_tree()
    world.save()
    assert world.rest().count(of.StartBuild) == 1
    world.break_tree()
    assert world.rest().count(of.StartBuild) == 2


def test_domain_that_ended_is_looked_for_once(world):
    world.lose_domain()
    assert world.state.activity == "attaching"
    world.press(Command.REBUILD)
    world.tick()
    assert world.count(of.StartBuild) == 1  # the job comes first
    assert world.rest().count(of.StartBuild) == 2


STEPS = st.one_of(
    st.tuples(st.just("tick"), st.sampled_from([0.0, 0.001, 0.02, 0.3, 1.1, 40.0])),
    st.tuples(st.sampled_from(["save", "save_unseen", "break_tree", "kill_worker", "report_domain"])),
    st.tuples(st.sampled_from(["load_worker", "finish_build", "finish_job", "lose_domain"]), st.booleans()),
    st.tuples(st.just("press"), st.sampled_from([Command.REBUILD, Command.REBOOT, Command.PAUSE, Command.CONSOLE])),
)
STOPS = st.sampled_from([of.StopRequested("Ctrl-C"), of.ScreenClosed(), of.KeyPressed(Command.QUIT)])


def started(**settings):
    """A world after its first cycle: most of what can go wrong happens there."""
    return World(**settings).rest()


WORLDS = st.sampled_from([World, started])


def run(world, steps):
    """Take steps; ``World.check`` sees after each that what the loop asks for is allowed."""
    for name, *words in steps:
        if name in ("load_worker", "finish_build", "finish_job", "lose_domain"):
            getattr(world, name)(is_good=words[0])
        else:
            getattr(world, name)(*words)


@given(WORLDS, st.lists(STEPS, max_size=40), st.sampled_from(["wait", "restart"]))
@settings(max_examples=100)
def test_no_save_is_lost_and_no_two_builds_run_at_once(make, steps, on_save):
    world = make(on_save=on_save)
    run(world, steps)
    world.is_broken = False
    if world.state.is_paused:
        world.press(Command.PAUSE)
    world.rest()
    assert world.built == world.saved
    assert world.state.activity == "idle"


@given(WORLDS, st.lists(STEPS, max_size=30), STOPS, st.lists(STEPS, max_size=30), st.booleans(), st.booleans())
@settings(max_examples=100)
def test_stop_always_ends_and_nothing_begins_after_it(make, before, stop, after, keep_domain, is_good):
    world = make(keep_domain=keep_domain)
    run(world, before)
    begun = world.count(of.StartBuild)
    world.dispatch(stop)
    run(world, after)
    world.rest(is_good=is_good)
    assert world.state.activity == "ended"
    assert world.count(of.StartBuild) == begun
    assert world.count(of.ShutDownDomain) + world.count(of.LeaveDomain) == 1


@given(WORLDS, st.lists(STEPS, max_size=40))
@settings(max_examples=100)
def test_only_a_good_build_changes_the_domain(make, steps):
    world = make()
    run(world, steps)
    changes = [one for one in world.done if isinstance(one, of.StartBuild | of.RecordBuild | of.ReplaceDomain)]
    for before, one in itertools.pairwise(changes):
        if isinstance(one, of.ReplaceDomain):
            assert isinstance(before, of.RecordBuild)
    assert world.count(of.ReplaceDomain) <= world.count(of.StartBuild)
    assert world.count(of.ShutDownDomain) == 0
