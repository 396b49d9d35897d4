"""Start, find, describe and stop the lab VM, a Xen host reached over ssh; each user has one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from unibuild.errors import BusyError, LabError
from unibuild.lab import qemu, ssh
from unibuild.lab.network import parse_forward
from unibuild.lab.paths import LabPaths
from unibuild.lab.qmp import Monitor
from unibuild.settings.types import Network
from unibuild.util import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unibuild.lab.image import LabImage
    from unibuild.settings.model import Lab

__all__ = [
    "RECORD_VERSION",
    "LabRecord",
    "LabVm",
    "Status",
    "down",
    "load_record",
    "pack",
    "reset",
    "running",
    "save_record",
    "status",
    "up",
]

RECORD_VERSION: Literal[2] = 2


class LabRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A running lab VM.

    Args:
        version: the record's version.
        accel: the accelerator of the lab VM.
        memory: its memory in MiB.
        network: what it can reach, as in the settings.
        image: a short description of its image.
        manifest: the SHA-256 of that image's manifest.
        since: when it came up, in seconds since 1970.
    """

    version: Literal[2]
    accel: Literal["kvm", "tcg"]
    memory: int
    network: Network
    image: str
    manifest: str
    since: float


def load_record(path: Path) -> LabRecord | None:
    """Return the record; None if there is none, or it is truncated or from another version of unibuild."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=LabRecord)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None


def save_record(path: Path, record: LabRecord) -> None:
    """Write the record atomically, for the user alone.

    Raises:
        FileError: it cannot be written.
    """
    files.write_atomic(path, msgspec.json.encode(record), mode=0o600)


LOCK_TIMEOUT = 600.0  # seconds to wait for another unibuild that downloads and starts the lab VM


@dataclass(frozen=True)
class LabVm:
    """A running lab VM.

    Args:
        paths: its folders.
        alias: its name in ``ssh_config``.
    """

    paths: LabPaths
    alias: str = "box"

    @property
    def ssh_config(self) -> Path:
        """The file for ``ssh -F``, for root's login over a shared connection."""
        return self.paths.ssh_config

    def forward(self, rule: str) -> None:
        """Forward a port of this machine to a domain (a rule of ``[lab] forward``) until the lab VM is down.

        Raises:
            SettingsError: the rule is not valid.
            LabError: another program has the port.
        """
        port, address = parse_forward(rule)
        with self.monitor() as monitor:
            monitor.forward(port, address)

    def unforward(self, port: int) -> None:
        """Close a port that ``forward`` opened; do nothing if the lab VM is down."""
        with contextlib.suppress(LabError), self.monitor() as monitor:
            monitor.unforward(port)

    @contextlib.contextmanager
    def monitor(self) -> Iterator[Monitor]:
        """Yield its QEMU's monitor; no other unibuild changes the lab VM meanwhile.

        Raises:
            LabError: it is down.
        """
        with _locked(self.paths, _silent), Monitor(self.paths.monitor) as found:
            yield found


@dataclass(frozen=True)
class Status:
    """The state of the lab.

    Args:
        state: "up"; "down"; "busy" while another unibuild changes it; "broken" when the next ``up`` will repair it.
        facts: details by name.
    """

    state: str
    facts: dict[str, str] = field(default_factory=dict)


def up(lab: Lab, progress: Callable[[str, float | None], None]) -> LabVm:
    """Return the running lab VM; start it if it does not run or does not answer.

    A running lab VM is used if it has at least the requested memory.

    Raises:
        MissingError: QEMU, ssh, apt or the network is missing.
        LabError: the lab VM does not start, or the running one does not fit the settings.
        FileError: the disk is full, or the packed image does not exist.
        SettingsError: a rule of ``forward`` is not valid.
    """
    rules = [parse_forward(rule) for rule in lab.forward]
    paths = LabPaths.of()
    with _locked(paths, progress):
        found = _running(paths)
        if found is None:
            _start(lab, paths, progress)
        else:
            _check_serves(lab, found)
        if rules:
            with Monitor(paths.monitor) as monitor:
                for port, address in rules:
                    monitor.forward(port, address)
    return LabVm(paths)


def running() -> LabVm | None:
    """Return the running lab VM, whatever its settings; None if none answers."""
    paths = LabPaths.of()
    if not paths.cache.exists():
        return None
    with _locked(paths, _silent):
        return None if _running(paths) is None else LabVm(paths)


def down() -> bool:
    """Stop the lab VM and all its domains, and keep only the cache; return whether one ran."""
    paths = LabPaths.of()
    if not paths.cache.exists() and qemu.find(paths) is None:
        return False
    with _locked(paths, _silent):
        found = qemu.find(paths) is not None
        _clear(paths)
    return found


def reset(*, image: bool = False) -> None:
    """Stop the lab VM; remove its snapshot, keys, log, KVM probe result and, with ``image``, its image."""
    from unibuild.lab import snapshot

    down()
    paths = LabPaths.of()
    if not paths.cache.exists():
        return
    with _locked(paths, _silent):
        snapshot.discard(paths.snapshot)
        for folder in (paths.keys, paths.downloads, *((paths.image, paths.unpacked) if image else ())):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (paths.serial_log, paths.ssh_config, paths.verdicts):
            file.unlink(missing_ok=True)


def status() -> Status:
    """Return the state of the lab; changes nothing."""
    paths = LabPaths.of()
    if not paths.cache.exists():
        return Status("broken" if qemu.find(paths) is not None else "down")
    kept = {"cache": f"{paths.cache} ({_used(paths.cache) >> 20} MiB)"}
    try:
        with files.lock(paths.lock, "the lab", timeout=1.0):
            found = _running(paths)
            if found is None:
                return Status("broken" if qemu.find(paths) is not None else "down", kept)
            with Monitor(paths.monitor) as monitor:
                forwards = monitor.forwards()
    except BusyError as error:
        return Status("busy", {"by": error.message, **kept})
    ports = [f"127.0.0.1:{port} -> {address}" for port, address in forwards.items() if not address.endswith(".15:22")]
    return Status(
        "up",
        {
            "box": found.image,
            "machine": f"{found.memory} MiB, {'KVM' if found.accel == 'kvm' else 'emulated (TCG)'}",
            "network": found.network,
            "since": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.since)),
            "process": str(qemu.find(paths)),
            "forward": ", ".join(ports) or "none",
            "ssh": f"ssh -F {paths.ssh_config} box",
            "log": str(paths.serial_log),
            **kept,
        },
    )


def pack(file: Path, progress: Callable[[str, float | None], None]) -> None:
    """Write the image built from this machine's packages as one file for ``[lab] image``; build it first if needed."""
    from unibuild.lab import image as images

    paths = LabPaths.of()
    with _locked(paths, progress):
        image = images.find(paths.image) or images.build(paths.image, paths.downloads, progress)
        progress(f"pack {file.name}", None)
        images.pack(image, file)


def _start(lab: Lab, paths: LabPaths, progress: Callable[[str, float | None], None]) -> None:
    from unibuild.lab.boot import Booter

    _clear(paths)
    try:
        paths.make_runtime()
        image = _image(lab, paths, progress)
        machine = Booter(paths, image, lab.accel, lab.memory, lab.network, progress).start()
        facts = LabRecord(
            version=RECORD_VERSION,
            accel=machine.accel,
            memory=machine.memory,
            network=lab.network,
            image=image.describe(),
            manifest=_digest(image.manifest),
            since=time.time(),
        )
        save_record(paths.record, facts)
    except BaseException:
        _clear(paths)
        raise


def _image(lab: Lab, paths: LabPaths, progress: Callable[[str, float | None], None]) -> LabImage:
    from unibuild.lab import image as images

    if lab.image is not None:
        return images.unpack(_image_file(lab.image), paths.unpacked, progress)
    return images.find(paths.image) or images.build(paths.image, paths.downloads, progress)


def _running(paths: LabPaths) -> LabRecord | None:
    """Return the record of the running lab VM.

    None where none runs, it does not answer, its record is unknown, or files needed to use it were removed.
    """
    found = load_record(paths.record)
    needed = (paths.ssh_config, paths.keys / "user", paths.keys / "known_hosts")
    if found is None or qemu.find(paths) is None or not all(file.is_file() for file in needed):
        return None
    with contextlib.suppress(OSError, LabError):
        with Monitor(paths.monitor) as monitor:
            alive = monitor.run("query-status")["status"] == "running"
            ports = [port for port, target in monitor.forwards().items() if target == "10.0.2.15:22"]
        if alive and ports and ssh.answers(paths, ports[0]):
            return found
    return None


def _check_serves(lab: Lab, found: LabRecord) -> None:
    """Refuse a running lab VM that does not satisfy the settings: its domains may still be needed."""
    if lab.image is not None:
        from unibuild.lab import image as images

        if _digest(images.manifest(_image_file(lab.image))) != found.manifest:
            raise _refusal(f"not from {lab.image}, but from {found.image}")
    if lab.memory > found.memory:
        raise _refusal(f"with {found.memory} MiB of memory, not {lab.memory}")
    if lab.network != found.network:
        raise _refusal(f"with network {found.network}, not {lab.network}")
    if lab.accel not in ("auto", found.accel):
        raise _refusal(f"with {found.accel}, not {lab.accel}")


def _refusal(how: str) -> LabError:
    return LabError(f"the lab is already running, {how}", hint="run `unibuild lab down`, which stops its domains too")


def _image_file(setting: str) -> Path:
    return files.expand_user(setting).absolute()


def _digest(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()


def _clear(paths: LabPaths) -> None:
    """Stop the lab VM, and remove what a killed unibuild may have left."""
    ssh.close(paths)
    qemu.stop(paths)
    shutil.rmtree(paths.runtime, ignore_errors=True)
    for path in paths.cache.glob(".*.*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(paths: LabPaths, progress: Callable[[str, float | None], None]) -> Iterator[None]:
    """Hold the lab's lock; report it if another unibuild has it."""
    paths.make_cache()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(files.lock(paths.lock, "the lab"))
        except BusyError as error:
            progress(error.message, None)
            stack.enter_context(files.lock(paths.lock, "the lab", timeout=LOCK_TIMEOUT))
        yield


def _used(folder: Path) -> int:
    """Return the bytes that a folder uses on disk; files that disappear meanwhile count as 0."""
    total = 0
    for folder_path, folders, names in os.walk(folder):
        for name in (*folders, *names):
            with contextlib.suppress(OSError):
                total += Path(folder_path, name).lstat().st_blocks * 512
    return total


def _silent(_: str, __: float | None) -> None:
    """Ignore the progress of a quick step."""
