"""Write a domain's console to a log file, with the time at which each line began."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["KEEP", "SIZE", "Log", "log_path", "rotate"]

KEEP = 9  # older files in addition to the newest one
SIZE = 16 << 20  # bytes of a file, at most


def log_path(state: Path, name: str, host: str = "") -> Path:
    """Return the newest console log of the domain ``name`` in the state folder; ``NAME.1.log`` is the previous one.

    For a host in ``[hosts]`` it is ``NAME@HOST.log``, because several consoles may be read at once.
    """
    suffix = "" if host in ("", "local", "lab") or "/" in host else f"@{host}"
    return state / "console" / f"{name}{suffix}.log"


def rotate(path: Path) -> None:
    """Rename the log at ``path`` to the first older one and so on; remove the oldest."""
    if not path.exists() or not path.stat().st_size:
        return
    for number in range(KEEP, 0, -1):
        older = path.with_name(f"{path.stem}.{number}.log")
        newer = path.with_name(f"{path.stem}.{number - 1}.log") if number > 1 else path
        if newer.exists():
            newer.replace(older)


class Log:
    """A console log that is being written, at the end of an existing file.

    A line is ``2026-11-23T06:40:00.123Z TEXT``: the UTC time of its first byte, then its bytes. CR LF becomes LF. If
    the file cannot be written, ``failure`` is the reason and further output is dropped: the console itself goes on.

    Args:
        path: the file.
        now: returns the time, for tests.
        size: bytes of a file, at most.
    """

    def __init__(self, path: Path, now: Callable[[], datetime] | None = None, size: int = SIZE) -> None:
        self.path = path
        self.failure: str | None = None
        self._now = now or (lambda: datetime.now(UTC))
        self._size = size
        self._fd = -1
        self._at_line_start = True
        self._ends_line = True  # whether the file ends with a complete line
        self._pending = b""  # a CR that may be half of a CR LF

    def open(self) -> None:
        """Open the file now, so that a later rename does not matter."""
        try:
            self._open()
        except OSError as error:
            self._fail(error)

    def feed(self, data: bytes) -> None:
        """Write console output."""
        data = (self._pending + data).replace(b"\r\n", b"\n")
        self._pending = data[-1:] if data.endswith(b"\r") else b""
        self._write(data[: len(data) - len(self._pending)])

    def close(self) -> None:
        """Complete the last line, and close the file."""
        self._write(self._pending)
        self._pending = b""
        if not self._at_line_start:
            self._write(b"\n")
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, data: bytes) -> None:
        if not data or self.failure:
            return
        timestamp = self._now().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3].encode() + b"Z "
        lines = data.split(b"\n")
        out = (b"\n" + timestamp).join(lines[:-1]) + (b"\n" if len(lines) > 1 else b"")
        if lines[-1]:
            out += (timestamp if len(lines) > 1 else b"") + lines[-1]
        if self._at_line_start:
            out = timestamp + out
        try:
            self._put(out)
        except OSError as error:
            self._fail(error)
        self._at_line_start = not lines[-1]

    def _put(self, data: bytes) -> None:
        """Write to the file, and continue in a new one when it is full: between two lines if a line ends in time."""
        while data:
            self._open()
            size = os.fstat(self._fd).st_size
            space = self._size - size
            end = len(data)
            if end > space:
                end = data.rfind(b"\n", 0, max(0, space)) + 1
                if not end and space > 0 and not (size and self._ends_line):
                    end = space  # the line is longer than a file, or began before this piece
                if not end:
                    self._begin_another()
                    continue
            written = os.write(self._fd, data[:end])
            self._ends_line = data[written - 1 : written] == b"\n"
            data = data[written:]

    def _fail(self, error: OSError) -> None:
        self.failure = f"cannot write {self.path}: {error.strerror}"

    def _begin_another(self) -> None:
        os.close(self._fd)
        self._fd = -1
        rotate(self.path)
        self._open()
        self._ends_line = True

    def _open(self) -> None:
        if self._fd < 0:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            if os.fstat(self._fd).st_mode & 0o077:  # an older unibuild created it: it may hold secrets
                os.fchmod(self._fd, 0o600)
