"""The journal of unfinished uploads, ``.unibuild/aws.json``: the run after a killed one continues where that stopped.

AWS cannot list the blocks of a pending snapshot, so the journal records those that were put. The file holds ids and
checksums, no secrets. A damaged file counts as empty: then blocks are sent again, and nothing else is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from unibuild.util.files import refuse_newer, write_atomic

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PendingUpload", "UploadJournal"]


class PendingUpload(msgspec.Struct):
    """An upload that is not finished.

    Attributes:
        region: where.
        identity: the identity of the image.
        parent: the snapshot that it begins with.
        attempt: how many snapshots of this upload are known to be gone.
        snapshot: its id, once it is known.
        sealed: whether its completion was requested: no more blocks can be put.
        done: the SHA-256, in hexadecimal digits, of the blocks that were put, by index.
    """

    region: str
    identity: str
    parent: str | None
    attempt: int = 0
    snapshot: str | None = None
    sealed: bool = False
    done: dict[int, str] = {}


_VERSION = 1


class _State(msgspec.Struct):
    version: Literal[1] = 1
    begun: list[PendingUpload] = []


class _JournalVersion(msgspec.Struct):
    version: int = 0


def _version(path: Path) -> int:
    """Return the version of a file in an unknown format; 0: it is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_JournalVersion).version
    except (OSError, msgspec.DecodeError):
        return 0


class UploadJournal:
    """The journal of a project.

    Args:
        folder: the project's state folder.
        writing: whether to write the file; a plan does not.

    Raises:
        FileError: a newer unibuild wrote it.
    """

    def __init__(self, folder: Path, *, writing: bool = True) -> None:
        self.path = folder / "aws.json"
        self._writing = writing
        try:
            self._state = msgspec.json.decode(self.path.read_bytes(), type=_State)
        except OSError:
            self._state = _State()
        except msgspec.DecodeError:
            refuse_newer(self.path, _version(self.path), _VERSION)
            self._state = _State()

    @property
    def begun(self) -> tuple[PendingUpload, ...]:
        """The uploads that are not finished."""
        return tuple(self._state.begun)

    def begin(self, upload: PendingUpload) -> None:
        """Record that an upload begins.

        Raises:
            FileError: the journal cannot be written. ``drop`` and ``save`` raise it too.
        """
        self._state.begun.append(upload)
        self.save()

    def drop(self, upload: PendingUpload) -> None:
        """Remove the record of an upload that is finished or has left nothing."""
        self._state.begun = [one for one in self._state.begun if one is not upload]
        self.save()

    def save(self) -> None:
        """Write the whole file, with the changes in its uploads."""
        if self._writing:
            write_atomic(self.path, msgspec.json.encode(self._state) + b"\n")
