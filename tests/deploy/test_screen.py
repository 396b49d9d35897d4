"""What a user sees of a console."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.deploy.console_output import ConsoleOutput


def shown(capfd, *pieces: bytes, raw: bool) -> str:
    screen = ConsoleOutput(raw=raw)
    for piece in pieces:
        screen.show(piece)
    screen.say("so")
    return capfd.readouterr().out


@pytest.mark.parametrize(
    ("pieces", "plain", "raw"),
    [
        ([b"a\r\nb\n"], "a\nb\n", "a\r\nb\r\n"),
        ([b"a\r", b"\nb", b"\n"], "a\nb\n", "a\r\nb\r\n"),
        ([b"\xe2\x82", b"\xac\xff"], "\N{EURO SIGN}\N{REPLACEMENT CHARACTER}\n", None),
        ([b"a"], "a\n", "a\r\n"),
        ([b"a", b"", b"\n"], "a\n", "a\r\n"),
    ],
)
def test_line_ends_and_bytes(capfd, pieces, plain, raw):
    assert shown(capfd, *pieces, raw=False) == plain
    if raw is not None:
        assert shown(capfd, *pieces, raw=True).encode() == raw.encode()


@given(st.lists(st.text("a\r\n", max_size=5).map(str.encode), max_size=6))
def test_raw_terminal_gets_crlf(pieces):
    import os
    from unittest import mock

    out = bytearray()
    with mock.patch.object(os, "write", lambda _, data: out.extend(data) or len(data)):
        screen = ConsoleOutput(raw=True)
        for piece in pieces:
            screen.show(piece)
    whole = b"".join(pieces)
    assert bytes(out).replace(b"\r\n", b"\n") == whole.replace(b"\r\n", b"\n")
    assert out.count(b"\n") == out.count(b"\r\n")
