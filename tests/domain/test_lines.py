"""A stream that is cut into lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.util import lines


def cut(*pieces: bytes) -> list[bytes]:
    found = []
    cutter = lines.Lines(found.append)
    for piece in pieces:
        cutter.feed(piece)
    cutter.end()
    return found


@given(st.lists(st.sampled_from([b"a", b"b\n", b"\r\n", b"cc", b"\n"])))
def test_lines_do_not_depend_on_chunking(pieces):
    whole = b"".join(pieces)
    assert cut(*pieces) == cut(whole) == [line.strip(b"\r") for line in whole.split(b"\n")[: len(cut(whole))]]


@pytest.mark.parametrize(("data", "found"), [(b"a\r\nb\n\rc", [b"a", b"b", b"c"]), (b"\n", [b""]), (b"", [])])
def test_line_ends(data, found):
    assert cut(data) == found


def test_endless_line_is_split():
    found = cut(*[b"x" * 1000] * 70)
    assert b"".join(found) == b"x" * 70000
    assert len(found) == 2
