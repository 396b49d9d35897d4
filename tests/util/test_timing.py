"""Debounce for any sequence of changes."""

from hypothesis import given
from hypothesis import strategies as st

from unibuild.util.timing import Debounce

GAPS = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def times(gaps):
    now = 0.0
    for gap in gaps:
        now += gap
        yield now


@given(GAPS, st.floats(0.001, 0.5), st.floats(0.001, 2))
def test_burst_ends_after_a_quiet_time_or_the_longest_wait(gaps, quiet, longest):
    debounce = Debounce(quiet, longest)
    assert debounce.due is None
    found = list(times(gaps))
    for now in found:
        debounce = debounce.saw(now)
    assert debounce.due == min(found[-1] + quiet, found[0] + max(quiet, longest))
    assert debounce.over(debounce.due)
    assert not debounce.over(found[0])


@given(GAPS, st.floats(0.001, 0.5))
def test_reset_forgets_the_changes(gaps, quiet):
    debounce = Debounce(quiet, 1.0)
    for now in times(gaps):
        debounce = debounce.saw(now)
    debounce = debounce.reset()
    assert debounce.due is None
    assert not debounce.over(1e9)


def test_changes_without_a_pause_end_after_the_longest_wait():
    debounce = Debounce(0.02, 0.5)
    for now in times([0.01] * 1000):
        if debounce.over(now):
            break
        debounce = debounce.saw(now)
    assert 0.5 <= now <= 0.53
