"""OpenSSH's real client and what it says of the real lab VM when something is wrong."""

import os
import re
import signal
import tempfile
import threading
import time

import pytest

from unibuild.cli import doctor_checks
from unibuild.errors import HostError, LostError
from unibuild.host import sudoers
from unibuild.host.ssh import Ssh
from unibuild.host.xl import XlToolstack
from unibuild.lab import vm
from unibuild.settings.model import HostTable, Lab, Settings
from unibuild.util import process

pytestmark = pytest.mark.lab


@pytest.fixture
def altered(lab_vm, tmp_path):
    """Return a host with some options of the lab VM's configuration changed, and no kept connection."""

    def make(**options: str) -> Ssh:
        text = lab_vm.ssh_config.read_text()
        for key, value in {"ControlPath": "none", "ControlMaster": "no", **options}.items():
            text = re.sub(rf"(?m)^  {key} .*$", f"  {key} {value}", text)
        config = tmp_path / "config"
        config.write_text(text)
        return Ssh(lab_vm.alias, config=config, name="lab")

    return make


@pytest.fixture
def new_key(tmp_path):
    process.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")])
    return tmp_path / "key"


def test_changed_host_key_is_reported_with_the_fix(altered, new_key, tmp_path):
    known = tmp_path / "known hosts"
    known.write_text("box " + " ".join(new_key.with_suffix(".pub").read_text().split()[:2]) + "\n")
    with pytest.raises(HostError, match="the key of lab has changed") as error:
        altered(UserKnownHostsFile=f'"{known}"').run(["true"])
    assert error.value.hint.endswith(f" ssh-keygen -f '{known}' -R box")


def test_an_unknown_host_key(altered):
    with pytest.raises(HostError, match="is not accepted yet"):
        altered(UserKnownHostsFile="/dev/null").run(["true"])


def test_a_refused_key(altered, new_key):
    with pytest.raises(HostError, match="lab refused the sign-in"):
        altered(IdentityFile=str(new_key)).run(["true"])


def test_nothing_listens(altered):
    with pytest.raises(HostError, match="nothing listens on its SSH port"):
        altered(Port="9").run(["true"])


def test_no_such_machine(altered):
    with pytest.raises(HostError, match="there is no machine of that name"):
        altered(HostName="nosuch.invalid").run(["true"])


def test_arguments_arrive_on_the_real_host(altered):
    said = altered().run(["printf", "%s|", "a b", "$HOME", "'", "", "ü*"]).text
    assert said == "a b|$HOME|'||ü*|"


def test_the_connection_is_kept(lab_vm):
    host = Ssh(lab_vm.alias, config=lab_vm.ssh_config, name="lab")
    host.run(["true"])
    assert process.run(["ssh", "-F", str(lab_vm.ssh_config), "-O", "check", lab_vm.alias], check=False).returncode == 0


@pytest.fixture
def kept(altered):
    """A host with a kept connection of its own, and a function that kills what keeps it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        host = altered(ControlPath=f"{folder}/ssh", ControlMaster="auto", ControlPersist="30")
        ask = ["ssh", "-F", str(host.config), "-O", "check", host.destination]

        def kill() -> None:
            said = process.run(ask).stderr.decode()
            os.kill(int(re.search(r"pid=(\d+)", said)[1]), signal.SIGKILL)

        host.run(["true"])
        yield host, kill
        process.run([*ask[:3], "-O", "exit", host.destination], check=False)


def test_killed_connection_is_opened_again(kept):
    host, kill = kept
    kill()
    assert "Domain-0" in host.run(["xl", "list"]).text


def test_broken_connection_is_reported(lab_vm, kept):
    host, kill = kept

    def cut() -> None:
        while "sleep 277" not in Ssh(lab_vm.alias, config=lab_vm.ssh_config).run(["ps"]).text:
            time.sleep(0.1)
        kill()

    cutter = threading.Thread(target=cut)
    cutter.start()
    with pytest.raises(LostError, match="the connection to lab broke"):
        host.run(["sleep", "277"])
    cutter.join()
    assert host.run(["true"]).returncode == 0


def test_lab_passes_doctor(lab_vm):
    found = doctor_checks.look(Settings(host="mine", hosts={"mine": HostTable(address="lab")}))
    assert {one.what: one.state for one in found} == dict.fromkeys(
        ("reach", "rights", "XenStore", "Xen", "memory", "bridges", "room"), "ok"
    )
    assert sudoers.find(Ssh(lab_vm.alias, config=lab_vm.ssh_config)).keys() == set(sudoers.root_programs(XlToolstack))


@pytest.fixture
def full_dom0(lab_vm):
    """A dom0 without space for kernels or its own files; both are freed afterwards."""
    host = Ssh(lab_vm.alias, config=lab_vm.ssh_config, name="lab")
    fillers = ["/var/lib/unibuild/filler", "/var/log/xen/console/filler"]
    for filler in fillers:
        host.run(["dd", "if=/dev/zero", f"of={filler}", "bs=64k"], check=False)
    yield host
    host.run(["rm", *fillers])


def test_full_dom0_is_reported_and_survives(lab_vm, full_dom0, tmp_path):
    before = vm.status().facts["process"]
    (tmp_path / "kernel").write_bytes(b"new" * 100_000)
    with pytest.raises(HostError, match="the disk of lab is full: cannot copy") as error:
        full_dom0.put(tmp_path / "kernel")
    assert "free space in /var/lib/unibuild there, which has 100 MiB in all, and" in error.value.hint
    assert "Domain-0" in full_dom0.run(["xl", "list"]).text
    assert vm.up(Lab(accel=os.environ.get("UNIBUILD_LAB_ACCEL", "auto")), lambda *_: None) == lab_vm
    assert vm.status().facts["process"] == before
