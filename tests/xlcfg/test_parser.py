from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xl_files import broken, files
from xl_oracle import Refused

from unibuild.errors import XlSyntaxError
from unibuild.xlcfg.parser import DEPTH, parse

if TYPE_CHECKING:
    from xl_oracle import Oracle

KEYS = ["a", "b", "b_c", "d.e", "c.d"]
many = settings(max_examples=200, deadline=None)


def values(text: str) -> dict[str, Any]:
    config = parse(text)
    return {key: as_xl(config.get(key)) for key in KEYS}


def as_xl(plain: Any) -> Any:
    return str(plain) if isinstance(plain, int) else plain


@many
@given(file=files())
def test_parses_values(file: tuple[str, dict[str, Any]]) -> None:
    text, read = file
    assert values(text) == {key: read.get(key) for key in KEYS}


@many
@given(file=files())
def test_parser_accepts_what_xl_accepts(oracle: Oracle, file: tuple[str, dict[str, Any]]) -> None:
    text, _ = file
    assert values(text) == oracle.read(text, KEYS)


@settings(max_examples=1000, deadline=None)
@given(text=broken())
def test_parser_refuses_what_xl_refuses_on_the_same_line(oracle: Oracle, text: str) -> None:
    found = oracle.read(text, KEYS)
    if isinstance(found, Refused):
        with pytest.raises(XlSyntaxError) as error:
            parse(text)
        assert error.value.line == found.line
    else:
        assert values(text) == found


@many
@given(text=st.text() | st.binary().map(lambda data: data.decode(errors="surrogateescape")))
def test_any_text_is_accepted_or_refused(text: str) -> None:
    try:
        parse(text)
    except XlSyntaxError as error:
        assert 1 <= error.line <= text.count("\n") + 1
        assert error.column >= 1


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("memory 256\n", 1, 8, "`=` is missing after `memory`"),
        ("memory =\n", 1, 9, "expected a value"),
        ("on_crash = destroy\n", 1, 12, "put it in quotes: 'destroy'"),
        ("name = 'a\nmemory = 1\n", 1, 8, "no closing quote"),
        ("a = 1\n  name = 'a' b = 1\n", 2, 14, "expected the end of the line"),
        ("vif = [ 'a' 'b' ]\n", 1, 13, "`,` or `]` is missing"),
        ("vif = [\n 'a',\n", 2, 6, "expected a value"),
        ("a = 'c:\\dir'\n", 1, 8, "xl does not know the escape `\\d`"),
        ("a = '\\x41'\n", 1, 6, "xl does not know the escape `\\x`"),
        ("a = 'é' @\n", 1, 9, "`@` means nothing to xl here"),
        ("memory = @MEMORY@\n", 1, 10, "an .xl.in is a template"),
        ("a = 1\r\nb = 2\r\n", 1, 6, "CR LF"),
        ("a = -1\n", 1, 5, "put a negative number into quotes"),
        ("a = 1\n# end", 2, 1, "the comment lacks a line end"),
        ("Name = 'a'\n", 1, 1, "lower case"),
        ("a = 'x'\na += [ 'y',\n 'z' ]\n", 3, 6, "`a +=` joins a list with a single value"),
        ("a = 'x\0y'\n", 1, 7, "NUL"),
        ("a = \x01\n", 1, 5, "U+0001 means nothing"),
        ("5 = a\n", 1, 1, "expected a key"),
    ],
)
def test_error_has_position_and_message(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(XlSyntaxError) as error:
        parse(text, "hello.xl")
    assert str(error.value).startswith(f"hello.xl:{line}:{column}: ")
    assert words in str(error.value)


def test_plain_decimal_numbers_are_ints() -> None:
    config = parse("memory = 256; gdb = 0x10; name = 007; vcpus = '2'\n")
    assert [config.get(key) for key in config.keys()] == [256, "0x10", "007", "2"]  # noqa: SIM118 (no mapping)


def test_missing_key() -> None:
    assert parse("a = 1").get("b") is None


def test_deep_lists_are_refused_without_a_crash() -> None:
    assert parse(f"a = {'[' * DEPTH}{']' * DEPTH}").keys() == ("a",)
    with pytest.raises(XlSyntaxError, match="nested deeper"):
        parse("a = " + "[" * 100_000)


NUMBERS = [
    "300",
    "'300'",
    '" 300"',
    "0x12c",
    "'0X12c'",
    "0454",
    "'-1'",
    "'+7'",
    "'08'",
    "08",
    "0x",
    "'0x'",
    "''",
    "'7 '",
]
NUMBERS += ["'1k'", "9223372036854775807", "'9223372036854775808'", "'-9223372036854775808'", "['1']", "'many'", "0"]


@pytest.mark.parametrize("value", NUMBERS)
def test_number_matches_xl(oracle: Oracle, value: str) -> None:
    text = f"a = {value}\n"
    assert parse(text).number("a") == oracle.number(text, "a")


@many
@given(value=st.text("0123456789abcdefxX+- \t", max_size=8))
def test_quoted_number_matches_xl(oracle: Oracle, value: str) -> None:
    text = f"a = '{value}'\n"
    assert parse(text).number("a") == oracle.number(text, "a")


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("\ufeffname = 'a'\n", 1, "without it"),
        ("name = 'a'\n\udca0memory = 1\n", 2, "ASCII"),
        ("name = 'a'\n\u00a0memory = 1\n", 2, "ASCII"),
        ("import os, re\n", 1, "Python"),
        ("memory = os.environ.get('M')\n", 1, "Python"),
        ("name = 'a'\ndef f(x):\n  return x\n", 2, "Python"),
        ("memory = int(4)\n", 1, "put it in quotes"),
        ("cmdline = 'a' \\\n  'b'\n", 1, "join the two"),
    ],
)
def test_common_mistakes_have_a_hint(text: str, line: int, hint: str) -> None:
    with pytest.raises(XlSyntaxError) as refused:
        parse(text)
    assert refused.value.line == line
    assert hint in (refused.value.hint or "")
    assert "DCA0" not in str(refused.value)
