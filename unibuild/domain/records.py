"""Record in the state folder which domains the project created, so that a later run recognizes them.

A host has at most two domains of a project: ``good``, and during a swap ``pending``, which replaces it. Each is
recorded before Xen creates it, so that a run that is killed leaves no unknown domain.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unibuild.util.files import lock, refuse_newer, write_atomic

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BootFiles", "DomainRecord", "FileIdentity", "HostRecord", "forget", "load", "load_all", "lock_path", "save"]

_FILE = "domain.json"
_VERSION = 2


@dataclass(frozen=True)
class FileIdentity:
    """A file's identity at one time: its fingerprint (``fingerprint.take``) and the SHA-256 of its bytes.

    Of an ``.xl`` file ``movable`` is the hash that a move of the project does not change (``xl_file.digest``). Of a
    ramdisk ``path`` is where the ``.xl`` names it, relative to the project's folder.
    """

    stamp: str
    sha256: str
    movable: str = ""
    path: str = ""

    def is_same(self, other: FileIdentity) -> bool:
        """Say whether both have the same content."""
        return self.sha256 == other.sha256 or ("" != self.movable == other.movable)


@dataclass(frozen=True)
class BootFiles:
    """The project's files that a domain is created from.

    Attributes:
        kernel: the kernel.
        xl: the ``.xl``.
        ramdisk: the ramdisk that the ``.xl`` names, if any.
    """

    kernel: FileIdentity
    xl: FileIdentity
    ramdisk: FileIdentity | None = None

    def is_same(self, other: BootFiles) -> bool:
        """Say whether all files have the same content."""
        if self.ramdisk is None or other.ramdisk is None:
            same_ramdisk = self.ramdisk is other.ramdisk
        else:
            same_ramdisk = self.ramdisk.is_same(other.ramdisk)
        return same_ramdisk and self.kernel.is_same(other.kernel) and self.xl.is_same(other.xl)


@dataclass(frozen=True)
class DomainRecord:
    """A domain that unibuild created.

    Attributes:
        uuid: the domain's uuid.
        name: its name, once it runs.
        generation: the number of the generation that it was created from.
        files: the files that it was created from.
        since: when it was created: UTC, in ISO 8601.
    """

    uuid: str
    name: str
    generation: int
    files: BootFiles
    since: str


@dataclass(frozen=True)
class HostRecord:
    """The project's domains on a host.

    Attributes:
        host: the name of the host.
        good: the last good domain; it may have stopped meanwhile.
        pending: the new domain of an unfinished swap.
    """

    host: str
    good: DomainRecord | None = None
    pending: DomainRecord | None = None

    @property
    def uuids(self) -> tuple[str, ...]:
        """The uuids of the project's domains on the host."""
        return tuple(one.uuid for one in (self.good, self.pending) if one)


def load(state: Path, host: str) -> HostRecord:
    """Return the record of a host in the state folder; it is empty if there is none or the file is damaged.

    Raises:
        FileError: a newer unibuild wrote the file; all functions here raise this.
    """
    return load_all(state).get(host, HostRecord(host))


def load_all(state: Path) -> dict[str, HostRecord]:
    """Return the records by host, without those that cannot be read."""
    found = {}
    for host, tree in _read(state).items():
        try:
            found[host] = HostRecord(host, _domain(tree["good"]), _domain(tree["pending"]))
        except (KeyError, TypeError):
            continue
    return found


def lock_path(state: Path, host: str) -> Path:
    """Return the file that is locked while a run changes the project's domains on a host."""
    return state / f"domain-{hashlib.sha256(host.encode()).hexdigest()[:8]}.lock"


def save(state: Path, record: HostRecord) -> None:
    """Write the record of a host atomically, or remove it if it has no domain.

    Raises:
        FileError: it cannot be written.
    """
    tree = {"good": _tree(record.good), "pending": _tree(record.pending)}
    _change(state, record.host, tree if record.uuids else None)


def forget(state: Path, host: str) -> None:
    """Remove the record of a host that has no domain of the project any more."""
    _change(state, host, None)


def _domain(tree: dict[str, Any] | None) -> DomainRecord | None:
    if tree is None:
        return None
    rest = dict(tree)
    kernel, xl, ramdisk = rest.pop("kernel"), rest.pop("xl"), rest.pop("ramdisk", None)
    files = BootFiles(FileIdentity(**kernel), FileIdentity(**xl), FileIdentity(**ramdisk) if ramdisk else None)
    return DomainRecord(**rest, files=files)


def _tree(instance: DomainRecord | None) -> dict[str, Any] | None:
    if instance is None:
        return None
    tree = dataclasses.asdict(instance)
    files = tree.pop("files")
    return {**tree, **files}


def _read(state: Path) -> dict[str, dict[str, Any]]:
    try:
        tree = json.loads((state / _FILE).read_bytes())
        refuse_newer(state / _FILE, tree["version"], _VERSION)
        return dict(tree["hosts"]) if tree["version"] == _VERSION else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _change(state: Path, host: str, tree: dict[str, Any] | None) -> None:
    """Replace a host's part of the file under a lock: several runs may write, each for its own host."""
    with lock(state / "records.lock", f"the records in {state}", timeout=10.0):
        records = {key: value for key, value in _read(state).items() if key != host}
        if tree is not None:
            records[host] = tree
        write_atomic(state / _FILE, (json.dumps({"version": _VERSION, "hosts": records}, indent=1) + "\n").encode())
