"""unibuild/graph/run_stage.py: a step leaves its targets whole and new, or nothing of its own."""

import contextlib
import fcntl
import subprocess
import sys
from types import SimpleNamespace

import pytest

from unibuild import fingerprint
from unibuild.errors import BuildError, MissingError
from unibuild.fingerprint import StageInputs
from unibuild.graph.graph import Graph, Stage
from unibuild.graph.run_stage import Judged, run_stage
from unibuild.graph.stash import left_by_a_killed_run
from unibuild.toolchain.base import Step


@pytest.fixture
def run(tmp_path):
    """Return a function that runs a step made of Python code, which is to leave ``target``."""

    def call(*codes, suspects=(), **more):
        commands = tuple((sys.executable, "-c", code) for code in codes)
        step = Step(name="depend", doc="", commands=commands, cwd=tmp_path, **more)
        inputs = tuple(str(path) for path in tmp_path.glob("*.c"))
        watch = StageInputs(str(tmp_path), inputs, (), (str(tmp_path / "target"),), {}, fingerprint.content)
        toolchain = SimpleNamespace(check=lambda step: None, question=lambda step: None)
        project = SimpleNamespace(root=tmp_path)
        graph = Graph(project, toolchain, (), None, tmp_path / "k", tmp_path / "xl", None)
        stage = Stage("depend", "", watch, (), step)
        return run_stage(graph, stage, Judged(fingerprint.judge(watch, None).record, suspects))

    return call


@pytest.fixture
def target(tmp_path):
    return tmp_path / "target"


WRITE = "open('target', 'w').write('new')"
FAIL = "raise SystemExit(3)"


def test_commands_run_in_order_in_the_folder_with_their_variables(run, target):
    add = "import os; open('target', 'a').write(os.environ['WHAT'] + '{}')"
    run(add.format(1), add.format(2), env={"WHAT": "x"})
    assert target.read_text() == "x1x2"


def test_the_first_that_fails_ends_it(run, target):
    with pytest.raises(BuildError, match=r"\b3\b"):
        run(FAIL, WRITE)
    assert not target.exists()


def test_a_half_made_target_is_removed(run, target):
    with pytest.raises(BuildError):
        run(WRITE, FAIL)
    assert not target.exists()


def test_a_target_that_the_failure_did_not_touch_stays(run, target):
    target.write_text("good")
    with pytest.raises(BuildError):
        run(FAIL)
    assert target.read_text() == "good"


def test_success_without_the_target_is_a_failure(run):
    with pytest.raises(BuildError, match="depend succeeded and left no"):
        run("pass")


def test_a_suspect_is_out_of_the_way_while_the_step_runs(run, target):
    target.write_text("harmed")
    run("import os; assert not os.path.exists('target')", WRITE, suspects=[str(target)])
    assert target.read_text() == "new"


@pytest.mark.parametrize("codes", [("pass",), (FAIL,), (WRITE, FAIL)])
def test_a_suspect_that_is_not_made_again_is_put_back(run, target, codes):
    target.write_text("the user's own")
    with pytest.raises(BuildError):
        run(*codes, suspects=[str(target)])
    assert target.read_text() == "the user's own"


@pytest.mark.parametrize("code", [WRITE, FAIL])
def test_no_source_gets_another_date(run, tmp_path, code):
    (tmp_path / "main.c").write_text("one")
    before = (tmp_path / "main.c").stat().st_mtime_ns
    with contextlib.suppress(BuildError):
        run(code)
    assert (tmp_path / "main.c").stat().st_mtime_ns == before


def test_a_command_that_was_interrupted_interrupts_us(run):
    with pytest.raises(KeyboardInterrupt):
        run("raise SystemExit(130)")


def test_a_missing_program_is_reported_before_anything_runs(run, target):
    with pytest.raises(MissingError, match="no-such-program"):
        run(WRITE, needs={"no-such-program": "get it"})
    assert not target.exists()


def test_no_file_of_a_run_is_left_next_to_the_state(run, tmp_path, target):
    target.write_text("harmed")
    run(WRITE, suspects=[str(target)])
    assert {path.name for path in (tmp_path / ".unibuild").iterdir()} == {".gitignore"}


def test_a_suspect_of_a_killed_run_comes_back(tmp_path):
    own, folder = tmp_path / "target", tmp_path / "stash"
    own.write_text("kept")
    script = (
        "import os, pathlib, sys; from unibuild.graph.stash import kept; paths = list(map(pathlib.Path, sys.argv[1:]))"
    )
    script += "\nwith kept(paths[0], paths[1:], ()): os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script, str(folder), str(own)], check=False)
    assert not own.exists()
    assert (left_by_a_killed_run(folder), own.read_text()) == ([own], "kept")


@pytest.fixture
def lock(tmp_path):
    """A lock that another process of the tool keeps, by the number 4711."""
    with (tmp_path / ".lock").open("w") as file:
        file.write("4711")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        yield tmp_path / ".lock"


def test_a_tool_that_others_keep_waiting_for_ever_has_failed(run, lock, monkeypatch, capfd):
    monkeypatch.setattr("unibuild.graph.run_stage.LOCK_TIMEOUT", 0.2)
    with pytest.raises(BuildError) as error:
        run(FAIL, lock=lock)
    assert "process 4711 still has" in error.value.hint
    assert capfd.readouterr().out.count("waiting, at most 0 s, for process 4711") == 1


def test_a_step_that_can_do_nothing_has_no_targets_while_it_runs(run, target):
    target.write_text("old")
    with pytest.raises(BuildError, match="succeeded and left no"):
        run("pass", remove_targets_first=True, targets=(target,))
    assert target.read_text() == "old"


def test_a_failed_step_that_is_undone_leaves_its_targets_as_they_were(run, target):
    target.write_text("old")
    with pytest.raises(BuildError) as error:
        run(WRITE, FAIL, restore_targets_on_failure=True, targets=(target,))
    assert (target.read_text(), "as they were before" in error.value.hint) == ("old", True)
