"""Events become a view, lines and a status line."""

import itertools
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.watch import events
from unibuild.watch.diagnostics import plain
from unibuild.watch.ui import view
from unibuild.watch.ui.render import NARROWEST, Renderer, plain_line

CHARS = st.characters(exclude_categories=["Cs"]) | st.sampled_from("\x1b[31m\r\t日本é\u0301\u200d👩")
TEXT = st.text(CHARS, max_size=60)
TEXTS = {  # the fields that people and programs write, of each kind of event
    events.Started: "root goal host polling",
    events.Changed: "first",
    events.StageEvent: "name reason",
    events.Output: "text of",
    events.Lost: "",
    events.Cycle: "trigger why",
    events.DomainEvent: "name host why",
    events.ProblemEvent: "message hint kept",
    events.Note: "message",
    events.Waiting: "what",
    events.Paused: "",
    events.Resumed: "",
    events.Reloaded: "",
    events.Ended: "why",
}
EVENTS = st.one_of(st.builds(kind, **dict.fromkeys(names.split(), TEXT)) for kind, names in TEXTS.items())


def cells(row: str) -> int:
    from rich.cells import cell_len

    return cell_len(row)


def after(*happened: events.AnyEvent) -> tuple[view.View, list[view.Line]]:
    now, told = view.View(), []
    for event in happened:
        now, lines = view.update(now, event)
        told += lines
    return now, told


def event(kind: str, **fields: object) -> events.AnyEvent:
    return msgspec.convert({"event": kind, "at": 100.0, **fields}, events.AnyEvent)


def texts(lines: list[view.Line]) -> list[str]:
    return [line.text for line in lines]


CHANGED = event("changed", paths=["main.c", "x.h"], first="main.c")
BUILD = event("stage", name="build", state="running", reason="main.c changed")
ERROR = event("output", origin="build", text="main.c:3:1: error: no")
RUNS = event("domain", name="hello", host="lab", state="ready", domid=3, generation=2, since=40.0)
CRASHED = event("domain", name="hello", host="lab", state="crashed", why="crashed")
FAILED = event(
    "cycle", number=2, trigger="main.c", outcome="failed", phases={"debounce": 0.02, "build": 1}, seconds=1.5
)
READY = event("cycle", number=3, trigger="main.c", outcome="ready", phases={"ready": 0.5}, seconds=2)


def test_cycle_shows_its_cause_and_its_phases():
    _, told = after(CHANGED, BUILD, RUNS, READY)
    assert texts(told) == ["main.c changed, and 1 other", "✓ ready in 2.00 s (main.c): ready 0.50"]


def test_stage_shows_its_reason_unless_the_cycle_showed_it():
    _, told = after(CHANGED, BUILD, event("stage", name="xl", state="running", reason="xl.memory changed"))
    assert told[1:] == [view.Line("xl", "xl.memory changed", "quiet")]


def test_status_line_shows_the_command_that_does_not_answer():
    copy = event("stage", name="copy", state="running")
    now, told = after(copy, event("waiting", what="`xl list -v` on lab"))
    assert "waiting for `xl list -v` on lab" in [part.text for part in view.parts(now, 112.0)]
    assert told == []
    now, _ = view.update(now, event("waiting", what=None))
    assert not [part for part in view.parts(now, 112.0) if "waiting" in part.text]


def test_domain_that_ended_well_is_shown_and_a_crash_is_left_to_the_problem():
    ended = event("domain", name="hello", host="lab", state="ended", why="hello powered off")
    assert texts(after(ended)[1]) == ["hello powered off"]
    assert after(CRASHED)[1] == []


def test_errors_are_shown_after_the_cycle_and_kept_until_a_good_build():
    now, told = after(CHANGED, BUILD, ERROR, event("output", origin="build", text="make: *** Error 1"), FAILED)
    assert texts(told)[-2:] == [
        "main.c:3:1: error: no",
        "✗ failed after 1.50 s (main.c): debounce 0.02, build 1.00",
    ]
    assert texts(view.problem_lines(now)) == ["main.c:3:1: error: no"]
    now, _ = view.update(now, READY)
    assert not now.problems and not now.failed


def test_problem_shows_in_one_line_what_keeps_running():
    kept = "hello runs on: generation 2, domain 3"
    _, told = after(event("problem", message="no", exit_code=1, hint="a\nb", kept=kept))
    assert texts(told) == ["no", "  a", "  b", kept]


def test_unchanged_kernel_is_shown():
    _, told = after(event("cycle", number=1, trigger="a.c", outcome="unchanged", phases={}, seconds=0.3))
    assert texts(told) == ["kernel and .xl unchanged: no reboot; 0.30 s (a.c)"]


@pytest.mark.parametrize(
    ("happened", "status"),
    [
        ([], ["✓ good", "no domain", "? help"]),
        ([CHANGED, BUILD], ["build 4.0 s", "no domain", "? help"]),
        ([RUNS, READY], ["✓ ready", "hello", "generation 2", "domain 3 of lab", "up 1 min", "? help"]),
        ([CHANGED, BUILD, ERROR, FAILED], ["✗ failed", "1 error", "no domain", "? help"]),
        (
            [RUNS, event("paused")],
            ["✓ ready", "paused", "hello", "generation 2", "domain 3 of lab", "up 1 min", "? help"],
        ),
        (
            [event("domain", name="hello", host="lab", state="crashed", why="crashed")],
            ["✗ down", "hello crashed", "? help"],
        ),
    ],
)
def test_status_line(happened, status):
    assert [part.text for part in view.parts(after(*happened)[0], 104.0)] == status


def test_console_lines_have_the_name_of_the_domain_and_old_ones_their_tone():
    said = event("output", origin="console", of="hello", domid=3, text="tick")
    old = event("output", origin="console", of="hello", domid=2, text="bye")
    assert after(RUNS, said, old)[1][1:] == [view.Line("hello", "tick", "console"), view.Line("hello", "bye", "old")]


def test_unfinished_line_is_held_until_it_is_whole():
    begun, told = after(event("output", origin="console", of="hello", text="login:", whole=False))
    assert told == [] and begun.unfinished == view.Line("hello", "login:", "console")
    assert view.update(begun, event("output", origin="console", of="hello", text="login: me"))[0].unfinished is None


@given(st.lists(EVENTS, max_size=12), st.integers(NARROWEST, 130), st.booleans())
def test_no_row_is_wider_than_the_terminal_or_has_control_characters(happened, width, colour):
    paint = Renderer(width, colour=colour)
    now, told = after(*happened)
    rows = [row for line in told for row in paint.rows(line)]
    rows.append(paint.status(view.parts(now, 1000.0)))
    for row in rows:
        assert cells(plain(row)) <= width
        assert plain(row).isprintable()
        assert colour or not re.search(r"\x1b\[[\d;]*[34]\d", row)
    assert cells(plain(rows[-1])) < width


@given(TEXT, st.integers(NARROWEST, 130))
def test_folding_loses_no_text(text, width):
    line = view.Line("build", text, "build")
    wide = plain(Renderer(None).rows(line)[0]).partition("│ ")[2]
    narrow = [plain(row) for row in Renderer(width).rows(line)]
    assert "".join(row.partition("│ ")[2] if width >= 16 else row for row in narrow) == wide


def test_generated_events_cover_every_kind():
    assert {*TEXTS} == {*events.AnyEvent.__args__}


@given(EVENTS)
def test_plain_line_is_one_printable_line(happened):
    for line in after(happened)[1]:
        assert plain_line(line).isprintable()


@pytest.mark.parametrize("width", [20, 60])
def test_origin_of_wide_letters_keeps_the_width(width):
    rows = Renderer(width).rows(view.Line("日本語日本語", "x" * 100, "build"))
    assert max(cells(plain(row)) for row in rows) == width


def test_prose_is_cut_between_words():
    rows = Renderer(30).rows(view.Line("watch", "hello runs on as domain 3, generation 2", "good"))
    assert [plain(row) for row in rows] == ["watch │ hello runs on as ", "      │ domain 3, generation 2"]


def test_colours_are_kept_and_other_escape_sequences_removed():
    (row,) = Renderer(80).rows(view.Line("build", "10%\r\x1b[31mno\x1b[0m\x1b[2J\x07\x1b[3", "build"))
    assert plain(row).partition("│ ")[2] == "no"
    assert "\x1b[31mno" in row and "\x1b[2J" not in row and "\a" not in row


@pytest.mark.parametrize("width", [80, 20])
def test_place_in_a_source_is_a_hyperlink(tmp_path, width):
    (tmp_path / "a b.c").touch()
    (tmp_path / "main.c").touch()
    paint = Renderer(width, hyperlink="x://{path}:{line}:{column}", root=str(tmp_path))
    said = 'main.c:12:5: error, nowhere.c:1, 10.0.2.50:80, File "a b.c", line 2, characters 0-1:'
    links = re.findall(r"\x1b\]8;[^;]*;(x:[^\x1b]*)", "".join(paint.rows(view.Line("build", said, "build"))))
    found = [link for link, _ in itertools.groupby(links)]
    assert found == [f"x://{tmp_path}/main.c:12:5", f"x://{tmp_path}/a%20b.c:2:1"]


def test_text_stays_without_colours():
    (row,) = Renderer(80, colour=False).rows(view.Line("build", "\x1b[31mno\x1b[0m", "build"))
    assert row == "build │ no"
