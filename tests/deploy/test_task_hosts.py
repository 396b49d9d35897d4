"""From the setting ``host`` to the machine, where that is the lab."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import unibuild
from unibuild.deploy import hosts
from unibuild.errors import InputError, LabError
from unibuild.host import resolve
from unibuild.host.base import BATCH
from unibuild.lab.paths import LabPaths
from unibuild.lab.vm import LabVm
from unibuild.settings.model import HostTable, Settings

LAB = Settings(name="hello", host="lab")


@pytest.fixture
def running(tmp_path, monkeypatch) -> LabVm:
    """A lab that runs with less than the settings want."""
    found = LabVm(LabPaths(tmp_path, tmp_path))

    def up(*_: object) -> LabVm:
        raise LabError("the lab is already running, with 768 MiB of memory, not 1024")

    monkeypatch.setattr("unibuild.lab.vm.running", lambda: found)
    monkeypatch.setattr("unibuild.lab.vm.up", up)
    return found


def test_too_small_lab_is_refused_for_a_boot(running):
    with pytest.raises(LabError, match="not 1024"):
        hosts.open_host(LAB)
    with pytest.raises(LabError, match="not 1024"):
        hosts.open_running(LAB)


def test_any_lab_is_accepted_without_a_boot(running):
    host = hosts.open_running(LAB, any_lab=True)
    assert (host.name, host.config) == ("lab", running.ssh_config)


@pytest.mark.parametrize("any_lab", [True, False])
def test_lab_that_is_down_gives_no_host(monkeypatch, any_lab):
    monkeypatch.setattr("unibuild.lab.vm.running", lambda: None)
    assert hosts.open_running(LAB, any_lab=any_lab) is None


# --- hosts by name

NAMED = {
    "xen1": HostTable(address="ssh://ann@xen1:2222"),
    "mine": HostTable(address="local", sudo="never"),
    "farm": HostTable(address="lab"),
}


def named(host: str) -> Settings:
    return Settings(host=host, hosts=NAMED)


@pytest.mark.parametrize("host", ["xen1", "mine", "farm", "ssh://ann@xen1:2222", "local", "lab"])
def test_host_has_its_name_from_the_settings(host):
    assert resolve.host_name(named(host)) == host


def test_host_table_sets_the_address(xen):
    host = hosts.open_host(named("xen1"))
    assert (host.name, host.address, host.destination, host.port) == ("xen1", "ssh://ann@xen1:2222", "ann@xen1", 2222)
    assert hosts.open_host(named("mine")).call(["true"]).argv[-1] == "/usr/bin/true"


def test_a_lab_with_a_name_is_the_lab(running):
    host = hosts.open_running(named("farm"), any_lab=True)
    assert (host.name, host.address) == ("farm", "lab")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (named("xen2"), "unknown host: xen2\n  did you mean `xen1`? known: local, lab, xen1, mine, farm; or an"),
        (named("all"), "this goal takes one host, not all\n  --host xen1 or --host mine or --host farm"),
        (Settings(host="all"), '"all" means the hosts that have names, and no host has a name\n  give them names'),
        (named("http://xen1"), 'host = "http://xen1" is not the address of a Xen host'),
        (
            Settings(host="a", hosts={"a": HostTable(address="xen1/")}),
            '[hosts.a] address = "xen1/" is not the address of a Xen host',
        ),
    ],
)
def test_invalid_hosts_are_refused(settings, sentence):
    with pytest.raises(InputError) as caught:
        resolve.host_name(settings)
        hosts.open_host(settings)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("asked", "recorded", "found"),
    [
        ("xen1", ["ssh://ann@xen1:2222"], "ssh://ann@xen1:2222"),
        ("ssh://ann@xen1:2222", ["gone", "xen1"], "xen1"),
        ("ssh://ann@xen1:2222", ["xen1", "ssh://ann@xen1:2222"], "ssh://ann@xen1:2222"),
        ("xen1", ["ssh://bob@xen1:2222", "local"], "xen1"),
        ("farm", ["lab"], "lab"),
        ("lab", [], "lab"),
    ],
)
def test_host_recorded_under_another_name(asked, recorded, found):
    assert hosts.as_recorded(named(asked), recorded).host == found


@pytest.mark.parametrize(("batch", "variable"), [(False, ""), (True, ""), (False, "1")])
def test_host_may_ask_unless_told_by_the_caller_or_the_parent_process(monkeypatch, batch, variable):
    monkeypatch.setenv(BATCH, variable)
    host = hosts.open_host(named("xen1"), batch=batch)
    assert host.is_batch == (batch or bool(variable))


def test_report_of_waiting_survives_a_full_stderr():
    script = "hosts._report_waiting(Local())._show('xl list'); print('went on')"
    imports = "from unibuild.deploy import hosts; from unibuild.host.local import Local"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", f"{imports}; {script}"], stdout=subprocess.PIPE, stderr=full, check=False
        )
    assert done.stdout == b"went on\n"


def test_no_module_changes_the_environment_of_its_own_process():
    """An environment variable is for a child; functions of one process pass values."""
    changes = re.compile(r"os\.environ\[[^]]*\] *=|os\.environ\.(?:setdefault|update)|os\.putenv")
    package = Path(unibuild.__file__).parent
    assert [str(path) for path in package.rglob("*.py") if changes.search(path.read_text())] == []
