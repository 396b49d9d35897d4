"""Records which files of a tree a build reads: inotify reports every file that any process opens and closes.

Another program that reads the tree at the same time adds files to the record, which costs at most a needless build.
Without inotify, or if it drops events, there is no record, and every file counts as read.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import struct
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Trace"]

_ACCESS, _CLOSE_NOWRITE, _ONLYDIR, _ISDIR, _OVERFLOW = 0x1, 0x10, 0x01000000, 0x40000000, 0x4000  # inotify(7)
_HEAD = struct.Struct("iIII")


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
        self._fd = -1
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if self._fd < 0:
                return self
            for folder in self._folders:
                mask = _ACCESS | _CLOSE_NOWRITE | _ONLYDIR
                number = libc.inotify_add_watch(self._fd, os.fsencode(folder), mask)
                if number < 0:
                    os.close(self._fd)
                    self._fd = -1
                    return self
                self._by_number[number] = folder
        except (OSError, AttributeError):  # another libc, or none
            return self
        self._stop, self._end = os.pipe()
        self.is_complete = True
        self._thread = threading.Thread(target=self._follow, name="unibuild trace", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            os.close(self._end)
            self._thread.join()
            os.close(self._stop)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _follow(self) -> None:
        while True:
            ready = select.select([self._fd, self._stop], [], [])[0]
            self._take()
            if self._stop in ready:
                return

    def _take(self) -> None:
        """Take all events that have come."""
        while True:
            try:
                data = os.read(self._fd, 1 << 16)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                number, mask, _, size = _HEAD.unpack_from(data, at)
                name = data[at + _HEAD.size : at + _HEAD.size + size].rstrip(b"\0")
                at += _HEAD.size + size
                self._note(number, mask, name)

    def _note(self, number: int, mask: int, name: bytes) -> None:
        folder = self._by_number.get(number)
        if mask & _OVERFLOW or folder is None:
            self.is_complete = self.is_complete and not mask & _OVERFLOW
        elif name and not mask & _ISDIR:
            self.read.add(f"{folder}/{os.fsdecode(name)}")
        elif mask & _ISDIR:
            self.listed.add(f"{folder}/{os.fsdecode(name)}" if name else folder)
