"""Compute QEMU's arguments, and start, find and stop it."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from unibuild.errors import CommandError, LabError
from unibuild.lab.network import NETDEV
from unibuild.util import process

if TYPE_CHECKING:
    from unibuild.lab.paths import LabPaths
    from unibuild.settings.types import Network

__all__ = ["PROGRAM", "Machine", "arguments", "cpu_time", "find", "start", "stop", "version"]

PROGRAM = "qemu-system-x86_64"
DOM0_MEMORY = 256  # MiB
XEN_OPTIONS = (
    # Never bootscrub=0: memory that Xen freed while booting would reach the first domain unscrubbed.
    # spec-ctrl=no also turns eager FPU switching off, and lazy switching loses XSAVE state under emulation: programs in
    # dom0 crash while a PVH domain runs. So eager-fpu follows it.
    f"console=com1 com1=115200,8n1 loglvl=warning guest_loglvl=warning dom0_mem={DOM0_MEMORY}M,max:{DOM0_MEMORY}M "
    "dom0_max_vcpus=1 spec-ctrl=no spec-ctrl=eager-fpu xpti=no edd=off"
)
LINUX_OPTIONS = (
    # swiotlb: 8 MiB are enough for one network card; the default of 64 would be a quarter of dom0's memory
    "console=hvc0 quiet mitigations=off audit=0 lsm= random.trust_cpu=on cryptomgr.notests raid=noautodetect "
    "swiotlb=4096"
)
# smap: dom0 crashes while it boots with it in QEMU 7.2's emulation. rdtscp: Linux as a PVH domain died with it there;
# with an eager FPU small kernels and Mirage's run, Linux was not tried again. family 23, model 49: else pv-shim writes
# an MSR that faults; with them Xen would idle by MWAIT, hence no monitor. mpx, pku: less state to save.
CPUS = {
    "tcg": "max,-smap,-rdtscp,-monitor,-mpx,-pku,family=23,model=49,stepping=0",
    "kvm": "host",
}
ACCELS = {"tcg": "tcg,thread=single", "kvm": "kvm"}


@dataclass(frozen=True)
class Machine:
    """The emulated machine: everything that a snapshot depends on.

    Args:
        accel: the accelerator.
        memory: its memory in MiB.
    """

    accel: Literal["kvm", "tcg"]
    memory: int

    def arguments(self) -> tuple[str, ...]:
        """Return the part of QEMU's arguments that the machine's software can see."""
        return (
            *("-machine", "pc,usb=off,memory-backend=ram", "-accel", ACCELS[self.accel], "-cpu", CPUS[self.accel]),
            *("-smp", "1", "-m", str(self.memory), "-nodefaults", "-no-reboot", "-display", "none"),
            *("-device", "virtio-net-pci,netdev=n0,romfile=", "-device", "virtio-rng-pci"),
        )


def arguments(
    machine: Machine, paths: LabPaths, ram: Path | None, *, network: Network = "closed", restore: bool = False
) -> list[str]:
    """Return QEMU's complete argument list; a cold boot runs in a folder with "xen", "vmlinux" and "initrd".

    Args:
        machine: the machine.
        paths: for the sockets and the log.
        ram: the file with the machine's memory; it is mapped shared in order to be saved, and private with ``restore``,
            so that the snapshot does not change; None for anonymous memory.
        network: as in the settings. Snapshots do not depend on it: a lab VM may be restored with another one.
        restore: wait for a snapshot without running; else boot.
    """
    size = f"id=ram,size={machine.memory}M"
    memory = f"memory-backend-ram,{size}"
    if ram is not None:
        memory = f"memory-backend-file,{size},mem-path={_escaped(ram)},share={'off' if restore else 'on'}"
    boot = ("-kernel", "xen", "-append", XEN_OPTIONS, "-initrd", f"vmlinux {LINUX_OPTIONS},initrd")
    return [
        PROGRAM,
        *machine.arguments(),
        *("-object", memory),
        *("-netdev", f"user,id=n0,{NETDEV[network]},dhcpstart=10.0.2.50,hostfwd=tcp:127.0.0.1:0-10.0.2.15:22"),
        *("-chardev", f"file,id=com1,append=on,path={_escaped(paths.serial_log)}", "-serial", "chardev:com1"),
        *("-qmp", f"unix:{_escaped(paths.monitor)},server=on,wait=off"),
        *("-pidfile", str(paths.pid_file), "-daemonize"),
        *(("-incoming", "defer", "-S") if restore else boot),
    ]


def start(argv: list[str], paths: LabPaths, cwd: Path) -> int:
    """Start QEMU in the background and return its process id.

    Raises:
        MissingError: it is not installed.
        LabError: it does not start.
    """
    paths.monitor.unlink(missing_ok=True)
    try:
        process.run(argv, cwd=cwd, timeout=60)
    except CommandError as error:
        raise LabError(f"QEMU does not start: {error.output.strip()}") from error
    pid = find(paths)
    if pid is None:
        raise LabError("QEMU exited as soon as it had started")
    return pid


def find(paths: LabPaths) -> int | None:
    """Return the process id of the lab's running QEMU, found by its arguments, so that a stale file cannot mislead."""
    pid_file = os.fsencode(paths.pid_file)
    with contextlib.suppress(OSError, ValueError):
        pid = int(paths.pid_file.read_text())
        if _is_lab_qemu(Path("/proc", str(pid)), pid_file):
            return pid
    return next((int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _is_lab_qemu(entry, pid_file)), None)


def cpu_time(paths: LabPaths) -> float:
    """Return the seconds of processor time that the lab's QEMU has used; 0 if it does not run."""
    with contextlib.suppress(OSError):
        fields = Path("/proc", str(find(paths)), "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime of proc(5)
    return 0.0


def stop(paths: LabPaths) -> None:
    """Stop the lab's QEMU, and any that a killed unibuild left: TERM, then KILL."""
    deadline = time.monotonic() + process.KILL_TIMEOUT
    while (pid := find(paths)) is not None:
        late = time.monotonic() >= deadline
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        time.sleep(0.02)


def version() -> str:
    """Return QEMU's version.

    Raises:
        MissingError: it is not installed.
    """
    process.need(PROGRAM)
    found = re.search(r"version (.*)", process.run([PROGRAM, "--version"]).text)
    return found[1] if found else "unknown"


def _is_lab_qemu(about: Path, pid_file: bytes) -> bool:
    """Return whether the process of this folder in /proc is a QEMU of this user that writes this pid file."""
    with contextlib.suppress(OSError):
        argv = (about / "cmdline").read_bytes().split(b"\0")
        is_qemu = argv[0].rpartition(b"/")[2].startswith(b"qemu")
        return is_qemu and (b"-pidfile", pid_file) in itertools.pairwise(argv) and about.stat().st_uid == os.getuid()
    return False


def _escaped(path: Path) -> str:
    """Return a path for QEMU's options, in which a comma must be doubled."""
    return str(path).replace(",", ",,")
