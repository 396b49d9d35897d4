"""Paths of the lab; there is one lab for each user and cache folder."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.errors import FileError
from unibuild.util import files

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LabPaths"]

_LONGEST = 85  # bytes of the runtime folder: 107 for a socket, less 17 and "/ssh"


@dataclass(frozen=True)
class LabPaths:
    """The lab's two folders.

    Args:
        cache: for the image, the snapshot, the keys and the serial log, which outlive the lab VM.
        runtime: for the sockets and the record of a running lab VM. Its name is short, because the path of a Unix
            socket has at most 107 bytes and ssh adds 17. It depends only on the cache's name, so that two logins of a
            user with different XDG_RUNTIME_DIRs share the lab VM.
    """

    cache: Path
    runtime: Path

    @classmethod
    def of(cls, environ: Mapping[str, str] = os.environ) -> LabPaths:
        """Return the folders for the environment (XDG_CACHE_HOME, else ~/.cache).

        Raises:
            FileError: the user has no home folder.
        """
        cache = files.cache_home(environ) / "unibuild" / "lab"
        tag = hashlib.sha256(os.fsencode(cache)).hexdigest()[:8]
        return cls(cache, _runtime(cache, tag, environ))

    def make_cache(self) -> None:
        """Create the cache folder for the user alone: it holds keys, and the memory of domains.

        Raises:
            FileError: it cannot be created.
        """
        try:
            self.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.cache.stat().st_mode & 0o077:
                self.cache.chmod(0o700)
        except OSError as error:
            text = f"cannot create the lab's folder {self.cache}: {error.strerror}"
            raise FileError(text, hint=files.SET_CACHE) from error

    def make_runtime(self) -> None:
        """Create the runtime folder for the user alone.

        Raises:
            FileError: it cannot be created, or another user created it, which is possible in /tmp.
        """
        try:
            self.runtime.mkdir(mode=0o700, exist_ok=True)
            facts = self.runtime.lstat()
        except OSError as error:
            raise FileError(f"cannot create the lab's folder {self.runtime}: {error.strerror}") from error
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
            raise FileError(f"other users can access {self.runtime}", hint="remove it, then run again")

    @property
    def lock(self) -> Path:
        """The lock that a process holds while it changes anything here."""
        return self.cache / "lock"

    @property
    def image(self) -> Path:
        """The image built from this machine's packages."""
        return self.cache / "image"

    @property
    def unpacked(self) -> Path:
        """The image unpacked from a file."""
        return self.cache / "image-from-file"

    @property
    def downloads(self) -> Path:
        """The folder of the private apt; removed once the image is complete."""
        return self.cache / "apt"

    @property
    def snapshot(self) -> Path:
        """The folder with the snapshot of the lab VM after its first boot."""
        return self.cache / "snapshot"

    @property
    def keys(self) -> Path:
        """The folder with the user's keys, and what ssh needs with them."""
        return self.cache / "keys"

    @property
    def serial_log(self) -> Path:
        """The output of Xen and dom0 since the last cold boot; kept when the lab VM is down."""
        return self.cache / "serial.log"

    @property
    def ssh_config(self) -> Path:
        """The configuration for ``ssh -F``, in which the lab VM is the host "box"."""
        return self.cache / "ssh_config"

    @property
    def verdicts(self) -> Path:
        """Whether KVM can run the lab VM here, as an earlier start found."""
        return self.cache / "kvm.json"

    @property
    def record(self) -> Path:
        """The record of the running lab VM; written when it answers."""
        return self.runtime / "box.json"

    @property
    def monitor(self) -> Path:
        """QEMU's QMP socket."""
        return self.runtime / "qmp"

    @property
    def ssh_socket(self) -> Path:
        """The socket of the shared SSH connection."""
        return self.runtime / "ssh"

    @property
    def pid_file(self) -> Path:
        """QEMU's pid file; its name in QEMU's arguments identifies the lab's QEMU."""
        return self.runtime / "qemu.pid"


def _runtime(cache: Path, tag: str, environ: Mapping[str, str]) -> Path:
    """Return the folder for files that last as long as the lab VM.

    It is in /tmp, whatever the login: XDG_RUNTIME_DIR is removed with the last login, but the lab VM runs on. If
    another user has created that name, which only that user can remove, return one that others cannot create.
    """
    names = [Path(f"/tmp/unibuild-{os.getuid()}-{tag}")]
    run = environ.get("XDG_RUNTIME_DIR", "")
    if run.startswith("/"):
        names.append(Path(run, f"unibuild-{tag}"))
    names.append(cache / "run")
    return next((name for name in names if len(os.fsencode(name)) <= _LONGEST and not _is_taken(name)), names[0])


def _is_taken(path: Path) -> bool:
    """Return whether a path exists and is not a folder of this user."""
    try:
        facts = path.lstat()
    except OSError:
        return False
    return not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid()
