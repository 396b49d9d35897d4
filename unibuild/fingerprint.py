"""Decide whether a task is stale: compare the files that it reads and writes with their state at its last success.

A fingerprint is ``mtime_ns:size:inode:ctime_ns``. If it differs, a digest of the content decides. So a tree that was
copied or checked out again is the same tree. The digest also shows whether the owner may run the file. No program can
set the ctime, so it reveals an edit that kept date and size.

A file can be written within the file system's resolution of the moment when its fingerprint was taken. It can then
change again and keep its fingerprint, so its digest decides too (git calls such a file "racily clean").

The recorded state of inputs is that from *before* the action. The next run sees an edit made while the action runs.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = [
    "ABSENT",
    "TICK",
    "Change",
    "FileSystemClock",
    "Seen",
    "StageInputs",
    "StageRecord",
    "Verdict",
    "boundary",
    "clock",
    "content",
    "dated",
    "describe",
    "has_same_bytes",
    "is_older",
    "judge",
    "key",
    "known",
    "mtime",
    "path_of",
    "seal",
    "see",
    "take",
    "written",
]

ABSENT = ""  # the fingerprint of a missing file
TICK = 0.02  # seconds: two writes closer than the kernel's coarse clock (10 ms at HZ=100) can get the same mtime

_PROBE = 1_000_000_001_123_456_789  # ns since the epoch: an odd second with every digit after it
_LARGE = 64 << 20  # bytes: unibuild does not read a disk image in each run
_UNKNOWN = 2_000_000_000  # ns: the coarsest resolution of a file system in use (FAT)
_EXECUTABLE = "+x"
_LONGEST_TICK = 0.2  # seconds to wait for a clock to advance, at most

Seen = list[str]
"""Fingerprint and digest of a file."""

Kind = Literal["changed", "touched", "new", "gone"]


class FileSystemClock(NamedTuple):
    """The time of a file system in ns since the epoch, and how far apart two writes are that get different times."""

    now: int
    tick: int


class StageRecord(TypedDict):
    """What a task saw and left when it last succeeded, as JSON keeps it; paths are those of ``key``."""

    inputs: dict[str, Seen]
    outputs: dict[str, Seen]
    made: dict[str, Seen]
    targets: dict[str, Seen]
    fingerprint: dict[str, str]
    taken: int  # when the fingerprints were taken, ns since the epoch by the file system's clock
    tick: int  # its resolution in ns


NOTHING: StageRecord = {
    "inputs": {},
    "outputs": {},
    "made": {},
    "targets": {},
    "fingerprint": {},
    "taken": 0,
    "tick": _UNKNOWN,
}


class Change(NamedTuple):
    """What happened to a file; ``touched``: its fingerprint differs, and its content is the same."""

    path: str
    kind: Kind


class StageInputs(NamedTuple):  # a dataclass takes five times as long to make, and every doit run makes this
    """What decides whether a task is stale.

    Attributes:
        root: the project's folder; names in reasons are relative to it.
        inputs: absolute paths of files that people write.
        made: absolute paths of inputs that an earlier task makes.
        targets: absolute paths of what the task leaves.
        fingerprint: everything else that matters, by a name to report.
        digest: the hash of what ``made`` and ``targets`` mean.
        left_over: absolute paths of files that are there and should not be: the task removes them.
        gone: absolute paths of files that are not there and were when the task ended: it writes or looks for them.
        why: what to report, where the task is stale, instead of the first difference.
        outputs: absolute paths of other files that the task wrote.
        touches: whether a new date alone makes the task stale.
    """

    root: str
    inputs: Sequence[str]
    made: Sequence[str]
    targets: Sequence[str]
    fingerprint: Mapping[str, str]
    digest: Callable[[str], str]
    left_over: Sequence[str] = ()
    why: str | None = None
    outputs: Sequence[str] = ()
    touches: bool = False
    gone: Sequence[str] = ()

    def name(self, path: str) -> str:
        """Return a path as the user would write it in the project's folder."""
        return path.removeprefix(self.root.rstrip("/") + "/")


class Verdict(NamedTuple):
    """Whether a task is stale.

    Attributes:
        reason: why it is, in a few words; None: it is up to date.
        record: what is there now; the targets only as far as they are known to be what the last success left.
        suspects: targets that are there and are not known to be that.
        changes: the inputs that are not what they were.
        others: what else makes it stale: names of the fingerprint, and paths of ``made`` and ``outputs``.
    """

    reason: str | None
    record: StageRecord
    suspects: tuple[str, ...]
    changes: tuple[Change, ...] = ()
    others: tuple[str, ...] = ()


def take(path: str) -> str:
    """Return the fingerprint of a file or folder, through symbolic links; ``ABSENT`` where it cannot be had."""
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path for each of 10,000 files would double the time)
    except OSError:
        return ABSENT
    return f"{status.st_mtime_ns}:{status.st_size}:{status.st_ino}:{status.st_ctime_ns}"


def mtime(path: str) -> int:
    """Return the modification time of a file in ns since the epoch; 0 where it cannot be had."""
    return _mtime(take(path))


def dated(path: str) -> str:
    """Return what a new date, size or place of a file changes, and a new mode does not; ``ABSENT`` as for ``take``."""
    return take(path).rpartition(":")[0]


def content(path: str) -> str:
    """Return the hash of a file's bytes, of a very large file its date, size and inode; empty: it cannot be read.

    It shows also whether the owner may run the file: the only part of its mode that git keeps.
    """
    try:
        status = os.stat(path)  # noqa: PTH116
        mode = _EXECUTABLE if status.st_mode & stat.S_IXUSR else ""
        if status.st_size > _LARGE:
            return f"{dated(path)}{mode}"
        with open(path, "rb") as file:  # noqa: PTH123
            if path.endswith("/index"):
                return f"{_index_digest(file.read())}{mode}"
            return f"{hashlib.file_digest(file, _hash).hexdigest()}{mode}"
    except OSError:
        return ""


def _index_digest(data: bytes) -> str:
    """Return the hash of a file that may be git's index: without the dates in it, which ``git status`` changes."""
    from unibuild import git_index

    digest = _hash()
    digest.update(git_index.entries(data) if data.startswith(git_index.MAGIC) else data)
    return str(digest.hexdigest())


def has_same_bytes(one: str, other: str) -> bool:
    """Say whether two results of ``content`` are equal apart from the mode."""
    return one.removesuffix(_EXECUTABLE) == other.removesuffix(_EXECUTABLE)


def clock(folder: str) -> FileSystemClock:
    """Return the time and resolution of the file system of ``folder``, by writing a file ``clock`` there.

    A server's clock, and whole seconds, are those that the files next to it get. Where the folder cannot be written
    to, this machine's time and the coarsest resolution count.
    """
    path = f"{folder}/clock"
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        os.utime(path, ns=(_PROBE, _PROBE))
        kept = os.stat(path).st_mtime_ns  # noqa: PTH116
        os.utime(path)
        now = os.stat(path).st_mtime_ns  # noqa: PTH116
    except OSError:
        return FileSystemClock(time.time_ns(), _UNKNOWN)
    lost = _PROBE - kept
    coarse = next((tick for tick in (10**3, 10**6, 10**7, 10**9, 2 * 10**9) if abs(lost) < tick), 2 * 10**9)
    return FileSystemClock(now, max(int(TICK * 1e9), coarse))


def boundary(folder: str) -> int:
    """Wait until the clock of a folder's file system advances, and return its time in ns since the epoch.

    A file of that file system with an earlier ctime was last changed before this call returned. If the clock has whole
    seconds, there is no wait, and the result is that much earlier.
    """
    first = clock(folder)
    deadline = time.monotonic() + _LONGEST_TICK
    while first.tick <= int(TICK * 1e9) and time.monotonic() < deadline:
        now = clock(folder).now
        if now > first.now:
            return now
        time.sleep(0.001)
    return first.now - first.tick


def is_older(path: str, time_ns: int, folder: str) -> bool:
    """Say whether a file was last changed before a time that ``boundary`` returned for ``folder``."""
    try:
        status, device = os.stat(path), os.stat(folder).st_dev  # noqa: PTH116
    except OSError:
        return False
    return status.st_ctime_ns < (time_ns if status.st_dev == device else time_ns - _UNKNOWN)


def key(root: str, path: str) -> str:
    """Return the name of a path in a record: relative to the project where it is near, so that a tree can move."""
    below = root.rstrip("/") + "/"
    if path.startswith(below):
        return path[len(below) :]
    above = below
    for _ in range(2):
        above = above.rstrip("/").rpartition("/")[0] + "/"
        if above != "/" and path.startswith(above):
            return os.path.relpath(path, root)
    return path


def path_of(root: str, name: str) -> str:
    """Return the absolute path of a name that ``key`` gave."""
    return (
        os.path.normpath(f"{root}/{name}") if name.startswith("../") else name if name[0] == "/" else f"{root}/{name}"
    )


def known(values: object) -> StageRecord | None:
    """Return the record in a task's saved values; None where there is none, or one of another version's shape."""
    import msgspec

    try:
        return msgspec.convert(values, dict[Literal["record"], StageRecord])["record"]
    except (msgspec.ValidationError, KeyError):
        return None


def judge(watch: StageInputs, record: StageRecord | None, now: FileSystemClock | None = None) -> Verdict:
    """Compare what is there with what was there when the task last succeeded.

    Call it before the action; ``seal`` makes the record to keep after it.

    Args:
        watch: what decides.
        record: of the last success; None: there was none.
        now: the file system's time, taken before this call; None: the verdict's record is not kept.
    """
    old = record or NOTHING
    look = _Look(watch, old)
    inputs = look.all(watch.inputs, old["inputs"], content)
    outputs = look.all(watch.outputs, old["outputs"], content)
    made = look.all(watch.made, old["made"], watch.digest)
    seen = look.all(watch.targets, old["targets"], watch.digest)
    targets = {name: one for name, one in seen.items() if one[0] and one[1:] == old["targets"].get(name, [])[1:]}
    changes = tuple(_changes(watch, inputs, old["inputs"]))
    spoiled = [name for name, one in outputs.items() if one[0] and one[1] != old["outputs"].get(name, one)[1]]
    settings = _differences(watch.fingerprint, old["fingerprint"])
    remade = _differences(_contents(made), _contents(old["made"]))
    reason = (
        "not done yet"
        if record is None
        else _summary(f"{name} changed" for name in settings)
        or _summary(_describe_changes(watch, changes))
        or _summary(_describe_changes(watch, _changes(watch, made, old["made"])))
        or _summary(
            f"{watch.name(path)} {'is not what was made' if seen[key(watch.root, path)][0] else 'is missing'}"
            for path in watch.targets
            if key(watch.root, path) not in targets
        )
        or _summary(f"{watch.name(path)} is missing" for path in watch.gone)
        or _summary(f"{name} is not what was made" for name in spoiled)
        or _summary(f"{watch.name(path)} is left over" for path in watch.left_over)
    )
    if reason is not None and watch.why is not None:
        reason = watch.why
    found: StageRecord = {
        "inputs": inputs,
        "outputs": outputs,
        "made": made,
        "targets": targets,
        "fingerprint": dict(watch.fingerprint),
        "taken": now.now if now else 0,
        "tick": now.tick if now else _UNKNOWN,
    }
    if reason is None and not look.is_racy:  # nothing has to be written
        found["taken"], found["tick"] = old["taken"], old["tick"]
    names = {key(watch.root, path): path for path in watch.targets}
    suspects = tuple(path for name, path in names.items() if seen[name][0] and name not in targets)
    return Verdict(reason, found, suspects, changes, (*settings, *remade, *spoiled))


def seal(watch: StageInputs, before: StageRecord, own: Iterable[str] = ()) -> StageRecord:
    """Return the record of a success.

    Args:
        watch: what decides from now on.
        before: from the verdict.
        own: absolute paths of inputs that count by their state after the action.
    """
    names_of_own = {key(watch.root, path) for path in own}
    look = _Look(watch, NOTHING)
    names = {key(watch.root, path): path for path in watch.inputs}
    inputs = {name: before["inputs"][name] for name in names if name in before["inputs"] and name not in names_of_own}
    inputs |= {name: see(path) for name, path in names.items() if name in names_of_own}
    # A file that is gone, or is an input no more, stays as it was: the next verdict sees that.
    inputs |= {name: one for name, one in before["inputs"].items() if name not in inputs and name not in names_of_own}
    for path in watch.outputs:
        inputs.pop(key(watch.root, path), None)
    return {
        **before,
        "inputs": inputs,
        "outputs": look.all(watch.outputs, before["outputs"], content),
        "targets": look.all(watch.targets, {}, watch.digest),
        "fingerprint": dict(watch.fingerprint),
    }


def describe(watch: StageInputs, changes: Iterable[Change]) -> str:
    """Return what happened to files, in a few words: the first one, and how many more there are."""
    return _summary(_describe_changes(watch, changes)) or ""


def see(path: str) -> Seen:
    """Return the fingerprint and the digest of a file."""
    return _see(path, content)


class _Look:
    """Takes the state of files; a known digest counts where the fingerprint is the same and old enough."""

    def __init__(self, watch: StageInputs, old: StageRecord) -> None:
        self.root = watch.root
        self.young = old["taken"] - old["tick"]
        self.is_racy = False

    def all(self, paths: Iterable[str], old: Mapping[str, Seen], digest: Callable[[str], str]) -> dict[str, Seen]:
        found: dict[str, Seen] = {}
        for path in paths:
            name = key(self.root, path)
            before = old.get(name)
            stamp = take(path)
            if before is not None and before[0] == stamp:
                if stamp == ABSENT or written(stamp) < self.young:
                    found[name] = before
                    continue
                self.is_racy = True
            found[name] = [ABSENT, ""] if stamp == ABSENT else _see(path, digest)
        return found


def _see(path: str, digest: Callable[[str], str]) -> Seen:
    stamp = take(path)
    while stamp != ABSENT:  # the digest is that of the file with this fingerprint, not of its successor
        found = digest(path)
        before, stamp = stamp, take(path)
        if stamp == before:
            return [stamp, found]
    return [ABSENT, ""]


def _hash() -> Any:  # noqa: ANN401 (the types do not know blake2b as a HASH)
    return hashlib.blake2b(digest_size=16)


def written(stamp: str) -> int:
    """Return when a file with this fingerprint was last changed in any way, ns since the epoch."""
    return max(_mtime(stamp), int(stamp.rpartition(":")[2] or 0))


def _mtime(stamp: str) -> int:
    return int(stamp.partition(":")[0] or 0)


def _contents(seen: Mapping[str, Seen]) -> dict[str, str]:
    return {path: digest for path, (_, digest) in seen.items()}


def _differences(now: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    return [] if now == old else [name for name in sorted({*now, *old}) if now.get(name) != old.get(name)]


def _changes(watch: StageInputs, now: Mapping[str, Seen], old: Mapping[str, Seen]) -> Iterator[Change]:
    """Give what happened to each file that is not what it was; contents first, dates after them."""
    if now == old:
        return
    touched = []
    for name in sorted({*now, *old}):
        one, before = now.get(name, [ABSENT, ""]), old.get(name, [ABSENT, ""])
        path = path_of(watch.root, name)
        is_dated = watch.touches and _mtime(one[0]) != _mtime(before[0])
        if one == before or (one[0] and one[1] == before[1] and before[0] and not is_dated):
            continue
        if not one[0]:
            yield Change(path, "gone")
        elif not before[0]:
            yield Change(path, "new")
        elif one[1] != before[1]:
            yield Change(path, "changed")
        else:
            touched.append(Change(path, "touched"))
    yield from touched


def _describe_changes(watch: StageInputs, changes: Iterable[Change]) -> Iterator[str]:
    words = {"changed": "changed", "touched": "has another date", "new": "is new", "gone": "is gone"}
    for change in changes:
        yield f"{watch.name(change.path)} {words[change.kind]}"


def _summary(reasons: Iterable[str]) -> str | None:
    """Return the first reason and how many more there are."""
    found = list(reasons)
    if len(found) > 1:
        return f"{found[0]} (and {len(found) - 1} more)"
    return found[0] if found else None
