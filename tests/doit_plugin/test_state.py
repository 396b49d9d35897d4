"""unibuild/doit_plugin/state.py: doit's state survives killed, simultaneous and failed runs."""

import json

import pytest

from unibuild.doit_plugin.state import StateFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "state.json"


def succeed(state, task, value):
    """Set the values that doit sets after a task's success, in doit's order."""
    state.set(task, "_values_:", {"value": value})
    state.set(task, "deps:", ["a.c"])


def test_success_is_written_at_once(path):
    succeed(StateFile(str(path)), "build", 1)
    assert StateFile(str(path)).get("build", "_values_:") == {"value": 1}


def test_simultaneous_runs_keep_each_others_tasks(path):
    first, second = StateFile(str(path)), StateFile(str(path))
    succeed(first, "build", 1)
    succeed(second, "other", 2)
    first.dump()
    both = StateFile(str(path))
    assert (both.in_("build"), both.in_("other")) == (True, True)


def test_removed_task_stays_removed_and_others_are_kept(path):
    state = StateFile(str(path))
    succeed(state, "build", 1)
    succeed(state, "xl", 2)
    state.remove("build")
    state.dump()
    after = StateFile(str(path))
    assert (after.in_("build"), after.in_("xl")) == (False, True)


def test_task_that_is_removed_and_done_again_is_kept(path):
    state = StateFile(str(path))
    succeed(state, "build", 1)
    state.remove("build")
    succeed(state, "build", 2)
    assert StateFile(str(path)).get("build", "_values_:") == {"value": 2}


def test_remove_all_includes_tasks_of_other_runs(path):
    state = StateFile(str(path))
    succeed(StateFile(str(path)), "build", 1)
    state.remove_all()
    state.dump()
    assert not StateFile(str(path)).in_("build")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"tasks": {"build": {}}}', "\0\xff"])
def test_damaged_file_counts_as_empty(path, text):
    path.parent.mkdir()
    path.write_text(text)
    state = StateFile(str(path))
    assert not state.in_("build")
    succeed(state, "xl", 1)
    assert json.loads(path.read_text())["version"] == 1


def test_unchanged_state_is_not_written(path):
    StateFile(str(path)).dump()
    assert not path.parent.exists()


def test_unwritable_state_ends_the_run_with_an_error(path, capsys):
    path.mkdir(parents=True)  # root can write in any folder and replace any file, but cannot replace a folder by a file
    with pytest.raises(SystemExit) as caught:
        succeed(StateFile(str(path)), "build", 1)
    assert caught.value.code == 3
    assert f"cannot write {path}" in capsys.readouterr().err


def test_task_that_always_runs_needs_no_state_file(path):
    state = StateFile(str(path))
    for key, value in (("_values_:", {}), ("checker:", "Checker"), ("deps:", ())):
        state.set("status", key, value)
    assert not path.parent.exists()


def test_known_values_are_not_written_again(path):
    succeed(StateFile(str(path)), "build", 1)
    path.with_suffix(".lock").unlink()
    succeed(StateFile(str(path)), "build", 1)
    assert not path.with_suffix(".lock").exists()
