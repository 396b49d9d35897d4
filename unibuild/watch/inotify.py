"""Wake the watch loop when a file in a watched folder changes, by inotify.

An event only wakes the loop: its own scan finds what changed, also after an event that the kernel dropped, on a file
system of another machine, and in a folder that was replaced.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from unibuild.util import inotify
from unibuild.util.inotify import Inotify, InstanceLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["InotifyWatcher", "limit"]

_SYSCTL = Path("/proc/sys")
_MASK = (
    *(inotify.CREATE, inotify.DELETE, inotify.MOVED_FROM, inotify.MOVED_TO, inotify.MODIFY),
    *(inotify.CLOSE_WRITE, inotify.ATTRIB, inotify.DELETE_SELF, inotify.MOVE_SELF),
)
_RESERVE = 8  # the hint allows this many times the watches that the project needs: other programs watch too


class _Watched(NamedTuple):
    """A watch: its number, which all names of a folder share, and the folder's device and inode."""

    number: int
    place: tuple[int, int]


class InotifyWatcher(contextlib.AbstractContextManager["InotifyWatcher"]):
    """Watches on folders, without their subfolders.

    Args:
        wake: called in another thread when something in a watched folder changed; it must return at once.
        poll: watch nothing.

    Attributes:
        failure: why nothing is watched, in a sentence; None: folders are watched.
        hint: how to fix that.
    """

    def __init__(self, wake: Callable[[], None], *, poll: bool = False) -> None:
        self._wake = wake
        self._inotify: Inotify | None = None
        self._watched: dict[str, _Watched] = {}
        self._stale: set[int] = set()  # watches on folders that were removed or moved; the other thread adds to it
        self.failure: str | None = "[watch] poll is set" if poll else None
        self.hint: str | None = None

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def is_polling(self) -> bool:
        """Whether nothing is watched."""
        return self.failure is not None

    @property
    def is_stale(self) -> bool:
        """Whether a watched folder was removed or moved, so that the folders must be watched again."""
        return bool(self._stale)

    @property
    def folders(self) -> frozenset[str]:
        """The watched folders."""
        return frozenset(self._watched)

    def watch(self, folders: Iterable[str]) -> None:
        """Watch these folders and no others; a folder that does not exist is skipped.

        If that fails, nothing is watched from then on, and ``failure`` says why.
        """
        if self.is_polling:
            return
        there = {folder: place for folder in folders if (place := _place(folder))}
        try:
            if self._inotify is None:
                self._inotify = Inotify(self._receive)
                self._inotify.start()
            reader = self._inotify
            stale = set(self._stale)
            self._stale -= stale  # the set stays the same one: the other thread may be adding to it
            for folder, watched in list(self._watched.items()):
                if there.get(folder) != watched.place or watched.number in stale:
                    self._drop(reader, folder)
            for folder, place in there.items():
                if folder not in self._watched:
                    self._watched[folder] = _Watched(reader.add(folder, sum(_MASK)), place)
        except OSError as error:
            if error.errno == errno.ENOENT:  # it was removed just now; the watch on its parent reports when it is back
                return
            self._fail(error, len(there))

    def check(self) -> None:
        """Set ``failure`` if the thread that reads the kernel's events has died."""
        if self._inotify is not None and not self._inotify.is_alive:
            self._give_up("the thread that reads inotify events has died", None)

    def _receive(self, events: Sequence[inotify.InotifyEvent]) -> None:
        """Wake the loop, also after an overflow; called in the thread that reads the events."""
        gone = inotify.DELETE_SELF | inotify.MOVE_SELF | inotify.UNMOUNT
        self._stale.update([event.watch for event in events if event.mask & gone])
        if any(event.mask & ~inotify.IGNORED for event in events):  # only that: this program has removed the watch
            self._wake()

    def _drop(self, reader: Inotify, folder: str) -> None:
        number = self._watched.pop(folder).number
        if all(watched.number != number for watched in self._watched.values()):
            reader.remove(number)

    def _fail(self, error: OSError, wanted: int) -> None:
        if error.errno == errno.ENOSPC:
            key, allowed = limit("watches")
            self._give_up(
                f"the kernel lets you watch {allowed} folders in all, and this project has {wanted}",
                f"sudo sysctl {key}={max(_RESERVE * wanted, 2 * allowed)}",
            )
        elif isinstance(error, InstanceLimitError):
            key, allowed = limit("instances")
            self._give_up(
                f"the kernel lets {allowed} of your programs watch folders, and as many do",
                f"sudo sysctl {key}={max(128, 2 * allowed)}",
            )
        else:
            hint = "raise the limit of open files (`ulimit -n`)" if error.errno == errno.EMFILE else None
            self._give_up(f"folders cannot be watched: {error.strerror or error}", hint)

    def _give_up(self, failure: str, hint: str | None) -> None:
        self.failure, self.hint = failure, hint
        self._close()

    def _close(self) -> None:
        reader, self._inotify = self._inotify, None
        self._watched.clear()
        if reader is not None:
            reader.close(1.0)


def limit(what: str) -> tuple[str, int]:
    """Return the limit of inotify for ``watches`` or ``instances``: the key for sysctl, and the number.

    There is a limit for each user, and one for all users of a namespace (namespaces(7)); the lower one counts.
    """
    found = []
    for key in (f"fs.inotify.max_user_{what}", f"user.max_inotify_{what}"):
        with contextlib.suppress(OSError, ValueError):
            found.append((int((_SYSCTL / key.replace(".", "/")).read_text()), key))
    number, key = min(found, default=(0, f"fs.inotify.max_user_{what}"))
    return key, number


def _place(folder: str) -> tuple[int, int] | None:
    """Return the device and inode of a folder; None: it is not a folder."""
    try:
        status = os.stat(os.path.join(folder, "."))  # noqa: PTH116, PTH118 (this fails for a file)
    except OSError:
        return None
    return status.st_dev, status.st_ino
