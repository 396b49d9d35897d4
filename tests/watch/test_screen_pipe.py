"""The screen without a terminal: lines, JSON, and readers that are slow or have closed the pipe."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from unibuild.watch import events

PLAYER = Path(__file__).with_name("player.py")
TIMEOUT = 60
STARTED = '{"event":"started","root":"%s","goal":"boot","host":"lab","pid":1}'
RUNS = '{"event":"domain","name":"hello","host":"lab","state":"ready","domid":3,"generation":2}'
ERROR = '{"event":"output","origin":"build","text":"main.c:12:5: \\u001b[31merror: no"}'
FAILED = '{"event":"cycle","number":7,"trigger":"main.c","outcome":"failed","phases":{"build":1},"seconds":1.25}'
READY = '{"event":"cycle","number":8,"trigger":"x.c","outcome":"ready","phases":{},"seconds":1}'


@pytest.fixture
def play(tmp_path):
    started = []

    def play(*script, words=(), **environ):
        (tmp_path / "script").write_text("\n".join((STARTED % tmp_path, *script)) + "\n")
        env = {**os.environ, "TERM": "xterm", "NO_COLOR": "", "FORCE_COLOR": "", **environ}
        played = subprocess.Popen(
            [sys.executable, PLAYER, "script", *words], cwd=tmp_path, env=env, stdout=subprocess.PIPE
        )
        started.append(played)
        return played

    yield play
    for played in started:
        played.kill()
        played.wait()
        played.stdout.close()


def lines_to(played, last):
    """Read lines up to one that holds ``last``."""
    return lines_with(played, last)


def lines_with(played, *wanted):
    """Read lines until each of ``wanted`` is in one of them, in any order: each hook has a thread of its own."""
    found = []
    limit = threading.Timer(TIMEOUT, played.kill)
    limit.start()
    try:
        while not all(any(one in line for line in found) for one in wanted):
            found.append(played.stdout.readline().decode())
            assert found[-1], f"{wanted!r} are missing: {found}"
    finally:
        limit.cancel()
    return found


def wait_for(path):
    deadline = time.monotonic() + TIMEOUT
    while not path.exists():
        assert time.monotonic() < deadline, f"there never was {path}"
        time.sleep(0.01)


def end(played):
    played.send_signal(signal.SIGTERM)
    rest, _ = played.communicate(timeout=TIMEOUT)
    return rest.decode().splitlines()


def test_plain_lines_have_their_origin(play):
    found = lines_to(play(ERROR, FAILED), "✗ failed")
    assert "".join(found[1:]) == (
        "build   | main.c:12:5: error: no\n"
        "watch   | main.c:12:5: error: no\n"
        "watch   | ✗ failed after 1.25 s (main.c): build 1.00\n"
    )


def test_colours_by_force(play):
    assert "\x1b[31m" in lines_to(play(ERROR, FAILED, FORCE_COLOR="1"), "failed")[-1]


def test_each_event_is_a_line_of_json(play):
    played = play(RUNS, ERROR, FAILED, words=["--json"])
    found = [events.decode(line) for line in lines_to(played, '"cycle"') + end(played)]
    kinds = [type(event).__name__ for event in found]
    assert kinds == ["Started", "DomainEvent", "Output", "Cycle", "Ended"]
    assert found[3].outcome == "failed" and found[3].phases == {"build": 1.0}


def test_printed_lines_are_events(play):
    played = play("print starting the lab", FAILED, words=["--json"])
    found = [events.decode(line) for line in lines_to(played, '"cycle"')]
    assert [event.message for event in found if isinstance(event, events.Note)] == ["starting the lab"] * 2


def test_slow_reader_gets_the_number_of_dropped_lines(play):
    played = play("flood 100000", READY, words=["--json"])
    os.set_blocking(played.stdout.fileno(), True)
    found = [json.loads(line) for line in lines_to(played, '"cycle"')]
    lost = sum(event["lines"] for event in found if event["event"] == "lost")
    given = sum(event["event"] == "output" for event in found)
    assert given + lost == 100_000


def test_closed_reader_ends_the_screen_without_an_error(play):
    played = play("until never", words=["--json"], PLAYER_ERRORS="1")
    lines_to(played, "started")
    played.stdout.close()
    played.send_signal(signal.SIGTERM)
    assert played.wait(TIMEOUT) == 143


def hook(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_hook_gets_its_variables_and_its_output_is_shown(play, tmp_path):
    script = hook(tmp_path, "hook", 'echo "$1 $UNIBUILD_CYCLE_OUTCOME $UNIBUILD_CYCLE_NUMBER $UNIBUILD_CYCLE_DOMID"')
    wanted = {"on_ready": [script, "up"], "on_fail": [script, "down"]}
    played = play(RUNS, FAILED, READY, PLAYER_SETTINGS=json.dumps(wanted))
    assert lines_with(played, "on_fail: down failed 7 3", "on_ready: up ready 8 3")


def test_failing_or_missing_hook_is_reported_and_changes_nothing(play, tmp_path):
    wanted = {"on_ready": ["no-such-hook"], "on_fail": [hook(tmp_path, "hook", "exit 3")]}
    played = play(FAILED, READY, PLAYER_SETTINGS=json.dumps(wanted))
    assert lines_with(played, "no-such-hook is not installed", f"on_fail: `{tmp_path}/hook` exit code 3")


def test_hook_that_does_not_end_is_stopped(play, tmp_path):
    script = hook(tmp_path, "hook", f"echo $$ > {tmp_path}/pid; echo begun > {tmp_path}/begun; exec sleep 1000")
    played = play(
        FAILED, "wait 0.5", '{"event":"note","message":"on"}', PLAYER_SETTINGS=json.dumps({"on_fail": [script]})
    )
    lines_to(played, "on")
    wait_for(tmp_path / "begun")
    assert "ended: a signal" in end(played)[-1]
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_desktop_gets_a_notification(play, tmp_path):
    hook(tmp_path, "notify-send", f'echo "$2: $3" > {tmp_path}/told; mv {tmp_path}/told {tmp_path}/done')
    path = f"{tmp_path}:{os.environ['PATH']}"
    played = play(RUNS, FAILED, PLAYER_SETTINGS='{"notify": "desktop"}', PATH=path)
    lines_to(played, "failed")
    wait_for(tmp_path / "done")
    assert (tmp_path / "done").read_text() == "hello: ✗ failed: main.c\n"
