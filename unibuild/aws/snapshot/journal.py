"""What was begun at AWS and is not finished, in ``.unibuild/aws.json``: a killed run goes on where it stopped.

A pending snapshot's blocks cannot be listed, so what was put is written down here. The file holds ids and checksums,
no secret. One that cannot be read counts as empty: then more is sent than need be, and nothing else is lost.
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
        sealed: whether it was asked to complete: no block can be put any more.
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
    """Return the version of a file that is not read as ours is; 0: it is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_JournalVersion).version
    except (OSError, msgspec.DecodeError):
        return 0


class UploadJournal:
    """The journal of a project.

    Args:
        folder: the project's state folder.
        writing: whether the file is written; a plan leaves it as it is.

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
        """Write down that an upload begins.

        Raises:
            FileError: the journal cannot be written; this goes for all that follows.
        """
        self._state.begun.append(upload)
        self.save()

    def drop(self, upload: PendingUpload) -> None:
        """Forget an upload: it is finished, or nothing of it is left."""
        self._state.begun = [one for one in self._state.begun if one is not upload]
        self.save()

    def save(self) -> None:
        """Write the file, whole, with what was changed in the uploads that it holds."""
        if self._writing:
            write_atomic(self.path, msgspec.json.encode(self._state) + b"\n")
