"""What the running box is: written when it answers, so that a later command knows what it has before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from unibuild.settings.types import Network
from unibuild.util import files

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["VERSION", "Record", "load", "save"]

VERSION: Literal[2] = 2


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A running box.

    Args:
        version: of this record's shape.
        accel: what runs the box.
        memory: its memory in MiB.
        network: what it reaches, as in the settings.
        image: what it was booted from, in a few words.
        manifest: the SHA-256 of that image's manifest.
        since: when it came up; seconds since 1970.
    """

    version: Literal[2]
    accel: Literal["kvm", "tcg"]
    memory: int
    network: Network
    image: str
    manifest: str
    since: float


def load(path: Path) -> Record | None:
    """Return the record; None where there is none, or it is cut off or of another version of unibuild."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None


def save(path: Path, record: Record) -> None:
    """Write the record whole, for the user alone.

    Raises:
        FileError: it cannot be written.
    """
    files.write_whole(path, msgspec.json.encode(record), mode=0o600)
