"""The labs of the tests: one for each of two workers, with a cache folder of its own, restored from a snapshot."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from unibuild.host.ssh import Ssh
from unibuild.lab import vm
from unibuild.settings.model import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unibuild.lab.vm import LabVm


ACCEL = os.environ.get("UNIBUILD_LAB_ACCEL", "auto")
CLEAR = "for id in $(xl list | awk 'NR > 2 { print $2 }'); do xl destroy $id; done; xenstore-rm /unibuild"


def show(what: str, fraction: float | None) -> None:
    if fraction is None or fraction in (0.0, 1.0):
        print(f"lab: {what}", file=sys.stderr)


LABS = 2  # as many as the groups that tests/conftest.py gives to one worker each


@contextlib.contextmanager
def locked(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[bool]:
    """Hold a lock; give whether it was free, which only LOCK_NB lets it not be."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, how)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextlib.contextmanager
def claimed(folders: list[Path]) -> Iterator[Path]:
    """Give the first folder that no other worker has, for as long as this one lives."""
    with contextlib.ExitStack() as stack:
        free = (one for one in folders if stack.enter_context(locked(one / "claimed", fcntl.LOCK_EX | fcntl.LOCK_NB)))
        yield next(free)


def make_once(first: Path, run: str) -> None:
    """Make the snapshot of the first lab, which the others copy, unless this run of the tests has made it."""
    made = first / "made"
    if not made.exists() or made.read_text() != run:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(first))
            vm.down()  # a run that was killed may have left one
            vm.up(Lab(accel=ACCEL), show)
            vm.down()
        made.write_text(run)


def copy_lab(first: Path, second: Path) -> None:
    """Give a second lab the image, the keys and the snapshot of the first one."""
    for name in ("image", "keys", "snapshot"):
        shutil.rmtree(second / "unibuild/lab" / name, ignore_errors=True)
    (second / "unibuild/lab").mkdir(mode=0o700, parents=True, exist_ok=True)
    found = [str(first / "unibuild/lab" / name) for name in ("image", "keys", "snapshot")]
    subprocess.run(["cp", "-a", "--sparse=always", *found, str(second / "unibuild/lab")], check=True)


@pytest.fixture(scope="session")
def lab_cache(pytestconfig: pytest.Config) -> Iterator[None]:
    """Point XDG_CACHE_HOME, for the tests and what they start, at a folder that outlives the run.

    Each worker has a lab of its own.
    """
    folders = [pytestconfig.cache.mkdir("lab" if number == 0 else f"lab-{number + 1}") for number in range(LABS)]
    with claimed(folders) as folder, pytest.MonkeyPatch.context() as patch:
        patch.delenv("UNIBUILD_LAB_MEMORY", raising=False)
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
        if run:
            with locked(folders[0] / "making"):
                make_once(folders[0], run)
                if folder != folders[0]:
                    copy_lab(folders[0], folder)
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield


@pytest.fixture(scope="session")
def _lab_until_the_end(lab_cache: None) -> Iterator[None]:
    vm.down()  # a run that was killed may have left one
    yield
    vm.down()


@pytest.fixture
def lab_vm(_lab_until_the_end: None) -> LabVm:
    """The running lab VM, from ``vm.up``; after a test that stopped it, the next one gets a restored one."""
    return vm.up(Lab(accel=ACCEL), show)


@pytest.fixture
def dom0(lab_vm: LabVm) -> Iterator[Ssh]:
    """The running lab VM as a host; what a test leaves of domains and marks there goes."""
    host = Ssh(lab_vm.alias, config=lab_vm.ssh_config, name="lab", address="lab")
    yield host
    host.run(["sh", "-c", CLEAR], check=False)
