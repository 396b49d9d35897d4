"""Move files out of a step's way while it runs, and put back those that it does not write again.

The files are in a folder in ``.unibuild`` with a list of their names. After a run that was killed, the next run finds
them there.
"""

from __future__ import annotations

import contextlib
import filecmp
import itertools
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.util import files

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["kept", "left_by_a_killed_run", "replaced_kept"]

_NAMES = "names.json"


def left_by_a_killed_run(folder: Path) -> list[Path]:
    """Put back what a killed run left in ``folder``, where nothing has taken its place; return what came back."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        for number, name in enumerate(json.loads((folder / _NAMES).read_text())):
            path, place = Path(name), folder / str(number)
            if place.exists() and not path.exists():
                shutil.move(place, path)
                found.append(path)
    return found


@contextlib.contextmanager
def kept(folder: Path, away: Collection[Path], copied: Collection[Path]) -> Iterator[dict[Path, Path]]:
    """Move files to ``folder`` and copy others there for the time of the block; neither is left there after it.

    Where the block fails, those that are not in their places then come back.

    Args:
        folder: on the file system of the files, for moving must not copy.
        away: files that shall not be there while the block runs.
        copied: files that stay where they are.

    Yields:
        Where each of the files in ``away`` is.
    """
    shutil.rmtree(folder, ignore_errors=True)
    moved = {path: folder / str(number) for number, path in enumerate(away)}
    copies = {path: folder / f"{number}.copy" for number, path in enumerate(copied)}
    if moved or copies:
        names = json.dumps([str(path) for path in moved]).encode(errors="surrogateescape")
        files.write_atomic(folder / _NAMES, names)
    try:
        for path, place in copies.items():
            shutil.copy2(path, place)
        for path, place in moved.items():
            shutil.move(path, place)
        yield moved
    except BaseException:
        for path, place in {**copies, **moved}.items():
            if place.exists() and not path.exists():
                shutil.move(place, path)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def replaced_kept(folder: Path, root: Path, paths: Collection[Path]) -> Iterator[None]:
    """Keep a copy of each file that the block replaces by one with other content, and report it.

    Args:
        folder: for the copies.
        root: the project's folder.
        paths: absolute paths of existing files.
    """
    names = {path: os.path.relpath(path, root) for path in paths}
    copies = {path: _free(folder / name.replace("../", "outside/")) for path, name in names.items()}
    for path, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    try:
        yield
    finally:
        replaced = {path: copy for path, copy in copies.items() if path.exists() and not _is_same(path, copy)}
        for path in copies.keys() - replaced.keys():
            if path.exists():
                copies[path].unlink()
            else:
                shutil.move(copies[path], path)
        for path, copy in list(replaced.items())[:1]:
            more = f" (and {len(replaced) - 1} more)" if len(replaced) > 1 else ""
            print(f"  kept the earlier {names[path]} as {copy.relative_to(root)}{more}", flush=True)


def _free(path: Path) -> Path:
    """Return a path, or the first of ``PATH.1``, ``PATH.2`` that does not exist."""
    names = (path.with_name(f"{path.name}.{number}") for number in itertools.count(1))
    return next(one for one in itertools.chain((path,), names) if not one.exists())


def _is_same(path: Path, other: Path) -> bool:
    return filecmp.cmp(path, other, shallow=False)
