"""Records which files of a tree a build reads: inotify reports every file that any process opens and closes.

Another program that reads the tree at the same time adds files to the record, which costs at most a needless build.
Without inotify, or if it drops events, there is no record, and every file counts as read.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

from unibuild.util import inotify

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Trace"]


class Trace(contextlib.AbstractContextManager["Trace"]):
    """Watches folders, each without those in it, for the time of its block.

    Args:
        folders: absolute paths.

    Attributes:
        read: the files that were read, as paths in these folders; valid after the block.
        listed: the folders that were listed.
        is_complete: whether nothing was missed.
    """

    def __init__(self, folders: Iterable[str]) -> None:
        self.read: set[str] = set()
        self.listed: set[str] = set()
        self.is_complete = False
        self._folders = tuple(folders)
        self._by_number: dict[int, str] = {}
        self._inotify: inotify.Inotify | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo, contextlib.suppress(OSError):
            reader = inotify.Inotify(self._note)
            undo.callback(reader.close)
            mask = inotify.ACCESS | inotify.CLOSE_NOWRITE | inotify.ONLYDIR
            self._by_number = {reader.add(folder, mask): folder for folder in self._folders}
            self.is_complete = True
            self._inotify = reader
            reader.start()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        if self._inotify is not None:
            self._inotify.close()

    def _note(self, events: Sequence[inotify.InotifyEvent]) -> None:
        for event in events:
            folder = self._by_number.get(event.watch)
            if event.mask & inotify.OVERFLOW:
                self.is_complete = False
            elif folder is None:
                continue
            elif event.name and not event.mask & inotify.ISDIR:
                self.read.add(f"{folder}/{event.name}")
            elif event.mask & inotify.ISDIR:
                self.listed.add(f"{folder}/{event.name}" if event.name else folder)
