"""What makes a task stale: the stamps of what it reads and leaves, and the content where a stamp alone does not tell.

A stamp is ``mtime_ns:size:inode``. The stamps of inputs are taken *before* the action, so that an edit made while it
runs is seen the next time; those of targets after it, so that a target which was edited, cut off or deleted is seen
too. What an earlier task made, and the targets, have a digest besides: where the stamp moved and the digest did not,
the file counts as unchanged (early cut-off).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["ABSENT", "TICK", "Record", "Verdict", "Watch", "judge", "seal", "settle", "take"]

ABSENT = ""  # the stamp of a file that is not there
TICK = 0.02  # seconds: two writes closer than the kernel's coarse clock (10 ms at HZ=100) can get the same mtime

Record = dict[str, dict[str, list[str]]]
"""What a task saw and left when it last succeeded, as JSON keeps it.

``{"inputs": {path: [stamp]}, "made": {path: [stamp, digest]}, "targets": {path: [stamp, digest]},
"fingerprint": {name: [value]}}``
"""


@dataclass(frozen=True)
class Watch:
    """What decides whether a task is stale.

    Attributes:
        root: the project's folder; names in reasons are relative to it.
        inputs: absolute paths whose stamps decide.
        made: absolute paths of inputs that an earlier task makes: their content decides where the stamp moved.
        targets: absolute paths of what the task leaves; likewise.
        fingerprint: everything else that matters, by a name to report.
        digest: the hash of a file's content, as far as it has a meaning.
    """

    root: str
    inputs: Sequence[str]
    made: Sequence[str]
    targets: Sequence[str]
    fingerprint: Mapping[str, str]
    digest: Callable[[str], str]

    def name(self, path: str) -> str:
        """Return a path as a person in the project's folder would write it."""
        return path.removeprefix(self.root.rstrip("/") + "/")


@dataclass(frozen=True)
class Verdict:
    """Whether a task is stale.

    Attributes:
        reason: why it is, in a few words; None: it is up to date.
        record: what is there now; the targets only as far as they are known to be what the last success left.
        suspects: targets that are there and are not known to be that.
    """

    reason: str | None
    record: Record
    suspects: tuple[str, ...]


def take(path: str) -> str:
    """Return the stamp of a file or folder, through symbolic links; ``ABSENT`` where it cannot be had."""
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path for each of 10,000 files would double the time)
    except OSError:
        return ABSENT
    return f"{status.st_mtime_ns}:{status.st_size}:{status.st_ino}"


def settle(stamps: Iterable[str]) -> None:
    """Wait until a file with the youngest of these stamps would get another one if it were written now.

    The caller takes them again afterwards.
    """
    now = time.time_ns()
    young = [mtime for stamp in stamps if stamp and 0 <= now - (mtime := int(stamp.partition(":")[0])) < TICK * 1e9]
    if young:
        time.sleep(TICK - (now - max(young)) / 1e9)


def judge(watch: Watch, record: Record | None) -> Verdict:
    """Compare what is there with what was there when the task last succeeded.

    Call it before the action; ``seal`` makes the record to keep after it.
    """
    old: Record = record or {}
    inputs = {path: [take(path)] for path in watch.inputs}
    made = {path: _look(watch, path, old.get("made", {})) for path in watch.made}
    seen = {path: _look(watch, path, old.get("targets", {})) for path in watch.targets}
    targets = {
        path: now for path, now in seen.items() if now[0] and now[1:] == old.get("targets", {}).get(path, [])[1:]
    }
    fingerprint = {name: [value] for name, value in watch.fingerprint.items()}
    reason = (
        "it has no record of an earlier success"
        if record is None
        else _reason_settings(fingerprint, old.get("fingerprint", {}))
        or _reason_files(watch, inputs, old.get("inputs", {}), 0)
        or _reason_files(watch, made, old.get("made", {}), 1)
        or _reason_targets(watch, seen, targets)
    )
    if reason is not None:
        settle(stamp for stamp, *_ in (*inputs.values(), *made.values()))
        inputs = {path: [take(path)] for path in watch.inputs}
        made = {path: _look(watch, path, made) for path in watch.made}
    now: Record = {"inputs": inputs, "made": made, "targets": targets, "fingerprint": fingerprint}
    return Verdict(reason, now, tuple(path for path in watch.targets if seen[path][0] and path not in targets))


def seal(watch: Watch, before: Record) -> Record:
    """Return the record of a success: ``before`` from the verdict, and the targets as they are now."""
    settle(map(take, watch.targets))
    return {**before, "targets": {path: _look(watch, path, {}) for path in watch.targets}}


def _look(watch: Watch, path: str, known: Mapping[str, list[str]]) -> list[str]:
    """Return stamp and digest of a file; the digest that is known is believed where the stamp is the same."""
    stamp = take(path)
    if stamp == ABSENT:
        return [ABSENT, ""]
    if path in known and known[path][0] == stamp:
        return known[path]
    while True:  # the digest is that of the file with this stamp, not of one that was being replaced
        digest = watch.digest(path)
        before, stamp = stamp, take(path)
        if stamp == before:
            return [stamp, digest]


def _reason_settings(now: Mapping[str, list[str]], old: Mapping[str, list[str]]) -> str | None:
    changed = [name for name in sorted({*now, *old}) if now.get(name) != old.get(name)]
    return _told([f"{name} changed" for name in changed])


def _reason_files(watch: Watch, now: Mapping[str, list[str]], old: Mapping[str, list[str]], part: int) -> str | None:
    """Say which files are not what they were; ``part`` is what decides: 0 the stamp, 1 the digest."""
    if now == old:
        return None
    reasons = []
    for path, seen in now.items():
        if path not in old:
            reasons.append(f"{watch.name(path)} is new")
        elif seen[part] != old[path][part]:
            reasons.append(f"{watch.name(path)} {'changed' if seen[0] else 'is gone'}")
    reasons += [f"{watch.name(path)} is gone" for path in old if path not in now]
    return _told(reasons)


def _reason_targets(watch: Watch, seen: Mapping[str, list[str]], good: Mapping[str, list[str]]) -> str | None:
    return _told(
        [
            f"{watch.name(path)} {'is not what was made' if seen[path][0] else 'is missing'}"
            for path in watch.targets
            if path not in good
        ]
    )


def _told(reasons: Sequence[str]) -> str | None:
    """Tell the first reason and how many more there are."""
    if len(reasons) > 1:
        return f"{reasons[0]} (and {len(reasons) - 1} more)"
    return reasons[0] if reasons else None
