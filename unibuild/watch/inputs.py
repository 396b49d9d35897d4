"""What a project is built from, as it is now: the stamps that decide, whatever the kernel reports or does not.

Three kinds of paths: files that are built from; folders (and the like) whose stamps tell that there may be others now;
and what the graph itself comes from: settings, ``dodo.py``, templates. What a build leaves and does not read is none of
them. Of a file that a build may write and reads the stamp *after* the build counts, of every other one that before it.
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
"""Stamps by path."""


class Inputs(NamedTuple):
    """The paths that decide.

    Attributes:
        files: what is built from.
        made: what is built from, and may be made or changed by a step of the build itself, or by a person: a Makefile
            or an ``.xl`` that ``configure`` writes. What stands in our own folder is none of it.
        folders: what decides which files there are.
    """

    files: tuple[str, ...]
    made: tuple[str, ...]
    folders: tuple[str, ...]


_NONE = Inputs((), (), ())


def inputs(found: Graph, more: Iterable[str] = ()) -> Inputs:
    """Return the paths of a graph; ``more`` are files that a person's own tasks read."""
    targets = {path for stage in found.stages for path in stage.watch.targets}
    ours = str(found.xl.parent)
    made = {path for stage in found.stages for path in stage.watch.made if os.path.dirname(path) != ours}  # noqa: PTH120
    files = ({path for stage in found.stages for path in stage.watch.inputs} | {*more}) - targets - made
    folders = {path for stage in found.stages for path in stage.folders} - files - made
    return Inputs(tuple(sorted(files)), tuple(sorted(made)), tuple(sorted(folders)))


def take(paths: Iterable[str]) -> Snapshot:
    """Return the stamps of paths."""
    return {path: fingerprint.take(path) for path in paths}


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the paths whose stamps are not the same, those that are there first, the youngest before the others."""
    found = [path for path in {**before, **now} if before.get(path, "") != now.get(path, "")]
    return sorted(found, key=lambda path: (not now.get(path), -_age(now.get(path, "")), path))


def _age(stamp: str) -> int:
    return int(stamp.partition(":")[0] or 0)


@dataclass
class InputTracker:
    """A project's tree, looked at again and again.

    Attributes:
        project: the project, with the settings that were good last.
        more: files that a person's own tasks read.
        modules: files besides that the graph comes from: the ``dodo.py`` and what it imports.
        built: the stamps of before the last build, and of what that made after it.
        now: the stamps of the last look.
        is_racy: a folder changed so short a time before it was listed that its stamp does not tell of another change;
            the next scan lists it again.
        is_broken: it could not be found out at the last look which inputs there are.
        scans: how often it was found out which inputs there are.
        cost: seconds of processor time that a look took where nothing had changed, at most for a while.
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
        """What the graph comes from."""
        root, templates = self.project.root, self.project.root / FOLDER
        found = (root / "unibuild.toml", root / "dodo.py", templates, *sorted(templates.glob("*")))
        return tuple(dict.fromkeys((*map(str, found), *self.modules)))

    def scan(self) -> None:
        """Find the inputs again.

        Raises:
            UnibuildError: the tree cannot be built as it is.
        """
        seen = take((str(self.project.root), *self.inputs.folders))
        self.is_racy, self.is_broken = False, True
        while True:  # the stamp of a folder is that of before it was listed
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
        """Take all stamps again; return whether any moved since the last look.

        Raises:
            UnibuildError: the tree cannot be built as it is.
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
        """Return what the graph comes from that is not as it was the last time that this was asked."""
        now = take(self.sources)
        before, self._sources = self._sources, now
        return [path for path in now if now[path] != before.get(path, now[path])]

    def changed(self) -> list[str]:
        """Return what is not as it was before the last build, or as that made it, as of the last look."""
        outputs = {path for stage in self.graph.stages for path in stage.watch.outputs}
        return [path for path in differences(self.built, self.now) if path not in outputs]

    def edited(self) -> list[str]:
        """Return the same of what was there before and no build writes: it has a meaning while one runs."""
        found = [path for path in self.changed() if path in self.built and path not in self.inputs.made]
        written = {*Learned.load(self.project.root).written} if found else ()
        return [path for path in found if fingerprint.key(str(self.project.root), path) not in written]

    def begin(self) -> None:
        """A build begins: what changes from the last look on is for the next one."""
        self.built = dict(self.now)

    def end(self, settled: Mapping[str, str]) -> None:
        """Note that a build has ended; ``settled`` are inputs that it wrote itself, with their stamps after it."""
        for path, stamp in {**take(self.inputs.made), **settled}.items():
            self.now[path] = self.built[path] = stamp
        self.is_racy = True  # what it wrote for the first time is an output from now on

    def watched(self) -> set[str]:
        """Return the folders that matter to be told about: those of inputs, and never what a build or git fills."""
        root = str(self.project.root)
        named = {os.path.dirname(path) for path in (*self.inputs.files, *self.sources)}  # noqa: PTH120
        listed = {path for path in self.inputs.folders if Path(path).is_dir()}
        below = root.rstrip("/") + "/"
        return {
            path
            for path in named | listed | {root}
            if not {*PRUNED} & {*path.removeprefix(below).split("/")} or path == root
        }
