"""Find the new part of an instance's console output."""

from hypothesis import given
from hypothesis import strategies as st

from unibuild.aws.launch.instance import new_output


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_later_output_is_new(before, later):
    assert new_output(before, before + later) == later


@given(st.binary(min_size=1, max_size=50), st.integers(0, 40))
def test_beginning_of_the_output_may_be_missing(later, lost):
    before = bytes(range(256))
    assert new_output(before, before[lost:] + b"\xff\x00" + later) == b"\xff\x00" + later


def test_output_with_nothing_in_common_is_all_new():
    assert new_output(b"aaaa", b"bbbb") == b"bbbb"
    assert new_output(b"", b"all") == b"all"
