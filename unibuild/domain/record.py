"""What we started: a small file in the project's state folder, so that a domain is known as ours later."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unibuild.files import write_whole

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Mark", "Record", "forget", "load", "save"]

_FILE = "domain.json"
_VERSION = 1


@dataclass(frozen=True)
class Mark:
    """A file as it was: its stamp (``stamps.take``) and the SHA-256 of its bytes."""

    stamp: str
    sha256: str


@dataclass(frozen=True)
class Record:
    """The domain that we made last on a host.

    Attributes:
        host: the name of the host.
        name: its name there.
        uuid: what tells it from another one of that name.
        kernel: the kernel that it was made from.
        xl: the ``.xl`` that it was made from.
    """

    host: str
    name: str
    uuid: str
    kernel: Mark
    xl: Mark


def load(state: Path, host: str) -> Record | None:
    """Return the record of a host in the state folder; None where there is none that we can read."""
    try:
        tree = _read(state)[host]
        kernel, xl = Mark(**tree.pop("kernel")), Mark(**tree.pop("xl"))
        return Record(kernel=kernel, xl=xl, **tree)
    except (KeyError, TypeError, AttributeError):
        return None


def save(state: Path, record: Record) -> None:
    """Write the record of its host, whole.

    Raises:
        FileError: it cannot be written.
    """
    _write(state, {**_read(state), record.host: dataclasses.asdict(record)})


def forget(state: Path, host: str) -> None:
    """Remove the record of a host: there is no domain of ours there any more."""
    records = _read(state)
    if records.pop(host, None) is not None:
        _write(state, records)


def _read(state: Path) -> dict[str, dict[str, Any]]:
    try:
        tree = json.loads((state / _FILE).read_bytes())
        return dict(tree["domains"]) if tree["version"] == _VERSION else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write(state: Path, records: dict[str, dict[str, Any]]) -> None:
    write_whole(state / _FILE, (json.dumps({"version": _VERSION, "domains": records}, indent=1) + "\n").encode())
