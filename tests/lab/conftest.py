"""The lab of the tests: one box for the whole run, in a cache folder of its own, restored from a snapshot."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from unibuild.host.ssh import Ssh
from unibuild.lab import vm
from unibuild.settings.model import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unibuild.lab.vm import LabVm


CLEAR = "for id in $(xl list | awk 'NR > 2 { print $2 }'); do xl destroy $id; done; xenstore-rm /unibuild"


def tell(what: str, fraction: float | None) -> None:
    if fraction is None or fraction in (0.0, 1.0):
        print(f"lab: {what}", file=sys.stderr)


@pytest.fixture(scope="session")
def lab_cache(pytestconfig: pytest.Config) -> Iterator[None]:
    """Point XDG_CACHE_HOME, for us and the commands that we start, at a folder that outlives the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(pytestconfig.cache.mkdir("lab")))
        patch.delenv("UNIBUILD_LAB_MEMORY", raising=False)
        yield


@pytest.fixture(scope="session")
def _box_until_the_end(lab_cache: None) -> Iterator[None]:
    vm.down()  # a run that was killed may have left one
    yield
    vm.down()


@pytest.fixture
def box(_box_until_the_end: None) -> LabVm:
    """The running lab VM, as ``box.up`` hands it out; a test that ended it leaves the next one a restored one."""
    return vm.up(Lab(accel=os.environ.get("UNIBUILD_LAB_ACCEL", "auto")), tell)


@pytest.fixture
def dom0(box: LabVm) -> Iterator[Ssh]:
    """The running lab VM as a host; what a test leaves of domains and marks there goes."""
    host = Ssh(box.alias, config=box.ssh_config, name="lab", address="lab")
    yield host
    host.run(["sh", "-c", CLEAR], check=False)
