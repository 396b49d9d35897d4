"""From the setting ``host`` to the machine, where that is the lab."""

from __future__ import annotations

import pytest

from unibuild.errors import LabError
from unibuild.lab.box import Box
from unibuild.lab.places import Places
from unibuild.settings.model import Settings
from unibuild.tasks import hosts

LAB = Settings(name="hello", host="lab")


@pytest.fixture
def running(tmp_path, monkeypatch) -> Box:
    """A lab that runs with less than the settings want."""
    found = Box(Places(tmp_path, tmp_path))

    def up(*_: object) -> Box:
        raise LabError("the lab is running already, with 768 MiB of memory, not 1024")

    monkeypatch.setattr("unibuild.lab.box.running", lambda: found)
    monkeypatch.setattr("unibuild.lab.box.up", up)
    return found


def test_a_lab_that_is_too_small_is_refused_to_boot_in(running):
    with pytest.raises(LabError, match="not 1024"):
        hosts.open_host(LAB)
    with pytest.raises(LabError, match="not 1024"):
        hosts.open_running(LAB)


def test_any_lab_will_do_where_nothing_is_booted(running):
    host = hosts.open_running(LAB, any_lab=True)
    assert (host.name, host.config) == ("lab", running.ssh_config)


@pytest.mark.parametrize("any_lab", [True, False])
def test_a_lab_that_is_down_is_no_host(monkeypatch, any_lab):
    monkeypatch.setattr("unibuild.lab.box.running", lambda: None)
    assert hosts.open_running(LAB, any_lab=any_lab) is None
