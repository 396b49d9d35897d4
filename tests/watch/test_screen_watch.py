"""The real `unibuild watch` on a pseudo-terminal, on the stand-ins for Xen."""

import signal
import sys
from pathlib import Path

import pytest

UNIBUILD = str(Path(sys.executable).with_name("unibuild"))


@pytest.fixture
def watch(on_terminal, project):
    def start(*words, **more):
        return on_terminal([UNIBUILD, "watch", *words], project.root, columns=200, **more)

    return start


def test_save_a_mistake_and_its_fix(watch, project):
    screen = watch()
    screen.expect(r"✓ booted in .* create [\d.]+")
    screen.expect("hello.* · .*generation 1")
    project.write("main.c", "comment")
    screen.expect_exact("main.c changed")
    screen.expect_exact("kernel and .xl unchanged: no reboot")
    project.write("Makefile", "hello.xen: main.c Makefile\n\techo main.c:1:2: error: no; false\n")
    screen.expect_exact("runs on")
    screen.expect("main.c:1:2:.* no")
    screen.expect(r"✗ failed after .*Makefile")
    screen.expect_exact("1 error")
    project.write("Makefile", "hello.xen: main.c base.bin\n\tcp base.bin $@\n")
    screen.expect_exact("kernel and .xl unchanged: no reboot")
    screen.send("q")
    code, rest = screen.ends()
    assert (code, "ended: q" in rest) == (0, True)


def test_build_that_writes_without_a_pause_can_be_stopped(watch, project):
    project.write("Makefile", "hello.xen: main.c\n\tyes\n")
    screen = watch()
    screen.expect("build.*y")
    screen.send("q")
    assert "ended: q" in screen.ends()[1]


def test_its_keys(watch, project, xen):
    screen = watch()
    before = screen.modes()
    screen.expect_exact("✓ booted")
    screen.send("p")
    screen.expect_exact("paused")
    project.write("main.c", "later")
    screen.send("p")
    screen.expect_exact("main.c changed")
    screen.expect_exact("no reboot")
    screen.send("r")
    screen.expect_exact("asked to rebuild")
    screen.expect_exact("no reboot")
    screen.send("b")
    screen.expect_exact("asked to reboot")
    screen.expect_exact("✓ booted")
    screen.expect_exact("domain 2 of local")
    screen.send("c")
    screen.expect_exact("Ctrl-] leaves it")
    screen.send("bye\r")  # an order to the stand-in kernel
    screen.send("\x1d")
    screen.expect_exact("? help")
    screen.send("l")
    screen.expect_exact("booted")
    screen.send("q")  # the pager's
    screen.expect_exact("? help")
    screen.send("\x03")
    assert screen.ends()[0] == 0
    assert screen.modes() == before
    assert xen.domains() == {}


def test_domain_that_ends_gives_the_terminal_back(watch, xen):
    (xen.world / "script").write_text("say booted\nuntil go\ncrash\n")
    screen = watch()
    screen.expect_exact("✓ booted")
    screen.expect_exact("domain 1 of local")
    screen.send("c")
    screen.expect_exact("Ctrl-] leaves it")
    (xen.world / "go").touch()
    screen.expect_exact("no domain runs")
    screen.expect_exact("? help")
    screen.send("q")
    assert "ended: q" in screen.ends()[1]


def test_end_restores_the_terminal(watch, xen):
    screen = watch()
    before = screen.modes()
    screen.expect_exact("✓ booted")
    screen.kill(signal.SIGTERM)
    code, rest = screen.ends()
    assert (code, "ended: TERM" in rest) == (0, True)
    assert screen.modes() == before
    assert xen.domains() == {}


def test_watch_stops_and_continues_under_a_shell(on_terminal, project):
    shell = on_terminal(["bash", "--norc", "--noprofile", "-i"], project.root, PS1="[prompt]")
    shell.expect_exact("[prompt]")
    shell.sendline(f"{UNIBUILD} watch")
    shell.expect_exact("✓ booted")
    shell.expect_exact("? help")
    shell.send("\x1a")
    shell.expect_exact("[prompt]")
    project.write("main.c", "while it stood still")
    shell.sendline("fg")
    shell.expect_exact("main.c changed")
    shell.expect_exact("no reboot")
    shell.send("q")
    shell.expect_exact("[prompt]")


def test_closed_reader_ends_the_watch_but_not_the_domain(project, xen):
    watch = project.start("unibuild", "watch")
    while "booted in" not in watch.stdout.readline():
        assert watch.poll() is None
    watch.stdout.close()
    project.write("Makefile", "hello.xen: main.c Makefile\n\techo main.c:1:2: error: no; false\n")
    assert watch.wait(60) == 141
    assert [one["reason"] for one in xen.domains().values()] == [None]


COLOURS = "hello.xen: main.c\n\t@test -t 1 && test -t 2 && stty size </dev/stdout; ! test -t 0; cp base.bin $@\n"


def test_build_on_a_terminal_has_a_terminal_for_output_but_not_for_input(watch, project):
    project.write("Makefile", COLOURS + "\t@read x </dev/tty && echo asked || echo none to ask on\n")
    screen = watch()
    screen.expect_exact("24 192\r\n")  # the columns of the window, but those of the origin
    screen.expect_exact("none to ask on\r\n")
    screen.expect_exact("✓ booted")
    screen.setwinsize(24, 100)
    project.write("main.c", "two")
    screen.expect_exact("24 92\r\n")


@pytest.mark.parametrize(("words", "environ"), [((), {"NO_COLOR": "1"}), ((), {"TERM": "dumb"}), (("--json",), {})])
def test_build_without_a_terminal_writes_to_a_pipe(watch, project, words, environ):
    project.write("Makefile", "hello.xen: main.c\n\t@test -p /dev/stdout && echo a pipe; cp base.bin $@\n")
    watch(*words, **environ).expect_exact("a pipe")


def test_progress_is_shown_while_its_line_is_unfinished(watch, project, wait_in_shell):
    wait = wait_in_shell(project.root / "go")
    project.write(
        "Makefile",
        f"hello.xen: main.c\n\t@printf '10%%\\r'; printf '20%%\\r'; {wait}; printf '100%%\\n'; cp base.bin $@\n",
    )
    screen = watch()
    screen.expect_exact("20%")
    (project.root / "go").touch()
    screen.expect_exact("100%\r\n")
    screen.expect_exact("✓ booted")
