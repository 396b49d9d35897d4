"""Processes and machines are identified by more than a number and a name."""

import dataclasses
import os
import subprocess
import sys

import pytest

from unibuild.util import process_identity as identity


@pytest.fixture(autouse=True)
def a_known_machine(monkeypatch):
    monkeypatch.setattr(identity, "_hardware", lambda: "0123456789ab")


def test_process_identity_is_read_as_written():
    assert identity.parse(str(identity.here())) == identity.here()
    assert identity.parse("0.1 of another version") is None


def test_this_process_and_its_parent_are_alive():
    parent = dataclasses.replace(identity.here(), pid=os.getppid(), start=identity._start_time(os.getppid()))
    assert not identity.here().is_dead
    assert not parent.is_dead


def test_ended_process_is_dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert dataclasses.replace(identity.here(), pid=child.pid).is_dead


def test_another_process_with_the_same_number_differs():
    assert dataclasses.replace(identity.here(), start=identity.here().start - 1).is_dead


@pytest.mark.parametrize(
    ("hardware", "is_dead"),
    [("0123456789ab", True), ("ba9876543210", False), (identity._UNKNOWN, False)],
    ids=["before the machine booted again", "on another machine", "in a container"],
)
def test_process_of_another_boot_is_dead_only_on_the_same_machine(hardware, is_dead):
    assert dataclasses.replace(identity.here(), boot="f" * 12, hardware=hardware).is_dead is is_dead


def test_container_differs_from_the_machine_that_built_its_image(monkeypatch, tmp_path):
    def machine() -> str:
        identity.machine.cache_clear()
        return identity.machine()

    (tmp_path / "machine-id").write_text("0123456789abcdef" * 2)
    (tmp_path / "dockerenv").touch()
    monkeypatch.setattr(identity, "_MACHINE_ID", tmp_path / "machine-id")
    monkeypatch.setattr(identity, "_CONTAINER_FILES", ())
    outside = machine()
    monkeypatch.setattr(identity, "_CONTAINER_FILES", (tmp_path / "dockerenv",))
    assert machine() == identity._boot() != outside
    identity.machine.cache_clear()
