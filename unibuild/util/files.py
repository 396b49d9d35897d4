"""Atomic writes, locks and hashes of files."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.errors import BusyError, FileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "PRIVATE",
    "PUBLIC",
    "SET_CACHE",
    "Lock",
    "cache_home",
    "copy_atomic",
    "expand_user",
    "find_upward",
    "is_locked",
    "lock",
    "reading",
    "refuse_newer",
    "sha256",
    "write_atomic",
    "writing",
    "writing_errors",
]


PRIVATE = 0o600
"""Permissions of a file for the user alone."""

PUBLIC = 0o644
"""Permissions of a file that the user asked for."""

SET_CACHE = "set the environment variable XDG_CACHE_HOME to a folder that you can write to"
"""The hint if a file cannot be written to the user's cache."""

_STARTING = 10.0  # seconds that a child of a killed process may take to begin its program, on a busy machine


def cache_home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the user's caches: ``XDG_CACHE_HOME``, else ``~/.cache``.

    Raises:
        FileError: the user has no home: neither ``HOME`` nor an entry in passwd.
    """
    folder = environ.get("XDG_CACHE_HOME", "")
    if folder.startswith("/"):
        return Path(folder)
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        raise FileError(f"user {os.getuid()} has no home folder for unibuild's cache", hint=SET_CACHE) from None


def expand_user(path: str) -> Path:
    """Return a path with ``~`` replaced.

    Raises:
        FileError: the user that it names has no home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise FileError(f"{path}: that user has no home folder", hint="write the whole path") from None


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, data: bytes, *, mode: int = PRIVATE) -> bool:
    """Write ``data`` to a temporary file, then rename it to ``path``: readers see the old file or the new one.

    A file that already has these bytes is left alone, so that its modification time is the time of the last change.

    Args:
        path: the file.
        data: its bytes.
        mode: its permissions: for the user alone, since boot arguments, logs and ``.xl`` files may hold secrets.
            ``PUBLIC`` is for files that the user asked for.

    Returns:
        Whether the file was written.
    """
    with contextlib.suppress(OSError):
        if path.read_bytes() == data:
            if path.stat().st_mode & 0o777 != mode:
                path.chmod(mode)
            return False
    with writing(path, mode=mode) as beside:
        beside.write_bytes(data)
    return True


def copy_atomic(source: Path, target: Path) -> bool:
    """Copy a file as ``write_atomic`` writes one; returns whether the target changed."""
    with reading(source):
        size = source.stat().st_size
        if target.exists() and target.stat().st_size == size and sha256(target) == sha256(source):
            if target.stat().st_mode & 0o077:
                with contextlib.suppress(OSError):
                    target.chmod(PRIVATE)
            return False
        with writing(target) as beside:
            shutil.copyfile(source, beside)
    return True


@contextlib.contextmanager
def writing(path: Path, *, mode: int = PRIVATE) -> Iterator[Path]:
    """Yield a temporary file next to ``path`` to write to, and rename it to ``path`` at the end.

    If the block raises, ``path`` is unchanged and the temporary file is removed.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing_errors(path):
        try:
            path.parent.mkdir(mode=0o777 if mode & 0o077 else 0o700, parents=True, exist_ok=True)
            _sweep(path)
            os.close(os.open(beside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode))
            yield beside
            beside.chmod(mode)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Remove the temporary files for ``path`` that killed processes left."""
    for name in os.listdir(path.parent):  # noqa: PTH208 (a glob would take the name for a pattern)
        found = re.fullmatch(rf"\.{re.escape(path.name)}\.(\d+)\.tmp", name)
        if found and not _is_alive(int(found[1])):
            path.with_name(name).unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def writing_errors(path: Path | str) -> Iterator[None]:
    """Turn errors of writing ``path`` into ``FileError``."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FileError(f"the disk is full: cannot write {path}", hint="free some space and run again") from error
        raise FileError(f"cannot write {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors of opening and reading ``path`` into ``FileError``."""
    try:
        yield
    except FileNotFoundError:
        raise FileError(f"there is no file {path}") from None
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from error


def refuse_newer(path: Path, version: object, known: int) -> None:
    """Raise if a newer unibuild wrote a state file: reading it as empty would lose its content.

    Args:
        path: the file.
        version: the version of its format.
        known: the newest version of the format that this release reads.

    Raises:
        FileError: it is newer.
    """
    if isinstance(version, int) and version > known:
        raise FileError(
            f"a newer unibuild wrote {path} (version {version} of its format, and this one reads up to {known})",
            hint="update unibuild, or use the release that wrote the file",
        )


def find_upward(name: str, start: Path) -> Path | None:
    """Return the nearest file called ``name`` in ``start`` or a folder above it."""
    for folder in (start, *start.parents):
        if (folder / name).is_file():
            return folder / name
    return None


class Lock:
    """An exclusive lock on a file, which is created if necessary and names the process that holds the lock.

    The kernel releases it when the process ends, however it ends. If it is made before a fork, all forked processes
    share it.

    Args:
        path: the lock's file, which is never removed.
        what: what is locked, for the message: "the lab", "the build in /src/hello".

    Raises:
        FileError: the file cannot be created.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.what = what
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = open(path, "a+", opener=lambda name, flags: os.open(name, flags, PRIVATE))  # noqa: SIM115
        except OSError as error:
            raise FileError(f"cannot write {path}: {error.strerror}") from error

    def acquire(self, timeout: float = 0.0, waits: Callable[[str], None] | None = None) -> None:
        """Take the lock, unless this process holds it already; wait at most ``timeout`` seconds for another holder.

        A process that the holder has started does not wait, because it would wait for ever. A killed holder is waited
        for, because a child that it was starting shares the lock until its program begins.

        Args:
            timeout: seconds.
            waits: called with a description of the holder if it has to be waited for.

        Raises:
            BusyError: another process still holds it.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = self._holder()
                late = time.monotonic() - deadline
                if late >= (0.0 if _is_alive(holder) else _STARTING) or holder in _ancestors():
                    raise BusyError(
                        f"{self.what} is in use by {_named(holder)}", hint="wait for it to end, then run again"
                    ) from None
                if waits and holder:
                    waits(_named(holder))
                    waits = None
                time.sleep(0.05)
        self._file.seek(0)
        self._file.truncate()
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def _holder(self) -> int:
        """Return the process that holds the lock; 0: it has not written its number yet."""
        self._file.seek(0)
        text = self._file.read(20).strip()
        return int(text) if text.isdecimal() else 0

    def release(self) -> None:
        """Release the lock; it can be taken again."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Release the lock and close its file."""
        self._file.close()


@contextlib.contextmanager
def lock(path: Path, what: str, *, timeout: float = 0.0) -> Iterator[None]:
    """Hold a ``Lock`` during a block; the arguments are those of ``Lock`` and ``Lock.acquire``.

    Raises:
        BusyError: another process still holds it.
        FileError: the lock's file cannot be created.
    """
    held = Lock(path, what)
    try:
        held.acquire(timeout)
        yield
    finally:
        held.close()


def _ancestors() -> Iterator[int]:
    """Yield the ancestors of this process, as far as /proc shows them."""
    pid = os.getppid()
    while pid > 1:
        yield pid
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
            pid = int(stat.rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return


def _named(pid: int) -> str:
    """Return a description of a process, with its command if /proc shows it."""
    if not pid:
        return "another process"
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        argv = []
    words = [Path(word).name if number < 2 else word for number, word in enumerate(argv) if word]
    if words and words[0].startswith("python"):
        del words[0]
    command = "".join(char for char in " ".join(words) if char.isprintable())[:60]
    return f"process {pid}" + (f" ({command})" if command else "")


def is_locked(path: Path) -> bool:
    """Return whether a process holds the ``Lock`` on a file at this moment, without creating the file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
