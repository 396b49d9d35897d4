"""Events from outside: KILL, a laptop that sleeps, a host out of reach, other runs, domains that reboot."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unibuild.util import files
from unibuild.watch import events


def processes():
    """Return the folder, the parent and the command line of each process."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words = (folder / "cmdline").read_bytes().split(b"\0")
            found[int(folder.name)] = ((folder / "cwd").readlink(), parent, [word.decode() for word in words])
    return found


def at_work(root):
    """Return what runs in a folder, domains of the stand-in host apart."""
    return [
        words for cwd, _, words in processes().values() if cwd == root and not any("xen.py" in word for word in words)
    ]


def children(pid):
    return {child: words for child, (_, parent, words) in processes().items() if parent == pid}


@pytest.fixture
def patient():
    def wait(test, what):
        deadline = time.monotonic() + 60
        while not test():
            assert time.monotonic() < deadline, what
            time.sleep(0.1)

    return wait


def test_killed_watch_ends_its_build_and_the_next_watch_finds_the_domain(watching, project, xen, patient):
    watch = watching()
    watch.cycle("booted")
    project.write("Makefile", "hello.xen: main.c\n\t@echo began; grep -q slow main.c && sleep 600; cp base.bin $@\n")
    watch.cycle("unchanged")
    project.write("main.c", "slow")
    watch.said("began")
    os.kill(watch.process.pid, signal.SIGKILL)
    watch.process.wait()
    patient(lambda: not at_work(project.root), "its worker, or the build, lives on")
    project.write("main.c", "fast")
    again = watching()
    again.cycle("unchanged")
    assert again.until(events.DomainEvent).domid == 1
    assert again.end() == 0
    assert xen.domains() == {}


def test_watch_recovers_from_one_killed_during_a_swap(watching, project, xen, other_kernel):
    (xen.world / "script").write_text("say booted\nobey\n")
    watch = watching()
    watch.cycle("booted")
    other_kernel()
    watch.until(events.StageEvent, lambda event: event.name == "create" and event.state == "running")
    watch.until(events.StageEvent, lambda event: event.name == "create" and event.state == "running")
    os.kill(watch.process.pid, signal.SIGKILL)
    watch.process.wait()
    again = watching()
    again.cycle()
    assert len(xen.domains()) == 1
    assert again.end() == 0


def test_saves_while_watch_was_stopped_are_built_once(watching, project):
    watch = watching()
    watch.cycle("booted")
    watch.process.send_signal(signal.SIGSTOP)
    for number in range(300):
        project.write(f"lib/f{number}.c", "x")
    project.write("main.c", "two")
    watch.process.send_signal(signal.SIGCONT)
    watch.cycle("unchanged")
    watch.quiet()
    assert project.log == ["built"] * 2


def test_host_out_of_reach_is_reported_and_tried_again_until_it_is_back(watching, project, xen, patient):
    watch = watching("host=ssh://there")
    watch.cycle("booted")

    def readers():
        return [pid for pid, words in children(watch.process.pid).items() if "xl console" in " ".join(words)]

    patient(readers, "no console is read")  # ssh becomes `xl console` in several steps
    xen.refuse("ssh", "ssh: connect to host there port 22: Connection refused")
    for pid in readers():
        with contextlib.suppress(ProcessLookupError):  # it ended with another one of them
            os.kill(pid, signal.SIGKILL)
    assert watch.until(events.DomainEvent, lambda event: event.state == "gone").host
    assert watch.until(events.ProblemEvent).exit_code == 4
    assert watch.until(events.Changed, lambda event: event.what == "retry")
    assert watch.cycle("failed").exit_code == 4
    (xen.world / "ssh").unlink()
    assert watch.until(events.DomainEvent, lambda event: event.state == "running").domid == 1
    watch.cycle("unchanged")
    project.write("main.c", "two")
    watch.cycle("unchanged")
    assert watch.end() == 0


def test_domain_that_another_run_booted_is_followed(watching, project, xen):
    watch = watching()
    watch.cycle("booted")
    (xen.world / "script").write_text("say another\nobey\n")
    project.run("unibuild", "boot", "boot.console=none", "xl.memory=48")
    watch.until(events.DomainEvent, lambda event: event.domid == 2 and event.state == "running")
    watch.said("another")


def test_rebooting_domain_is_recreated_and_a_reboot_loop_is_stopped(watching, project, xen):
    (xen.world / "script").write_text("say booted\nsleep 0.5\nreboot\n")
    watch = watching("boot.restarts=2")
    watch.cycle("booted")
    watch.until(events.DomainEvent, lambda event: event.domid == 2)
    waits = watch.until(events.DomainEvent, lambda event: event.state == "ended")
    assert waits.why == "hello asked for a reboot again: recreating it in 1 s"
    watch.until(events.DomainEvent, lambda event: event.domid == 3)
    assert "in a loop" in watch.until(events.ProblemEvent).message
    watch.quiet()
    (xen.world / "script").write_text("say better\nobey\n")
    project.write("main.c", "two")
    watch.cycle("booted")
    watch.said("better")


def test_save_does_not_wait_for_a_delayed_reboot(watching, project, xen):
    (xen.world / "script").write_text("say booted\nreboot\n")
    watch = watching("boot.restarts=20")
    watch.cycle("booted")
    watch.until(events.DomainEvent, lambda event: "in 1 s" in (event.why or ""))
    (xen.world / "script").write_text("say better\nobey\n")
    project.write("main.c", "two")
    watch.cycle("booted")
    watch.said("better")
    assert watch.end() == 0


@pytest.fixture
def held_up(watching, xen, project, wait_in_shell):
    """A watch with a crashed domain, and an xl that waits for the file ``go`` before it cleans up."""
    (xen.world / "script").write_text("say booted\nuntil end\ncrash\n")
    watch = watching()
    watch.cycle("booted")
    program = xen.world / "bin" / "xl"
    wait = f'test "$1" != destroy || {{ touch {xen.world}/held; {wait_in_shell(xen.world / "go")}; }}'
    project.write("xl.new", program.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\n{wait}\n"))
    (project.root / "xl.new").chmod(0o755)
    (project.root / "xl.new").rename(program)
    (xen.world / "end").touch()
    return watch


def test_end_reports_what_it_waits_for(held_up, xen, patient):
    patient((xen.world / "held").exists, "nothing is cleared up")
    held_up.process.send_signal(signal.SIGINT)
    held_up.until(events.Note, lambda event: event.message.startswith("waiting until hello, which has ended"))
    (xen.world / "go").touch()
    assert held_up.process.wait(60) == 5
    assert held_up.told[-1].why == "Ctrl-C"


def test_second_ctrl_c_does_not_wait(held_up, xen, patient):
    patient((xen.world / "held").exists, "nothing is cleared up")
    held_up.process.send_signal(signal.SIGINT)
    held_up.until(events.Note, lambda event: event.message.startswith("waiting until hello, which has ended"))
    held_up.process.send_signal(signal.SIGINT)
    assert held_up.process.wait(60) == 130
    (xen.world / "go").touch()


def test_build_by_another_run_is_waited_for(watching, project):
    watch = watching()
    watch.cycle("booted")
    hold = "import sys; from pathlib import Path; from unibuild.util.files import lock\n"
    hold += "with lock(Path('.unibuild/lock'), 'it'): print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold], cwd=project.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"held\n"
    project.write("main.c", "two")
    watch.said(f"process {holder.pid}")
    holder.communicate()
    watch.cycle("unchanged")  # the kernel is the same
    assert project.log == ["built"] * 2


def test_build_by_another_run_is_tried_again(watching, project):
    watch = watching()
    watch.cycle("booted")
    with files.lock(project.root / ".unibuild" / "lock", "another run's"):
        project.write("main.c", "two")
        assert "in use" in watch.until(events.ProblemEvent).message
        watch.cycle("failed")
    watch.wait_for(
        lambda: watch.told[-1].exit_code == 0 if isinstance(watch.told[-1], events.Cycle) else False, "retry"
    )
    assert project.log == ["built"] * 2


def test_worker_that_dies_repeatedly_is_started_later_each_time(watching, project, patient):
    def workers():
        return [
            pid for pid, words in children(watch.process.pid).items() if "unibuild.doit_plugin.build_worker" in words
        ]

    watch = watching()
    watch.cycle("booted")
    told = []
    for _ in range(3):
        patient(workers, "none is there")
        for pid in workers():
            os.kill(pid, signal.SIGKILL)
        told.append(watch.until(events.ProblemEvent).hint)
    assert [hint.partition(" in ")[2] for hint in told] == ["", "1 s", "2 s"]
    project.write("main.c", "two")
    watch.cycle("unchanged")
    assert watch.end() == 0


def test_host_that_does_not_answer_is_reported_with_the_command(watching, xen, wait_in_shell):
    program, real = xen.world / "bin" / "xl", xen.world / "bin" / "real-xl"
    program.rename(real)
    wait = wait_in_shell(xen.world / "go")
    program.write_text(f'#!/bin/sh\n[ "$1" != list ] || {{ {wait}; }}\nexec {real} "$@"\n')
    program.chmod(0o755)
    watch = watching()
    assert watch.until(events.Waiting).what == "`xl list -v` on local"
    (xen.world / "go").touch()
    assert watch.until(events.Waiting).what is None
    watch.cycle("booted")
