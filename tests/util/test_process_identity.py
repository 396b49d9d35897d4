"""Processes and machines, told apart by more than a number and a name."""

import dataclasses
import os
import subprocess
import sys

import pytest

from unibuild.util import process_identity as identity


@pytest.fixture(autouse=True)
def a_known_machine(monkeypatch):
    monkeypatch.setattr(identity, "_hardware", lambda: "0123456789ab")


def test_a_process_is_read_as_it_is_written():
    assert identity.parse(str(identity.here())) == identity.here()
    assert identity.parse("0.1 of another version") is None


def test_this_process_and_its_parent_live():
    parent = dataclasses.replace(identity.here(), pid=os.getppid(), start=identity._start_time(os.getppid()))
    assert not identity.here().is_dead
    assert not parent.is_dead


def test_a_process_that_ended_is_dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert dataclasses.replace(identity.here(), pid=child.pid).is_dead


def test_another_process_with_its_number_is_not_it():
    assert dataclasses.replace(identity.here(), start=identity.here().start - 1).is_dead


@pytest.mark.parametrize(
    ("hardware", "is_dead"),
    [("0123456789ab", True), ("ba9876543210", False), (identity._UNKNOWN, False)],
    ids=["before the machine booted again", "on another machine", "in a container"],
)
def test_a_process_of_another_boot(hardware, is_dead):
    assert dataclasses.replace(identity.here(), boot="f" * 12, hardware=hardware).is_dead is is_dead


def test_a_container_is_not_the_machine_that_its_image_was_made_on(monkeypatch, tmp_path):
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
