"""What we started, in the project's state folder: a domain is known as ours later, also after a run that was killed.

A host has at most two domains of a project: the ``good`` one, and during a swap the ``pending`` one that shall take its
place. Each is written down before Xen hears of it.
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

__all__ = ["DomainRecord", "FileIdentity", "HostRecord", "forget", "load", "load_all", "lock_path", "save"]

_FILE = "domain.json"
_VERSION = 2


@dataclass(frozen=True)
class FileIdentity:
    """A file as it was: its stamp (``stamps.take``) and the SHA-256 of its bytes."""

    stamp: str
    sha256: str


@dataclass(frozen=True)
class DomainRecord:
    """A domain that we made.

    Attributes:
        uuid: what tells it from every other one.
        name: its name, once it runs.
        generation: the number of what it was made from.
        kernel: the kernel that it was made from.
        xl: the ``.xl`` that it was made from.
        since: when it was made: UTC, as ISO 8601 has it.
    """

    uuid: str
    name: str
    generation: int
    kernel: FileIdentity
    xl: FileIdentity
    since: str


@dataclass(frozen=True)
class HostRecord:
    """Our domains on a host.

    Attributes:
        host: the name of the host.
        good: the one that was good last; it may have ended meanwhile.
        pending: the one that a swap has begun with and not finished.
    """

    host: str
    good: DomainRecord | None = None
    pending: DomainRecord | None = None

    @property
    def uuids(self) -> tuple[str, ...]:
        """What our domains on the host are known by."""
        return tuple(one.uuid for one in (self.good, self.pending) if one)


def load(state: Path, host: str) -> HostRecord:
    """Return the record of a host in the state folder; an empty one where there is none, or the file is damaged.

    Raises:
        FileError: a newer unibuild wrote the file; this goes for all that follows.
    """
    return load_all(state).get(host, HostRecord(host))


def load_all(state: Path) -> dict[str, HostRecord]:
    """Return the records by their hosts; those that we cannot read are left out."""
    found = {}
    for host, tree in _read(state).items():
        try:
            found[host] = HostRecord(host, _instance(tree["good"]), _instance(tree["pending"]))
        except (KeyError, TypeError):
            continue
    return found


def lock_path(state: Path, host: str) -> Path:
    """Return the file that is locked while a run changes our domains on a host."""
    return state / f"domain-{hashlib.sha256(host.encode()).hexdigest()[:8]}.lock"


def save(state: Path, record: HostRecord) -> None:
    """Write the record of its host, whole; one without any domain is forgotten.

    Raises:
        FileError: it cannot be written.
    """
    tree = {"good": _tree(record.good), "pending": _tree(record.pending)}
    _change(state, record.host, tree if record.uuids else None)


def forget(state: Path, host: str) -> None:
    """Remove the record of a host: there is no domain of ours there any more."""
    _change(state, host, None)


def _instance(tree: dict[str, Any] | None) -> DomainRecord | None:
    if tree is None:
        return None
    return DomainRecord(**{**tree, "kernel": FileIdentity(**tree["kernel"]), "xl": FileIdentity(**tree["xl"])})


def _tree(instance: DomainRecord | None) -> dict[str, Any] | None:
    return dataclasses.asdict(instance) if instance else None


def _read(state: Path) -> dict[str, dict[str, Any]]:
    try:
        tree = json.loads((state / _FILE).read_bytes())
        refuse_newer(state / _FILE, tree["version"], _VERSION)
        return dict(tree["hosts"]) if tree["version"] == _VERSION else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _change(state: Path, host: str, tree: dict[str, Any] | None) -> None:
    """Put a host's part in the file; several runs may be at it, each for a host of its own."""
    with lock(state / "records.lock", f"the records in {state}", patience=10.0):
        records = {key: value for key, value in _read(state).items() if key != host}
        if tree is not None:
            records[host] = tree
        write_atomic(state / _FILE, (json.dumps({"version": _VERSION, "hosts": records}, indent=1) + "\n").encode())
