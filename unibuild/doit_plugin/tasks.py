"""Turn the stages of a build into doit tasks; ``doit_plugin.goals`` has all tasks of a project.

One ``uptodate`` item of a task (``StageUpToDate``, ``DomainUpToDate``) decides whether it runs, not doit's own file
check: doit records a file's state *after* the action and would miss an edit made meanwhile. ``Checker`` hides
unibuild's files from that check.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit.dependency import FileChangedChecker, UptodateCalculator
from doit.exceptions import TaskFailed
from doit.task import Task

from unibuild import fingerprint
from unibuild.doit_plugin.state import StateFile
from unibuild.doit_plugin.usage import SHARED
from unibuild.errors import FileError, UnibuildError
from unibuild.graph import staleness
from unibuild.graph.graph import GOALS, latest, renewed
from unibuild.settings.loader import STATE
from unibuild.toolchain.build_knowledge import Learned
from unibuild.util.failure import Failure
from unibuild.util.output import debug_enabled, handle_broken_pipe, print_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from unibuild.doit_plugin.tree_lock import TreeLock
    from unibuild.graph.graph import Graph, Stage

__all__ = [
    "OWN_TERMINAL",
    "Checker",
    "DomainUpToDate",
    "Failed",
    "OwnFileDep",
    "StageTask",
    "StageUpToDate",
    "as_action",
    "group_by_goal",
    "stage_tasks",
]

_MADE = (
    "unibuild:made"  # the files that unibuild made and may remove; doit drops a task's own entry when the task fails
)


class OwnFileDep(str):
    """A file dependency that unibuild adds: ``StageUpToDate`` watches it, doit shows it and orders tasks by it."""

    __slots__ = ()


class Checker(FileChangedChecker):  # type: ignore[misc]  # doit has no types
    """doit's check of file dependencies: compares the fingerprints of files that the user's own tasks depend on."""

    def info(self, file_path: str) -> str:
        """Return the fingerprint of a file.

        Raises:
            FileNotFoundError: it does not exist.
        """
        stamp = fingerprint.dated(file_path)
        if stamp == fingerprint.ABSENT and not isinstance(file_path, OwnFileDep):
            raise FileNotFoundError(file_path)
        return stamp

    def check_modified(self, file_path: str, file_stat: str, state: str) -> bool:
        """Return whether a file changed; unibuild's own file dependencies never do."""
        return not isinstance(file_path, OwnFileDep) and file_stat != state

    def get_state(self, dep: str, current_state: str | None) -> str | None:
        """Return the state to record for a file; None: the recorded state is still right."""
        state = "" if isinstance(dep, OwnFileDep) else fingerprint.dated(dep)
        return None if state == current_state else state


class Failed(TaskFailed):  # type: ignore[misc]
    """A failure with a message and an exit code, which doit passes from worker to reporter."""

    def __init__(self, error: UnibuildError) -> None:
        super().__init__(error.message)
        self.failure = Failure.of(error)
        if debug_enabled():
            import traceback

            self.traceback = traceback.format_exception(error)

    def error(self) -> UnibuildError:
        """Return the failure as an error to print."""
        return self.failure.rebuild()


class StageUpToDate(UptodateCalculator):  # type: ignore[misc]
    """Decides by fingerprints whether a stage is up to date; afterwards ``reason`` says why it is not."""

    def __init__(self, graph: Graph, stage: Stage) -> None:
        super().__init__()
        self.graph = graph
        self.stage = stage
        self.reason: str | None = None
        self._verdict: fingerprint.Verdict | None = None
        self._state: Any = None

    def setup(self, dep_manager: Any, tasks_dict: dict[str, Task]) -> None:  # noqa: ANN401 (doit's)
        """Keep the state file for later; doit calls this before ``__call__``."""
        super().setup(dep_manager, tasks_dict)
        self._state = dep_manager.backend

    def __call__(self, task: Task, values: dict[str, Any]) -> bool:
        """Return whether the stage is up to date, and arrange that its record is saved if the action succeeds."""
        self.stage = latest(self.graph, self.stage)
        watch, folder = self.stage.watch, Path(self.stage.watch.root) / STATE
        try:
            verdict = staleness.verdict(folder, self.stage, values, fingerprint.clock(str(folder)))
        except UnibuildError as error:
            raise SystemExit(print_error(error)) from None
        self.reason, self._verdict = verdict.reason, verdict
        # doit's workers get this with the task, and "written" and "record" come back with it.
        task.meta = {"judged": verdict, "taken": _taken(values)}

        def save() -> dict[str, fingerprint.StageRecord]:
            for path in watch.targets:
                self._state.set(_MADE, path, True)
            now = watch if self.stage.step is None else renewed(self.graph, self.stage).watch
            meta = task.meta or {}
            return {"record": fingerprint.seal(now, meta.get("record", verdict.record), meta.get("written", ()))}

        task.value_savers.append(save)
        if verdict.reason is None:
            if verdict.record != values.get("record"):  # fingerprints changed, contents did not
                self._state.set(task.name, "_values_:", {**values, "record": verdict.record})
            self._keep_dependencies(task)
        return verdict.reason is None

    def _keep_dependencies(self, task: Task) -> None:
        """Update doit's own list of file dependencies, so that a changed list alone does not make a stage stale."""
        before = self._state.get(task.name, "deps:")
        if before is None or {*before} == task.file_dep:
            return
        for path in {*before} - task.file_dep:
            self._state.drop(task.name, path)
        for path in task.file_dep - {*before}:
            self._state.set(task.name, path, "")
        self._state.set(task.name, "deps:", sorted(task.file_dep))

    def explain(self) -> str | None:
        """Return why the stage would run, as ``unibuild plan`` says it; None: it is up to date."""
        from unibuild.graph.rebuild_plan import explain

        return self._verdict and explain(self.stage, self._verdict).reason

    def __str__(self) -> str:
        return self.reason or "it is up to date"


class DomainUpToDate:
    """Decides whether the domain runs what the graph would boot, with one call of xl."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.reason: str | None = None

    def __call__(self) -> bool:
        """Return whether the domain is current. An unreachable host counts as no, so that the action reports its error.

        A lab that is down is not started.
        """
        from unibuild.deploy.up_to_date import is_current

        found = self.graph
        try:
            current = is_current(found.project, found.xl, found.kernel)
        except UnibuildError:
            current = False
        self.reason = None if current else "no domain runs this kernel and .xl"
        return current

    def explain(self) -> str | None:
        """Return why ``boot`` would run; None: it would not."""
        return self.reason

    def __str__(self) -> str:
        return self.reason or "the domain runs"


class StageTask(Task):  # type: ignore[misc]
    """A stage as a doit task."""

    @property
    def fresh(self) -> StageUpToDate:
        """The item that decides whether the stage is up to date."""
        return next(item for item, *_ in self.uptodate if isinstance(item, StageUpToDate))

    def accept(self) -> str | None:
        """Prepare to record the existing files as the stage's result; return the name of a missing target.

        Raises:
            BuildError: an existing file is not a result that the stage can have.
            FileError: the kernel cannot be copied.
        """
        from unibuild.graph.run_stage import accept

        self.meta: dict[str, Any] = {"written": {}}
        return accept(self.fresh.graph, self.fresh.stage)

    def clean(self, outstream: TextIO, dryrun: bool) -> None:
        """Remove the targets that unibuild made, and no file that existed before (``doit clean``)."""
        from doit import Globals

        state = Globals.dep_manager.backend
        watch = self.fresh.stage.watch
        for path in watch.targets:
            if state.get(_MADE, path) and Path(path).exists():
                outstream.write(f"{self.name}: {'would remove' if dryrun else 'removing'} {watch.name(path)}\n")
                if not dryrun:
                    Path(path).unlink()
                    state.set(_MADE, path, None)
        if self.name == "build" and not dryrun:
            Learned.forget(Path(watch.root))


def stage_tasks(graph: Graph, guard: TreeLock) -> list[Task]:
    """Return the tasks of the stages of a graph, in their order."""
    found: list[Task] = []
    for stage in graph.stages:
        found.append(_stage_task(graph, stage, guard, found[-1].name if found else None))
    return [*found, *(_stage_task(graph, stage, guard, found[-1].name) for stage in graph.exports)]


def group_by_goal(stages: list[Task]) -> list[Task]:
    """Add the goals of stages that are named after hosts (``xl:lab``), as tasks with subtasks."""
    found = {task.name: task for task in stages}
    for task in stages:
        goal, _, host = task.name.partition(":")
        if host and goal not in found:
            found[goal] = Task(goal, None, task_dep=[], has_subtask=True, params=SHARED, doc=GOALS[goal])
        if host:
            found[goal].task_dep.append(task.name)
    return sorted(found.values(), key=lambda task: list(GOALS).index(task.name.partition(":")[0]))


def _recorded(stage: Stage) -> dict[str, Any]:
    """Return the values that the state file now has for a stage's last success."""
    state = StateFile(str(Path(stage.watch.root) / STATE / "state.json"))
    return state.get(stage.name, "_values_:") or {}


def _taken(values: dict[str, Any]) -> object:
    """Return an identifier of the recorded success; None: none is recorded."""
    record = values.get("record")
    return record.get("taken") if isinstance(record, dict) else None


def _stage_task(graph: Graph, stage: Stage, guard: TreeLock, before: str | None) -> Task:
    def act(task: Task) -> None:
        from unibuild.graph.run_stage import Judged, run_stage

        guard.hold()
        now = latest(graph, stage)
        verdict, is_done = task.meta["judged"], False
        if _taken(values := _recorded(now)) != task.meta["taken"]:  # another run did it while this one waited
            folder = Path(now.watch.root) / STATE
            now = now if now.step is None else renewed(graph, now)
            is_forced = verdict.reason is None
            verdict = staleness.verdict(folder, now, values, fingerprint.clock(str(folder)))
            is_done = verdict.reason is None and not is_forced
        judged = Judged(verdict.record, verdict.suspects, verdict.changes, verdict.others)
        written = {} if is_done else run_stage(graph, now, judged)
        if is_done:
            print("  another run did it meanwhile", flush=True)
        task.meta = {"written": written, "record": verdict.record}

    return StageTask(
        stage.name,
        [as_action(act)],
        file_dep=[*map(OwnFileDep, stage.watch.inputs), *map(OwnFileDep, stage.watch.made)],
        task_dep=[before] if before else [],
        targets=list(stage.watch.targets),
        uptodate=[StageUpToDate(graph, stage)],
        params=SHARED,
        subtask_of=stage.goal if stage.goal != stage.name else None,
        doc=stage.doc,
        **OWN_TERMINAL,
    )


OWN_TERMINAL: dict[str, Any] = {
    "verbosity": 2,
    "io": {"capture": False},
}  # children see the terminal: colours, prompts


def as_action(act: Callable[..., None]) -> Callable[..., Failed | None]:
    """Wrap ``act`` as a doit action that returns its errors as failures: doit would add a traceback to an exception."""
    import functools

    @functools.wraps(act)
    def action(*args: object, **kwargs: object) -> Failed | None:
        try:
            act(*args, **kwargs)
        except UnibuildError as error:
            return Failed(error)
        except BrokenPipeError:  # of standard output: doit would report it as a failure with a traceback
            raise SystemExit(handle_broken_pipe()) from None
        except OSError as error:
            return Failed(FileError.of(error))
        return None

    return action
