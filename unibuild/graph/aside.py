"""Files that are out of a step's way while it runs, and come back if it does not write them anew.

They lie in a folder of ours with a list of their names, so that a run which was killed loses none: the next one finds
them there.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.util import files

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["kept", "left_by_a_killed_run"]

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
        files.write_whole(folder / _NAMES, names)
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
