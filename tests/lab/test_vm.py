"""The lab VM itself: what comes up, what is left behind, and what is repaired."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from unibuild.cli import lab as lab_command
from unibuild.errors import LabError, MissingError
from unibuild.lab import qemu, ssh, vm
from unibuild.lab.boot import Booter
from unibuild.lab.paths import LabPaths
from unibuild.settings.model import Lab
from unibuild.util import process

pytestmark = pytest.mark.lab

UP = """
from unibuild.lab import vm
from unibuild.settings.model import Lab
vm.up(Lab(), lambda what, _: print(what, flush=True))
"""
PROGRAMS = (
    *("xl", "xenstore-ls", "xenstore-read", "xenstore-watch", "xenctx"),
    *("cat", "dd", "flock", "losetup", "mkdir", "mv", "pwd", "rm", "sha256sum", "stat", "tee", "test", "wc"),
)


def start_another() -> subprocess.Popen[str]:
    """Start another process that wants the lab VM."""
    return subprocess.Popen([sys.executable, "-c", UP], stdout=subprocess.PIPE, text=True, process_group=0)


def qemus() -> list[int]:
    """The processes with this test's mark in their arguments."""
    mark = os.fsencode(LabPaths.of().pid_file)
    return [int(entry.parent.name) for entry in Path("/proc").glob("[0-9]*/cmdline") if mark in read(entry)]


def kept_connections() -> list[Path]:
    """The ssh processes that hold a kept connection to the lab VM."""
    mark = os.fsencode(LabPaths.of().runtime)
    found = [entry for entry in Path("/proc").glob("[0-9]*/cmdline") if mark in read(entry)]
    return [entry for entry in found if read(entry).startswith(b"ssh")]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def dom0(script: str) -> str:
    return ssh.run(LabPaths.of(), ["sh", "-c", script]).text


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_second_up_returns_the_running_lab_vm(lab_vm):
    before = qemus()
    vm.up(Lab(), lambda *_: pytest.fail("there was something to do"))
    assert qemus() == before
    assert len(before) == 1


def test_it_runs_xen(lab_vm):
    assert "Domain-0" in dom0("xl list")


def test_it_can_run_pvh_domains(lab_vm):
    assert "hvm" in dom0("xl info virt_caps")


def test_its_clock_is_right(lab_vm):
    before = time.time()
    there = int(dom0("date +%s"))
    assert before - 5 < there < time.time() + 5


def test_lab_vm_has_the_programs_of_a_host(lab_vm):
    found = dom0(f"for one in {' '.join(PROGRAMS)}; do command -v $one; done").splitlines()
    assert {Path(line).name for line in found} == set(PROGRAMS)


def test_status_describes_the_lab_vm(lab_vm):
    status = vm.status()
    assert status.state == "up"
    assert status.facts["process"] == str(qemus()[0])
    assert "Xen 4." in status.facts["box"]


def test_a_forwarded_port_leads_into_the_lab_vm(lab_vm):
    port = free_port()
    ssh.run(
        lab_vm.paths, ["sh", "-c", "mkdir -p /run/www; echo served >/run/www/index.html; httpd -p 8000 -h /run/www"]
    )
    lab_vm.forward(f"{port}:10.0.2.15:8000")
    lab_vm.forward(f"{port}:10.0.2.15:8000")
    with urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
        assert answer.read() == b"served\n"
    assert f"127.0.0.1:{port} -> 10.0.2.15:8000" in vm.status().facts["forward"]


def test_port_of_another_program_is_reported(lab_vm):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(LabError, match="cannot forward port"):
            lab_vm.forward(f"{taken.getsockname()[1]}:80")


def test_lab_vm_with_too_little_memory_is_kept(lab_vm):
    with pytest.raises(LabError, match="already running, with 1024 MiB of memory, not 2048"):
        vm.up(Lab(memory=2048), print)
    assert vm.running() == lab_vm


def test_keys_and_memory_are_private(lab_vm):
    secret = [lab_vm.paths.keys / "user", lab_vm.paths.keys / "host", lab_vm.paths.snapshot / "ram", lab_vm.ssh_config]
    assert [oct(path.stat().st_mode & 0o777) for path in secret] == ["0o600"] * 4
    assert lab_vm.paths.runtime.stat().st_mode & 0o777 == 0o700


def test_down_leaves_nothing_behind(lab_vm):
    assert vm.down()
    assert (qemus(), kept_connections()) == ([], [])
    assert not lab_vm.paths.runtime.exists()
    assert not list(lab_vm.paths.cache.glob(".*"))
    assert not vm.down()
    assert vm.status().state == "down"
    assert vm.running() is None


def test_two_that_start_it_at_once_share_it(lab_vm):
    vm.down()
    both = [start_another(), start_another()]
    said = [other.communicate(timeout=200)[0] for other in both]
    assert [other.returncode for other in both] == [0, 0]
    assert len(qemus()) == 1
    assert sum("restore the lab VM" in text for text in said) == 1


def test_a_killed_lab_vm_is_noticed_and_restored(lab_vm):
    os.kill(qemus()[0], signal.SIGKILL)
    vm.up(Lab(), lambda *_: None)
    assert "Domain-0" in dom0("xl list")


def test_lab_vm_with_a_silent_dom0_is_repaired(lab_vm, monkeypatch):
    dom0("kill -STOP $(pidof dropbear | tr ' ' '\\n' | sort -n | head -1)")
    ssh.close(lab_vm.paths)
    monkeypatch.setattr(ssh, "GREETING_TIMEOUT", 2.0)
    before = qemus()
    vm.up(Lab(), lambda *_: None)
    assert qemus() != before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_start_leaves_no_second_lab_vm(lab_vm, number):
    vm.down()
    with start_another() as other:
        other.stdout.readline()  # it restores
        while not qemus():
            time.sleep(0.005)
        os.killpg(other.pid, number)
        other.wait(timeout=60)
    if number == signal.SIGINT:
        assert qemus() == []
    vm.up(Lab(), lambda *_: None)
    assert len(qemus()) == 1


@pytest.fixture
def spare_snapshot(lab_vm) -> Path:
    """A second name for the files of the snapshot, which is put back afterwards: to make one takes a boot."""
    vm.down()
    kept = lab_vm.paths.cache / "kept"
    shutil.copytree(lab_vm.paths.snapshot, kept, copy_function=os.link)
    yield lab_vm.paths.snapshot
    vm.down()
    shutil.rmtree(lab_vm.paths.snapshot, ignore_errors=True)
    kept.rename(lab_vm.paths.snapshot)


def test_a_damaged_snapshot_is_followed_by_a_boot(spare_snapshot, monkeypatch):
    state = spare_snapshot / "state"
    cut = state.read_bytes()[:1000]
    state.unlink()
    state.write_bytes(cut)

    def boot(self, machine, overlay, ram) -> None:
        raise LabError("a boot takes long")

    monkeypatch.setattr(Booter, "_boot", boot)
    with pytest.raises(LabError, match="a boot takes long"):
        vm.up(Lab(accel="tcg"), lambda *_: None)
    assert not spare_snapshot.exists()
    assert qemus() == []


@pytest.fixture
def kernel(lab_vm, hello_kernels) -> str:
    """A kernel in dom0."""
    there = "/var/lib/unibuild/hello.xen"
    copy = ["ssh", "-F", str(lab_vm.ssh_config), lab_vm.alias, f"dd of={there}"]
    process.run(copy, input=hello_kernels.pv.read_bytes())
    return there


def test_domains_get_the_lowest_free_address(lab_vm, kernel):
    for _ in range(2):
        dom0(f'xl create -p -q /dev/null \'name="a"; kernel="{kernel}"; memory=16; vif=["bridge=xenbr0"]\'')
        assert dom0("grep static_lease /run/udhcpd.conf").split()[2:] == ["10.0.2.50"]
        dom0("xl destroy a")
    dom0('until [ "$(pidof udhcpd)" = "$(cat /run/dhcp.pid)" ]; do usleep 20000; done')  # the first one ends


def test_bridge_created_in_dom0_is_a_separate_network(lab_vm, kernel):
    dom0("ip link add br7 type bridge")
    dom0(f'xl create -p -q /dev/null \'name="b"; kernel="{kernel}"; memory=16; vif=["bridge=br7", "bridge=br0"]\'')
    masters = dom0("for vif in /sys/class/net/vif*; do basename $(readlink $vif/master); done").split()
    dom0("xl destroy b; ip link del br7")
    assert masters == ["br7", "xenbr0"]


def test_a_shell_in_dom0_reads_the_command_of_lab_ssh(lab_vm, capfd):
    assert lab_command.main(["ssh", "echo $((1 + 1)); uname -n | tr b B; exit 7"]) == 7
    assert capfd.readouterr().out == "2\nBox\n"


def test_missing_qemu_is_one_readable_error(lab_vm, monkeypatch):
    vm.down()
    monkeypatch.setattr(qemu, "PROGRAM", "qemu-system-nowhere")
    with pytest.raises(MissingError, match="qemu-system-nowhere is not installed"):
        vm.up(Lab(), lambda *_: None)
    assert vm.status().state == "down"
    assert not LabPaths.of().runtime.exists()
