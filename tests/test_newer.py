"""State that a newer unibuild wrote is not lost, and the run prints what to do."""

import json

import pytest

from unibuild.aws.launch import records as launch_records
from unibuild.aws.snapshot.journal import UploadJournal
from unibuild.doit_plugin.state import StateFile
from unibuild.domain import generations, records
from unibuild.errors import FileError

NEWER = json.dumps({"version": 99, "hosts": [], "regions": 5, "begun": "?", "tasks": None, "new": True}).encode()

READERS = {
    "domain.json": lambda state: records.load(state, "xen1"),
    "domain.json, written": lambda state: records.save(state, records.HostRecord("xen1")),
    "instances.json": lambda state: launch_records.load(state, "eu-north-1"),
    "instances.json, written": lambda state: launch_records.save(state, launch_records.RegionLaunches("eu-north-1")),
    "aws.json": UploadJournal,
    "generation.json": generations.read,
}


@pytest.mark.parametrize("reader", READERS)
def test_file_of_a_newer_release_is_refused_and_left_alone(tmp_path, reader):
    file = tmp_path / reader.partition(",")[0]
    file.write_bytes(NEWER)
    with pytest.raises(FileError, match="newer unibuild") as caught:
        READERS[reader](tmp_path)
    assert (file.read_bytes(), "update unibuild" in str(caught.value.hint)) == (NEWER, True)


def test_task_state_of_a_newer_release_is_left_alone(tmp_path):
    file = tmp_path / "state.json"
    file.write_bytes(NEWER)
    with pytest.raises(SystemExit) as caught:
        StateFile(str(file))
    assert (caught.value.code, file.read_bytes()) == (3, NEWER)


@pytest.mark.parametrize("goal", ["build", "list", "status", "forget"])
def test_run_ends_with_an_error(tree, goal):
    tree.run("unibuild", "build")
    name = "domain.json" if goal == "status" else "state.json"
    (tree.root / ".unibuild" / name).write_bytes(NEWER)
    assert "update unibuild" in tree.run("unibuild", goal, code=3)
    assert (tree.root / ".unibuild" / name).read_bytes() == NEWER


def test_damaged_file_is_not_taken_for_a_newer_one(tmp_path):
    for name in ("domain.json", "generation.json"):
        (tmp_path / name).write_bytes(b'{"version": "99"')
    assert (records.load(tmp_path, "xen1"), generations.read(tmp_path)) == (records.HostRecord("xen1"), None)
