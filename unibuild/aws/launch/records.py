"""Records of a project's instances, in its state folder; each is written before EC2 is asked for the instance.

A region has at most two instances of a project: the ``good`` one, and during a launch the ``pending`` one. The record
holds the launch's ClientToken, so the next run can continue a killed launch (the same token gives the same instance) or
clean up after it.
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
    """An instance that unibuild asked EC2 for.

    Attributes:
        token: the ClientToken of its launch.
        ami: the id of its AMI.
        asked: the hash of the parameters: a launch with other settings is another one.
        id: ``i-...``; None until EC2 has returned it.
        since: when EC2 was asked: UTC, in ISO 8601.
    """

    token: str
    ami: str
    asked: str
    since: str
    id: str | None = None


@dataclass(frozen=True)
class RegionLaunches:
    """The project's instances in a region.

    Attributes:
        region: the region.
        good: the last one that became ready.
        pending: the one of an unfinished launch.
        ending: the ids of those that were replaced and may still run.
    """

    region: str
    good: LaunchRecord | None = None
    pending: LaunchRecord | None = None
    ending: tuple[str, ...] = ()

    def begin(self, launch: LaunchRecord) -> RegionLaunches:
        """Return the record with a launch that begins or has just received its id."""
        return dataclasses.replace(self, pending=launch)

    def accept(self) -> RegionLaunches:
        """Return the record after the pending instance became ready; the previous one is to be terminated."""
        before = (self.good.id,) if self.good and self.good.id else ()
        return dataclasses.replace(self, good=self.pending, pending=None, ending=(*self.ending, *before))

    def reject(self) -> RegionLaunches:
        """Return the record after the pending instance was terminated."""
        return dataclasses.replace(self, pending=None)

    def ended(self, *ids: str) -> RegionLaunches:
        """Return the record after these instances were terminated."""
        good = None if self.good and self.good.id in ids else self.good
        return dataclasses.replace(self, good=good, ending=tuple(one for one in self.ending if one not in ids))


def next_step(record: RegionLaunches, asked: str) -> Literal["begin", "continue", "abandon"]:
    """Return what a launch does first, given what an earlier run has left.

    Args:
        record: the record.
        asked: the hash of the wanted parameters.

    Returns:
        ``begin``: no launch is unfinished; ``continue``: the same launch is unfinished; ``abandon``: another one is,
        and its instance must be terminated first.
    """
    if record.pending is None:
        return "begin"
    return "continue" if record.pending.asked == asked else "abandon"


def load(state: Path, region: str) -> RegionLaunches:
    """Return the record of a region in the state folder; an empty one if there is none or it cannot be read."""
    tree = _read(state).get(region)
    try:
        return _record(region, tree) if tree else RegionLaunches(region)
    except (KeyError, TypeError):
        return RegionLaunches(region)


def save(state: Path, record: RegionLaunches) -> None:
    """Write the whole record of its region; the caller holds the lock of ``lock_path``.

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
    """Return the file that is locked while a run changes the project's instances."""
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
