"""Judges a stage against its last success, or against a later attempt that did not succeed."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from unibuild import fingerprint
from unibuild.util import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from unibuild.fingerprint import FileSystemClock, StageRecord, Verdict
    from unibuild.graph.graph import Stage

__all__ = ["Attempt", "attempt", "attempted", "forget_attempt", "verdict"]

_WHY = {"running": "did not end the last time", "failed": "failed the last time"}


class Attempt(msgspec.Struct, frozen=True):
    """A run of a step that has not succeeded.

    Attributes:
        state: whether it runs, or was killed; or that it failed.
        record: what was there when it began.
    """

    state: Literal["running", "failed"]
    record: fingerprint.StageRecord


def verdict(folder: Path, stage: Stage, values: Mapping[str, Any], now: FileSystemClock | None = None) -> Verdict:
    """Return whether a stage is stale.

    Args:
        folder: unibuild's folder in the project.
        stage: the stage.
        values: what doit keeps of its last success.
        now: as for ``fingerprint.judge``.
    """
    known = fingerprint.known(values)
    last = attempt(folder, stage)
    if last is None:
        return fingerprint.judge(stage.watch, known, now)
    found = fingerprint.judge(stage.watch, last.record, now)
    changed = f", and {found.reason}" if found.changes and found.reason else ""
    return found._replace(reason=f"{_WHY[last.state]}{changed}", record={**found.record, "targets": {}})


def attempt(folder: Path, stage: Stage) -> Attempt | None:
    """Return the last run of a stage's step, where that has not succeeded."""
    if stage.step is not None:
        with contextlib.suppress(OSError, ValueError):  # ValueError: also msgspec's own
            return msgspec.convert(json.loads(_path(folder, stage).read_bytes()), Attempt)
    return None


@contextlib.contextmanager
def attempted(folder: Path, stage: Stage, record: StageRecord) -> Iterator[None]:
    """Remember for the time of the block that the stage's step runs, and what was there before; or that it failed."""
    path = _path(folder, stage)

    def write(state: str) -> None:
        text = json.dumps({"state": state, "record": record})
        files.write_atomic(path, text.encode(errors="surrogateescape"), mode=0o600)

    write("running")
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):  # a full disk: the step then counts as one that was killed
            write("failed")
        raise
    path.unlink(missing_ok=True)


def forget_attempt(folder: Path, stage: Stage) -> None:
    """Forget the last run of a stage's step."""
    _path(folder, stage).unlink(missing_ok=True)


def _path(folder: Path, stage: Stage) -> Path:
    return folder / f"{stage.name}.attempt"
