"""What [hosts.NAME] changes of the settings."""

import pytest

from unibuild.settings.hosts import at, settled, whose_xl
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


def test_what_is_set_for_a_host_goes_over_the_rest(project):
    xl = settled(at(project, "big")).settings.xl
    assert (xl.memory, xl.vcpus, xl.set) == (512, 2, {"on_crash": "preserve"})
    assert xl.vif == {"0": {"bridge": "br1", "mtu": 1400}, "1": {"bridge": "br2"}}


def test_to_settle_twice_changes_nothing(project):
    once = settled(at(project, "big"))
    assert settled(once) == once


@pytest.mark.parametrize("host", ["plain", "lab", "auto", "ssh://big", "nobody"])
def test_a_host_that_changes_nothing(project, host):
    there = at(project, host)
    assert (settled(there), whose_xl(there.settings)) == (there, "others")


def test_whose_the_xl_is(project, tmp_path):
    assert whose_xl(at(project, "big").settings) == "big"
    (tmp_path / "unibuild.toml").write_text('[hosts.big]\naddress = "ssh://big"')
    assert whose_xl(load(tmp_path, {"host": "big"}, {}).settings) is None


def test_a_project_keeps_the_words_of_its_command_line(project):
    assert (project.words, project.take_over) == (("name=x",), False)
