"""Runs a toolchain's step so that its targets are whole and new afterwards, or the step has failed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from unibuild import fingerprint
from unibuild.errors import BuildError, UnibuildError
from unibuild.fingerprint import key, path_of
from unibuild.graph import stash
from unibuild.graph.build_learning import Observation, adopt, database, is_binary, learn
from unibuild.graph.graph import renewed
from unibuild.graph.read_trace import Trace
from unibuild.graph.rebuild_plan import Plan, decide, is_current
from unibuild.graph.restart_limit import RestartLimit
from unibuild.graph.staleness import attempt, attempted, forget_attempt
from unibuild.graph.step_learning import learn_step, note_build
from unibuild.settings.loader import STATE, state_dir
from unibuild.toolchain.base import environment
from unibuild.toolchain.build_knowledge import Learned
from unibuild.toolchain.make_database import Database
from unibuild.toolchain.sources import git_state
from unibuild.util import files, job_control, process

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from unibuild.fingerprint import Change, StageRecord
    from unibuild.graph.graph import Graph, Stage
    from unibuild.graph.staleness import Attempt
    from unibuild.toolchain.base import Step

__all__ = ["LOCK_TIMEOUT", "Judged", "accept", "run_stage"]

_STASH = "stash"  # a folder in `.unibuild` for files that are out of the way while a step runs
LOCK_TIMEOUT = 120.0  # seconds; a whole build by the editor's dune takes no longer as a rule, a watching one for ever


class Judged(NamedTuple):
    """What was found of a stale stage.

    Attributes:
        record: what is there, from the verdict.
        suspects: targets that are there and are not what the stage's last success left. A make would take them for
            its own and leave them alone, so they are out of its way while it runs.
        changes: the inputs that are not what the last run saw.
        others: what else makes it stale.
    """

    record: StageRecord
    suspects: Sequence[str] = ()
    changes: Sequence[Change] = ()
    others: Sequence[str] = ()


def run_stage(graph: Graph, stage: Stage, judged: Judged) -> dict[str, str]:
    """Carry out a stage.

    Args:
        graph: the graph that the stage belongs to.
        stage: what to do.
        judged: why.

    Returns:
        The inputs that count by their state after the run, with their fingerprints: what the step itself wrote.

    Raises:
        BuildError: a command failed, or did not leave what it should.
        MissingError: a program is not there.
        FileError: a file cannot be read or written.
    """
    folder = state_dir(graph.project.root)
    if stage.step is None:
        with _targets(stage, judged.suspects, folder / _STASH):
            _write(graph, stage)
        return {}
    stage.step.require()
    last = attempt(folder, stage)
    with attempted(folder, stage, judged.record):
        if stage.name != "build":
            return _prepare(graph, stage, judged)
        return _build(graph, stage, judged, last)


def _prepare(graph: Graph, stage: Stage, judged: Judged) -> dict[str, str]:
    """Run a step before the build, and learn from it."""
    assert stage.step is not None
    if not stage.step.learns:
        _carry_out(graph, stage, judged.suspects, contextlib.nullcontext())
        return {}
    build = next(each for each in graph.stages if each.name == "build")
    walked = _files(graph, build)
    before = {path: fingerprint.take(path) for path in walked}
    trace = Trace((*stage.folders, *_path_folders(stage)))
    began = fingerprint.boundary(str(state_dir(graph.project.root)))
    try:
        _carry_out(graph, stage, judged.suspects, trace)
    finally:
        learned = Learned.load(graph.project.root)
        written = learn_step(learned, stage, before, _files(graph, build), trace)
        learned.save(graph.project.root)
    written += _found_first(renewed(graph, stage), (), judged.record, began, {})
    return {path: fingerprint.take(path) for path in written}


def _build(graph: Graph, stage: Stage, judged: Judged, last: Attempt | None) -> dict[str, str]:
    """Build the kernel, as far as that is needed, and learn from it."""
    root = graph.project.root
    learned = Learned.load(root)
    plan = _plan(graph, stage, learned, judged, last)
    if plan.extent == "nothing":
        print(f"  {shlex.join(graph.toolchain.question(stage.name) or ())}: nothing to do", flush=True)
        return {}
    away: list[str] = []
    kept: list[Path] = []
    if plan.extent == "all":
        print(f"  building from nothing: {plan.why}", flush=True)
        edited = _note_edited(stage, learned, judged.others) if last is None else set()
        edited = set() if judged.changes else edited  # what else changed may change them too
        tracked = _tracked(stage) if learned.outputs else set()
        removable = _removable(str(root), learned, edited | tracked)
        away = [*removable, *(str(path) for path in stage.step.targets if path.is_file())] if stage.step else removable
        kept = [Path(path) for path in removable if not learned.outputs[key(str(root), path)]]
        learned.unfinished = True
        learned.save(root)
    trace = Trace((*stage.folders, *_path_folders(stage))) if stage.step and stage.step.judge else None
    is_finished = False
    indexes = git_state(root, index=True).files if trace and learned.git != "changes" else ()
    of_git = {str(path): fingerprint.content(str(path)) for path in indexes if path.name == "index"}
    began = fingerprint.boundary(str(state_dir(root)))
    try:
        with stash.replaced_kept(root / STATE / "replaced", root, kept):
            _carry_out(graph, stage, [*judged.suspects, *away], trace or contextlib.nullcontext(), plan.assumed_new)
        is_finished = True
    finally:
        with job_control.defer_signals(first_only=True):  # what a stopped build wrote must not count as edits
            if is_finished or (stage.step and stage.step.judge):
                learned.unfinished = plan.extent == "all" and not is_finished
                seen = Observation(judged.record, trace, _database(graph, stage), plan.extent == "all", is_finished)
                walked = _files(graph, stage)
                written = learn(learned, stage, walked, seen)
                if is_finished:
                    own = {key(str(root), path) for path in written}
                    note_build(learned, str(root), own.union(judged.record["inputs"]))
                learned.save(root)
                if not is_finished:  # what the build turned out to depend on does not count as a change
                    judged.record["fingerprint"] = dict(renewed(graph, stage).watch.fingerprint)
    written += _found_first(renewed(graph, stage), {*walked}, judged.record, began, of_git)
    return {path: fingerprint.take(path) for path in written}


def _found_first(
    stage: Stage, walked: Collection[str], before: StageRecord, began: int, contents: Mapping[str, str]
) -> list[str]:
    """Return the inputs that only this build has led to, and that have not changed since it began.

    Args:
        stage: the stage after the build.
        walked: the files of the project after the build.
        before: the files that were inputs before it.
        began: when the build began, from ``fingerprint.boundary``.
        contents: digests of files from before the build; one with a new date and the same digest has not changed.
    """
    folder = str(Path(stage.watch.root) / STATE)
    new = [
        path
        for path in stage.watch.inputs
        if path not in walked and key(stage.watch.root, path) not in before["inputs"]
    ]
    return [
        path
        for path in new
        if fingerprint.is_older(path, began, folder) or contents.get(path) == fingerprint.content(path)
    ]


def _plan(graph: Graph, stage: Stage, learned: Learned, judged: Judged, last: Attempt | None) -> Plan:
    if stage.step is None or not stage.step.judge:
        return Plan("make")
    changes = judged.changes
    if last is not None:
        adopt(learned, stage, last.record, _database(graph, stage))
        changes = [change for change in changes if key(stage.watch.root, change.path) not in learned.outputs]
    targets = all(Path(path).exists() for path in stage.watch.targets)
    is_first = not judged.record["targets"] and last is None
    if is_first:
        return Plan("all", "what the last build saw is not known") if learned.outputs else Plan("make")
    plan = decide(stage, learned, changes, judged.others)
    if plan.extent != "question":
        return plan
    is_due = bool(judged.suspects) or not targets or last is not None
    return Plan("nothing" if not is_due and is_current(graph, stage) else "make")


def _note_edited(stage: Stage, learned: Learned, others: Sequence[str]) -> set[str]:
    """Note which outputs somebody has edited since they were built, and return them; a build may not remove these."""
    edited = {name for name in others if name in learned.outputs and not is_binary(path_of(stage.watch.root, name))}
    learned.outputs |= dict.fromkeys(edited, False)
    return edited


def _tracked(stage: Stage) -> set[str]:
    """Return the files that git tracks: a clone has them, whether or not a rule makes them too."""
    try:
        listed = process.run(("git", "ls-files", "-z"), cwd=Path(stage.watch.root), env={}, check=False).stdout
    except UnibuildError:
        return set()
    return {os.fsdecode(name) for name in listed.split(b"\0") if name}


def _removable(root: str, learned: Learned, kept: Collection[str]) -> list[str]:
    """Return the files that a build from scratch makes again."""
    paths = (path_of(root, name) for name in learned.outputs if name not in kept)
    return sorted(path for path in paths if Path(path).is_file())


def _carry_out(
    graph: Graph,
    stage: Stage,
    away: Sequence[str],
    trace: contextlib.AbstractContextManager[object],
    assumed_new: Sequence[str] = (),
) -> None:
    """Run the commands of a step, traced, and see that it did its work."""
    step = stage.step
    assert step is not None
    with _targets(stage, away, state_dir(graph.project.root) / _STASH) as moved:
        more = [f"-W{name}" for path in assumed_new for name in (os.path.relpath(path, step.cwd),)]
        with trace:
            for argv in step.commands:
                _command(stage, step, (*argv, *more))
        _take_back(graph, stage, moved)
        graph.toolchain.check(stage.name)
        if stage.name == "build":
            files.copy_atomic(graph.toolchain.kernel, graph.kernel)


def _take_back(graph: Graph, stage: Stage, moved: Mapping[Path, Path]) -> None:
    """Put a target back that the step did not make again, where its tool says that nothing is to be done about it."""
    missing = {path: moved[path] for path in (stage.step.targets if stage.step else ()) if path in moved}
    missing = {path: place for path, place in missing.items() if not path.exists()}
    for path, place in missing.items():
        shutil.move(place, path)
    if missing and not is_current(graph, stage):
        for path, place in missing.items():
            shutil.move(path, place)


def _database(graph: Graph, stage: Stage) -> Database:
    """Return what the step's tool knows of the project's files."""
    assert stage.step is not None
    argv = graph.toolchain.database()
    return database(stage.step, argv) if argv else Database()


def _files(graph: Graph, stage: Stage) -> list[str]:
    """Return the files of the project as they are now, the build's own among them."""
    now = renewed(graph, stage)
    return [*now.watch.inputs, *now.watch.outputs, *filter(os.path.isfile, now.watch.made)]


def _path_folders(stage: Stage) -> list[str]:
    """Return the folders in which the step finds its programs."""
    path = environment(stage.step.env if stage.step else {}).get("PATH", os.defpath)
    return [folder for folder in path.split(os.pathsep) if folder.startswith("/") and os.path.isdir(folder)]  # noqa: PTH112


def accept(graph: Graph, stage: Stage) -> str | None:
    """Take the files that are there for what a stage makes; return the name of one that is missing.

    Raises:
        BuildError: what is there is not what the stage makes.
        FileError: the kernel cannot be copied.
    """
    if stage.name == "build" and graph.toolchain.kernel.is_file():
        files.copy_atomic(graph.toolchain.kernel, graph.kernel)
    missing = next((path for path in stage.watch.targets if not Path(path).exists()), None)
    if missing is not None:
        return stage.watch.name(missing)
    if stage.step is not None:
        graph.toolchain.check(stage.name)
    forget_attempt(state_dir(graph.project.root), stage)
    return None


def _write(graph: Graph, stage: Stage) -> None:
    """Write the file of a stage without a step."""
    if stage.goal == "xl":
        from unibuild.graph import xl_file

        text = graph.render()
        files.write_atomic(graph.xl, text.encode(errors="surrogateescape"))
        for note in xl_file.notes(graph.start, text):
            print(f"  {note}", flush=True)
        return
    write = {"libvirt": _write_libvirt, "image": _write_image}[stage.goal]
    write(graph, Path(stage.watch.targets[0]))


def _write_libvirt(graph: Graph, path: Path) -> None:
    from unibuild.graph.libvirt import describe, render

    description = describe(graph.render(ends=()), str(graph.xl))
    files.write_atomic(path, render(description, graph.project.root).encode())
    print(f"  {_name(graph, path)} is there: virsh -c xen:///system define {path}")
    if description.left_out:
        print(f"  without what libvirt has no word for: {', '.join(description.left_out)}")


def _write_image(graph: Graph, path: Path) -> None:
    from unibuild.graph import disk_image

    image = disk_image.plan(graph)
    disk_image.write(image, path)
    print(f"  {_name(graph, path)} is there: {image.size >> 10} KiB, {image.kind.upper()}, sha256 {image.digest}")
    for warning in disk_image.warnings(graph, image):
        print(f"  {warning}")


def _name(graph: Graph, path: Path) -> Path:
    return path.relative_to(graph.project.root) if path.is_relative_to(graph.project.root) else path


def _command(stage: Stage, step: Step, argv: Sequence[str]) -> None:
    print(f"  {shlex.join(argv)}", flush=True)
    limit = RestartLimit()
    status = process.run_interactive(argv, cwd=step.cwd, env=step.env, watched=limit.watch)
    limit.check(stage)
    deadline = time.monotonic() + LOCK_TIMEOUT
    while status > 0 and step.lock is not None and (holder := _holder(step.lock)) and time.monotonic() < deadline:
        print(f"  waiting, at most {LOCK_TIMEOUT:.0f} s, for {holder}, which has {step.lock} locked", flush=True)
        while _holder(step.lock) and time.monotonic() < deadline:
            time.sleep(0.1)
        if not _holder(step.lock):
            print(f"  {shlex.join(argv)}", flush=True)
            status = process.run_interactive(argv, cwd=step.cwd, env=step.env)
    if status == 128 + signal.SIGINT:  # how a program says that it was interrupted when it cleans up first
        raise KeyboardInterrupt
    if status:
        how = f"was ended by signal {-status}" if status < 0 else f"failed with exit code {status}"
        hint = "its output is above"
        if step.restore_targets_on_failure:
            hint += "; the files that it writes are as they were before"
        if step.lock is not None and (holder := _holder(step.lock)):
            hint += f"; {holder} still has {step.lock} locked: end that one, perhaps a `dune build --watch`"
        raise BuildError(f"`{shlex.join(argv)}` {how} in {step.cwd}", hint=hint)


def _holder(lock: Path) -> str | None:
    """Return who keeps a tool's lock, in words; None: nobody.

    dune writes its process number into the file.
    """
    try:
        with lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return f"process {file.read(20).decode(errors='replace').strip() or '(unknown)'}"
    except OSError:
        pass
    return None


@contextlib.contextmanager
def _targets(stage: Stage, suspects: Sequence[str], folder: Path) -> Iterator[Mapping[Path, Path]]:
    """See that the block leaves every target, or where it fails none that it began.

    A suspect that the block does not write again is put back: it may be the user's own file. What is left over from
    another release of the tool is out of the way likewise.

    Yields:
        Where the files are that are out of the way.
    """
    targets = [Path(path) for path in stage.watch.targets]
    away = {*map(Path, suspects), *map(Path, stage.watch.left_over), *stash.left_by_a_killed_run(folder)}
    if stage.step is not None and stage.step.remove_targets_first:
        away |= {path for path in stage.step.targets if path.exists()}
    undone = stage.step is not None and stage.step.restore_targets_on_failure
    copied = {path for path in targets if path not in away and path.is_file()} if undone else set()
    with stash.kept(folder, away, copied) as moved:
        before = {path: fingerprint.take(str(path)) for path in targets}
        try:
            yield moved
            for path in targets:
                if not path.exists():
                    raise BuildError(f"{stage.name} succeeded and left no {path}")
        except BaseException:
            for path in targets:
                if fingerprint.take(str(path)) != before[path]:
                    path.unlink(missing_ok=True)
            raise
