"""The verdict on a test domain: what it says, answers and how it ends, at any moment and in any order."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.domain.exit_status import DomainExit
from unibuild.host.toolstack import SHUTDOWN_REASONS
from unibuild.settings.model import Case, Http
from unibuild.testing.expectations import (
    QUIET_SECONDS,
    SETTLE_SECONDS,
    CaseProgress,
    ConsoleLine,
    DomainEnded,
    Expectations,
    HttpAnswer,
    ReadinessEvent,
    Tick,
    closest_lines,
)

OFF, CRASH, REBOOT = (DomainExit(SHUTDOWN_REASONS[reason], None) for reason in (0, 3, 1))
LATE = Tick(1000.0)
words = st.sampled_from(["alpha", "beta", "gamma", "noise"])


def judge(*events, ready=False, **case):
    return CaseProgress(Expectations(Case(**case), ready)).after(events)


def said(*lines, at=0.0):
    return [ConsoleLine(at, line) for line in lines]


def in_order(patterns, lines):
    """The oracle: whether the patterns are a subsequence of the lines."""
    left = iter(lines)
    return all(any(re.search(pattern, line) for line in left) for pattern in patterns)


@given(st.lists(words, min_size=1, max_size=4), st.lists(words, max_size=8))
def test_lines_are_wanted_in_their_order(patterns, lines):
    progress = judge(*said(*lines), LATE, console=tuple(patterns))
    assert progress.passed is in_order(patterns, lines)


@given(st.lists(words, max_size=6), st.sampled_from([OFF, CRASH, REBOOT, None]), st.lists(words, max_size=3))
def test_a_verdict_stays_and_a_failure_has_its_reason(lines, end, patterns):
    progress = judge(*said(*lines), *([DomainEnded(1.0, end)] if end else []), LATE, console=tuple(patterns))
    assert progress.passed is not None
    assert (progress.failure is None) == progress.passed
    assert progress.after([*said("alpha", at=2000.0), DomainEnded(2000.0, CRASH)]) == progress


@given(st.lists(st.floats(0, 100), min_size=1, max_size=10))
def test_the_next_tick_is_later_until_there_is_a_verdict(times):
    progress = CaseProgress(Expectations(Case(console=("x",), timeout=50.0)))
    for at in sorted(times):
        progress = progress.step(Tick(at))
        assert progress.passed is False or progress.next_tick > at
    assert progress.step(Tick(progress.next_tick)).passed is not None


@pytest.mark.parametrize(
    ("wanted", "end", "passed"),
    [
        (0, OFF, True),
        (0, DomainExit(SHUTDOWN_REASONS[0], 0), True),
        (0, DomainExit(SHUTDOWN_REASONS[0], 1), False),
        (0, CRASH, False),
        (0, DomainExit(SHUTDOWN_REASONS[3], 0), False),
        (0, REBOOT, False),
        (64, DomainExit(SHUTDOWN_REASONS[0], 64), True),
        (64, OFF, False),
        (255, DomainExit(SHUTDOWN_REASONS[3], 255), True),
        ("poweroff", OFF, True),
        ("poweroff", CRASH, False),
        ("reboot", REBOOT, True),
        ("crash", CRASH, True),
        ("crash", OFF, False),
        (None, OFF, True),
        (None, CRASH, False),
        (None, DomainExit(SHUTDOWN_REASONS[0], 1), False),
    ],
)
def test_the_end(wanted, end, passed):
    assert judge(ConsoleLine(0.0, "hello"), DomainEnded(1.0, end), exit=wanted).passed is passed


def test_an_end_too_soon_names_what_was_missing():
    progress = judge(*said("alpha"), DomainEnded(1.0, DomainExit(SHUTDOWN_REASONS[0], 2)), console=("alpha", "beta"))
    assert progress.failure == 'it powered off with exit code 2 before it printed "beta"'


def test_the_time_is_up():
    assert judge(Tick(9.0), console=("alpha",), timeout=9.0).failure == '9 s passed before it printed "alpha"'
    assert judge(*said("alpha"), Tick(9.0), console=("alpha",), exit=0, timeout=9.0).failure == (
        "9 s passed before it ended"
    )


def test_what_came_just_in_time_gets_its_pause():
    met = judge(*said("alpha", at=8.9), Tick(9.0), console=("alpha",), timeout=9.0)
    assert (met.passed, met.step(Tick(met.next_tick)).passed) == (None, True)


def test_a_crash_right_after_the_last_wanted_line_fails():
    assert (
        judge(
            *said("alpha"), Tick(SETTLE_SECONDS / 2), DomainEnded(SETTLE_SECONDS / 2, CRASH), console=("alpha",)
        ).passed
        is False
    )
    assert (
        judge(*said("alpha"), Tick(SETTLE_SECONDS), DomainEnded(SETTLE_SECONDS * 2, CRASH), console=("alpha",)).passed
        is True
    )


def test_without_a_wish_a_sign_of_life_and_some_seconds_do():
    assert judge(*said("x"), Tick(QUIET_SECONDS)).passed is True
    assert judge(*said("x"), Tick(QUIET_SECONDS / 2), DomainEnded(QUIET_SECONDS / 2, CRASH)).failure == "it crashed"
    assert judge(DomainEnded(1.0, OFF)).failure == "it powered off before it printed anything"
    assert judge(ReadinessEvent(0.0, True, "was ready"), Tick(QUIET_SECONDS), ready=True).passed is True


def test_readiness():
    assert (
        judge(ReadinessEvent(1.0, False, "was not ready: no port"), ready=True).failure == "it was not ready: no port"
    )
    assert judge(*said("alpha"), LATE, console=("alpha",), ready=True).failure.endswith("before it was ready")


def test_answers_in_order():
    requests = (Http(body="a+"), Http(path="/gone", status=404))
    good = [HttpAnswer(1.0, 200, "xaay"), HttpAnswer(2.0, 404, "")]
    assert judge(*good, Tick(9.0), http=requests).passed is True
    assert (
        judge(HttpAnswer(1.0, 503, ""), http=requests).failure
        == "GET / on port 80 was answered with status 503, not 200"
    )
    assert (
        judge(HttpAnswer(1.0, 200, "b"), http=requests).failure
        == 'the response to GET / on port 80 does not match "a+"'
    )
    assert judge(good[0], LATE, http=requests).failure == "60 s passed before it answered GET /gone on port 80"


@given(st.text(min_size=1), st.lists(st.text(), max_size=5))
def test_nearest_gives_lines_that_are_there(pattern, lines):
    found = closest_lines(pattern, lines)
    assert set(found) <= set(lines)
    assert len(found) == len(set(found)) <= 3


def test_nearest_finds_a_misspelt_word_in_a_longer_line():
    lines = ["tick 1", "hello from hello-test-21c2, a PV domain", "command line:"]
    assert closest_lines("^hello frum", lines) == [lines[1]]
