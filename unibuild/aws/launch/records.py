"""The instances that we started, in the project's state folder: each is written down before EC2 hears of it.

A region has at most two instances of a project: the ``good`` one, and while a launch is under way the ``pending`` one.
A launch is known by its ClientToken from before the call that makes the instance, so a run that was killed at any
point is continued (the same token gives the same instance) or cleaned up by the next one.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from unibuild.util.files import refuse_newer, write_atomic

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LaunchRecord", "RegionLaunches", "load", "lock_path", "next_step", "save"]

_FILE = "instances.json"
_VERSION = 1


@dataclass(frozen=True)
class LaunchRecord:
    """An instance that we asked for.

    Attributes:
        token: the ClientToken of its launch.
        ami: the id of its AMI.
        asked: the hash of what was asked for: a launch with other settings is another one.
        id: ``i-...``; None while EC2 has not told it.
        since: when it was asked for: UTC, as ISO 8601 has it.
    """

    token: str
    ami: str
    asked: str
    since: str
    id: str | None = None


@dataclass(frozen=True)
class RegionLaunches:
    """Our instances in a region.

    Attributes:
        region: which.
        good: the one that was good last.
        pending: the one that a launch has begun with and not finished.
        ending: the ids of those that have been replaced and may still run.
    """

    region: str
    good: LaunchRecord | None = None
    pending: LaunchRecord | None = None
    ending: tuple[str, ...] = ()

    def begin(self, launch: LaunchRecord) -> RegionLaunches:
        """Return the record of a launch that begins, or has come to know its id."""
        return dataclasses.replace(self, pending=launch)

    def accept(self) -> RegionLaunches:
        """Return the record once the pending instance is good: the one before is to end."""
        before = (self.good.id,) if self.good and self.good.id else ()
        return dataclasses.replace(self, good=self.pending, pending=None, ending=(*self.ending, *before))

    def reject(self) -> RegionLaunches:
        """Return the record once the pending instance is gone."""
        return dataclasses.replace(self, pending=None)

    def ended(self, *ids: str) -> RegionLaunches:
        """Return the record once these instances are gone."""
        good = None if self.good and self.good.id in ids else self.good
        return dataclasses.replace(self, good=good, ending=tuple(one for one in self.ending if one not in ids))


def next_step(record: RegionLaunches, asked: str) -> Literal["begin", "continue", "abandon"]:
    """Say what a launch does first, given what an earlier run has left.

    Args:
        record: what is written down.
        asked: the hash of what is asked for now.

    Returns:
        ``begin``: nothing is under way; ``continue``: the same launch is; ``abandon``: another one is, whose instance
        has to go first.
    """
    if record.pending is None:
        return "begin"
    return "continue" if record.pending.asked == asked else "abandon"


def load(state: Path, region: str) -> RegionLaunches:
    """Return the record of a region in the state folder; an empty one where there is none that we can read."""
    tree = _read(state).get(region)
    try:
        return _record(region, tree) if tree else RegionLaunches(region)
    except (KeyError, TypeError):
        return RegionLaunches(region)


def save(state: Path, record: RegionLaunches) -> None:
    """Write the record of its region, whole; the lock of ``lock_path`` is held meanwhile.

    Raises:
        FileError: it cannot be written.
    """
    regions = {key: value for key, value in _read(state).items() if key != record.region}
    if record != RegionLaunches(record.region):
        tree = dataclasses.asdict(record)
        del tree["region"]
        regions[record.region] = tree
    write_atomic(state / _FILE, (json.dumps({"version": _VERSION, "regions": regions}, indent=1) + "\n").encode())


def lock_path(state: Path) -> Path:
    """Return the file that is locked while a run changes our instances."""
    return state / "instances.lock"


def _record(region: str, tree: dict[str, Any]) -> RegionLaunches:
    good, pending = (LaunchRecord(**tree[key]) if tree[key] else None for key in ("good", "pending"))
    return RegionLaunches(region, good, pending, tuple(tree["ending"]))


def _read(state: Path) -> dict[str, dict[str, Any]]:
    try:
        tree = json.loads((state / _FILE).read_bytes())
        refuse_newer(state / _FILE, tree["version"], _VERSION)
        return dict(tree["regions"]) if tree["version"] == _VERSION else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
