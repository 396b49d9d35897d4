"""Save and restore the lab VM after its first boot, as two files: memory and device state.

QEMU maps the memory file shared during the first boot, so that saving costs nothing, and private when it restores, so
that the file does not change. QEMU's migration (capability x-ignore-shared) then transfers only the devices.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from typing import TYPE_CHECKING

from unibuild.errors import FileError, LabError, MissingError
from unibuild.lab import qemu
from unibuild.lab.qmp import Monitor
from unibuild.util import process

if TYPE_CHECKING:
    from pathlib import Path

    from unibuild.lab.paths import LabPaths
    from unibuild.lab.qemu import Machine
    from unibuild.settings.types import Network

__all__ = ["discard", "exists", "key", "prepare", "restore", "save"]


def key(machine: Machine, version: str, manifest: bytes, overlay: bytes) -> str:
    """Return the key of a snapshot, a hash of everything that it depends on.

    Args:
        machine: the machine that was saved.
        version: QEMU's version.
        manifest: the manifest of the image that it booted.
        overlay: unibuild's part of the initrd: scripts and keys.
    """
    parts = (
        json.dumps([*machine.arguments(), qemu.XEN_OPTIONS, qemu.LINUX_OPTIONS, version]).encode(),
        manifest,
        overlay,
    )
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def exists(folder: Path, name: str) -> bool:
    """Return whether the snapshot in ``folder`` is complete and has this key."""
    try:
        return (folder / "key").read_text() == name
    except OSError:
        return False


def discard(folder: Path) -> None:
    """Delete the snapshot, complete or not."""
    (folder / "key").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def prepare(folder: Path, memory: int) -> Path:
    """Create an empty snapshot; return the file for the machine's memory, with mode 0600 because it will hold keys.

    Raises:
        FileError: the disk has no space for it, so that QEMU would be killed while running.
    """
    discard(folder)
    folder.mkdir(mode=0o700, parents=True)
    free = shutil.disk_usage(folder).free
    need = (memory + 64) << 20
    if free < need:
        raise FileError(
            f"the disk is too full for the lab: {folder} needs {need >> 20} MiB, and {free >> 20} MiB are free",
            hint="free disk space, or set XDG_CACHE_HOME to a folder on another disk",
        )
    ram = folder / "ram"
    os.close(os.open(ram, os.O_CREAT | os.O_WRONLY, 0o600))
    return ram


def save(paths: LabPaths, name: str) -> None:
    """Save the running lab VM under the key ``name`` and stop it.

    Raises:
        LabError: QEMU cannot save it.
        FileError: the disk is full.
    """
    folder = paths.snapshot
    with Monitor(paths.monitor) as monitor:
        monitor.run("stop")
        _ignore_shared(monitor)
        fd = os.open(folder / "state", os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        try:
            monitor.run("getfd", fd=fd, fdname="state")
        finally:
            os.close(fd)
        monitor.run("migrate", uri="fd:state")
        monitor.migrated()
    qemu.stop(paths)
    with contextlib.suppress(MissingError):  # most of the memory is zeros: the file shrinks to a sixth
        process.run(["fallocate", "--dig-holes", str(folder / "ram")], check=False)
    try:
        (folder / "key").write_text(name)
    except OSError as error:
        raise FileError(f"cannot write {folder}: {error.strerror}", hint="check whether the disk is full") from error


def restore(machine: Machine, paths: LabPaths, network: Network) -> int:
    """Start a lab VM from the snapshot with a network and let it run; return QEMU's process id.

    Raises:
        LabError: QEMU cannot read it.
    """
    folder = paths.snapshot
    pid = qemu.start(qemu.arguments(machine, paths, folder / "ram", network=network, restore=True), paths, folder)
    with Monitor(paths.monitor) as monitor:
        _ignore_shared(monitor)
        fd = os.open(folder / "state", os.O_RDONLY)
        try:
            monitor.run("getfd", fd=fd, fdname="state")
        finally:
            os.close(fd)
        monitor.run("migrate-incoming", uri="fd:state")
        deadline = time.monotonic() + 60
        while monitor.run("query-status")["status"] == "inmigrate":
            if time.monotonic() > deadline:
                raise LabError("QEMU did not finish reading the snapshot")
            time.sleep(0.01)
        monitor.run("cont")
    return pid


def _ignore_shared(monitor: Monitor) -> None:
    monitor.run("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])
