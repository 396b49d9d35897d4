"""Finds the sources as ``unibuild.toolchain.sources`` does, and walks only where something moved since the last time.

``.unibuild/listing`` keeps what the last walks found, and the fingerprints of the folders that decided it. Such a
fingerprint changes when an entry appears, is removed or is renamed. Each was taken before its folder was listed. A
folder that changed a moment before could change again and keep its fingerprint, so such a walk is not kept:
git's rule for a "racily clean" index.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from unibuild import __version__, fingerprint
from unibuild.errors import FileError
from unibuild.settings.loader import STATE
from unibuild.toolchain import sources
from unibuild.util.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["find"]

KEPT = 4  # a project asks for two lists at most, and for other ones with other settings


class _Entry(TypedDict):
    """One walk, as JSON keeps it."""

    asked: list[list[str]]
    files: list[str]
    folders: list[str]
    fingerprints: dict[str, str]
    links: dict[str, str]


def find(root: Path, patterns: Sequence[str] = (), *, without: Iterable[str] = ()) -> sources.FoundFiles:
    """Find the sources below ``root``; arguments, result and errors are those of ``sources.find``.

    Nothing is kept where the project has no ``.unibuild`` yet: a mere look at a tree leaves it as it is.
    """
    without = tuple(without)
    asked = [[__version__, str(root)], [*patterns], [sources.DROPPINGS.pattern, *sources.PRUNED], [*without]]
    cache = root / STATE / "listing"
    kept = _read(cache)
    for entry in kept:
        if entry["asked"] == asked and _holds(entry):
            return sources.FoundFiles(tuple(map(Path, entry["files"])), tuple(map(Path, entry["folders"])))
    begun = fingerprint.clock(str(cache.parent)) if cache.parent.is_dir() else None
    look = sources.look(root, patterns, without=without)
    if look.whole and begun is not None and all(_old(stamp, begun) for stamp in look.fingerprints.values()):
        entry = _Entry(
            asked=asked,
            files=[*map(str, look.found.files)],
            folders=[*map(str, look.found.folders)],
            fingerprints={**look.fingerprints},
            links={**look.links},
        )
        others = [other for other in kept if other["asked"] != asked]
        with contextlib.suppress(FileError):  # a tree that cannot be written to can still be looked at
            write_atomic(cache, json.dumps([entry, *others][:KEPT]).encode())
    return look.found


def _read(cache: Path) -> list[_Entry]:
    """Return what is kept, the last walk first; nothing where the file is damaged."""
    from msgspec import convert

    try:
        return convert(json.loads(cache.read_bytes()), list[_Entry])
    except (OSError, ValueError):  # ValueError: also msgspec's own
        return []


def _holds(entry: _Entry) -> bool:
    """Say whether nothing has moved that decided what the walk found."""
    return all(fingerprint.take(path) == stamp for path, stamp in entry["fingerprints"].items()) and all(
        sources.leads_to(link) == end for link, end in entry["links"].items()
    )


def _old(stamp: str, begun: fingerprint.FileSystemClock) -> bool:
    """Say whether a change after the walk had ``begun`` gives another fingerprint than this one."""
    return stamp == fingerprint.ABSENT or int(stamp.partition(":")[0]) < begun.now - begun.tick
