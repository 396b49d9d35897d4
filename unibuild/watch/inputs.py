"""Track the inputs of a project by their fingerprints, and compare them with the last build.

There are three kinds of paths: input files; folders (and the like) that show by their fingerprints that the set of
input files may have changed; and the sources of the graph: settings, ``dodo.py``, templates. What a build writes and
does not read is not tracked. For a file that a build writes and reads, the fingerprint *after* the build counts; for
every other input the one before it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from unibuild import fingerprint
from unibuild.graph.graph import graph
from unibuild.settings.loader import STATE
from unibuild.toolchain.build_knowledge import Learned
from unibuild.toolchain.sources import PRUNED
from unibuild.util.templates import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from unibuild.graph.graph import Graph
    from unibuild.settings.loader import Project

__all__ = ["InputTracker", "Inputs", "Snapshot", "differences", "inputs"]

Snapshot = dict[str, str]
"""Fingerprints by path."""


class Inputs(NamedTuple):
    """The paths that a build depends on.

    Attributes:
        files: the input files.
        made: the input files that a step of the build may write, and the user too: a Makefile or an ``.xl`` that
            ``configure`` writes. Files in ``.unibuild/`` are not among them.
        folders: the paths that decide which input files there are.
    """

    files: tuple[str, ...]
    made: tuple[str, ...]
    folders: tuple[str, ...]


_NONE = Inputs((), (), ())


def inputs(found: Graph, more: Iterable[str] = ()) -> Inputs:
    """Return the inputs of a graph; ``more`` are files that the user's own tasks read."""
    targets = {path for stage in found.stages for path in stage.watch.targets}
    own_folder = str(found.xl.parent)
    made = {path for stage in found.stages for path in stage.watch.made if os.path.dirname(path) != own_folder}  # noqa: PTH120
    files = ({path for stage in found.stages for path in stage.watch.inputs} | {*more}) - targets - made
    folders = {path for stage in found.stages for path in stage.folders} - files - made
    return Inputs(tuple(sorted(files)), tuple(sorted(made)), tuple(sorted(folders)))


def take(paths: Iterable[str]) -> Snapshot:
    """Return the fingerprints of paths."""
    return {path: fingerprint.take(path) for path in paths}


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the paths with different fingerprints: existing ones before removed ones, the newest first."""
    found = [path for path in {**before, **now} if before.get(path, "") != now.get(path, "")]
    return sorted(found, key=lambda path: (not now.get(path), -_age(now.get(path, "")), path))


def _age(stamp: str) -> int:
    return int(stamp.partition(":")[0] or 0)


@dataclass
class InputTracker:
    """The inputs of a project, and how they differ from the last build.

    Attributes:
        project: the project with its last good settings.
        more: files that the user's own tasks read.
        modules: more sources of the graph: ``dodo.py`` and the modules that it imports.
        built: the fingerprints before the last build, and after it for what the build wrote.
        now: the fingerprints as of the last ``look``.
        is_racy: whether a folder changed so shortly before it was listed that its fingerprint would not show another
            change; the next ``look`` lists it again.
        is_broken: whether the last ``scan`` failed.
        scans: how often the inputs were found.
        cost: seconds of processor time of a ``look`` that finds no change: a decaying maximum.
    """

    project: Project
    more: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    built: Snapshot = field(default_factory=dict)
    now: Snapshot = field(default_factory=dict)
    is_racy: bool = True
    is_broken: bool = False
    scans: int = 0
    cost: float = 0.0
    inputs: Inputs = _NONE
    graph: Graph = field(init=False)
    _folders: Snapshot = field(default_factory=dict)
    _sources: Snapshot = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scan()
        self._sources = take(self.sources)

    @property
    def sources(self) -> tuple[str, ...]:
        """The files that settings and graph are loaded from."""
        root, templates = self.project.root, self.project.root / FOLDER
        found = (root / "unibuild.toml", root / "dodo.py", templates, *sorted(templates.glob("*")))
        return tuple(dict.fromkeys((*map(str, found), *self.modules)))

    def scan(self) -> None:
        """Find the inputs again.

        Raises:
            UnibuildError: the project cannot be built as it is.
        """
        seen = take((str(self.project.root), *self.inputs.folders))
        self.is_racy, self.is_broken = False, True
        while True:  # a folder's fingerprint is taken before the folder is listed
            begun = fingerprint.clock(str(self.project.root / STATE))
            found = graph(self.project)
            self.graph, self.inputs = found, inputs(found, self.more)
            new = [path for path in self.inputs.folders if path not in seen]
            if not new:
                break
            seen |= take(new)
        self.scans += 1
        self.is_broken = False
        self._folders = {path: seen[path] for path in self.inputs.folders}
        self.is_racy = any(_age(stamp) > begun.now - begun.tick for stamp in self._folders.values())

    def look(self) -> bool:
        """Take all fingerprints again; return whether any changed since the last ``look``.

        Raises:
            UnibuildError: the project cannot be built as it is.
        """
        began = time.thread_time()
        is_other = (
            self.is_racy
            or self.is_broken
            or any(fingerprint.take(path) != stamp for path, stamp in self._folders.items())
        )
        if is_other:
            self.scan()
        now = take(self.inputs.files + self.inputs.made)
        moved = now != self.now
        self.now = now
        if not (is_other or moved):
            self.cost = max(0.9 * self.cost, time.thread_time() - began)
        return moved

    def reloads(self) -> list[str]:
        """Return the sources that changed since the last call."""
        now = take(self.sources)
        before, self._sources = self._sources, now
        return [path for path in now if now[path] != before.get(path, now[path])]

    def changed(self) -> list[str]:
        """Return the inputs that differ from the last build, as of the last ``look``."""
        outputs = {path for stage in self.graph.stages for path in stage.watch.outputs}
        return [path for path in differences(self.built, self.now) if path not in outputs]

    def edited(self) -> list[str]:
        """Return the changed inputs that no build writes and that are not new: these are edits even during a build."""
        found = [path for path in self.changed() if path in self.built and path not in self.inputs.made]
        written = {*Learned.load(self.project.root).written} if found else ()
        return [path for path in found if fingerprint.key(str(self.project.root), path) not in written]

    def begin(self) -> None:
        """Begin a build: changes after the last ``look`` are for the next build."""
        self.built = dict(self.now)

    def end(self, written: Mapping[str, str]) -> None:
        """End a build; ``written`` are inputs that it wrote itself, with their fingerprints after it."""
        for path, stamp in {**take(self.inputs.made), **written}.items():
            self.now[path] = self.built[path] = stamp
        self.is_racy = True  # files that it wrote for the first time are outputs from now on

    def watched(self) -> set[str]:
        """Return the folders to watch: those of inputs, but not those that a build or git fills."""
        root = str(self.project.root)
        named = {os.path.dirname(path) for path in (*self.inputs.files, *self.sources)}  # noqa: PTH120
        listed = {path for path in self.inputs.folders if Path(path).is_dir()}
        below = root.rstrip("/") + "/"
        return {
            path
            for path in named | listed | {root}
            if not {*PRUNED} & {*path.removeprefix(below).split("/")} or path == root
        }
