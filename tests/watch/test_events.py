"""The events as JSON: what a program reads of `unibuild watch --json`."""

import json

import msgspec
import pytest

from unibuild.watch import events

SAMPLES = [
    events.Started(at=1.5, root="/p", goal="boot", host="local", pid=7),
    events.Changed(at=1.5, paths=("main.ml", "a.ml"), first="main.ml"),
    events.StageEvent(at=1.5, name="build", state="done", seconds=0.2, reason="main.ml changed"),
    events.Output(at=1.5, origin="console", text="booted", of="hello"),
    events.Lost(at=1.5, lines=7),
    events.Cycle(
        at=1.5, number=1, trigger="a.ml", outcome="booted", phases={"debounce": 0.02, "build": 1}, seconds=1.5
    ),
    events.DomainEvent(at=1.5, name="hello", host="local", state="running", domid=3, generation=2, since=1.0),
    events.ProblemEvent(at=1.5, message="it failed", exit_code=1, hint="fix it", kept="the older one runs on"),
    events.Note(at=1.5, message="hello was replaced"),
    events.Waiting(at=1.5, what="`xl list -v` on lab"),
    events.Paused(at=1.5),
    events.Resumed(at=1.5),
    events.Reloaded(at=1.5, paths=("unibuild.toml",)),
    events.Ended(at=1.5, exit_code=0, why="q"),
]


def test_samples_cover_every_kind():
    assert {type(one) for one in SAMPLES} == {*events.AnyEvent.__args__}


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: type(event).__name__)
def test_event_is_one_line_with_its_kind_and_decodes_to_itself(event):
    line = events.encode(event)
    assert b"\n" not in line
    assert json.loads(line)["event"] == type(event).__struct_config__.tag
    assert events.decode(line) == event


def test_unknown_kind_is_refused():
    with pytest.raises(msgspec.DecodeError, match="unheard"):
        events.decode('{"event": "unheard", "at": 1}')
