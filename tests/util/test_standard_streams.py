"""Standard streams that are closed, full or gone: the command does its work, and the exit code reports lost output."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from unibuild.util import job_control, standard_streams

BIN = Path(sys.executable).parent
QUIET = "hello.xen: main.c\n\t@cp main.c $@; echo built >> log\n"  # make itself fails if it cannot print


def shell(tree, command: str, **env: str) -> subprocess.CompletedProcess[str]:
    path = f"{BIN}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        cwd=tree.root,
        env={**os.environ, "PATH": path, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("first", [True, False], ids=["stale", "up to date"])
def test_closed_stream_is_not_a_failure(tree, closed, first):
    if not first:
        tree.run("unibuild", "build")
    done = shell(tree, f"unibuild build {closed}")
    assert (done.returncode, tree.log, "Traceback" in done.stderr) == (0, ["built"], False)


def test_file_never_gets_the_number_of_a_closed_stream(tree):
    shell(tree, "unibuild build >&- 2>&-")
    files = [path for path in (tree.root / ".unibuild").rglob("*") if path.is_file()]
    assert not [path for path in files if b"build: done" in path.read_bytes()]


@pytest.mark.parametrize(("to", "code"), [("> /dev/full", 3), ("2> /dev/full", 0), ("2>&1 | true", 141)])
def test_lost_output_is_reported_after_the_work(tree, to, code):
    tree.write("Makefile", QUIET)
    done = shell(tree, f"unibuild build {to}")
    assert (done.returncode, tree.log, "Traceback" in done.stderr) == (code, ["built"], False)
    assert tree.run("unibuild", "build") == "build: up to date\n"


def test_character_that_the_encoding_lacks_is_escaped(tree):
    tree.write("unibuild.toml", tree.read("unibuild.toml") + '[hosts."ä"]\naddress = "ssh://none.invalid"\n')
    done = shell(tree, "unibuild plan boot --host ä", PYTHONIOENCODING="ascii")
    assert "UnicodeEncodeError" not in done.stderr


def test_installed_stream_never_raises(tmp_path):
    script = "import sys; from unibuild.util import standard_streams as output; output.install(); "
    script += "print('\\u20ac' * 9999); sys.stdout.flush()"
    tail = "print(repr(output.failure()), file=sys.stderr)"
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", f"{script}; {tail}"], stdout=full, stderr=subprocess.PIPE, env=env, check=True
        )
    assert b"No space left" in done.stderr


def test_closed_terminal_does_not_interrupt_a_protected_block(tmp_path):
    done = tmp_path / "done"
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
        code = 1
        try:
            with job_control.defer_hangup():
                standard_streams.write(1, b"inside")
                subprocess.run(["sh", "-c", "while tty -s 0<&1; do sleep 0.01; done; sleep 0.1"], check=True)
                standard_streams.write(1, b"nobody reads this")
                done.write_text(repr(standard_streams.failure()))
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            os._exit(code)
    assert os.read(terminal, 6) == b"inside"
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert (os.waitstatus_to_exitcode(status), "Input" in done.read_text()) == (129, True), done.read_text()


def test_signal_in_nested_blocks_is_deferred_to_the_end_of_the_outer_one():
    seen = []
    with pytest.raises(KeyboardInterrupt), job_control.defer_signals(first_only=True):
        with job_control.defer_signals(first_only=True):
            signal.raise_signal(signal.SIGINT)
        seen.append("outer")
    twice = (job_control.defer_signals(first_only=True), job_control.defer_signals(first_only=True))
    with contextlib.suppress(KeyboardInterrupt), twice[0], twice[1]:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        seen.append("never")
    assert seen == ["outer"]
