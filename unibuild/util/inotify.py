"""Receive the kernel's events about folders, by inotify(7)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import struct
import termios
import threading
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "ACCESS",
    "ATTRIB",
    "CLOSE_NOWRITE",
    "CLOSE_WRITE",
    "CREATE",
    "DELETE",
    "DELETE_SELF",
    "IGNORED",
    "ISDIR",
    "MODIFY",
    "MOVED_FROM",
    "MOVED_TO",
    "MOVE_SELF",
    "ONLYDIR",
    "OVERFLOW",
    "UNMOUNT",
    "Inotify",
    "InotifyEvent",
    "InstanceLimitError",
]

ACCESS, MODIFY, ATTRIB, CLOSE_WRITE, CLOSE_NOWRITE = 0x1, 0x2, 0x4, 0x8, 0x10  # linux/inotify.h
MOVED_FROM, MOVED_TO, CREATE, DELETE, DELETE_SELF, MOVE_SELF = 0x40, 0x80, 0x100, 0x200, 0x400, 0x800
UNMOUNT, OVERFLOW, IGNORED = 0x2000, 0x4000, 0x8000
ONLYDIR, ISDIR = 0x01000000, 0x40000000

_HEAD = struct.Struct("iIII")
_SIZE = struct.Struct("i")


class InotifyEvent(NamedTuple):
    """An event.

    Attributes:
        watch: the number of the watch; -1 with ``OVERFLOW``: the kernel dropped events.
        mask: what happened.
        name: the entry of the folder; empty: the folder itself.
    """

    watch: int
    mask: int
    name: str


class InstanceLimitError(OSError):
    """The user has as many inotify instances as the kernel allows."""


class Inotify:
    """One inotify instance. A thread reads its events between ``start`` and ``close``.

    Args:
        receive: called in the thread with the events that have come, in order.

    Raises:
        InstanceLimitError: the kernel allows no further instance.
        OSError: the kernel, the C library or Python lacks what this needs (``ENOSYS``), or this process may open no
            more files (``EMFILE``).
    """

    def __init__(self, receive: Callable[[Sequence[InotifyEvent]], None]) -> None:
        try:
            import ctypes
        except ImportError:  # Python was built without libffi
            raise OSError(errno.ENOSYS, "Python lacks the module ctypes") from None
        self._receive = receive
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._errno = ctypes.get_errno
        self._stop, self._end = os.pipe()
        try:
            self._fd = self._create()
        except OSError:
            os.close(self._stop)
            os.close(self._end)
            raise
        self._thread = threading.Thread(target=self._follow, name="unibuild inotify", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread reads events."""
        return self._thread.is_alive()

    def add(self, folder: str, mask: int) -> int:
        """Watch a folder without its subfolders; return the number of the watch. Names of one folder share a watch.

        Raises:
            OSError: it does not exist, or a limit of the kernel is reached (``ENOSPC``).
        """
        return self._call("inotify_add_watch", self._fd, os.fsencode(folder), mask)

    def remove(self, watch: int) -> None:
        """Remove a watch; do nothing if the kernel has removed it already."""
        with contextlib.suppress(OSError):
            self._call("inotify_rm_watch", self._fd, watch)

    def close(self, timeout: float | None = None) -> None:
        """Stop once the events that have come are received.

        Args:
            timeout: seconds for ``receive`` to return; None: without limit.
        """
        os.close(self._end)
        if self._thread.ident is not None:
            self._thread.join(timeout)
        if not self._thread.is_alive():  # else it still uses them
            os.close(self._stop)
            os.close(self._fd)

    def _create(self) -> int:
        """Return the descriptor of a new instance."""
        os.close(os.dup(self._stop))  # raises EMFILE if the process has no descriptor left
        try:
            return self._call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.EMFILE:
                raise InstanceLimitError(*error.args) from None
            raise

    def _call(self, function: str, *arguments: object) -> int:
        try:
            result = int(getattr(self._libc, function)(*arguments))
        except AttributeError:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
        if result < 0:
            code = self._errno()
            raise OSError(code, os.strerror(code))
        return result

    def _follow(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        while True:
            is_stopping = self._stop in [fd for fd, _ in poll.poll()]
            left = self._queued() if is_stopping else 1  # not all: under a storm of events the queue never empties
            while left > 0 and (data := self._read()):
                self._receive(_events(data))
                left -= len(data)
            if is_stopping:
                return

    def _queued(self) -> int:
        """Return the bytes of the events that have come and were not read."""
        (size,) = _SIZE.unpack(fcntl.ioctl(self._fd, termios.FIONREAD, bytes(_SIZE.size)))
        return int(size)

    def _read(self) -> bytes:
        """Return some events that have come; empty: there are none."""
        try:
            return os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return b""


def _events(data: bytes) -> list[InotifyEvent]:
    """Return the events of one read (``struct inotify_event``)."""
    events, at = [], 0
    while at < len(data):
        number, mask, _, size = _HEAD.unpack_from(data, at)
        name = data[at + _HEAD.size : at + _HEAD.size + size].rstrip(b"\0")
        events.append(InotifyEvent(number, mask, os.fsdecode(name)))
        at += _HEAD.size + size
    return events
