"""unibuild learns what a build wrote and read; what the user saved meanwhile is an edit."""

import json
import os
import shutil
import subprocess
import threading

import pytest

from unibuild.graph.read_trace import Trace

TESTS = f"/proc/{os.getpid()}"  # is there while they run; a build waits only where `go` is there
LATER = f"{{ [ -e go ] && mv go going && while [ -e going -a -d {TESTS} ]; do sleep 0.01; done; }} || :"
MAKEFILE = f"""\
hello.xen: main.o gen.h
	cat main.o gen.h data.txt > $@
main.o: main.c
	cp $< $@; {LATER}
gen.h: in.def
	cp $< $@
"""


@pytest.fixture
def project(tree):
    for name, text in {"Makefile": MAKEFILE, "in.def": "in", "data.txt": "data", "README": "read me"}.items():
        tree.write(name, text)
    tree.run("unibuild", "build")
    return tree


def learned(tree):
    return json.loads(tree.read(".unibuild/learned"))


def test_what_the_build_wrote_is_learned_and_forgotten_by_clean(project):
    assert learned(project)["outputs"].keys() >= {"main.o", "gen.h"}
    project.run("unibuild", "clean")
    assert not (project.root / ".unibuild" / "learned").exists()


def test_what_the_build_read_is_learned(project):
    assert {"main.c", "data.txt", "in.def", "Makefile"} <= {*learned(project)["read"]}
    assert "README" not in learned(project)["read"]


def test_an_edit_of_what_it_does_not_read_costs_one_question(project):
    project.write("README", "read me again")
    output = project.run("unibuild", "build")
    assert ("README changed" in output, "make -q: nothing to do" in output) == (True, True)
    assert project.run("unibuild", "build") == "build: up to date\n"


def test_data_that_no_rule_names_is_built_again(project):
    project.write("data.txt", "more data")
    assert "building from nothing" in project.run("unibuild", "build")
    assert "more data" in project.read("hello.xen")


def test_a_file_that_a_rule_names_is_left_to_make(project):
    project.write("in.def", "another")
    output = project.run("unibuild", "build")
    assert ("building from nothing" in output, "another" in project.read("hello.xen")) == (False, True)


def edit_during_a_build(tree, name, text):
    """Build, and write a file while the recipe of main.o waits."""
    (tree.root / "go").touch()
    tree.write("main.c", "first edit")
    run = tree.start("unibuild", "build")
    while not (tree.root / "going").exists():
        assert run.poll() is None, run.communicate()
    tree.write(name, text)
    (tree.root / "going").unlink()
    run.communicate(timeout=60)


@pytest.mark.parametrize("name", ["main.c", "in.def", "data.txt", "new.c"])
def test_a_save_during_a_build_is_not_an_output(project, name):
    edit_during_a_build(project, name, "saved meanwhile")
    assert name not in learned(project)["outputs"]
    assert "up to date" not in project.run("unibuild", "build")
    if name != "new.c":
        assert "saved meanwhile" in project.read("hello.xen")
    assert project.run("unibuild", "build") == "build: up to date\n"


def test_a_variable_that_the_makefile_reads_is_built_and_another_is_not(project):
    project.write("Makefile", MAKEFILE.replace("data.txt", "data.txt; echo $(MODE) >> $@") + "\n")
    project.run("unibuild", "build")
    assert project.run("unibuild", "build", UNRELATED="x") == "build: up to date\n"
    assert "MODE changed" in project.run("unibuild", "build", MODE="fast")
    assert "fast" in project.read("hello.xen")


def test_another_program_of_the_same_name_is_built(project, tmp_path):
    (tmp_path / "bin").mkdir()
    shutil.copy("/bin/cp", tmp_path / "bin" / "cp")
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    assert "cp changed" in project.run("unibuild", "build", PATH=path)


def test_a_failure_is_the_reason_of_the_next_build(project):
    project.write("Makefile", "hello.xen:\n\tfalse\n")
    project.run("unibuild", "build", code=1)
    assert "build: would run: failed the last time" in project.run("unibuild", "plan", "build")
    project.write("Makefile", MAKEFILE)
    assert "failed the last time" in project.run("unibuild", "build")
    assert "failed the last time" not in project.run("unibuild", "plan", "build")


def test_a_build_after_a_failed_one_keeps_what_that_built(project):
    project.write("Makefile", "hello.xen: a.o\n\tfalse\na.o: main.c\n\techo $(MODE); cp main.c $@\n")
    project.run("unibuild", "build", code=1)
    project.write("Makefile", project.read("Makefile").replace("false", "cp a.o $@"))
    assert "MODE changed" in project.run("unibuild", "plan", "build", MODE="fast")
    plan = project.run("unibuild", "plan", "build")
    assert "failed the last time, and Makefile changed\n" in plan


def test_a_kernel_that_make_calls_up_to_date_is_accepted(tree):
    tree.write("Makefile", "hello.xen:\n")
    tree.write("hello.xen", "made elsewhere")
    tree.run("unibuild", "build")
    assert tree.read(".unibuild/hello.xen") == "made elsewhere"


def test_an_output_that_the_user_edits_is_never_lost(project):
    project.write("gen.h", "edited by hand")
    project.run("unibuild", "build")
    assert project.read("gen.h") == "edited by hand"
    project.write("gen.h", "edited again")
    project.write("data.txt", "forces a build from scratch")
    project.run("unibuild", "build")
    assert project.read("gen.h") != "edited again"
    assert project.read(".unibuild/replaced/gen.h") == "edited again"


def test_a_tree_that_was_moved_is_up_to_date(project):
    moved = project.root.with_name("elsewhere")
    project.root.rename(moved)
    log = len((moved / "log").read_text())
    assert "up to date" in project.run("unibuild", "build", cwd=moved)
    assert len((moved / "log").read_text()) == log


def test_a_copy_does_not_believe_the_fast_path_of_the_original(project):
    copy = project.root.with_name("copy")
    shutil.copytree(project.root, copy)
    (copy / "main.c").write_text("edited in the copy")
    project.run("unibuild", "build", cwd=copy)
    assert "edited in the copy" in (copy / "hello.xen").read_text()


def test_what_a_failed_build_left_is_not_kept(project):
    (project.root / "data.txt").rename(project.root / "away")
    project.run("unibuild", "build", code=1)  # leaves an empty kernel
    (project.root / "away").rename(project.root / "data.txt")
    project.run("unibuild", "build")
    assert "data" in project.read("hello.xen")


def test_what_was_made_before_the_first_build_is_made_again_where_it_may_be_stale(tree):
    tree.write("Makefile", "hello.xen: gen.h\n\tcp gen.h $@\ngen.h: in.def\n\tcat in.def hidden > $@\n")
    for name, text in {"in.def": "in", "hidden": "one"}.items():
        tree.write(name, text)
    tree.run("make")
    tree.run("unibuild", "build")
    tree.write("hidden", "two")
    tree.run("unibuild", "build")
    assert "two" in tree.read("hello.xen")


def test_a_trace_reports_what_is_read_and_not_what_is_written(tmp_path):
    for name in ("read", "untouched"):
        (tmp_path / name).write_text("x")
    with Trace([str(tmp_path)]) as trace:
        subprocess.run(["sh", "-c", "cat read > written; ls"], cwd=tmp_path, check=True, capture_output=True)
    assert trace.is_complete
    assert (trace.read, trace.listed) == ({f"{tmp_path}/read"}, {str(tmp_path)})


def test_a_trace_without_watches_says_so(tmp_path):
    threads = threading.active_count()
    with Trace([str(tmp_path / "none")]) as trace:
        pass
    assert (trace.is_complete, threading.active_count()) == (False, threads)
