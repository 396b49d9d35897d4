"""unibuild/util/process.py: children end in time, and none of their output is lost."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pexpect
import pytest

from unibuild.errors import CommandError, MissingError, UnibuildError
from unibuild.util import job_control, process


def python(code, *args):
    return [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]


def alive(pid):
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
    return result


def test_run_captures_both_outputs_and_the_status():
    done = process.run(python("import sys; print('o'); print('e', file=sys.stderr); sys.exit(3)"), check=False)
    assert (done.returncode, done.text, done.stderr) == (3, "o\n", b"e\n")


def test_run_feeds_input_and_environment(tmp_path):
    code = "import os, sys; print(sys.stdin.read(), os.environ['A'], os.getcwd())"
    done = process.run(python(code), input=b"in", env={"A": "b"}, cwd=tmp_path)
    assert done.text == f"in b {tmp_path}\n"


@pytest.mark.parametrize("env", [None, {"A": "b"}])
def test_child_in_another_folder_has_its_pwd(tmp_path, monkeypatch, env):
    monkeypatch.setenv("PWD", "/")
    done = process.run(
        ["sh", "-c", "echo $PWD; make -s -f /dev/stdin"], input=b"all:;@echo $(PWD)\n", cwd=tmp_path, env=env
    )
    assert done.text.split() == [str(tmp_path)] * 2


def test_pwd_through_a_link_is_kept(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv("PWD", str(tmp_path / "link"))
    assert process.run(["printenv", "PWD"], cwd=tmp_path / "real").text == f"{tmp_path}/link\n"


def test_failure_has_the_command_the_status_and_the_output():
    with pytest.raises(CommandError) as caught:
        process.run(python("import sys; sys.exit(print('no such bridge', file=sys.stderr) or 4)"))
    assert (caught.value.returncode, caught.value.output) == (4, "no such bridge\n")
    assert "no such bridge" in caught.value.message


def test_missing_program_names_its_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="qemu-system-x86_64") as caught:
        process.run(["qemu-system-x86_64"])
    assert "apt install qemu-system-x86" in caught.value.hint


def test_missing_program_is_reported_past_folder_that_cannot_be_searched(monkeypatch, tmp_path):
    (tmp_path / "loop").symlink_to("loop")  # fails even for root, as another user's folder does for a user
    monkeypatch.setenv("PATH", f"{tmp_path / 'loop'}:{tmp_path}")
    with pytest.raises(MissingError):
        process.run(["no-such-program"])
    (tmp_path / "no-such-program").touch(mode=0o644)
    with pytest.raises(UnibuildError, match="no-such-program") as caught:
        process.run(["no-such-program"])
    assert not isinstance(caught.value, MissingError)


def test_missing_folder_is_not_reported_as_a_missing_program(tmp_path):
    with pytest.raises(MissingError, match=str(tmp_path / "gone")):
        process.run(["true"], cwd=tmp_path / "gone")


def test_child_is_ended_after_the_timeout_and_its_output_is_kept():
    with pytest.raises(CommandError) as caught:
        process.run(["sh", "-c", "echo halfway; exec sleep 60"], timeout=1)
    assert (caught.value.returncode, caught.value.output.splitlines()[0]) == (-signal.SIGTERM, "halfway")


def test_stop_ends_grandchildren_too():
    code = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    with process.start(python(code)) as child:
        grandchild = int(child.stdout.readline())
    wait_for(lambda: not alive(grandchild))


def test_stop_kills_a_child_that_ignores_signals():
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    with process.start(python(code)) as child:
        child.stdout.readline()
        assert child.stop(timeout=0.1) == -signal.SIGKILL


def test_jobserver_is_passed_on(monkeypatch):
    read, write = os.pipe()
    os.write(write, b"+")
    monkeypatch.setenv("MAKEFLAGS", f" -j --jobserver-auth={read},{write}")
    assert process.run(python(f"import os; print(os.read({read}, 1))")).text == "b'+'\n"
    os.close(read)
    os.close(write)


def test_make_shares_its_jobs_with_the_make_that_unibuild_runs(tmp_path):
    (tmp_path / "outer.mk").write_text(
        f"all:\n\t+@{sys.executable} -c 'from unibuild.util.process import run_interactive as run; "
        'run(["make", "-f", "inner.mk"])\'\n'
    )
    (tmp_path / "inner.mk").write_text("all: a b\na b:\n\t@echo $(findstring jobserver,$(MAKEFLAGS))\n")
    done = subprocess.run(["make", "-j3", "-f", "outer.mk"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout.count("jobserver"), done.stderr) == (2, "")


@pytest.fixture
def terminal(on_terminals):
    """Start Python code under a new terminal; the code can use the module `process`."""

    def begin(code):
        child = pexpect.spawn(sys.executable, ["-c", "from unibuild.util import process\n" + textwrap.dedent(code)])
        child.delaybeforesend = 0.05
        on_terminals.append(child)
        return child

    return begin


@pytest.mark.parametrize("call", ["process.run_interactive({})", "process.run({})"])
def test_child_can_ask_on_the_terminal(terminal, call):
    ask = ["bash", "-c", "read -p 'password: ' x </dev/tty 2>/dev/tty; echo got $x >/dev/tty"]
    child = terminal(call.format(ask))
    child.expect_exact("password: ")
    child.sendline("secret")
    child.expect_exact("got secret")
    child.expect(pexpect.EOF)


@pytest.mark.parametrize("call", ["process.run_interactive({})", "process.run({})"])
def test_ctrl_c_ends_the_child_and_is_raised_here(terminal, call):
    asleep = ["bash", "-c", "echo pid $$ >/dev/tty; exec sleep 60"]
    child = terminal(f"try: {call.format(asleep)}\nexcept KeyboardInterrupt: print('interrupted')")
    child.expect(r"pid (\d+)")
    pid = int(child.match[1])
    child.sendintr()
    child.expect_exact("interrupted")
    assert not alive(pid)


@pytest.mark.parametrize("code", [2, 255])  # exit codes of make and ssh
@pytest.mark.parametrize("call", ["process.run_interactive({})", "process.run({}, check=False)"])
def test_ctrl_c_is_raised_even_if_the_child_exits_with_a_code(terminal, call, code):
    waits = f"while test -d /proc/{os.getpid()}; do sleep 0.1; done"
    handles = ["bash", "-c", f"trap 'exit {code}' INT; echo ready >/dev/tty; {waits}"]
    child = terminal(f"try: {call.format(handles)}\nexcept KeyboardInterrupt: print('interrupted')")
    child.expect_exact("ready")
    child.sendintr()
    child.expect_exact("interrupted")


@pytest.mark.parametrize(
    "call", ["process.run_interactive(['false'])", "process.run(['false'], check=False).returncode"]
)
def test_failure_on_a_terminal_is_not_taken_for_ctrl_c(terminal, call):
    child = terminal(f"print('code', {call})")
    child.expect_exact("code 1")


@pytest.mark.parametrize("call", ["process.run_interactive({})", "process.run({})"])
def test_ctrl_z_stops_unibuild_and_the_child_and_fg_continues_both(call, tmp_path, wait_in_shell):
    script = tmp_path / "script.py"
    slow = ["bash", "-c", f"echo up >/dev/tty; {wait_in_shell(tmp_path / 'go')}; echo down >/dev/tty"]
    script.write_text(f"from unibuild.util import process\n{call.format(slow)}\nprint('end')")
    with pexpect.spawn(
        "bash", ["--norc", "--noprofile", "-i"], timeout=60
    ) as shell:  # from here on the shell does job control
        shell.sendline(f"{sys.executable} {script}")
        shell.expect_exact("up\r\n")
        shell.sendcontrol("z")
        shell.expect_exact("Stopped")
        (tmp_path / "go").touch()
        shell.sendline("fg")
        shell.expect_exact("down\r\n")
        shell.expect_exact("end")


def group(number):
    """Return the running processes of a group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
            found += [int(stat.parent.name)] * (int(pgrp) == number and state != "Z")
    return found


def test_killed_run_on_a_terminal_leaves_no_process(tmp_path):
    script = tmp_path / "script.py"
    asleep = ["bash", "-c", "echo child $$ of $PPID >/dev/tty; exec sleep 600"]
    script.write_text(f"from unibuild.util import process\nprocess.run({asleep})")
    with pexpect.spawn("bash", ["--norc", "--noprofile", "-i"], timeout=60) as shell:
        shell.sendline(f"{sys.executable} {script}")
        shell.expect(r"child (\d+) of (\d+)")
        child, program = map(int, shell.match.groups())
        deadline = time.monotonic() + 60
        while len(group(child)) < 2:
            assert time.monotonic() < deadline
        os.kill(program, signal.SIGKILL)
        os.kill(child, signal.SIGKILL)
        while left := group(child):
            assert time.monotonic() < deadline, left


def test_ctrl_z_at_any_moment_stops_unibuild(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from unibuild.util import process\nprint('go')\nwhile True: process.run(['true'])")
    with pexpect.spawn("bash", ["--norc", "--noprofile", "-i"], timeout=60) as shell:
        shell.sendline(f"{sys.executable} {script}")
        shell.expect_exact("go\r\n")
        for moment in range(30):
            time.sleep(moment / 10_000)
            shell.sendcontrol("z")
            while shell.expect_exact(["Stopped", pexpect.TIMEOUT], timeout=2):
                shell.sendcontrol("z")  # one signal may be lost between two children
            shell.sendline("fg")
            shell.expect(r"fg\r\n.*script.py\r\n")


def test_output_held_by_a_grandchild_is_waited_for_on_a_terminal(terminal):
    child = terminal("print(process.run(['bash', '-c', '(sleep 0.6; echo late) & echo soon']).stdout)")
    child.expect_exact(r"b'soon\nlate\n'")


def test_signal_is_deferred_and_the_second_one_is_not():
    done = []
    with pytest.raises(KeyboardInterrupt), job_control.defer_signals(first_only=True):
        signal.raise_signal(signal.SIGINT)
        done.append("first")
    with pytest.raises(KeyboardInterrupt), job_control.defer_signals(first_only=True):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append("second")
    assert done == ["first"]


def test_signal_that_arrives_while_another_is_deferred_waits_too(monkeypatch):
    install, done = signal.signal, []

    def at_once(number, handler):
        before = install(number, handler)
        if number == signal.SIGINT and handler is not signal.default_int_handler:
            signal.raise_signal(number)
        return before

    monkeypatch.setattr(signal, "signal", at_once)
    with pytest.raises(KeyboardInterrupt), job_control.defer_signals(first_only=True):
        done.append("the block")
    assert (done, signal.getsignal(signal.SIGINT)) == (["the block"], signal.default_int_handler)


def test_program_ends_even_if_unibuild_ignores_termination():
    code = "import signal\nfrom unibuild.util import process\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    child = pexpect.spawn(sys.executable, ["-c", code + "process.run(['true'])\nprint('the end')"], timeout=60)
    child.expect("the end")
    child.wait()
