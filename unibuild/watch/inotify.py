"""What wakes the loop when a file changes: the kernel's inotify, by watchdog; a hint and no more.

watchdog's observer takes a thread for each folder and holds renames back; what is under it, one inotify instance with
one thread, does not. The handler does nothing but wake. What it misses (an overflow, a folder that was replaced, the
file system of another machine) the loop finds by its own look.
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
_ROOM = 8  # as many times of what we need is what we advise to allow: other programs watch too


class _Watched(NamedTuple):
    """A watch: the kernel's number of it, watchdog's of the callback, and which folder it is on."""

    number: int
    callback: int
    place: tuple[int, int]


class InotifyWatcher(contextlib.AbstractContextManager["InotifyWatcher"]):
    """Watches on folders, each without those in it.

    Args:
        wake: is called, in another thread, when something happened in one of them; it must return at once.
        poll: watch nothing.

    Attributes:
        failure: why nothing is watched, in a sentence; None: all is well.
        hint: what to do about that.
    """

    def __init__(self, wake: Callable[[], None], *, poll: bool = False) -> None:
        self._wake = wake
        self._fd: InotifyFD | None = None
        self._watched: dict[str, _Watched] = {}
        self._count = 0
        self._stale: set[int] = set()  # watches whose folder has gone or moved; the other thread adds to it
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
        """What is watched."""
        return frozenset(self._watched)

    def watch(self, folders: Iterable[str]) -> None:
        """Watch these folders and no others; one that is not there is passed over.

        Where that cannot be, nothing is watched from then on, and ``failure`` says why.
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
            if error.errno == errno.ENOENT:  # it went just now; its parent tells when it is back
                return
            self._fail(error, len(there))
        except (ImportError, AttributeError, TypeError) as error:
            self._give_up(f"this watchdog is none that we know ({error})", "install watchdog 7.1")

    def check(self) -> None:
        """See that the thread that reads the kernel's events lives; ``failure`` says so where it does not."""
        if self._fd is not None and not self._fd.is_alive():
            self._give_up("the thread that hears of changes has died", None)

    def on_event(self, event: InotifyEvent) -> None:
        """Answer watchdog: something happened."""
        if event.is_move_self or event.is_delete_self:
            self._stale.add(event.wd)
        self._wake()

    def on_watch_deleted(self, wd: int) -> None:
        """Answer watchdog: a folder is gone."""
        self._stale.add(wd)
        self._wake()

    def on_queue_overflow(self) -> None:
        """Answer watchdog: there was more than the kernel keeps."""
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
                f"the kernel lets you watch {allowed} folders in all, and this project takes {wanted}",
                f"sudo sysctl {key}={max(_ROOM * wanted, 2 * allowed)}",
            )
        elif error.errno == errno.EMFILE:
            key, allowed = limit("instances")
            self._give_up(
                f"the kernel lets {allowed} of your programs watch folders, and so many do",
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
    """Return the limit of inotify that is in force, for ``watches`` or ``instances``: sysctl's key and the number.

    There is one for every user, and one for all users of a namespace (namespaces(7)); the lower one counts.
    """
    found = []
    for key in (f"fs.inotify.max_user_{what}", f"user.max_inotify_{what}"):
        with contextlib.suppress(OSError, ValueError):
            found.append((int((_SYSCTL / key.replace(".", "/")).read_text()), key))
    number, key = min(found, default=(0, f"fs.inotify.max_user_{what}"))
    return key, number


def _instance() -> InotifyFD:
    from watchdog.observers.inotify_c import InotifyFD

    logging.getLogger("watchdog").addHandler(logging.NullHandler())  # an overflow needs no words: our own look heals it
    fd = InotifyFD()
    fd.daemon = True
    fd.start()
    return fd


def _place(folder: str) -> tuple[int, int] | None:
    """Return what tells a folder from another one of its name; None: it is none."""
    try:
        status = os.stat(os.path.join(folder, "."))  # noqa: PTH116, PTH118 (of a file this fails)
    except OSError:
        return None
    return status.st_dev, status.st_ino
