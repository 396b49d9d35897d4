"""A domain that asks for a reboot gets it, unless it does so again and again."""

import pytest

from unibuild.deploy import boot
from unibuild.errors import DomainError
from unibuild.settings.loader import load


@pytest.fixture
def reboot(tmp_path, xen):
    """Boot a kernel that reboots at once; ``[boot] restarts`` as given."""
    (tmp_path / "unibuild.toml").write_text("")
    kernel = xen.kernel("say up", "reboot")

    def run(restarts: int) -> None:
        words = {"host": "local", "boot.restarts": str(restarts)}
        boot.boot(load(tmp_path, words, {}), xen.xl_file(kernel), kernel)

    return run


def test_a_loop_of_reboots_is_stopped(reboot, xen, capfd, fails):
    with fails(DomainError, "hello", 3):
        reboot(2)
    said = capfd.readouterr()
    assert said.out == "up\n" * 3
    assert "hello asked for a reboot again: recreating it in 1 s" in said.err
    assert xen.domains() == {}


def test_reboot_counts_as_end_if_not_allowed(reboot, xen, capfd):
    reboot(0)
    assert capfd.readouterr().err.endswith("unibuild: hello asked for a reboot\n")
    assert xen.domains() == {}
