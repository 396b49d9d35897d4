"""Plug a local file into dom0 as a disk, for as long as a domain needs it.

dom0 has no disk, and files copied there take some of its little memory. So a large file is not copied: the running QEMU
opens it and plugs it in as another disk.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.errors import LabError
from unibuild.lab.paths import LabPaths
from unibuild.lab.vm import LabVm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unibuild.host.base import Host

__all__ = ["plugged"]

_DISK_TIMEOUT = 60.0  # seconds until dom0 has found the disk, or released it
_NAME = re.compile(r"d(\d+)-[0-9a-f]{6}")  # a disk's name; the number is the process that plugged it in
_BLOCK = "/sys/block"


@contextlib.contextmanager
def plugged(host: Host, file: Path) -> Iterator[str]:
    """Give the running lab VM a raw file as a disk, to read and write, for the time of the block.

    Args:
        host: its dom0.
        file: the file, a whole number of sectors of 512 bytes; writes to the disk go to it.

    Returns:
        The disk's device in dom0.

    Raises:
        LabError: the lab VM is down, cannot take another disk, or does not find it.
        HostError: dom0 is out of reach.
    """
    lab = LabVm(LabPaths.of())
    name = f"d{os.getpid()}-{secrets.token_hex(3)}"
    with lab.monitor() as monitor:
        for left in filter(_is_left, monitor.plugged()):
            monitor.unplug(left)
        monitor.plug(name, file.absolute())
    try:
        yield _device(host, name)
    finally:
        with contextlib.suppress(LabError):  # a lab VM that went down no longer has the disk
            _unplug(lab, name)


def _device(host: Host, name: str) -> str:
    """Wait until dom0 has the disk with this serial number; return its device."""
    deadline = time.monotonic() + _DISK_TIMEOUT
    while time.monotonic() < deadline:
        disks = [each for each in host.run(["ls", _BLOCK], root=False).text.split() if each.startswith("vd")]
        for disk in disks:
            if host.run(["cat", f"{_BLOCK}/{disk}/serial"], root=False, check=False).text.strip() == name:
                return f"/dev/{disk}"
        time.sleep(0.1)
    raise LabError(f"dom0 of the lab did not find its new disk within {_DISK_TIMEOUT:g} s")


def _unplug(lab: LabVm, name: str) -> None:
    """Unplug the disk; if dom0 does not release it in time, the next call of ``plugged`` removes it."""
    deadline = time.monotonic() + _DISK_TIMEOUT
    while time.monotonic() < deadline:
        with lab.monitor() as monitor:
            if monitor.unplug(name):
                return
        time.sleep(0.1)


def _is_left(name: str) -> bool:
    """Return whether it is the disk of a process that no longer runs."""
    found = _NAME.fullmatch(name)
    return found is not None and not Path("/proc", found[1]).exists()
