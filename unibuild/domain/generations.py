"""Keep what was booted as numbered generations, so that it can be booted again.

    .unibuild/generations/7/kernel  domain.xl  ramdisk  generation.json

A generation is identified by its content: the same kernel, ``.xl`` and ramdisk are the same generation, with one more
boot. Numbers only grow. One rename adds or removes a folder, so that a killed run leaves a folder whole or not at all.

The kernel is copied from ``.unibuild/NAME.xen`` rather than hard-linked: unibuild replaces that file by a rename, which
would leave a link unchanged, but a user's own ``cp`` writes into it. Kept kernels of equal content are hard links of
each other.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from unibuild.errors import FileError, InputError
from unibuild.util.files import copy_atomic, lock, reading, refuse_newer, sha256, write_atomic, writing_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

__all__ = [
    "BOOTS",
    "FILES",
    "FOLDER",
    "BootRecord",
    "Content",
    "Generation",
    "GenerationRecord",
    "GenerationStore",
    "load",
    "outcome",
    "read",
    "write",
]

FILES = {"kernel": "kernel", "xl": "domain.xl", "ramdisk": "ramdisk"}
"""The files in a generation's folder other than ``generation.json``, by key."""

FOLDER = "generations"
"""The folder of all generations, in the state folder."""

VERSION = 1
_ABOUT = "generation.json"


class BootRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One domain that was created from a generation.

    Attributes:
        host: the name of the host.
        uuid: the domain's uuid.
        at: when it was created: UTC, in ISO 8601.
        outcome: the boot's outcome: ``started``, ``ready``, ``running``, ``not ready``, ``crashed``, ``ended``,
            ``destroyed``, ``replaced``.
        why: more about the outcome, in words.
        log: path of its console log at that time.
        good: whether it was ready, or ran without failing where no readiness is set.
    """

    host: str
    uuid: str
    at: str
    outcome: str = "started"
    why: str = ""
    log: str | None = None
    good: bool = False


class Content(msgspec.Struct, frozen=True):
    """A kept file: its SHA-256 and its size in bytes."""

    sha256: str
    size: int


class _RecordVersion(msgspec.Struct):
    version: int


class GenerationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The content of ``generation.json``."""

    version: int = VERSION
    name: str
    made: str
    facts: dict[str, str]
    files: dict[str, Content]
    boots: tuple[BootRecord, ...] = ()


@dataclass(frozen=True)
class Generation:
    """A kernel, ``.xl`` and ramdisk that were booted, and the boots.

    Attributes:
        number: its number, from 1.
        name: the domain's name.
        kernel: the kept kernel; it replaces the one that ``xl`` names.
        xl: the kept ``.xl``, unchanged.
        ramdisk: the kept ramdisk, where ``xl`` names one.
        kernel_sha256: SHA-256 of the kernel.
        xl_sha256: SHA-256 of the ``.xl``.
        ramdisk_sha256: SHA-256 of the ramdisk.
        kernel_size: bytes of the kernel.
        facts: its provenance (``unibuild.graph.provenance``).
        made: when it was first kept: UTC, in ISO 8601.
        boots: the oldest first.
    """

    number: int
    name: str
    kernel: Path
    xl: Path
    ramdisk: Path | None
    kernel_sha256: str
    xl_sha256: str
    ramdisk_sha256: str | None
    kernel_size: int
    facts: Mapping[str, str]
    made: str
    boots: tuple[BootRecord, ...]

    @property
    def args(self) -> str:
        """The unikernel's arguments, quoted for a shell."""
        return self.facts.get("arguments", "")

    @property
    def toolchain(self) -> str:
        """The toolchain that built it, with its version."""
        return self.facts.get("toolchain", "")

    @property
    def revision(self) -> str:
        """The revision of the sources; empty if it is not known."""
        return self.facts.get("revision", "")

    @property
    def hashes(self) -> dict[str, str]:
        """The SHA-256 of its files by ``kernel``, ``xl`` and ``ramdisk``; together they identify it."""
        found = {"kernel": self.kernel_sha256, "xl": self.xl_sha256, "ramdisk": self.ramdisk_sha256}
        return {key: value for key, value in found.items() if value}

    def last_good(self, host: str) -> str:
        """Return the time of its last good boot on a host; empty: it has none."""
        return max((boot.at for boot in self.boots if boot.host == host and boot.good), default="")

    @property
    def is_whole(self) -> bool:
        """Whether its files are unchanged since they were kept; this reads them all."""
        paths = {"kernel": self.kernel, "xl": self.xl, "ramdisk": self.ramdisk}
        try:
            return all(sha256(path) == self.hashes[key] for key, path in paths.items() if path)
        except FileError:
            return False


def load(folder: Path) -> Generation | None:
    """Return the generation in a folder named by its number; None: a file is missing or has another size."""
    kept = read(folder)
    if kept is None or not {"kernel", "xl"} <= kept.files.keys() <= FILES.keys():
        return None
    paths = {key: folder / FILES[key] for key in kept.files}
    try:
        if any(paths[key].stat().st_size != content.size for key, content in kept.files.items()):
            return None
    except OSError:
        return None
    files = kept.files
    return Generation(
        number=int(folder.name),
        name=kept.name,
        kernel=paths["kernel"],
        xl=paths["xl"],
        ramdisk=paths.get("ramdisk"),
        kernel_sha256=files["kernel"].sha256,
        xl_sha256=files["xl"].sha256,
        ramdisk_sha256=files["ramdisk"].sha256 if "ramdisk" in files else None,
        kernel_size=files["kernel"].size,
        facts=kept.facts,
        made=kept.made,
        boots=kept.boots,
    )


def read(folder: Path) -> GenerationRecord | None:
    """Return the content of ``generation.json`` in a folder; None: it is missing or damaged.

    Raises:
        FileError: a newer unibuild wrote it.
    """
    try:
        content = (folder / _ABOUT).read_bytes()
        refuse_newer(folder / _ABOUT, msgspec.json.decode(content, type=_RecordVersion).version, VERSION)
        return msgspec.json.decode(content, type=GenerationRecord)
    except (OSError, ValueError):  # msgspec's own errors are ValueErrors
        return None


def outcome(state: Path, number: int, uuid: str) -> str | None:
    """Return the outcome of a domain's boot, from the generation it was created from; None: it is no longer known.

    Args:
        state: the state folder.
        number: the generation's number.
        uuid: the domain's uuid.
    """
    kept = read(state / FOLDER / str(number))
    return next((boot.outcome for boot in kept.boots if boot.uuid == uuid), None) if kept else None


def write(folder: Path, kept: GenerationRecord) -> None:
    """Write ``generation.json`` atomically.

    Raises:
        FileError: it cannot be written.
    """
    write_atomic(folder / _ABOUT, msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")


BOOTS = 20  # the newest boots that a generation records; it also keeps the last good one of each host
_COUNT = "count"  # in the folder: the highest number ever given


class GenerationStore:
    """The generations in a project's state folder; several processes may use it at once.

    Args:
        state: the state folder.
        now: returns the time, for tests.
    """

    def __init__(self, state: Path, now: Callable[[], datetime] | None = None) -> None:
        self.folder = state / FOLDER
        self._now = now or (lambda: datetime.now(UTC))

    def all(self) -> tuple[Generation, ...]:
        """Return the generations that have all files with the right sizes, the oldest first."""
        found = (load(self.folder / str(number)) for number in self._numbers())
        return tuple(generation for generation in found if generation)

    def get(self, number: int) -> Generation:
        """Return a generation after checking that its files are unchanged.

        Raises:
            InputError: there is no generation of that number, or it is damaged; the hint names the others.
        """
        found = load(self.folder / str(number))
        if found and found.is_whole:
            return found
        others = ", ".join(str(one.number) for one in self.all() if one.number != number)
        raise InputError(
            f"generation {number} is damaged: a file in {self.folder / str(number)} has changed"
            if number in self._numbers()
            else f"there is no generation {number}",
            hint=f"run `unibuild history`; the kept generations are {others}" if others else "run `unibuild boot`",
        )

    def last_good(self, host: str, *, before: int | None = None) -> Generation | None:
        """Return the generation with the latest good boot on a host; None: there is none, or it is damaged.

        Args:
            host: the name of the host.
            before: only those with lower numbers.
        """
        good = [one for one in self.all() if one.last_good(host) and (before is None or one.number < before)]
        latest = sorted(good, key=lambda one: (one.last_good(host), one.number), reverse=True)
        return next((one for one in latest if one.is_whole), None)

    def add(self, kernel: Path, xl: Path, facts: Mapping[str, str]) -> Generation:
        """Keep what is about to be booted; if its content is kept already, give that generation these facts.

        Args:
            kernel: the kernel.
            xl: its ``.xl``; a ramdisk that it names is kept too.
            facts: its provenance.

        Raises:
            XlSyntaxError: xl would refuse the file.
            FileError: a file cannot be read or written.
            BusyError: another process holds the lock for too long.
        """
        from unibuild.xlcfg import parser  # a boot that has nothing to do needs no grammar

        with reading(xl):
            config = parser.parse(xl.read_bytes().decode(errors="surrogateescape"), str(xl))
        ramdisk = config.get("ramdisk")
        sources = {"kernel": kernel, "xl": xl, **({"ramdisk": Path(str(ramdisk))} if ramdisk else {})}
        with self._writing():
            hashes = {key: sha256(path) for key, path in sources.items()}
            for old in reversed(self.all()):
                if old.hashes == hashes and old.is_whole:
                    return self._change(old, facts=dict(facts))
            return self._keep(sources, hashes, str(config.get("name")), facts)

    def started(self, number: int, host: str, uuid: str, log: Path | None) -> None:
        """Record that a domain is created from a generation.

        Raises:
            InputError: there is no such generation.
            FileError: it cannot be written.
        """
        with self._writing():
            one = load(self.folder / str(number)) or self.get(number)
            boot = BootRecord(host=host, uuid=uuid, at=self._time(), log=str(log) if log else None)
            self._change(one, boots=_bounded((*one.boots, boot)))

    def ended(self, uuid: str, outcome: str, why: str) -> None:
        """Record the outcome of a boot, or what became of its domain; ignore a domain that is no longer known.

        A boot that was ready stays good whatever happens later. One that merely ran stays good unless it fails.

        Args:
            uuid: the domain's uuid.
            outcome: see ``BootRecord``.
            why: more about the outcome, in words.

        Raises:
            FileError: it cannot be written.
        """

        def updated(boot: BootRecord) -> BootRecord:
            failed = outcome in ("crashed", "not ready") and boot.outcome != "ready"
            good = outcome in ("ready", "running") or (boot.good and not failed)
            return msgspec.structs.replace(boot, outcome=outcome, why=why, good=good)

        with self._writing():
            for one in self.all():
                boots = tuple(updated(boot) if boot.uuid == uuid else boot for boot in one.boots)
                if boots != one.boots:
                    self._change(one, boots=boots)

    def is_proven(self, uuid: str) -> bool:
        """Return whether the boot of a domain was good or its outcome is no longer known.

        False for a domain that an interrupted run left: nothing ever reported that it was ready.
        """
        boots = [boot for one in self.all() for boot in one.boots if boot.uuid == uuid]
        return all(boot.good for boot in boots)

    def prune(self, keep: int, size: int, needed: Collection[int]) -> None:
        """Remove the oldest generations.

        The newest one, ``needed``, and of each host the last good one and the one booted last always stay, and count.

        Args:
            keep: how many generations may stay.
            size: MiB that the kernels and ramdisks may take together.
            needed: numbers of generations that stay.

        Raises:
            FileError: one cannot be removed.
        """
        with self._writing():
            found = self.all()
            stay = [one for one in found if one.number in _protected(found, needed)]
            for one in reversed(found):
                if one in stay:
                    continue
                if len(stay) >= keep or _bytes([*stay, one]) > size << 20:
                    break
                stay.append(one)
            for one in found:
                if one not in stay:
                    self._remove(one.number)

    def _keep(
        self, sources: Mapping[str, Path], hashes: Mapping[str, str], name: str, facts: Mapping[str, str]
    ) -> Generation:
        number = max((self._counted(), *self._numbers())) + 1
        write_atomic(self.folder / _COUNT, f"{number}\n".encode())
        temporary = self.folder / f".{number}.tmp"
        content = {}
        with writing_errors(temporary):
            temporary.mkdir(mode=0o700)
            for key, source in sources.items():
                path = temporary / FILES[key]
                if key == "xl" or not self._link(key, hashes[key], path):
                    copy_atomic(source, path)
                    path.chmod(0o400)
                content[key] = Content(sha256(path), path.stat().st_size)
        kept = GenerationRecord(name=name, made=self._time(), facts=dict(facts), files=content)
        write(temporary, kept)
        with writing_errors(self.folder / str(number)):
            temporary.replace(self.folder / str(number))
        return self.get(number)

    def _link(self, key: str, digest: str, path: Path) -> bool:
        """Make ``path`` a hard link to a kept file of this content, if there is one."""
        for one in self.all():
            kept = self.folder / str(one.number) / FILES[key]
            if one.hashes.get(key) == digest and sha256(kept) == digest:
                with contextlib.suppress(OSError):  # a file system without links, or too many of them
                    path.hardlink_to(kept)
                    return True
        return False

    def _change(
        self, one: Generation, *, boots: tuple[BootRecord, ...] | None = None, facts: dict[str, str] | None = None
    ) -> Generation:
        folder = self.folder / str(one.number)
        kept = read(folder)
        if kept is None:
            raise FileError(f"generation {one.number} was removed from {folder}")
        kept = msgspec.structs.replace(
            kept, boots=kept.boots if boots is None else boots, facts=kept.facts if facts is None else facts
        )
        write(folder, kept)
        return dataclasses.replace(one, boots=kept.boots, facts=kept.facts)

    def _remove(self, number: int) -> None:
        folder, removed = self.folder / str(number), self.folder / f".{number}.gone"
        with writing_errors(folder):
            folder.replace(removed)
            shutil.rmtree(removed)

    def _numbers(self) -> list[int]:
        """Return the numbers of all folders, the damaged ones included."""
        try:
            return sorted(int(path.name) for path in self.folder.iterdir() if re.fullmatch(r"[1-9][0-9]*", path.name))
        except OSError:
            return []

    def _counted(self) -> int:
        try:
            return int((self.folder / _COUNT).read_bytes())
        except (OSError, ValueError):
            return 0

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Lock the store, and remove what a killed run left half written or half removed."""
        where = self.folder.with_suffix(".lock")
        with lock(where, f"the generations in {self.folder}", timeout=30.0):
            for path in self.folder.glob(".[0-9]*.*"):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
            yield

    def _time(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _protected(found: Collection[Generation], needed: Collection[int]) -> set[int]:
    """Return the numbers of the generations that prune always keeps."""
    numbers = {*needed, *(one.number for one in [*found][-1:])}
    for host in {boot.host for one in found for boot in one.boots}:
        latest = {(boot.at, one.number) for one in found for boot in one.boots if boot.host == host}
        good = {(one.last_good(host), one.number) for one in found if one.last_good(host)}
        numbers |= {max(pairs)[1] for pairs in (latest, good) if pairs}
    return numbers


def _bytes(generations: Collection[Generation]) -> int:
    """Return the bytes of the kernels and ramdisks; a file with several links counts once."""
    sizes = {}
    for one in generations:
        for path in (one.kernel, one.ramdisk):
            if path:
                with contextlib.suppress(OSError):
                    status = path.stat()
                    sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())


def _bounded(boots: tuple[BootRecord, ...]) -> tuple[BootRecord, ...]:
    """Return the newest boots, and of the older ones the last good one of each host."""
    good = {boot.host: boot for boot in boots if boot.good}
    return tuple(boot for boot in boots if boot in boots[-BOOTS:] or boot in good.values())
