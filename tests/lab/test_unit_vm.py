"""Finding, checking and stopping the lab VM, with a stand-in process, socket and record."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import msgspec
import pytest

from unibuild.errors import FileError, LabError
from unibuild.lab import image, qemu, vm
from unibuild.lab.boot import Booter
from unibuild.lab.image import LabImage
from unibuild.lab.paths import LabPaths
from unibuild.settings.model import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USERNET = "  TCP[HOST_FORWARD]  11       127.0.0.1 {} 10.0.2.15    22     0     0\r\n"


def quiet(what: str, fraction: float | None) -> None:
    del what, fraction


def process_called(name: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a process that sleeps, with this name and these arguments in /proc; it runs once this returns."""
    code = "import time; print(flush=True); time.sleep(60)"
    child = subprocess.Popen([name, "-c", code, *arguments], executable=sys.executable, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    return child


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    paths = LabPaths.of()
    paths.make_cache()
    paths.make_runtime()
    yield paths
    shutil.rmtree(paths.runtime, ignore_errors=True)


@pytest.fixture
def started():
    """Start processes by ``process_called``; those that still run are ended with the test."""
    children = []

    def start(name: str, *arguments: str) -> subprocess.Popen[bytes]:
        children.append(process_called(name, *arguments))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.communicate()


class Running:
    """A lab VM that answers: QEMU's process and monitor, and dom0's SSH server."""

    def __init__(self, paths: LabPaths) -> None:
        self.paths = paths
        self.ssh, self.qmp = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)
        self.qmp.bind(str(paths.monitor))
        self.qmp.listen()
        for listener, talk in ((self.ssh, self.greet), (self.qmp, self.answer)):
            threading.Thread(target=self.serve, args=(listener, talk), daemon=True).start()

    def serve(self, listener, talk) -> None:
        try:
            while True:
                with listener.accept()[0] as connection:
                    talk(connection)
        except OSError:  # it is over
            return

    def greet(self, connection) -> None:
        connection.sendall(b"SSH-2.0-fake\r\n")

    def answer(self, connection) -> None:
        usernet = USERNET.format(self.ssh.getsockname()[1])
        answers = {"query-status": {"status": "running"}, "human-monitor-command": usernet}
        with connection.makefile("rb") as lines:
            connection.sendall(b'{"QMP": {}}\n')
            for line in lines:
                answer = {"return": answers.get(json.loads(line)["execute"], {})}
                connection.sendall(json.dumps(answer).encode() + b"\n")

    def close(self) -> None:
        for listener in (self.ssh, self.qmp):
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def known(paths: LabPaths, **changes: object) -> bytes:
    """Write the record of a lab VM with 768 MiB; return its bytes."""
    facts = vm.LabRecord(
        version=2, accel="tcg", memory=768, network="closed", image="Xen 4.17", manifest="none", since=1.0
    )
    vm.save_record(paths.record, msgspec.structs.replace(facts, **changes))
    return paths.record.read_bytes()


@pytest.fixture
def running(paths, started):
    started("qemu-system-fake", "-pidfile", str(paths.pid_file))
    known(paths)
    paths.keys.mkdir()
    for file in (paths.ssh_config, paths.keys / "user", paths.keys / "known_hosts"):
        file.touch()
    running = Running(paths)
    yield running
    running.close()


OLD = b'{"accel": "tcg", "memory": 768, "image": "Xen 4.17", "since": 1.0}'
CUT = b'{"version": 1, "accel": "tcg", "mem'
OF_VERSION_1 = b'{"version": 1, "accel": "tcg", "memory": 768, "image": "", "manifest": "", "since": 1.0}'
NEWER = b'{"version": 3, "network": "closed", "accel": "tcg", "memory": 768, "image": "", "manifest": "", "since": 1.0}'
UNREADABLE = [OLD, OF_VERSION_1, CUT, NEWER, b"", b"[]", b"{}", b"null", b"\xff"]


def test_status_describes_a_running_lab_vm(running):
    status = vm.status()
    assert (status.state, status.facts["machine"]) == ("up", "768 MiB, emulated (TCG)")


@pytest.mark.parametrize("content", UNREADABLE)
def test_unreadable_record_is_a_broken_lab_vm(running, content):
    running.paths.record.write_bytes(content)
    assert vm.status().state == "broken"
    assert vm.running() is None


@pytest.mark.parametrize("content", UNREADABLE)
def test_up_repairs_a_lab_vm_with_an_unreadable_record(running, content, monkeypatch):
    running.paths.record.write_bytes(content)
    monkeypatch.setattr(vm, "_start", lambda lab, paths, progress: known(paths))
    vm.up(Lab(), quiet)
    assert vm.status().state == "up"


def test_a_record_that_was_saved_is_loaded(paths):
    assert b"768" in known(paths)
    assert vm.load_record(paths.record).memory == 768
    assert paths.record.stat().st_mode & 0o777 == 0o600


def test_status_works_without_ssh(running, monkeypatch):
    running.paths.ssh_socket.touch()
    monkeypatch.setenv("PATH", "/nonexistent")
    assert vm.status().state == "up"


@pytest.mark.parametrize("wanted", [512, 768])
def test_lab_vm_with_enough_memory_is_used(running, wanted):
    assert vm.up(Lab(memory=wanted), quiet) == vm.LabVm(running.paths)


@pytest.mark.parametrize(("has", "wanted"), [("closed", "open"), ("open", "closed"), ("open", "internet")])
def test_lab_vm_on_another_network_is_refused_and_kept(running, has, wanted):
    known(running.paths, network=has)
    with pytest.raises(LabError, match=f"already running, with network {has}, not {wanted}"):
        vm.up(Lab(memory=512, network=wanted), quiet)
    assert vm.status().facts["network"] == has


@pytest.mark.parametrize("lost", ["cache", "keys", "ssh_config"])
def test_a_lab_vm_without_the_files_to_use_it_is_lost(running, lost, monkeypatch):
    path = getattr(running.paths, lost)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert vm.status().state == "broken"
    assert vm.running() is None
    started = []
    monkeypatch.setattr(vm, "_start", lambda *_: started.append("box"))
    vm.up(Lab(), quiet)
    assert started == ["box"]


def test_down_stops_a_lab_vm_without_its_cache(running):
    shutil.rmtree(running.paths.cache)
    pid = qemu.find(running.paths)
    threading.Thread(target=os.waitpid, args=(pid, 0)).start()  # this process is its parent
    assert vm.down()
    assert qemu.find(running.paths) is None


def test_lab_vm_with_less_memory_is_refused_and_kept(running):
    with pytest.raises(LabError, match="already running, with 768 MiB of memory, not 1024"):
        vm.up(Lab(memory=1024), quiet)
    assert vm.running() == vm.LabVm(running.paths)
    assert vm.status().state == "up"


def test_a_lab_vm_that_is_emulated_is_not_one_under_kvm(running):
    with pytest.raises(LabError, match="already running, with tcg, not kvm"):
        vm.up(Lab(memory=512, accel="kvm"), quiet)


def packed(folder: Path, name: str) -> Path:
    """Return a packed image like no other."""
    made = folder / f"image {name}"
    made.mkdir()
    (made / "manifest.json").write_text(json.dumps({"recipe": image.RECIPE, "name": name}))
    for part in image.PARTS:
        (made / part).write_text(name)
    image.pack(LabImage(made), folder / name)
    return folder / name


def test_missing_packed_image_is_reported_while_a_lab_vm_runs(running):
    with pytest.raises(FileError, match=r"there is no file /nope/image\.tar"):
        vm.up(Lab(image="/nope/image.tar"), quiet)


def test_a_lab_vm_of_another_file_is_refused(running, tmp_path):
    with pytest.raises(LabError, match=r"already running, not from .*other\.box, but from Xen 4\.17"):
        vm.up(Lab(memory=512, image=str(packed(tmp_path, "other.box"))), quiet)


def test_lab_vm_of_the_same_file_is_used(running, tmp_path):
    file = packed(tmp_path, "this.box")
    known(running.paths, manifest=vm._digest(image.manifest(file)))
    assert vm.up(Lab(memory=512, image=str(file)), quiet) == vm.LabVm(running.paths)


def test_lab_qemu_is_found_without_its_pid_file(paths, started):
    child = started("/usr/bin/qemu-system-fake", "-pidfile", str(paths.pid_file))
    assert qemu.find(paths) == child.pid


@pytest.mark.parametrize(("name", "option"), [("tail", "-pidfile"), ("qemu-img", "-f"), ("sh", "-f")])
def test_process_that_only_names_the_pid_file_is_not_killed(paths, started, name, option):
    child = started(name, option, str(paths.pid_file))
    paths.pid_file.write_text(f"{child.pid}\n")
    assert qemu.find(paths) is None
    assert not vm.down()
    assert child.poll() is None


def test_process_of_another_user_is_ignored(paths, started, monkeypatch):
    started("qemu-system-fake", "-pidfile", str(paths.pid_file))
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    assert qemu.find(paths) is None


def test_down_stops_the_lab_qemu(running):
    pid = qemu.find(running.paths)
    threading.Thread(target=os.waitpid, args=(pid, 0)).start()  # this process is its parent
    assert vm.down()
    assert not running.paths.runtime.exists()


class Listing(list["os.DirEntry[str]"]):
    """A folder's listing that is older than the folder."""

    def __enter__(self) -> Iterator[os.DirEntry[str]]:
        self.entries = iter(self)
        return self.entries

    def __exit__(self, *_: object) -> None: ...

    def __next__(self) -> os.DirEntry[str]:
        return next(self.entries)


def test_files_that_vanish_while_counted_take_no_space(tmp_path, monkeypatch):
    (tmp_path / "stays").write_bytes(b"x" * 5000)
    room = vm._used(tmp_path)
    folder = tmp_path / "goes"
    (folder / "below").mkdir(parents=True)
    real = os.scandir

    def scandir(path: str) -> Listing:
        with real(path) as entries:
            found = Listing(entries)
        if folder.exists():
            (folder / "below").rmdir()
            folder.rmdir()
        return found

    monkeypatch.setattr(os, "scandir", scandir)
    assert vm._used(tmp_path) == room


def test_cache_is_private(paths):
    assert paths.cache.stat().st_mode & 0o777 == 0o700


def test_readable_cache_is_made_private(paths):
    paths.cache.chmod(0o755)
    paths.make_cache()
    assert paths.cache.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def starter(paths, tmp_path, monkeypatch):
    """Starts no lab VM: what it reports is in ``told``, and under KVM it fails."""
    told: list[str] = []
    made = LabImage(tmp_path / "image")
    made.folder.mkdir()
    (made.folder / "manifest.json").write_text("{}")
    monkeypatch.setattr(qemu, "version", lambda: "7.2")
    monkeypatch.setattr(os, "access", lambda path, mode: path == "/dev/kvm")

    def bring_up(self, machine, version) -> None:
        del version
        self.progress(f"boot with {machine.accel}", 0.0)
        if machine.accel == "kvm":
            raise LabError("QEMU does not start")

    monkeypatch.setattr(Booter, "_bring_up", bring_up)
    monkeypatch.setattr("unibuild.util.process.need", lambda program: None)
    starter = Booter(paths, made, "auto", 768, "closed", lambda what, _: told.append(what))
    return starter, told


def test_broken_kvm_is_reported_and_emulation_used(starter):
    start, told = starter[0].start, starter[1]
    assert start().accel == "tcg"
    assert told == ["boot with kvm", "KVM does not work here, emulating", "boot with tcg"]


def test_kvm_that_did_not_work_is_not_tried_again(starter):
    start, told = starter[0].start, starter[1]
    start()
    told.clear()
    assert start().accel == "tcg"
    assert told == ["boot with tcg"]
