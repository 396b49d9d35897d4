"""Start a lab VM: restore its snapshot if there is one, else boot it, save it and restore it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import platform
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from unibuild.errors import CommandError, LabError
from unibuild.lab import network, qemu, snapshot, ssh
from unibuild.lab.qemu import Machine
from unibuild.util import files, process

if TYPE_CHECKING:
    from collections.abc import Callable

    from unibuild.lab.image import LabImage
    from unibuild.lab.paths import LabPaths
    from unibuild.settings.types import Network

__all__ = ["Booter"]

BOOT_TIMEOUT = {"tcg": 180.0, "kvm": 60.0}  # seconds from QEMU's start to the ready line
REST = 10.0  # seconds after which a lab VM is saved even if it is busy
MARKS = 7  # "BOX" lines of dom0/init and dom0/etc/ready
READY = re.compile(rb"BOX\[[\d.]+\] ready: (.*)")


@dataclass(frozen=True)
class Booter:
    """Starts a lab VM.

    Args:
        paths: the lab's folders.
        image: the image that it boots.
        accel: as in the settings.
        memory: in MiB.
        network: as in the settings.
        progress: called with each step and the part done, from 0 to 1.
    """

    paths: LabPaths
    image: LabImage
    accel: Literal["auto", "kvm", "tcg"]
    memory: int
    network: Network
    progress: Callable[[str, float | None], None]

    def start(self) -> Machine:
        """Start the lab VM; with ``auto`` under KVM if a lab VM there can run PVH domains, else emulated.

        No QEMU is left running after an error.

        Raises:
            MissingError: QEMU or ssh is not installed.
            LabError: the lab VM does not start; the error has the end of its serial log.
            FileError: the disk is full.
        """
        for program in ("ssh", "ssh-keygen"):
            process.need(program)
        version = qemu.version()
        ssh.ensure(self.paths.keys)
        verdict = f"{version}, Linux {platform.release()}, {hashlib.sha256(self.image.manifest).hexdigest()}"
        accels = self._candidates(verdict)
        for accel in accels:
            machine = Machine(accel, self.memory)
            try:
                self._bring_up(machine, version)
            except BaseException as error:
                ssh.close(self.paths)
                qemu.stop(self.paths)
                if not isinstance(error, LabError) or accel == accels[-1]:
                    raise
                self._learn(verdict, works=False)
                self.progress("KVM does not work here, emulating", None)
                continue
            if len(accels) > 1 and accel == "kvm":
                self._learn(verdict, works=True)
            break
        return machine

    def _candidates(self, verdict: str) -> list[Literal["kvm", "tcg"]]:
        if self.accel != "auto":
            return [self.accel]
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            return ["tcg"]
        with contextlib.suppress(OSError, ValueError):
            if json.loads(self.paths.verdicts.read_bytes()) == {"of": verdict, "works": False}:
                return ["tcg"]
        return ["kvm", "tcg"]

    def _learn(self, verdict: str, *, works: bool) -> None:
        files.write_atomic(self.paths.verdicts, json.dumps({"of": verdict, "works": works}).encode())

    def _bring_up(self, machine: Machine, version: str) -> None:
        paths = self.paths
        overlay = io.BytesIO()
        ssh.write_overlay(overlay, paths.keys)
        name = snapshot.key(machine, version, self.image.manifest, overlay.getvalue())
        if not snapshot.exists(paths.snapshot, name):
            self._boot(machine, overlay.getvalue(), snapshot.prepare(paths.snapshot, machine.memory))
            self.progress("save the lab VM", None)
            self._wait_until_idle()
            snapshot.save(paths, name)
        self.progress("restore the lab VM", None)
        try:
            snapshot.restore(machine, paths, self.network)
            ssh.connect(paths, self._rules())
        except (LabError, CommandError):  # the snapshot is unusable: boot, and save again the next time
            ssh.close(paths)
            qemu.stop(paths)
            snapshot.discard(paths.snapshot)
            self._boot(machine, overlay.getvalue(), None)
            try:
                ssh.connect(paths, self._rules())
            except CommandError as error:
                raise _failure("the lab VM booted but does not answer over ssh", paths, error.output) from error

    def _rules(self) -> str | None:
        return network.rules(network.local_networks()) if self.network == "internet" else None

    def _boot(self, machine: Machine, overlay: bytes, ram: Path | None) -> None:
        """Boot from the image and wait until dom0 reports that it is ready."""
        what = f"boot Xen ({'KVM' if machine.accel == 'kvm' else 'emulated'})"
        self.progress(what, 0.0)
        self.paths.serial_log.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(prefix=".boot.", dir=self.paths.cache) as folder:
            boot = Path(folder)
            with files.writing_errors(boot / "initrd"):
                for part in ("xen", "vmlinux"):
                    (boot / part).symlink_to(self.image.folder / part)
                (boot / "initrd").touch(mode=0o600)
                (boot / "initrd").write_bytes((self.image.folder / "initrd.cpio").read_bytes() + overlay)
            qemu.start(qemu.arguments(machine, self.paths, ram, network=self.network), self.paths, boot)
        deadline = time.monotonic() + BOOT_TIMEOUT[machine.accel]
        while True:
            running = qemu.find(self.paths) is not None  # checked before the log is read, so that the last lines count
            log = _log(self.paths)
            if found := READY.search(log):
                break
            self.progress(what, min(log.count(b"BOX["), MARKS) / MARKS)
            if not running:
                raise _failure("the lab VM died while booting", self.paths)
            if time.monotonic() > deadline:
                raise _failure(f"the lab VM was not ready after {BOOT_TIMEOUT[machine.accel]:g} s", self.paths)
            time.sleep(0.05)
        if self.accel == "auto" and machine.accel == "kvm" and b"hvm" not in found[1]:
            raise LabError("under KVM the lab VM cannot run PVH domains")
        self.progress(what, 1.0)

    def _wait_until_idle(self) -> None:
        """Wait until the lab VM idles; otherwise every restored VM would scrub its free memory again."""
        quiet = 0
        deadline = time.monotonic() + REST
        while quiet < 2 and time.monotonic() < deadline:
            before = qemu.cpu_time(self.paths)
            time.sleep(0.25)
            quiet = quiet + 1 if qemu.cpu_time(self.paths) - before < 0.05 else 0


def _log(paths: LabPaths) -> bytes:
    with contextlib.suppress(OSError):
        return paths.serial_log.read_bytes()
    return b""


def _failure(message: str, paths: LabPaths, said: str = "") -> LabError:
    lines = (_log(paths).decode(errors="replace") + said).splitlines()
    tail = "\n".join(line.rstrip() for line in lines[-15:] if line.strip())
    return LabError(f"{message}; its serial log ends with:\n{tail}", hint=f"see the whole log: {paths.serial_log}")
