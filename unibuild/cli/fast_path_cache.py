"""Write ``.unibuild/fast``: the fingerprints by which ``unibuild._fast_path_file`` finds that nothing is stale.

Each write follows a complete scan of the tree: first the folders' fingerprints, then the files in them, then the check
of every stage against the state on disk. So a file that changes meanwhile has another fingerprint than the written one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild import _fast_path_file, fingerprint
from unibuild.doit_plugin.state import StateFile
from unibuild.errors import FileError
from unibuild.graph.graph import graph
from unibuild.graph.staleness import verdict
from unibuild.settings.loader import STATE, load
from unibuild.toolchain.base import environment
from unibuild.util import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from unibuild.graph.graph import Graph

__all__ = ["write"]

Layer = tuple[str, list[str], list[str]]
"""A goal, the paths that decide whether it is up to date, and their fingerprints."""


def write(start: Path) -> None:
    """Write the file of the project that ``start`` belongs to, with the stages that are up to date.

    If another program changes the tree at the same time, nothing is written.
    """
    time.sleep(fingerprint.TICK)  # later writes now have other times than the run's last ones
    folder = str(load(start).root / STATE)
    around = sorted(set(_around(graph(load(start)))))
    before = [fingerprint.take(path) for path in around]
    found = graph(load(start))
    if sorted(set(_around(found))) != around:
        return
    layers = [_layer("", zip(around, before, strict=True))]
    layers += _stage_layers(found)
    youngest = max(fingerprint.written(stamp) for _, _, stats in layers for stamp in stats)
    now = fingerprint.clock(folder)
    if now.now - youngest >= now.tick:
        variables = tuple(sorted({name for stage in found.stages if stage.step for name in stage.step.variables}))
        environment = _fast_path_file.signature(os.environ, variables)
        absent = [path for path, stamp in zip(around, before, strict=True) if stamp == fingerprint.ABSENT]
        fields = [str(found.project.root)]
        for words in (variables, environment, absent):
            fields += [str(len(words)), *words]
        for name, paths, stats in layers:
            fields += [name, str(len(paths)), *paths, *stats]
        content = _fast_path_file.pack(fields)
        if len(content) <= _fast_path_file.LIMIT:
            with contextlib.suppress(FileError):  # a read-only tree, or a full disk: the next run scans again
                files.write_atomic(found.project.root / STATE / "fast", content)


def _stage_layers(found: Graph) -> Iterator[Layer]:
    """Yield the layer of each stage up to the first stale one."""
    state = StateFile(str(found.project.root / STATE / "state.json"))
    for stage in found.stages:
        values = state.get(stage.name, "_values_:") or {}
        found_now = verdict(found.project.root / STATE, stage, values)
        if found_now.reason is not None:
            return
        record, root = found_now.record, str(found.project.root)
        seen = {**record["inputs"], **record["outputs"], **record["made"], **record["targets"]}
        yield _layer(stage.goal, [(fingerprint.path_of(root, name), one[0]) for name, one in seen.items()])


def _layer(name: str, seen: Iterable[tuple[str, str]]) -> Layer:
    there = [(path, stamp) for path, stamp in seen if stamp != fingerprint.ABSENT]
    return name, [path for path, _ in there], [stamp for _, stamp in there]


def _around(found: Graph) -> Iterator[str]:
    """Yield the paths that determine the graph: settings, state, folders, programs and folders searched for them."""
    root = found.project.root
    yield from (f"{root}/unibuild.toml", f"{root}/{STATE}/state.json", f"{root}/{STATE}/learned")
    if (root / "dodo.py").exists():
        yield f"{root}/dodo.py"
    for stage in found.stages:
        yield from stage.folders
        if stage.step is None:
            continue
        search = environment(stage.step.env).get("PATH", os.defpath)
        for program in {*stage.step.programs, *stage.step.needs, *(argv[0] for argv in stage.step.commands)}:
            place = shutil.which(program, path=search)
            if place is not None:
                yield place
                folders = search.split(os.pathsep)
                # not Path.is_dir, which raises for a folder of PATH that may not be read
                yield from filter(os.path.isdir, folders[: _index(folders, place)])


def _index(folders: list[str], place: str) -> int:
    """Return how many folders of PATH are searched until a program is found."""
    folder = str(Path(place).parent)
    return folders.index(folder) + 1 if folder in folders else len(folders)
