"""Identify this machine and its processes, so that another unibuild can see whether a process has ended.

A user and a host name do not identify a machine: clones of a VM image and containers share them. A process number does
not identify a process: another one gets it later, and a container counts its own.
"""

from __future__ import annotations

import functools
import getpass
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Process", "here", "machine", "parse", "user_and_host"]

_MACHINE_ID = Path("/etc/machine-id")
_CONTAINER_FILES = (Path("/.dockerenv"), Path("/run/.containerenv"))  # a container has its image's machine-id
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_INTERFACES = Path("/sys/class/net")
_UNKNOWN = "0" * 12
_FORM = re.compile(r"([0-9a-f]{12})\.([0-9a-f]{12})\.(\d{1,10})\.(\d{1,20})")


@dataclass(frozen=True)
class Process:
    """A process, distinguished from those of other machines, other boots and other containers.

    Attributes:
        hardware: hash of the machine; twelve zeros: not known.
        boot: hash of this boot of its kernel and of its process number space.
        pid: its number there.
        start: clock ticks from the kernel's boot to its start.
    """

    hardware: str
    boot: str
    pid: int
    start: int

    def __str__(self) -> str:
        return f"{self.hardware}.{self.boot}.{self.pid}.{self.start}"

    @property
    def is_dead(self) -> bool:
        """Whether it has certainly ended; False if that cannot be determined here."""
        this = here()
        if self.boot == this.boot:
            return not _is_alive(self.pid, self.start)
        return self.hardware == this.hardware != _UNKNOWN  # the machine has booted again since then


def parse(text: str) -> Process | None:
    """Parse the text that ``str`` returns for a process; None: it has another form."""
    found = _FORM.fullmatch(text)
    return Process(found[1], found[2], int(found[3]), int(found[4])) if found else None


def here() -> Process:
    """Return this process."""
    pid = os.getpid()  # differs after a fork
    return Process(_hardware(), _boot(), pid, _start_time(pid) or 0)


@functools.cache
def machine() -> str:
    """Return twelve hexadecimal digits that identify this machine as long as its system is not installed again.

    In a container, and without a machine-id, they identify this boot of the container or machine only.
    """
    known = _machine_id()
    return _hash("machine", known) if known else _boot()


def user_and_host() -> str:
    """Return ``user@machine`` for messages."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    return f"{user}@{os.uname().nodename}"


@functools.cache
def _hardware() -> str:
    """Identify the machine across boots; clones of one image differ in their network cards' addresses."""
    try:
        cards = sorted((card / "address").read_text() for card in _INTERFACES.iterdir() if (card / "device").exists())
    except OSError:
        cards = []
    known = _machine_id()
    return _hash("hardware", known, *cards) if known and cards else _UNKNOWN


@functools.cache
def _boot() -> str:
    try:
        boot = _BOOT_ID.read_text()
        space = Path("/proc/self/ns/pid").readlink()
    except OSError:  # without /proc, at least machines are distinguished
        return _hash("boot", os.uname().nodename)
    return _hash("boot", boot, str(space))


def _machine_id() -> str | None:
    if any(path.exists() for path in _CONTAINER_FILES):
        return None
    try:
        output = _MACHINE_ID.read_text().strip()
    except (OSError, ValueError):
        return None
    return output if re.fullmatch("[0-9a-f]{32}", output) else None  # machine-id(5): may be "uninitialized" or empty


def _hash(*parts: str) -> str:
    """Hash values that, by machine-id(5), must not be published."""
    return hashlib.sha256("\0".join(("unibuild", *parts)).encode()).hexdigest()[:12]


def _is_alive(pid: int, start: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    now = _start_time(pid)
    return now is None or now == start  # None: /proc hides other users' processes


def _start_time(pid: int) -> int | None:
    """Return the clock ticks from the kernel's boot to a process's start: field 22 of proc_pid_stat(5)."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
