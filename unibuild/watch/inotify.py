"""Wake the watch loop when a file in a watched folder changes, by inotify.

An event only wakes the loop: its own scan finds what changed, also after an event that the kernel dropped, on a file
system of another machine, and in a folder that was replaced.

This module uses ``InotifyFD`` of watchdog: one inotify instance, read by one thread. ``Observer``, the API above it, is
built on the same class, but it cannot replace it here (watchdog 7.1):

- It starts a thread for each folder, because a recursive watch would also cover what builds and git write.
- It reports neither an overflow of the kernel's queue nor that a watched folder itself was moved.
- It holds back a move out of a folder, and all events of that folder after it, for half a second.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from watchdog.observers.inotify_c import InotifyEvent, InotifyFD

__all__ = ["InotifyWatcher", "limit"]

_SYSCTL = Path("/proc/sys")
_RESERVE = 8  # the hint allows this many times the watches that the project needs: other programs watch too


class _Watched(NamedTuple):
    """A watch: its number in the kernel, the id of its callback in watchdog, and the folder's device and inode."""

    number: int
    callback: int
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
        self._fd: InotifyFD | None = None
        self._watched: dict[str, _Watched] = {}
        self._count = 0
        self._stale: set[int] = (
            set()
        )  # numbers of watches on folders that were removed or moved; the other thread adds to it
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
            if self._fd is None:
                self._fd = _instance()
            stale, self._stale = self._stale, set()
            for folder, watched in list(self._watched.items()):
                if there.get(folder) != watched.place or watched.number in stale:
                    self._drop(folder)
            for folder, place in there.items():
                if folder not in self._watched:
                    self._watched[folder] = self._add(folder, place)
        except OSError as error:
            if error.errno == errno.ENOENT:  # it was removed just now; the watch on its parent reports when it is back
                return
            self._fail(error, len(there))
        except (ImportError, AttributeError, TypeError) as error:
            self._give_up(f"this version of watchdog is not supported ({error})", "install watchdog 7.1")

    def check(self) -> None:
        """Set ``failure`` if the thread that reads the kernel's events has died."""
        if self._fd is not None and not self._fd.is_alive():
            self._give_up("the thread that reads inotify events has died", None)

    def on_event(self, event: InotifyEvent) -> None:
        """Answer watchdog: something in a folder changed."""
        if event.is_move_self or event.is_delete_self:
            self._stale.add(event.wd)
        self._wake()

    def on_watch_deleted(self, wd: int) -> None:
        """Answer watchdog: a folder was removed."""
        self._stale.add(wd)
        self._wake()

    def on_queue_overflow(self) -> None:
        """Answer watchdog: the kernel dropped events because its queue was full."""
        self._wake()

    def _add(self, folder: str, place: tuple[int, int]) -> _Watched:
        from watchdog.observers.inotify_c import InotifyConstants as Inotify

        assert self._fd is not None
        mask = (
            *(Inotify.IN_CREATE, Inotify.IN_DELETE, Inotify.IN_MOVED_FROM, Inotify.IN_MOVED_TO, Inotify.IN_MODIFY),
            *(Inotify.IN_CLOSE_WRITE, Inotify.IN_ATTRIB, Inotify.IN_DELETE_SELF, Inotify.IN_MOVE_SELF),
        )
        self._count += 1  # of the callback: two names of one folder share a watch
        number = self._fd.add_callback(os.fsencode(folder), sum(mask), self, self._count)  # type: ignore[arg-type]
        return _Watched(number, self._count, place)

    def _drop(self, folder: str) -> None:
        assert self._fd is not None
        watched = self._watched.pop(folder)
        with contextlib.suppress(OSError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the kernel may have dropped it already
            self._fd.remove_callbacks([(watched.number, watched.callback)])  # type: ignore[list-item]

    def _fail(self, error: OSError, wanted: int) -> None:
        if error.errno == errno.ENOSPC:
            key, allowed = limit("watches")
            self._give_up(
                f"the kernel lets you watch {allowed} folders in all, and this project has {wanted}",
                f"sudo sysctl {key}={max(_RESERVE * wanted, 2 * allowed)}",
            )
        elif error.errno == errno.EMFILE:
            key, allowed = limit("instances")
            self._give_up(
                f"the kernel lets {allowed} of your programs watch folders, and as many do",
                f"sudo sysctl {key}={max(128, 2 * allowed)}",
            )
        else:
            self._give_up(f"folders cannot be watched: {error.strerror or error}", None)

    def _give_up(self, failure: str, hint: str | None) -> None:
        self.failure, self.hint = failure, hint
        self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        self._watched.clear()
        if fd is not None:
            fd.stop()
            fd.join(1.0)


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


def _instance() -> InotifyFD:
    from watchdog.observers.inotify_c import InotifyFD

    logging.getLogger("watchdog").addHandler(logging.NullHandler())  # a scan finds what an overflow dropped
    fd = InotifyFD()
    fd.daemon = True
    fd.start()
    return fd


def _place(folder: str) -> tuple[int, int] | None:
    """Return the device and inode of a folder; None: it is not a folder."""
    try:
        status = os.stat(os.path.join(folder, "."))  # noqa: PTH116, PTH118 (this fails for a file)
    except OSError:
        return None
    return status.st_dev, status.st_ino
