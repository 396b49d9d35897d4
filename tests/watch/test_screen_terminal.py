"""The screen on a pseudo-terminal: keys, signals, widths, and the terminal's settings."""

import json
import os
import re
import signal
import sys
import termios
from pathlib import Path

import pytest

from unibuild.watch.diagnostics import plain

PLAYER = Path(__file__).with_name("player.py")
STARTED = '{"event":"started","root":"%s","goal":"boot","host":"lab","pid":1}'
RUNS = '{"event":"domain","name":"hello","host":"lab","state":"ready","domid":3,"generation":2}'
FAILED = (
    '{"event":"output","origin":"build","text":"main.c:12:5: error: expected something or other"}',
    '{"event":"cycle","number":1,"trigger":"main.c","outcome":"failed","phases":{},"seconds":1}',
)


@pytest.fixture
def play(on_terminal, tmp_path):
    """Play a script on the real screen, in a pseudo-terminal of its own or under a shell."""

    def play(*script, under_bash=False, **more):
        (tmp_path / "script").write_text("\n".join((STARTED % tmp_path, *script)) + "\n")
        argv = [sys.executable, str(PLAYER), "script"]
        if not under_bash:
            return on_terminal(argv, tmp_path, **more)
        shell = on_terminal(["bash", "--norc", "--noprofile", "-i"], tmp_path, PS1="[prompt]", **more)
        prompt(shell, " ".join(argv))
        return shell

    return play


def note(message):
    return json.dumps({"event": "note", "message": message})


def prompt(played, line=""):
    """Wait for the shell's prompt and give it a line."""
    played.expect_exact("[prompt]")
    played.sendline(line)


def settings(played):
    """Return what `stty -a` says in the shell."""
    played.sendline('stty -a; echo ==""===')
    played.expect_exact("=====\r\n")
    found = played.before.partition("\r\n")[2]
    return re.sub(r"rows \d+; columns \d+", "", found)


def test_keys_are_commands_help_and_errors(play):
    screen = play(*FAILED)
    screen.expect_exact("1 error")
    for key, answer in [
        ("r", "<rebuild>"),
        ("b", "<reboot>"),
        ("p", "paused: saves"),
        ("?", "this help"),
        ("e", "something or other"),
        ("\x1b[A\x1bOP\x1bb?", "this help"),  # an arrow, F1 and Alt-b do nothing
    ]:
        screen.send(key)
        screen.expect_exact(answer)
        assert "<reboot>" not in screen.before
    screen.send("q")
    code, rest = screen.ends()
    assert (code, "ended: q" in rest) == (0, True)


def test_delayed_end_is_shown_in_the_status_line(play):
    screen = play(RUNS, "until rebuild")
    screen.expect_exact("domain 3 of lab")
    screen.send("q")
    screen.expect_exact("ending; Ctrl-C twice: at once")
    screen.send("rq")
    assert screen.ends()[0] == 0


def test_console_gets_the_terminal_with_its_original_settings(play):
    screen = play(RUNS)
    screen.expect_exact("domain 3 of lab")
    before = screen.modes()
    screen.send("c")
    screen.expect_exact("<console>")
    assert screen.modes()[3] & termios.ICANON and screen.modes() != before
    screen.sendline("keys rqb")
    screen.expect_exact("<said keys rqb>")
    screen.expect_exact("domain 3 of lab")
    assert screen.modes() == before
    screen.send("q")
    assert screen.ends()[0] == 0


@pytest.mark.parametrize(
    ("how", "code"),
    [
        (lambda screen: screen.send("q"), 0),
        (lambda screen: screen.send("\x03"), 130),
        (lambda screen: screen.kill(signal.SIGTERM), 143),
        (lambda screen: screen.send("\x1c"), -signal.SIGQUIT),
    ],
    ids=["q", "Ctrl-C", "TERM", "QUIT"],
)
def test_terminal_is_restored(play, how, code):
    screen = play(RUNS)
    before = screen.modes()
    screen.expect_exact("domain 3 of lab")
    assert screen.modes() != before
    how(screen)
    ended, rest = screen.ends()
    assert ended == code
    assert screen.modes() == before
    assert rest.endswith("\x1b[J") or "ended:" in rest  # no status line is left


def test_terminal_is_restored_after_an_error(play):
    screen = play(RUNS, "raise")
    before = screen.modes()
    code, rest = screen.ends()
    assert (code, "ZeroDivisionError" in rest) == (1, True)
    assert screen.modes() == before


def test_shell_can_stop_and_continue_the_screen(play):
    shell = play(RUNS, under_bash=True)
    shell.expect_exact("domain 3 of lab")
    shell.send("\x1a")
    shell.expect_exact("[prompt]")
    stopped = settings(shell)
    assert " icanon" in stopped and " echo " in stopped
    prompt(shell, "fg")
    shell.expect_exact("domain 3 of lab")
    shell.send("r")
    shell.expect_exact("<rebuild>")
    shell.send("q")
    shell.expect_exact("[prompt]")
    assert settings(shell) == stopped


def test_screen_in_the_background_draws_no_status_line_and_reads_no_keys(play):
    shell = play(RUNS, "until rebuild", note("begun"), "wait 1", note("meanwhile"), under_bash=True)
    shell.expect_exact("domain 3 of lab")
    shell.send("r")
    shell.expect_exact("begun")
    shell.send("\x1a")
    prompt(shell, "bg")
    shell.expect_exact("meanwhile")
    assert "domain 3" not in shell.before.partition("[prompt]")[2]
    shell.sendline("echo ans''wer")
    shell.expect_exact("answer")
    prompt(shell, "fg")
    shell.expect_exact("domain 3 of lab")
    shell.send("b?")
    shell.expect_exact("this help")
    shell.send("q")
    shell.expect_exact("[prompt]")
    assert " icanon" in settings(shell)


def test_pager_is_split_as_the_shell_does_and_gets_the_terminal(play, tmp_path):
    log = tmp_path / ".unibuild" / "console" / "hello.log"
    log.parent.mkdir(parents=True)
    log.write_text("said\n")
    pager = tmp_path / "a pager"
    pager.write_text('#!/bin/sh\necho "<$1 $(cat "$2")>"\nread word\necho "<read $word>"\n')
    pager.chmod(0o755)
    screen = play(RUNS, PAGER=f"'{pager}' 'two words'")
    screen.expect_exact("domain 3 of lab")
    screen.send("l")
    screen.expect_exact("<two words said>")
    screen.sendline("qrb")
    screen.expect_exact("<read qrb>")
    screen.expect_exact("domain 3 of lab")
    screen.send("r")
    screen.expect_exact("<rebuild>")


def test_missing_pager_is_reported(play, tmp_path):
    log = tmp_path / ".unibuild" / "console" / "hello.log"
    log.parent.mkdir(parents=True)
    log.touch()
    screen = play(RUNS, PAGER="no-such-pager")
    screen.expect_exact("domain 3 of lab")
    screen.send("l")
    screen.expect_exact("no-such-pager is not installed")


def widths(written):
    """Return the columns of each row that was written."""
    return [len(plain(row)) for row in re.split(r"[\r\n]+", written)]


def test_narrow_and_changing_windows(play):
    screen = play(RUNS, *FAILED, columns=20)
    screen.expect_exact("✗ failed")
    assert max(widths(screen.before)) <= 20
    screen.setwinsize(24, 100)
    screen.expect_exact("? help")
    screen.setwinsize(10, 30)
    screen.send("e")
    screen.expect_exact("✗ failed")
    assert max(widths(screen.before)) <= 100
    screen.send("?e")
    screen.expect_exact("this help")
    screen.expect_exact("✗ failed")
    assert max(widths(screen.before)) <= 30


@pytest.mark.parametrize(
    ("environ", "coloured", "drawn"),
    [
        ({}, True, True),
        ({"NO_COLOR": "1"}, False, True),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, False),
    ],
    ids=["usual", "NO_COLOR", "dumb", "FORCE_COLOR"],
)
def test_colours(play, environ, coloured, drawn):
    screen = play(*FAILED, note("last"), **environ)
    screen.expect_exact("last")
    screen.send("\x03")
    _, rest = screen.ends()
    written = screen.before + rest
    assert bool(re.search(r"\x1b\[[\d;]*3[1-6]", written)) == coloured
    assert ("\x1b[J" in written) == drawn


def test_hyperlinks_on_terminals_that_have_them(play, tmp_path):
    (tmp_path / "main.c").touch()
    for program, has in (("WezTerm", True), ("", False)):
        screen = play(*FAILED, TERM_PROGRAM=program)
        screen.expect_exact("something or other")
        assert (f"file://{os.uname().nodename}{tmp_path}/main.c" in screen.before) == has


def test_flood_on_a_stopped_terminal_blocks_nothing(play, tmp_path):
    screen = play(RUNS, "until rebuild", "flood 100000", note("still here"))
    screen.expect_exact("domain 3 of lab")
    screen.send("r\x13")  # Ctrl-S
    screen.kill(signal.SIGTERM)
    assert screen.ends()[0] == 143


@pytest.mark.parametrize("setting", [{"bell": True}, {"notify": "terminal"}])
def test_failure_and_recovery_ring_the_bell(play, setting):
    ready = '{"event":"cycle","number":2,"trigger":"main.c","outcome":"ready","phases":{},"seconds":1}'
    screen = play(*FAILED, "until rebuild", ready, PLAYER_SETTINGS=json.dumps(setting))
    ring = "\a" if "bell" in setting else "\x1b]9;"
    screen.expect_exact(ring)
    screen.send("r")
    screen.expect_exact(ring)
