"""unibuild/doit_plugin/state.py: what doit remembers, whatever else happens to the file."""

import json

import pytest

from unibuild.doit_plugin.state import StateFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "state.json"


def succeed(state, task, value):
    """Set what doit sets when a task has succeeded, in its order."""
    state.set(task, "_values_:", {"value": value})
    state.set(task, "deps:", ["a.c"])


def test_a_success_is_on_disk_at_once(path):
    succeed(StateFile(str(path)), "build", 1)
    assert StateFile(str(path)).get("build", "_values_:") == {"value": 1}


def test_two_runs_at_once_keep_each_others_tasks(path):
    first, second = StateFile(str(path)), StateFile(str(path))
    succeed(first, "build", 1)
    succeed(second, "other", 2)
    first.dump()
    both = StateFile(str(path))
    assert (both.in_("build"), both.in_("other")) == (True, True)


def test_what_is_removed_here_stays_removed_and_the_rest_stays(path):
    state = StateFile(str(path))
    succeed(state, "build", 1)
    succeed(state, "xl", 2)
    state.remove("build")
    state.dump()
    after = StateFile(str(path))
    assert (after.in_("build"), after.in_("xl")) == (False, True)


def test_a_task_removed_and_then_done_again_is_there(path):
    state = StateFile(str(path))
    succeed(state, "build", 1)
    state.remove("build")
    succeed(state, "build", 2)
    assert StateFile(str(path)).get("build", "_values_:") == {"value": 2}


def test_remove_all_forgets_what_others_wrote_too(path):
    state = StateFile(str(path))
    succeed(StateFile(str(path)), "build", 1)
    state.remove_all()
    state.dump()
    assert not StateFile(str(path)).in_("build")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"tasks": {"build": {}}}', "\0\xff"])
def test_a_file_that_cannot_be_understood_counts_as_empty(path, text):
    path.parent.mkdir()
    path.write_text(text)
    state = StateFile(str(path))
    assert not state.in_("build")
    succeed(state, "xl", 1)
    assert json.loads(path.read_text())["version"] == 1


def test_where_nothing_changed_nothing_is_written(path):
    StateFile(str(path)).dump()
    assert not path.parent.exists()


def test_a_state_that_cannot_be_written_ends_the_run_with_a_sentence(path, capsys):
    path.mkdir(parents=True)  # whoever is root can write in any folder, and replace any file, but no folder
    with pytest.raises(SystemExit) as caught:
        succeed(StateFile(str(path)), "build", 1)
    assert caught.value.code == 3
    assert f"cannot write {path}" in capsys.readouterr().err


def test_what_always_runs_leaves_nothing_and_needs_no_folder(path):
    state = StateFile(str(path))
    for key, value in (("_values_:", {}), ("checker:", "Checker"), ("deps:", ())):
        state.set("status", key, value)
    assert not path.parent.exists()


def test_what_is_known_already_is_not_written_again(path):
    succeed(StateFile(str(path)), "build", 1)
    path.with_suffix(".lock").unlink()
    succeed(StateFile(str(path)), "build", 1)
    assert not path.with_suffix(".lock").exists()
