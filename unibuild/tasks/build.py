"""Runs a toolchain's step so that its targets are whole and new afterwards, or the step has failed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild import files, process, stamps
from unibuild.errors import BuildError, UnibuildError
from unibuild.settings.sources import state_dir
from unibuild.tasks import aside
from unibuild.tasks.graph import failed_mark

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unibuild.tasks.graph import Graph, Stage
    from unibuild.toolchain.base import Step

__all__ = ["LOCK_PATIENCE", "accept", "run_stage"]

LOCK_PATIENCE = 120.0  # seconds; a whole build by the editor's dune takes no longer as a rule, a watching one for ever


def run_stage(graph: Graph, stage: Stage, suspects: Sequence[str], late: Sequence[str]) -> dict[str, str]:
    """Carry out a stage.

    Args:
        graph: the graph that the stage belongs to.
        stage: what to do.
        suspects: targets that are there and are not what the stage's last success left. A make would take them for
            its own and leave them alone, so they are out of its way while it runs.
        late: inputs that changed and have an older date than what was made of them: a make would leave them alone too.

    Returns:
        The stamps of the inputs that got a new date for that.

    Raises:
        BuildError: a command failed, or did not leave what it should.
        MissingError: a program is not there.
        FileError: a file cannot be read or written.
    """
    folder = state_dir(graph.project.root)
    with _targets(stage, suspects, folder / "aside"), _noted(folder / failed_mark(stage.name)):
        if stage.step is None:
            _write(graph, stage)
            return {}
        stage.step.require()
        with _inputs(stage, late, folder / f"{stage.name}.began") as dated:
            for argv in stage.step.commands:
                _command(stage.step, argv)
        graph.toolchain.check(stage.name)
        if stage.name == "build":
            files.copy_whole(graph.toolchain.kernel, graph.kernel)
    return dated


@contextlib.contextmanager
def _noted(mark: Path) -> Iterator[None]:
    """Leave a file if the block fails, for the reason that the next run gives, and remove it if it does not."""
    try:
        yield
    except UnibuildError:
        with contextlib.suppress(OSError):
            mark.touch()
        raise
    mark.unlink(missing_ok=True)


def accept(graph: Graph, stage: Stage) -> str | None:
    """Take the files that are there for what a stage makes; return the name of one that is missing.

    Raises:
        BuildError: what is there is not what the stage makes.
        FileError: the kernel cannot be copied.
    """
    if stage.name == "build" and graph.toolchain.kernel.is_file():
        files.copy_whole(graph.toolchain.kernel, graph.kernel)
    missing = next((path for path in stage.watch.targets if not Path(path).exists()), None)
    if missing is not None:
        return stage.watch.name(missing)
    if stage.step is not None:
        graph.toolchain.check(stage.name)
    return None


def _write(graph: Graph, stage: Stage) -> None:
    """Carry out a stage that is our own work."""
    if stage.goal == "xl":
        files.write_whole(graph.xl, graph.render().encode(errors="surrogateescape"))
        return
    from unibuild.tasks import export

    export.WRITERS[stage.goal](graph, Path(stage.watch.targets[0]))


def _command(step: Step, argv: Sequence[str]) -> None:
    print(f"  {shlex.join(argv)}", flush=True)
    status = process.attend(argv, cwd=step.cwd, env=step.env)
    deadline = time.monotonic() + LOCK_PATIENCE
    while status > 0 and step.lock is not None and (holder := _holder(step.lock)) and time.monotonic() < deadline:
        print(f"  waiting, at most {LOCK_PATIENCE:.0f} s, for {holder}, which has {step.lock} locked", flush=True)
        while _holder(step.lock) and time.monotonic() < deadline:
            time.sleep(0.1)
        if not _holder(step.lock):
            print(f"  {shlex.join(argv)}", flush=True)
            status = process.attend(argv, cwd=step.cwd, env=step.env)
    if status == 128 + signal.SIGINT:  # how a program says that it was interrupted when it cleans up first
        raise KeyboardInterrupt
    if status:
        how = f"was ended by signal {-status}" if status < 0 else f"failed with exit code {status}"
        hint = "what it said stands above"
        if step.undone:
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
def _targets(stage: Stage, suspects: Sequence[str], folder: Path) -> Iterator[None]:
    """See that the block leaves every target, or where it fails none that it began.

    A suspect that the block does not write anew is put back: it may be a person's own file. What is left over from
    another release of the tool is out of the way likewise.
    """
    targets = [Path(path) for path in stage.watch.targets]
    away = {*map(Path, suspects), *map(Path, stage.watch.left_over), *aside.left_by_a_killed_run(folder)}
    if stage.step is not None and stage.step.anew:
        away |= {path for path in stage.step.targets if path.exists()}
    undone = stage.step is not None and stage.step.undone
    copied = {path for path in targets if path not in away and path.is_file()} if undone else set()
    with aside.kept(folder, away, copied):
        before = {path: stamps.take(str(path)) for path in targets}
        try:
            yield
            for path in targets:
                if not path.exists():
                    raise BuildError(f"{stage.name} succeeded and left no {path}")
        except BaseException:
            for path in targets:
                if stamps.take(str(path)) != before[path]:
                    path.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _inputs(stage: Stage, late: Sequence[str], mark: Path) -> Iterator[dict[str, str]]:
    """See that a make does not take for built what was edited while it, or the one before it, ran.

    It compares dates: an object file that was finished after its source was edited looks newer than the source. Such
    a source gets the date of now, as if it had been saved once more. After a success that can wait for the next run
    (``Verdict.late``), after a failure there is no record to tell it from, and after a kill only ``mark`` tells when
    the run began.

    Yields:
        The stamps of those that got a new date.
    """
    edited = list(late)
    if mark.exists():
        began = mark.stat().st_mtime_ns
        edited += [path for path in stage.watch.inputs if int(stamps.take(path).partition(":")[0] or 0) >= began]
    dated = {path: _renew(path) for path in edited}
    stamps.settle(dated.values())
    before = [stamps.take(path) for path in stage.watch.inputs]
    mark.touch()
    try:
        yield dated
    except BaseException:
        for path, stamp in zip(stage.watch.inputs, before, strict=True):
            if stamps.take(path) != stamp:
                _renew(path)
        raise
    finally:
        mark.unlink(missing_ok=True)


def _renew(path: str) -> str:
    """Give a file the date of now, where we may; return its stamp."""
    now = time.time_ns()  # finer than the clock for "now" that utime has of its own: later than all that was made
    with contextlib.suppress(OSError):
        os.utime(path, ns=(now, now))
    return stamps.take(path)
