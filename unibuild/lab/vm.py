"""The box: a Xen host of one's own, handed out as an ssh host. One a user; every function may be called at any time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.errors import BusyError, LabError
from unibuild.lab import qemu, record, ssh
from unibuild.lab.forward import parse_forward
from unibuild.lab.paths import Places
from unibuild.lab.qmp import Monitor
from unibuild.util import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unibuild.lab.image import Image
    from unibuild.settings.model import Lab

__all__ = ["Box", "Status", "down", "pack", "reset", "running", "status", "up"]

PATIENCE = 600.0  # seconds to wait for another unibuild that downloads and starts the box


@dataclass(frozen=True)
class Box:
    """A running box.

    Args:
        places: its folders.
        alias: its name in ``ssh_config``.
    """

    places: Places
    alias: str = "box"

    @property
    def ssh_config(self) -> Path:
        """The file for ``ssh -F``; root's login, with a kept connection."""
        return self.places.ssh_config

    def forward(self, rule: str) -> None:
        """Make a port of this machine lead to a domain, as ``[lab] forward`` says it; at once, until the box is down.

        Raises:
            SettingsError: the rule cannot be understood.
            LabError: another program has the port.
        """
        port, address = parse_forward(rule)
        with self.monitor() as monitor:
            monitor.forward(port, address)

    def unforward(self, port: int) -> None:
        """Close a port that ``forward`` opened; where the box is down there is none."""
        with contextlib.suppress(LabError), self.monitor() as monitor:
            monitor.unforward(port)

    @contextlib.contextmanager
    def monitor(self) -> Iterator[Monitor]:
        """Give its QEMU's monitor; meanwhile no other unibuild changes the box.

        Raises:
            LabError: it is down.
        """
        with _locked(self.places, _silent), Monitor(self.places.monitor) as found:
            yield found


@dataclass(frozen=True)
class Status:
    """How the lab stands.

    Args:
        state: "up"; "down"; "busy" while another unibuild changes it; "broken" where the next ``up`` will mend it.
        facts: what there is to say, by name.
    """

    state: str
    facts: dict[str, str] = field(default_factory=dict)


def up(lab: Lab, progress: Callable[[str, float | None], None]) -> Box:
    """Hand out the running box; start it where it does not run, or no longer answers.

    A running box is taken where it has the memory that is asked for, or more.

    Raises:
        MissingError: QEMU, ssh, apt or the network is not there.
        LabError: the box does not start, or the one that runs is not what the settings ask for.
        FileError: the disk is full, or there is no such box file.
        SettingsError: a rule of ``forward`` cannot be understood.
    """
    rules = [parse_forward(rule) for rule in lab.forward]
    places = Places.of()
    with _locked(places, progress):
        found = _running(places)
        if found is None:
            _start(lab, places, progress)
        else:
            _check_serves(lab, found)
        if rules:
            with Monitor(places.monitor) as monitor:
                for port, address in rules:
                    monitor.forward(port, address)
    return Box(places)


def running() -> Box | None:
    """Hand out the running box, whatever its settings; None where none answers."""
    places = Places.of()
    if not places.cache.exists():
        return None
    with _locked(places, _silent):
        return None if _running(places) is None else Box(places)


def down() -> bool:
    """End the box and all its domains; nothing of it stays but the cache. Returns whether there was one."""
    places = Places.of()
    if not places.cache.exists() and qemu.find(places) is None:
        return False
    with _locked(places, _silent):
        found = qemu.find(places) is not None
        _clear(places)
    return found


def reset(*, image: bool = False) -> None:
    """End the box and forget its snapshot, keys, log and the verdict on KVM; with ``image`` its image too."""
    from unibuild.lab import snapshot

    down()
    places = Places.of()
    if not places.cache.exists():
        return
    with _locked(places, _silent):
        snapshot.discard(places.snapshot)
        for folder in (places.keys, places.downloads, *((places.image, places.unpacked) if image else ())):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (places.serial_log, places.ssh_config, places.verdicts):
            file.unlink(missing_ok=True)


def status() -> Status:
    """Tell how the lab stands; changes nothing."""
    places = Places.of()
    if not places.cache.exists():
        return Status("broken" if qemu.find(places) is not None else "down")
    kept = {"cache": f"{places.cache} ({_used(places.cache) >> 20} MiB)"}
    try:
        with files.lock(places.lock, "the lab", patience=1.0):
            found = _running(places)
            if found is None:
                return Status("broken" if qemu.find(places) is not None else "down", kept)
            with Monitor(places.monitor) as monitor:
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
            "process": str(qemu.find(places)),
            "forward": ", ".join(ports) or "none",
            "ssh": f"ssh -F {places.ssh_config} box",
            "log": str(places.serial_log),
            **kept,
        },
    )


def pack(file: Path, progress: Callable[[str, float | None], None]) -> None:
    """Write the image made of this machine's packages as a box file for ``[lab] box``; make it first if need be."""
    from unibuild.lab import image as images

    places = Places.of()
    with _locked(places, progress):
        image = images.find(places.image) or images.build(places.image, places.downloads, progress)
        progress(f"pack {file.name}", None)
        images.pack(image, file)


def _start(lab: Lab, places: Places, progress: Callable[[str, float | None], None]) -> None:
    from unibuild.lab.boot import Starter

    _clear(places)
    try:
        places.make_runtime()
        image = _image(lab, places, progress)
        machine = Starter(places, image, lab.accel, lab.memory, lab.network, progress).start()
        facts = record.Record(
            version=record.VERSION,
            accel=machine.accel,
            memory=machine.memory,
            network=lab.network,
            image=image.describe(),
            manifest=_digest(image.manifest),
            since=time.time(),
        )
        record.save(places.record, facts)
    except BaseException:
        _clear(places)
        raise


def _image(lab: Lab, places: Places, progress: Callable[[str, float | None], None]) -> Image:
    from unibuild.lab import image as images

    if lab.box is not None:
        return images.unpack(_box_file(lab.box), places.unpacked, progress)
    return images.find(places.image) or images.build(places.image, places.downloads, progress)


def _running(places: Places) -> record.Record | None:
    """Return the record of the running box.

    None where none runs, it does not answer, nobody knows what it is, or files that it takes to use it were removed.
    """
    found = record.load(places.record)
    needed = (places.ssh_config, places.keys / "user", places.keys / "known_hosts")
    if found is None or qemu.find(places) is None or not all(file.is_file() for file in needed):
        return None
    with contextlib.suppress(OSError, LabError):
        with Monitor(places.monitor) as monitor:
            alive = monitor.run("query-status")["status"] == "running"
            ports = [port for port, target in monitor.forwards().items() if target == "10.0.2.15:22"]
        if alive and ports and ssh.answers(places, ports[0]):
            return found
    return None


def _check_serves(lab: Lab, found: record.Record) -> None:
    """Refuse a running box that is less than the settings want: its domains may be dear to somebody."""
    if lab.box is not None:
        from unibuild.lab import image as images

        if _digest(images.manifest(_box_file(lab.box))) != found.manifest:
            raise _refusal(f"not from {lab.box}, but from {found.image}")
    if lab.memory > found.memory:
        raise _refusal(f"with {found.memory} MiB of memory, not {lab.memory}")
    if lab.network != found.network:
        raise _refusal(f"with network {found.network}, not {lab.network}")
    if lab.accel not in ("auto", found.accel):
        raise _refusal(f"with {found.accel}, not {lab.accel}")


def _refusal(how: str) -> LabError:
    return LabError(f"the lab is running already, {how}", hint="end it and its domains with `unibuild lab down`")


def _box_file(setting: str) -> Path:
    return files.expand_user(setting).absolute()


def _digest(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()


def _clear(places: Places) -> None:
    """End what runs of the box, and remove what a killed unibuild may have left half done."""
    ssh.close(places)
    qemu.stop(places)
    shutil.rmtree(places.runtime, ignore_errors=True)
    for path in places.cache.glob(".*.*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(places: Places, progress: Callable[[str, float | None], None]) -> Iterator[None]:
    """Hold the lab's lock; say so when another unibuild has it."""
    places.make_cache()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(files.lock(places.lock, "the lab"))
        except BusyError as error:
            progress(error.message, None)
            stack.enter_context(files.lock(places.lock, "the lab", patience=PATIENCE))
        yield


def _used(folder: Path) -> int:
    """Return the bytes that a folder takes on disk; what vanishes meanwhile takes none."""
    total = 0
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            with contextlib.suppress(OSError):
                total += Path(place, name).lstat().st_blocks * 512
    return total


def _silent(_: str, __: float | None) -> None:
    """The progress of what takes no time."""
