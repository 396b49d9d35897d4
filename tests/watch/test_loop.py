"""`unibuild watch --json` on the stand-ins for Xen: saves, builds and boots."""

import os
import signal
import subprocess
import time

import pytest

from unibuild.watch import events


def created(xen):
    return sum(call[0] == "create" for call in xen.calls("xl"))


def test_save_is_built_and_only_a_different_kernel_is_booted(watching, project, xen, other_kernel):
    watch = watching()
    assert watch.cycle("booted").number == 1
    watch.said("booted")
    project.write("main.c", "comment")
    same = watch.cycle("unchanged")
    assert (same.trigger, same.why) == ("main.c", "kernel and .xl are the same as before: no reboot")
    other_kernel()
    new = watch.cycle("booted")
    assert {"debounce", "build", "xl", "copy", "create", "downtime"} <= new.phases.keys()
    assert watch.said("booted").of == "hello"
    assert (project.log, created(xen)) == (["built"] * 3, 2)
    assert ("bye", 1) in [(one.text, one.domid) for one in watch.told if isinstance(one, events.Output)]
    assert watch.end() == 0
    assert watch.told[-1] == events.Ended(at=watch.told[-1].at, exit_code=0, why="Ctrl-C")
    assert xen.domains() == {}


@pytest.mark.parametrize("command", ["unibuild", "doit"])
def test_keep_domain_keeps_the_domain(watching, xen, command):
    watch = watching("--keep-domain", command=command)
    watch.cycle("booted")
    assert watch.end(signal.SIGTERM) == 0
    assert [one["reason"] for one in xen.domains().values()] == [None]
    again = watching("watch.keep_domain=true", command=command)
    assert again.cycle("unchanged").why == "nothing had to be built: no reboot"
    assert again.until(events.DomainEvent).state == "running"
    assert again.end(signal.SIGHUP) == 0
    assert created(xen) == 1


def test_failed_build_keeps_the_old_domain(watching, project, xen):
    watch = watching()
    watch.cycle("booted")
    project.write("Makefile", "hello.xen: main.c Makefile\n\techo main.c:1: error: no; false\n")
    watch.said("main.c:1: error")
    problem = watch.until(events.ProblemEvent)
    assert (problem.exit_code, problem.kept) == (1, "hello runs on (domain 1)")
    assert watch.cycle().outcome == "failed"
    project.write("Makefile", "hello.xen: main.c\n\tcp base.bin $@\n")
    assert watch.cycle("unchanged").exit_code == 0
    assert len(xen.domains()) == 1


def test_exit_code_is_that_of_the_last_failure(watching, project):
    watch = watching()
    watch.cycle("booted")
    project.write("Makefile", "hello.xen: Makefile\n\tfalse\n")
    watch.cycle("failed")
    assert watch.end() == 1


def test_domain_that_is_not_ready_is_replaced_by_the_last_good_one(watching, project, xen, other_kernel):
    watch = watching("boot.ready.console=booted", "boot.ready.timeout=6")
    watch.cycle("ready")
    (xen.world / "script").write_text("say no\nobey\n")
    other_kernel()
    watch.said("no")
    (xen.world / "script").write_text("say booted\nobey\n")
    problem = watch.until(events.ProblemEvent)
    assert problem.exit_code == 6
    assert "runs again" in problem.hint
    assert watch.cycle().outcome == "not ready"
    watch.said("booted")
    assert watch.end() == 6


@pytest.mark.parametrize("name", ["mirage/hello.xl", "mirage/main.ml"])
def test_edited_generated_file_is_written_again_and_one_that_the_build_writes_starts_nothing(watching, unikernel, name):
    watch = watching()
    watch.cycle("booted")
    watch.quiet()
    unikernel.write(name, "edited")
    same = watch.cycle("unchanged")
    assert (same.trigger, "configure" in same.phases) == (name, True)
    assert unikernel.read(name) != "edited"
    watch.quiet()


def added_up(cycle):
    """Return the phases of a cycle, after a check that they add up to it."""
    assert abs(sum(cycle.phases.values()) - cycle.seconds) < 0.006, cycle
    return set(cycle.phases)


def test_phases_add_up_to_the_cycle_even_if_it_failed(watching, project, other_kernel):
    watch = watching()
    assert {"build", "xl", "copy", "create"} <= added_up(watch.cycle("booted"))
    project.write("Makefile", "hello.xen: main.c Makefile\n\tsleep 0.1; false\n")
    failed = watch.cycle("failed")
    assert {"debounce", "build"} <= added_up(failed)
    assert failed.phases["build"] >= 0.1
    assert watch.until(events.StageEvent, lambda event: event.state == "failed").seconds >= 0.1


def test_creation_without_a_running_domain_counts_as_downtime(watching, xen, other_kernel):
    (xen.world / "free").write_text("60")  # MiB, which are not enough for two
    watch = watching("xl.memory=48")
    watch.cycle("booted")
    other_kernel()
    phases = added_up(watch.cycle("booted"))
    assert ("downtime" in phases, "create" in phases) == (True, False)


def test_saves_during_a_build_are_built_next_and_once(watching, project, wait_in_shell):
    slow = wait_in_shell(project.root / "go")
    project.write("Makefile", f"hello.xen: main.c\n\techo began | tee -a log; {slow}; cp base.bin $@\n")
    watch = watching()
    watch.until(events.Output, lambda event: "began" in event.text)
    for number in range(5):
        project.write("main.c", f"{number}")
    project.write("go", "")
    watch.cycle("booted")
    watch.cycle("unchanged")
    watch.quiet()
    assert project.log == ["began"] * 2


def test_on_save_restart_stops_the_build(watching, project):
    project.write(
        "Makefile", "hello.xen: main.c\n\techo began >> log; grep -q slow main.c && sleep 60; cp base.bin $@\n"
    )
    project.write("main.c", "slow")
    watch = watching("watch.on_save=restart")
    watch.until(events.Output, lambda event: "began" in event.text)
    project.wait_for("log")
    project.write("main.c", "fast")
    assert watch.cycle().outcome == "stopped"
    assert watch.cycle().outcome == "booted"
    assert project.log == ["began"] * 2


def test_broken_setting_is_reported_and_the_last_good_ones_stay_in_use(watching, project):
    watch = watching()
    watch.cycle("booted")
    good = project.read("unibuild.toml")
    project.write("unibuild.toml", good + "nonsense = 1\n")
    problem = watch.until(events.ProblemEvent)
    assert "nonsense" in problem.message
    assert (problem.exit_code, problem.kept) == (2, "the last good settings stay in use")
    project.write("main.c", "two")
    assert watch.cycle("unchanged").trigger == "main.c"
    project.write("unibuild.toml", good.replace("[build]", "[xl]\nmemory = 48\n[build]"))
    assert watch.until(events.Reloaded).paths == ("unibuild.toml",)
    assert watch.cycle("booted").trigger == "unibuild.toml"


def test_broken_dodo_is_reported_and_the_last_good_one_stays_in_use(watching, project):
    watch = watching()
    watch.cycle("booted")
    good = project.read("dodo.py")
    project.write("dodo.py", good + "1/0\n")
    problem = watch.until(events.ProblemEvent)
    assert problem.message == "ZeroDivisionError: division by zero"
    assert "dodo.py" in problem.hint
    project.write("main.c", "two")
    watch.cycle("unchanged")
    project.write("dodo.py", good + "# better\n")
    watch.until(events.Reloaded)
    watch.cycle("unchanged")


OWN = """
def task_table():
    return {"actions": ["sh -c 'cp table.txt table.made; echo table >> log'"], "file_dep": ["table.txt"],
            "targets": ["table.made"]}

create = app.create_doit_tasks
def before():
    for task in create():
        if task.name == "build":
            task.task_dep.append("table")
        yield task
app.create_doit_tasks = before
"""


def test_own_tasks_that_stages_need_run_and_their_inputs_are_watched(watching, project):
    project.write("table.txt", "one")
    project.write("dodo.py", project.read("dodo.py") + OWN)
    watch = watching()
    watch.cycle("booted")
    assert project.log == ["table", "built"]
    project.write("table.txt", "two")
    assert watch.cycle("unchanged").trigger == "table.txt"
    assert project.log == ["table", "built", "table"]


def test_second_watch_in_a_tree_is_refused_with_the_process_id_of_the_first(watching, project):
    watch = watching()
    watch.cycle("booted")
    said = project.run("unibuild", "watch", code=3)
    assert f"in use by process {watch.process.pid}" in said


def test_crash_is_reported_and_the_next_save_boots_the_domain_again(watching, project, xen):
    (xen.world / "script").write_text("say booted\nsleep 1\ncrash\n")
    watch = watching()
    watch.cycle("booted")
    assert watch.until(events.DomainEvent, lambda event: event.state == "crashed").why
    assert watch.until(events.ProblemEvent).kept == "no domain runs"
    watch.quiet()
    (xen.world / "script").write_text("say better\nobey\n")
    project.write("main.c", "two")
    watch.cycle("booted")
    watch.said("better")
    assert watch.end() == 0


def test_project_that_cannot_be_built_for_a_while_is_reported_once(watching, project):
    watch = watching()
    watch.cycle("booted")
    (project.root / "Makefile").rename(project.root / "gone")
    problem = watch.until(events.ProblemEvent)
    assert (problem.message[:16], problem.kept) == ("nothing to build", "hello runs on (domain 1)")
    project.write("main.c", "two")
    watch.quiet()
    assert watch.count(events.ProblemEvent) == 1
    (project.root / "gone").rename(project.root / "Makefile")
    watch.cycle("unchanged")
    assert project.log == ["built"] * 2


def test_settings_are_loaded_once_the_file_is_complete(watching, project):
    watch = watching("watch.debounce=2", "watch.max_wait=60")
    watch.cycle("booted")
    text = project.read("unibuild.toml")
    for size in range(len(text)):
        project.write("unibuild.toml", text[:size])
        time.sleep(0.005)
    project.write("unibuild.toml", text + "# finished\n")
    watch.until(events.Reloaded)
    watch.cycle("unchanged")
    assert watch.count(events.ProblemEvent) == 0


def test_console_log_that_cannot_be_written_is_reported(watching, project, other_kernel):
    folder = project.root / ".unibuild" / "console"
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a file where a folder should be")
    watch = watching()
    watch.cycle("booted")
    watch.said("booted")
    other_kernel()
    watch.until(events.Note, lambda note: str(folder) in note.message)


@pytest.mark.parametrize("how", ["a limit", "a setting", "no ctypes"])
def test_saves_are_found_by_scans_if_the_kernel_reports_nothing(watching, project, tmp_path, how):
    if how == "a limit":
        limited = "echo 0 > /proc/sys/user/max_inotify_watches && exec unibuild watch --json"
        argv = ["unshare", "--user", "--map-root-user", "sh", "-c", limited]
        if subprocess.run([*argv[:-1], limited.partition("&&")[0]], check=False).returncode:
            pytest.skip("no namespaces of one's own here")
        path = f"{project.bin}:{os.environ['PATH']}"
        watch = watching(argv=argv, PATH=path)
        assert "sysctl user.max_inotify_watches=" in watch.until(events.ProblemEvent).hint
    elif how == "no ctypes":
        (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['ctypes'] = None\n")
        watch = watching(PYTHONPATH=str(tmp_path))
    else:
        watch = watching("watch.poll=true")
    assert watch.until(events.Started).polling
    watch.cycle("booted")
    project.write("main.c", "two")
    watch.cycle("unchanged")
    assert watch.count(events.ProblemEvent) == (how != "a setting")
