"""Framed answers: what a login shell prints is not the command's own, whatever the shell and the command are."""

import os
import shlex
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unibuild.host.frame import Frame, Stream, quote

SHELLS = ("sh", "bash", "zsh", "fish", "tcsh")
ARGUMENTS = ["a b", "$HOME", "'", "", "\\", "\\\\", "!x", "a!b\nc", "ü*", "%s%%", "`id`", '"', "-n", "\\047", "^x"]
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=8)


def run(shell: str, command: str, before: str = "") -> tuple[bytes, bytes, int | None]:
    frame = Frame()
    text = quote(frame.program(command))
    assert text.isascii() and text.isprintable()
    done = subprocess.run([shell, "-c", f"{before}{text}"], capture_output=True, timeout=60, check=False)
    out, err = Stream(frame), Stream(frame)
    out.feed(done.stdout)
    err.feed(done.stderr)
    return bytes(out.data), bytes(err.data), out.status


@pytest.fixture(params=SHELLS)
def shell(request):
    if not shutil.which(request.param):
        assert os.environ.get("CI") != "true", f"{request.param} is not installed"
        pytest.skip(f"{request.param} is not installed")
    return request.param


def test_arguments_arrive_through_any_login_shell(shell):
    said = run(shell, shlex.join(["printf", "%s|", *ARGUMENTS]))
    assert said == ("".join(f"{word}|" for word in ARGUMENTS).encode(), b"", 0)


@settings(max_examples=30)
@given(st.lists(TEXT, min_size=1))
def test_arbitrary_arguments_arrive(argv):
    assert run("sh", shlex.join(["printf", "%s|", *argv]))[0] == "".join(f"{word}|" for word in argv).encode()


def test_output_of_the_login_shell_is_noise(shell):
    assert run(shell, "echo out; echo err >&2; exit_() { return 7; }; exit_", "echo Welcome; nosuch-program; ") == (
        b"out\n",
        b"err\n",
        7,
    )


def test_a_shell_that_echoes_its_input_prints_no_marker():
    assert run("bash", "echo own", "set -xv; ") == (b"own\n", b"", 0)


def test_killed_program_has_a_status():
    assert run("sh", "sh -c 'kill -ABRT $$'")[2] == 128 + 6


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_stream_does_not_depend_on_chunking(size):
    frame = Frame("token")
    own = b"a\x1eb\x1etoken\n\x1e\x1etoken<"
    text = b"noise \x1etok" + frame.begin + own + frame.end + b"12\x1e after"
    stream = Stream(frame)
    for at in range(0, len(text), size):
        stream.feed(text[at : at + size])
    assert (bytes(stream.data), stream.status, bytes(stream.noise)) == (own, 12, b"noise \x1etok")


def test_a_line_is_not_held_back():
    frame = Frame()
    stream = Stream(frame)
    assert stream.feed(b"Welcome\n" + frame.begin + b"booted\n") == b"booted\n"
    assert stream.feed(b"half\x1e") == b"half"
    assert stream.close() == b"\x1e"
