"""What makes a task stale: the stamps of what it reads and leaves, and the content where a stamp alone does not tell.

A stamp is ``mtime_ns:size:inode``. The stamps of inputs are taken *before* the action, so that an edit made while it
runs is seen the next time; those of targets after it, so that a target which was edited, cut off or deleted is seen
too. What an earlier task made, and the targets, have a digest besides: where the stamp moved and the digest did not,
the file counts as unchanged (early cut-off).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["ABSENT", "TICK", "Record", "Seen", "Verdict", "Watch", "judge", "known", "seal", "settle", "take"]

ABSENT = ""  # the stamp of a file that is not there
TICK = 0.02  # seconds: two writes closer than the kernel's coarse clock (10 ms at HZ=100) can get the same mtime

Seen = list[str]
"""Stamp and digest of a file."""


class Record(TypedDict):
    """What a task saw and left when it last succeeded, as JSON keeps it."""

    inputs: dict[str, str]
    made: dict[str, Seen]
    targets: dict[str, Seen]
    fingerprint: dict[str, str]
    ended: int  # when, in ns since the epoch


NOTHING: Record = {"inputs": {}, "made": {}, "targets": {}, "fingerprint": {}, "ended": 0}


class Watch(NamedTuple):  # a dataclass takes five times as long to make, and every doit run makes this
    """What decides whether a task is stale.

    Attributes:
        root: the project's folder; names in reasons are relative to it.
        inputs: absolute paths whose stamps decide.
        made: absolute paths of inputs that an earlier task makes: their content decides where the stamp moved.
        targets: absolute paths of what the task leaves; likewise.
        fingerprint: everything else that matters, by a name to report.
        digest: the hash of a file's content, as far as it has a meaning.
        left_over: absolute paths of files that are there and should not be: the task removes them.
        why: what to tell, where the task is stale, instead of the first difference.
    """

    root: str
    inputs: Sequence[str]
    made: Sequence[str]
    targets: Sequence[str]
    fingerprint: Mapping[str, str]
    digest: Callable[[str], str]
    left_over: Sequence[str] = ()
    why: str | None = None

    def name(self, path: str) -> str:
        """Return a path as a person in the project's folder would write it."""
        return path.removeprefix(self.root.rstrip("/") + "/")


class Verdict(NamedTuple):
    """Whether a task is stale.

    Attributes:
        reason: why it is, in a few words; None: it is up to date.
        record: what is there now; the targets only as far as they are known to be what the last success left.
        suspects: targets that are there and are not known to be that.
        late: inputs that changed, and are older than the end of the last success. They were edited while it ran, or
            an older file was put in their place: a make, which compares dates, takes them for built.
    """

    reason: str | None
    record: Record
    suspects: tuple[str, ...]
    late: tuple[str, ...]


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
    young = [mtime for stamp in stamps if stamp and 0 <= now - (mtime := _mtime(stamp)) < TICK * 1e9]
    if young:
        time.sleep(TICK - (now - max(young)) / 1e9)


def known(values: object) -> Record | None:
    """Return the record in a task's saved values; None where there is none, or one of another version's shape."""
    import msgspec

    try:
        return msgspec.convert(values, dict[Literal["stamps"], Record])["stamps"]
    except (msgspec.ValidationError, KeyError):
        return None


def judge(watch: Watch, record: Record | None) -> Verdict:
    """Compare what is there with what was there when the task last succeeded.

    Call it before the action; ``seal`` makes the record to keep after it.
    """
    old = record or NOTHING
    inputs = {path: take(path) for path in watch.inputs}
    made = {path: _look(watch, path, old["made"]) for path in watch.made}
    seen = {path: _look(watch, path, old["targets"]) for path in watch.targets}
    targets = {path: now for path, now in seen.items() if now[0] and now[1:] == old["targets"].get(path, [])[1:]}
    reason = (
        "not done yet"
        if record is None
        else _told(f"{name} changed" for name in _differences(watch.fingerprint, old["fingerprint"]))
        or _told(_file_reasons(watch, inputs, old["inputs"]))
        or _told(_file_reasons(watch, _contents(made), _contents(old["made"])))
        or _told(
            f"{watch.name(path)} {'is not what was made' if seen[path][0] else 'is missing'}"
            for path in watch.targets
            if path not in targets
        )
        or _told(f"{watch.name(path)} is left over" for path in watch.left_over)
    )
    if reason is not None and watch.why is not None:
        reason = watch.why
    late = tuple(
        path for path, stamp in inputs.items() if stamp != old["inputs"].get(path) and _mtime(stamp) <= old["ended"]
    )
    if reason is not None:
        settle((*inputs.values(), *(stamp for stamp, _ in made.values())))
        inputs = {path: take(path) for path in watch.inputs}
        made = {path: _look(watch, path, made) for path in watch.made}
    now: Record = {**old, "inputs": inputs, "made": made, "targets": targets, "fingerprint": dict(watch.fingerprint)}
    suspects = tuple(path for path in watch.targets if seen[path][0] and path not in targets)
    return Verdict(reason, now, suspects, late)


def seal(watch: Watch, before: Record) -> Record:
    """Return the record of a success: ``before`` from the verdict, and the targets as they are now."""
    settle(map(take, watch.targets))
    return {**before, "targets": {path: _look(watch, path, {}) for path in watch.targets}, "ended": time.time_ns()}


def _mtime(stamp: str) -> int:
    return int(stamp.partition(":")[0] or 0)


def _look(watch: Watch, path: str, known: Mapping[str, Seen]) -> Seen:
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


def _contents(seen: Mapping[str, Seen]) -> dict[str, str]:
    return {path: digest for path, (_, digest) in seen.items()}


def _differences(now: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    return [] if now == old else [name for name in sorted({*now, *old}) if now.get(name) != old.get(name)]


def _file_reasons(watch: Watch, now: Mapping[str, str], old: Mapping[str, str]) -> Iterator[str]:
    """Give what happened to each file that is not what it was; the values are stamps or digests."""
    for path in _differences(now, old):
        name = watch.name(path)
        if not now.get(path):
            yield f"{name} is gone"
        else:
            yield f"{name} changed" if old.get(path) else f"{name} is new"


def _told(reasons: Iterable[str]) -> str | None:
    """Tell the first reason and how many more there are."""
    told = list(reasons)
    if len(told) > 1:
        return f"{told[0]} (and {len(told) - 1} more)"
    return told[0] if told else None
