"""Control sequences of a hostile unikernel: none reaches a terminal that it could harm, however it is cut."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.util.escape_sequences import Escapes, colours_only, of_a_console

ANSWERED = [  # what xterm types an answer to, or does what a console never needs
    *(
        "\x1b[6n",
        "\x1b[5n",
        "\x1b[?6n",
        "\x1b[c",
        "\x1b[0c",
        "\x1b[>c",
        "\x1b[=c",
        "\x1bZ",
        "\x05",
        "\x1b[x",
        "\x1b[21t",
    ),
    *(
        "\x1b[18t",
        "\x1b[?2026$p",
        "\x1b[4$p",
        "\x1b[>q",
        "\x1b[?u",
        "\x1b[>4;1m",
        "\x1b[?4m",
        "\x1b[1;1;1;1;1;1*y",
        "\x1b[1$w",
    ),
    *(
        "\x1bP$qm\x1b\\",
        "\x1bP+q544e\x1b\\",
        "\x1b_Gi=1,a=q;AA\x1b\\",
        "\x9b6n",
        "\x90$qm\x9c",
        "\x1b[5i",
        "\x1b[?1;1;1S",
    ),
    *(
        "\x1b]52;c;cm0=\x07",
        "\x1b]52;c;?\x1b\\",
        "\x1b]10;?\x07",
        "\x1b]4;1;?\x07",
        "\x1b]11;?\x9c",
        "\x9d52;c;cm0=\x9c",
    ),
    *("\x1b[?1003h", "\x1b[?01003h", "\x1b[?25;1004h", "\x1b]52;c;" + "A" * 5000 + "\x07", "\x1b[" + "1;" * 500 + "6n"),
]
DRAWN = [
    "\x1b[1;31m",
    "\x1b[2J",
    "\x1b[H",
    "\x1b[?25l",
    "\x1b[10;20H",
    "\x1b(B",
    "\x1b7",
    "\x1b]0;title\x07",
    "\x1b[2 q",
    "\x07",
]
HARMLESS = re.compile("[\n\r\t]|\x1b\\[[0-9;:]*m")
PIECES = st.sampled_from([*ANSWERED, *DRAWN, *"\x1b[]P\\\x07\x9b\x9c\udc9b6nc;0?\n\r a", "text"])


def cut(text: str, at: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(edge % (len(text) + 1) for edge in at)})
    return [text[start:end] for start, end in itertools.pairwise(edges)]


@pytest.mark.parametrize("sequence", ANSWERED)
@pytest.mark.parametrize("keep", [colours_only, of_a_console])
def test_sequences_that_a_terminal_answers_are_dropped(sequence, keep):
    output = Escapes(keep).feed(f"a{sequence}b")
    assert (output[0], output[-1], "\x1b" in output, re.search("[\x00-\x1f\x80-\x9f]", output)) == (
        "a",
        "b",
        False,
        None,
    )


@pytest.mark.parametrize("sequence", DRAWN)
def test_drawing_sequences_are_kept_when_attached(sequence):
    assert Escapes(of_a_console).feed(f"a{sequence}b") == f"a{sequence}b"


def test_colours_are_kept_when_not_attached():
    assert Escapes(colours_only).feed("\x1b[1;31mred\x1b[0m\x1b[2J\x1b]0;t\x07\r\n") == "\x1b[1;31mred\x1b[0m\r\n"


@given(st.lists(PIECES).map("".join), st.lists(st.integers(0, 10000), max_size=9))
def test_chunking_makes_no_difference(text, at):
    for keep in (colours_only, of_a_console):
        whole, pieces = Escapes(keep), Escapes(keep)
        assert whole.feed(text) == "".join(map(pieces.feed, cut(text, at)))


@given(st.lists(PIECES).map("".join), st.lists(st.integers(0, 10000), max_size=9))
def test_only_colours_pass_when_not_attached(text, at):
    escapes = Escapes(colours_only)
    output = HARMLESS.sub("", "".join(map(escapes.feed, cut(text, at))))
    assert not re.search("[\x00-\x1f\x7f-\x9f\udc80-\udc9f]", output)


@given(st.lists(PIECES).map("".join))
def test_filtering_is_idempotent(text):
    for keep in (colours_only, of_a_console):
        output = Escapes(keep).feed(text)
        assert Escapes(keep).feed(output) == output


@given(st.lists(st.sampled_from([*range(0x20, 0x7F), *range(0xA0, 0x100)])).map(bytes))
def test_bytes_that_are_not_utf_8_are_kept(data):
    assert Escapes(of_a_console).feed_bytes(data + b".") == data + b"."


def test_a_title_that_never_ends_hides_one_line():
    assert Escapes(colours_only).feed("\x1b]0;" + "x" * 9000 + "\nnext\n") == "\nnext\n"
