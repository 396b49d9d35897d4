from __future__ import annotations

import os
import subprocess

import pytest

from unibuild.lab import devices


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen(["true"]) as child:
        return child.pid


def test_disk_of_a_dead_process_is_a_leftover(gone):
    assert devices._is_left(f"d{gone}-0123ab")
    assert not devices._is_left(f"d{os.getpid()}-0123ab")


def test_foreign_disks_are_left_alone(gone):
    assert not devices._is_left(f"#block{gone}")
    assert not devices._is_left(f"d{gone}-0123ab-x")
