"""Builds by `unibuild`, `doit` and `make`: which steps run, and what a killed or failed run leaves.

Every test runs the programs as the user does.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pexpect
import pytest

from unibuild import fingerprint

LOADER = '[tool.doit]\nloader = "unibuild"\n'
HANG = "hello.xen: main.c\n\techo $$$$ > pid; exec sleep 60\n"
STEPS = """
[build]
kernel = "hello.xen"
configure = ["sh", "configure"]
depend = "depend"
"""


@pytest.fixture(params=["unibuild", "dodo.py", "loader"])
def command(request, tree):
    """Set a tree up for one of the three commands; return the command's name."""
    if request.param != "dodo.py":
        (tree.root / "dodo.py").unlink()
    if request.param == "loader":
        tree.write("pyproject.toml", LOADER)
    return "unibuild" if request.param == "unibuild" else "doit"


@pytest.fixture
def steps(tree):
    """A tree with all three steps; each step writes its name into ``log``."""
    tree.write("unibuild.toml", STEPS)
    tree.write("configure", "echo configured >> log; cp Makefile.in Makefile\n")
    tree.write("Makefile.in", tree.read("Makefile") + "depend:\n\techo fetched >> log\n")
    (tree.root / "Makefile").unlink()
    return tree


def alive(pid):
    """Whether a process runs: a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid):
    deadline = time.monotonic() + 60
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


# --- what runs


def test_only_stale_steps_run(tree, command):
    assert "hello.xen" in tree.run(command, "build")
    assert tree.run(command, "build") == "build: up to date\n"
    tree.write("main.c", "two")
    assert "build: main.c changed" in tree.run(command, "build")
    assert (tree.log, tree.read("hello.xen")) == (["built", "built"], "two")


def test_steps_run_in_order_and_one_by_one(steps):
    steps.run("unibuild", "build")
    assert steps.log == ["configured", "fetched", "built"]
    steps.write("main.c", "two")
    steps.run("unibuild", "build")
    assert steps.log[3:] == ["built"]


def test_unchanged_output_makes_later_steps_not_stale(steps):
    steps.run("unibuild", "build")
    steps.write("configure", steps.read("configure") + "# a comment\n")
    steps.run("unibuild", "build")
    assert steps.log[3:] == ["configured"]
    assert steps.run("unibuild", "build") == "build: up to date\n"


def test_unchanged_kernel_leaves_the_xl_alone(tree, hello_kernels):
    shutil.copy(hello_kernels.pv, tree.root / "base.bin")
    tree.write("Makefile", "hello.xen: main.c\n\tcp base.bin $@\n")
    tree.run("unibuild", "xl")
    written = fingerprint.take(str(tree.root / ".unibuild" / "hello.xl"))
    tree.write("main.c", "two")
    output = tree.run("unibuild", "xl")
    assert "build: main.c changed" in output
    assert "xl:" not in output
    assert fingerprint.take(str(tree.root / ".unibuild" / "hello.xl")) == written


def test_setting_on_the_command_line_is_used_and_named_as_the_reason(tree, command):
    tree.run(command, "build")
    assert "build: arguments changed" in tree.run(command, "build.jobs=2", "build")


def test_unknown_setting_is_refused(tree, command):
    assert "`nmae` is unknown" in tree.run(command, "build", "nmae=x", code=2)


def test_dodo_file_can_have_its_own_variables_and_tasks(tree):
    tree.write(
        "dodo.py",
        "from doit import get_var\nfrom unibuild import DOIT_CONFIG, unikernel\n"
        "app = unikernel(own=['mode'])\n"
        "def task_mine():\n    return {'actions': [f'echo mode {get_var(\"mode\")}'], 'task_dep': ['build']}\n",
    )
    assert "mode fast" in tree.run("doit", "mine", "mode=fast")
    assert tree.log == ["built"]


@pytest.mark.parametrize("argv", [("unibuild", "build"), ("doit", "-k", "build")])
def test_goal_works_in_a_folder_below(tree, argv):
    (tree.root / "lib").mkdir()
    tree.run(*argv, cwd=tree.root / "lib")
    assert tree.log == ["built"]


# --- three cases that plain doit misses


def test_edit_during_a_build_is_built_next_time(tree, command):
    tree.write("Makefile", "hello.xen: main.o\n\tcp main.o $@\nmain.o: main.c\n\tcp main.c .o; sh edit; mv .o $@\n")
    tree.write("edit", "echo two > main.c; sleep 0.1; : > edit\n")  # once
    tree.run(command, "build")
    assert "changed" in tree.run(command, "build")
    assert tree.read("hello.xen") == "two\n", "make has to build it too, though main.o is newer than the edit"
    assert tree.run(command, "build") == "build: up to date\n"


def test_edit_during_a_failed_build_is_built_next_time(tree):
    tree.write("Makefile", "hello.xen: main.o\n\tcp main.o $@\nmain.o: main.c\n\tcp main.c $@; sh edit\n")
    tree.write("edit", "echo two > main.c; sleep 0.1; touch main.o; : > edit; false\n")
    tree.run("unibuild", "build", code=1)
    tree.run("unibuild", "build")
    assert tree.read("hello.xen") == "two\n"


def test_edit_during_a_killed_build_is_built_next_time(tree):
    tree.write("Makefile", "hello.xen: main.o\n\tcp main.o $@\nmain.o: main.c\n\tcp main.c $@; sh edit\n")
    tree.write("edit", "echo two > main.c; sleep 0.1; touch main.o; : > edit; echo > ready; exec sleep 60\n")
    run = tree.start("unibuild", "build")
    tree.wait_for("ready")
    (make,) = children(run.pid)
    run.kill()
    os.killpg(int(make), signal.SIGKILL)
    run.communicate(timeout=60)
    tree.run("unibuild", "build")
    assert tree.read("hello.xen") == "two\n"


def test_source_replaced_by_an_older_file_is_built(tree):
    tree.write("older.c", "older")
    tree.run("unibuild", "build")
    (tree.root / "older.c").rename(tree.root / "main.c")
    tree.run("unibuild", "build")
    assert tree.read("hello.xen") == "older"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_killed_run_keeps_finished_steps(steps, command, number):
    whole = steps.read("Makefile.in")
    steps.write("Makefile.in", HANG + "depend:\n\techo fetched >> log\n")
    run = steps.start(command, "build")
    steps.wait_for("pid")
    run.send_signal(number)
    if number == signal.SIGKILL:
        os.kill(int(steps.read("pid")), number)  # the killed run cannot end it
    output, _ = run.communicate(timeout=60)
    assert run.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert gone(int(steps.read("pid")))
    assert "Traceback" not in output
    steps.write("Makefile", whole)  # this Makefile does not hang
    steps.write("Makefile.in", whole)
    assert "configure: no earlier" not in steps.run(command, "build")
    assert steps.log.count("fetched") == 2, "the makefile is what depend reads"
    assert steps.log[-1] == "built"


def test_build_from_scratch_keeps_what_configure_wrote(steps):
    steps.write("configure", "echo first > config.h; cp Makefile.in Makefile\n")
    steps.write("Makefile.in", "hello.xen: main.c\n\tcat main.c config.h data.txt > $@\ndepend:\n")
    steps.write("data.txt", "one\n")
    steps.run("unibuild", "build")
    steps.write("data.txt", "two\n")
    assert "configure" not in steps.run("unibuild", "build")
    assert steps.read("hello.xen").split()[-2:] == ["onefirst", "two"]


@pytest.mark.parametrize("harm", ["edit", "cut", "delete"])
def test_damaged_target_is_built_again(tree, command, harm):
    tree.run(command, "build")
    target = tree.root / "hello.xen"
    match harm:
        case "edit":
            target.write_text("xxx")
        case "cut":
            os.truncate(target, 1)
        case "delete":
            target.unlink()
    assert "build: hello.xen is" in tree.run(command, "build")
    assert tree.read("hello.xen") == "one"


# --- failures


def test_failed_build_is_reported_and_tried_again(tree, command):
    tree.write("Makefile", "hello.xen: main.c\n\tcp main.c $@; false\n")
    assert "`make` failed with exit code 2" in tree.run(command, "build", code=1)
    assert not (tree.root / "hello.xen").exists(), "it is half made"
    tree.write("Makefile", "hello.xen: main.c\n\tcp main.c $@\n")
    tree.run(command, "build")
    assert tree.read("hello.xen") == "one"


def test_failed_build_leaves_the_old_kernel_which_is_not_up_to_date(tree):
    tree.run("unibuild", "build")
    good = tree.read("Makefile")
    tree.write("Makefile", "hello.xen: main.c\n\tfalse\n")
    tree.write("main.c", "two")
    tree.run("unibuild", "build", code=1)
    assert tree.read("hello.xen") == "one"
    tree.run("unibuild", "build", code=1)
    tree.write("Makefile", good)
    tree.run("unibuild", "build")
    assert tree.log == ["built", "built"]


def test_successful_build_without_a_kernel_fails(tree):
    tree.write("Makefile", "all:\n\ttrue\n")
    assert "left no" in tree.run("unibuild", "build", code=1)


def test_file_that_the_build_does_not_make_is_put_back(tree):
    tree.write("hello.xen", "edited by hand")
    tree.write("Makefile", "all:\n\ttrue\n")
    tree.run("unibuild", "build", code=1)
    assert tree.read("hello.xen") == "edited by hand"


def test_missing_program_has_its_exit_code(tree, command, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "apt install make" in tree.run(command, "build", code=3, PATH=str(empty))


def test_full_disk_is_reported_and_the_next_run_continues(tree):
    tree.run("unibuild", "build")
    tree.write("main.c", "two")
    state = tree.root / ".unibuild" / "hello.xen"
    state.unlink()
    state.mkdir()  # even root cannot write to this file
    assert "cannot" in tree.run("unibuild", "build", code=3)
    state.rmdir()
    tree.run("unibuild", "build")
    assert state.read_text() == "two"


# --- interruption by the user


@pytest.mark.parametrize("argv", [("unibuild", "build"), ("doit", "build"), ("doit", "-n", "2", "build")])
def test_ctrl_c_ends_all_processes_and_the_next_run_continues(tree, argv):
    good = tree.read("Makefile")
    tree.write("Makefile", HANG)
    run = pexpect.spawn(str(tree.bin / argv[0]), list(argv[1:]), cwd=str(tree.root), encoding="utf-8", timeout=60)
    tree.wait_for("pid")
    run.sendintr()
    run.expect(pexpect.EOF)
    run.close()
    assert run.exitstatus == 130
    assert "error: interrupted\r\n" in run.before  # make may print more: with `-n 2` each process is interrupted
    assert "Traceback" not in run.before
    assert gone(int(tree.read("pid")))
    tree.write("Makefile", good)
    tree.run(*argv)
    assert tree.log == ["built"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_to_unibuild_alone_ends_the_children_too(tree, command, number):
    tree.write("Makefile", HANG)
    run = tree.start(command, "build")
    tree.wait_for("pid")
    run.send_signal(number)
    output, _ = run.communicate(timeout=60)
    assert (run.returncode, gone(int(tree.read("pid")))) == (128 + number, True)
    assert "Traceback" not in output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_run(tree, number):
    tree.write("Makefile", HANG)
    run = tree.start("doit", "-n", "2", "build")
    tree.wait_for("pid")
    run.send_signal(number)
    run.communicate(timeout=60)
    assert gone(int(tree.read("pid")))


# --- one run at a time


def waiting(run: subprocess.Popen[str]) -> str:
    """Return what a run prints about the run that it waits for."""
    return next(line for line in run.stdout if "waiting for" in line)


WAIT = "while test -d /proc/$$TESTS && ! test -e $$GATE/go; do sleep 0.05; done"
GATED = f"\t@echo >> $$GATE/began; {WAIT}; cp $< $@\n"


@pytest.mark.parametrize("argv", [("unibuild",), ("doit",), ("doit", "-n", "2")], ids=" ".join)
@pytest.mark.parametrize("is_built", [False, True], ids=["first build", "after an edit"])
def test_second_build_waits_for_the_first_and_builds_nothing_twice(tree, tmp_path, argv, is_built):
    gate = tmp_path / "gate"
    gate.mkdir()
    env = {"GATE": str(gate), "TESTS": str(os.getpid())}  # no files that the Makefile names
    tree.write("Makefile", f"hello.xen: main.part\n\tcp $< $@\nmain.part: main.c\n{GATED}")
    if is_built:
        (gate / "go").touch()
        tree.run("unibuild", "build", **env)
        for path in gate.iterdir():
            path.unlink()
        tree.write("main.c", "edited")
    first = tree.start("unibuild", "build", **env)
    tree.wait_for("../gate/began")
    second = tree.start(*argv, "build", **env)
    assert f"process {first.pid} (unibuild build)" in waiting(second)
    assert "build" in tree.run("unibuild", "list")
    (gate / "go").touch()
    output = [run.communicate(timeout=60)[0] for run in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), output
    assert (gate / "began").read_text() == "\n", output
    assert "make" not in output[1], "not even a question to make"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_waiting_build_can_be_interrupted(tree, number):
    tree.write("Makefile", HANG)
    first = tree.start("unibuild", "build")
    tree.wait_for("pid")
    second = tree.start("unibuild", "build")
    waiting(second)
    second.send_signal(number)
    second.communicate(timeout=60)
    assert (second.returncode, first.poll()) == (128 + number, None)
    first.terminate()
    first.communicate(timeout=60)


def test_build_within_a_build_does_not_wait_for_itself(tree):
    tree.write("Makefile", "hello.xen: main.c\n\tunibuild build --force || echo $$? > inner; cp main.c $@\n")
    tree.run("unibuild", "build", PATH=f"{tree.bin}:{os.environ['PATH']}")
    assert tree.read("inner") == "3\n"


# --- commands of doit


def test_list_info_and_dependencies(tree, command):
    stale, fresh = ("R", "U") if command == "doit" else ("to run", "up to date")
    assert f"{stale} build" in tree.run(command, "list", "-s", "--template", "{status} {name}")
    assert "not done yet" in tree.run(command, "info", "build", code=1)
    tree.run(command, "build")
    assert f"{fresh} build" in tree.run(command, "list", "-s", "--template", "{status} {name}")
    assert str(tree.root / "main.c") in tree.run(command, "info", "build")
    assert str(tree.root / "main.c") in tree.run(command, "list", "--deps")


def test_list_with_states_and_plan_give_the_reason(tree):
    def reasons(**env: str) -> list[str]:
        listed = next(line for line in tree.run("unibuild", "list", "-s", **env).splitlines() if " build " in line)
        planned = tree.run("unibuild", "plan", "build", **env).splitlines()[0]
        return [*re.findall(r"\((.*)\)$", listed), *re.findall("would run: (.*)$", planned)]

    tree.write("Makefile", "hello.xen: main.c data.txt\n\tcat main.c data.txt > $@; echo $(CFLAGS) >> $@\n")
    tree.write("data.txt", "one")
    assert reasons() == ["not done yet"] * 2
    tree.run("unibuild", "build")
    assert reasons() == []
    assert reasons(CFLAGS="-O3") == ["CFLAGS changed"] * 2
    tree.write("data.txt", "two")
    assert reasons() == ["data.txt changed"] * 2
    (tree.root / "data.txt").unlink()
    assert reasons() == ["data.txt is gone"] * 2
    tree.run("unibuild", "build", code=1)
    assert reasons() == ["failed the last time"] * 2


def test_plan_list_and_status_leave_a_file_that_the_build_does_not_read_to_make(tree):
    tree.write("README", "one")
    tree.run("unibuild", "build")
    tree.write("README", "two")
    planned = tree.run("unibuild", "plan", "build")
    reason = re.search("would run: (.*)\n  make -q\n$", planned)[1]
    assert "README" in reason
    assert f"({reason})" in tree.run("unibuild", "list", "-s")
    assert tree.log == ["built"]
    tree.write("main.c", "two")
    planned = tree.run("unibuild", "plan", "build")
    assert re.search("would run: (.*)\n  make\n$", planned)[1] == "main.c changed"


def test_list_with_states_omits_goals_that_always_run(tree):
    listed = [line[12:].split()[0] for line in tree.run("unibuild", "list", "-s").splitlines()]
    assert {"build", "boot"} <= {*listed}
    assert not {"console", "status", "watch"} & {*listed}


def test_reset_dep_records_a_kernel_that_a_plain_make_built(tree):
    assert "hello.xen is missing" in tree.run("unibuild", "reset-dep", "build")
    tree.run("make")
    tree.run("unibuild", "reset-dep", "build")
    assert tree.run("unibuild", "build") == "build: up to date\n"
    assert (tree.root / ".unibuild/hello.xen").read_bytes() == (tree.root / "hello.xen").read_bytes()
    tree.write("main.c", "two")
    tree.run("unibuild", "build")
    assert tree.log == ["built", "built"]


def test_clean_removes_only_files_that_unibuild_made(tree, command):
    tree.run(command, "build")
    before = {path.name for path in tree.root.iterdir()}
    assert "would remove hello.xen" in tree.run(command, "clean", "--dry-run")
    tree.run(command, "clean")
    assert before - {path.name for path in tree.root.iterdir()} == {"hello.xen"}
    tree.run(command, "build")
    assert tree.log == ["built", "built"]


def test_state_of_another_version_counts_as_empty(tree):
    tree.run("unibuild", "build")
    state = tree.root / ".unibuild" / "state.json"
    state.write_text(state.read_text().replace('"taken"', '"noted"'))
    assert "build: not done yet" in tree.run("unibuild", "build")


def test_clean_leaves_a_kernel_that_unibuild_did_not_make(tree, command):
    tree.write("hello.xen", "edited by hand")
    tree.run(command, "clean")
    assert tree.read("hello.xen") == "edited by hand"


def test_clean_after_a_failed_build_removes_the_old_kernel(tree):
    tree.run("unibuild", "build")
    tree.write("Makefile", "hello.xen: main.c\n\tfalse\n")
    tree.write("main.c", "two")
    tree.run("unibuild", "build", code=1)
    tree.run("unibuild", "clean")
    assert not (tree.root / "hello.xen").exists()


def test_forget_makes_goals_stale(tree, command):
    tree.run(command, "build")
    tree.run(command, "forget", "build")
    tree.run(command, "build")
    assert tree.log == ["built", "built"]


def test_always_option_runs_goals_that_are_up_to_date(tree, command):
    tree.run(command, "build")
    assert "build: asked for" in tree.run(command, "-a", "build")
    assert tree.run(command, "build") == "build: up to date\n"


def test_two_workers_build_the_same_as_one(steps, command):
    steps.run(command, "run", "-n", "2", "build")
    assert steps.log == ["configured", "fetched", "built"]
    assert steps.run(command, "run", "-n", "2", "build") == "build: up to date\n"
    (steps.root / "hello.xen").write_text("xxx")
    assert "hello.xen is not what was made" in steps.run(command, "run", "-n", "2", "build")
    assert steps.read("hello.xen") == "one"


def test_another_dodo_file_and_folder(tree, tmp_path):
    (tree.root / "dodo.py").rename(tree.root / "tasks.py")
    tree.run("doit", "-f", "tasks.py", "build")
    tree.run("doit", "-f", str(tree.root / "tasks.py"), "-d", str(tree.root), "build", cwd=tmp_path)
    assert tree.log == ["built"]


@pytest.mark.parametrize("argv", [("-f", "hello/dodo.py"), ("-d", "hello")])
def test_loader_accepts_the_same_options(tree, tmp_path, argv):
    (tmp_path / "pyproject.toml").write_text(LOADER)
    tree.run("doit", *argv, "build", cwd=tmp_path)
    assert tree.log == ["built"]


def test_other_reporters_work(tree):
    assert '"result": "success"' in tree.run("doit", "-r", "json", "build")
    tree.run("doit", "-r", "zero", "build")


# --- make


def test_jobserver_reaches_the_make_that_builds(tree):
    tree.write("Makefile", "hello.xen: main.c\n\tcp main.c $@\n\techo '$(MAKEFLAGS)' > flags\n")
    tree.write("outer.mk", f"all:\n\t+@{tree.bin}/doit build\n")
    output = tree.run("make", "-f", "outer.mk", "-j3")
    assert "jobserver unavailable" not in output
    assert "jobserver" in tree.read("flags")
