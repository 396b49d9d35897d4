"""The settings in [hosts.NAME] override the others for that host."""

import pytest

from unibuild.settings.hosts import apply_host, at, xl_owner
from unibuild.settings.loader import load

TOML = """
[xl]
memory = 32
vcpus = 2
vif.0 = { bridge = "br0", mtu = 1400 }
set.on_crash = "preserve"

[hosts.big]
address = "ssh://big"
xl.memory = 512
xl.vif.0.bridge = "br1"
xl.vif.1.bridge = "br2"
[hosts.plain]
address = "ssh://plain"
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "unibuild.toml").write_text(TOML)
    return load(tmp_path, {"name": "x"}, {})


def test_settings_of_a_host_override_the_others(project):
    xl = apply_host(at(project, "big")).settings.xl
    assert (xl.memory, xl.vcpus, xl.set) == (512, 2, {"on_crash": "preserve"})
    assert xl.vif == {"0": {"bridge": "br1", "mtu": 1400}, "1": {"bridge": "br2"}}


def test_applying_a_host_twice_changes_nothing(project):
    once = apply_host(at(project, "big"))
    assert apply_host(once) == once


@pytest.mark.parametrize("host", ["plain", "lab", "auto", "ssh://big", "nobody"])
def test_host_that_changes_nothing(project, host):
    there = at(project, host)
    assert (apply_host(there), xl_owner(there.settings)) == (there, "others")


def test_xl_file_belongs_to_the_host_that_changes_it(project, tmp_path):
    assert xl_owner(at(project, "big").settings) == "big"
    (tmp_path / "unibuild.toml").write_text('[hosts.big]\naddress = "ssh://big"')
    assert xl_owner(load(tmp_path, {"host": "big"}, {}).settings) is None


def test_project_keeps_the_words_of_its_command_line(project):
    assert (project.words, project.take_over) == (("name=x",), False)
