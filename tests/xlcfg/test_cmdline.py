"""Arguments become a command line which xl and a unikernel read back as those arguments."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from argv_oracle import RefusedError, bootvar, parse_argv
from hypothesis import given
from hypothesis import strategies as st

from unibuild.errors import SettingsError
from unibuild.xlcfg.cmdline import check_names, join, split, words
from unibuild.xlcfg.edit import Changes, apply

if TYPE_CHECKING:
    from xl_oracle import Oracle

# No surrogates: settings are UTF-8.
args = st.lists(
    st.text(
        st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from(" '\"\\\t\n="), min_size=1
    ),
    min_size=1,
)


@given(args=args)
def test_command_line_round_trips_through_every_mirage(oracle: Oracle, args: list[str]) -> None:
    text = apply("", Changes({"cmdline": join(args, mirage=True)}))
    line = oracle.read(text, ["cmdline"])["cmdline"]
    assert parse_argv(line) == args
    assert bootvar(line) == args


@pytest.mark.parametrize(
    ("line", "old", "new"),
    [  # the projects' own test vectors
        ("foo bar baz", ["foo", "bar", "baz"], ["foo", "bar", "baz"]),
        ('foo "bar" baz', ["foo", "bar", "baz"], ["foo", "bar", "baz"]),
        (r"f\ oo b\"r baz", ["f oo", 'b"r', "baz"], ["f oo", 'b"r', "baz"]),
        ('foo bar"bie"boo baz', ["foo", "barbieboo", "baz"], ["foo", "barbieboo", "baz"]),
        ("foo 'b a\"r' baz", ["foo", 'b a"r', "baz"], None),
        ("foo bar'bie'boo baz", ["foo", "barbieboo", "baz"], ["foo", "bar'bie'boo", "baz"]),
        (r"foo 'b\\ a\"r' baz", ["foo", r"b\\ a\"r", "baz"], ["foo", "'b\\", "a\"r'", "baz"]),
        (r'foo "b\\ a\"r" baz', ["foo", 'b\\ a"r', "baz"], ["foo", 'b\\ a"r', "baz"]),
        ("  ", [], []),
    ],
)
def test_oracle_matches_mirage(line: str, old: list[str], new: list[str] | None) -> None:
    assert parse_argv(line) == old
    if new is None:
        with pytest.raises(RefusedError):
            bootvar(line)
    else:
        assert bootvar(line) == new


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"port": 80, "hello": "a b"}, ("--port=80", "--hello=a b")),
        ({"verbose": True, "quiet": False}, ("--verbose",)),
        ({"l": "*:debug", "v": True}, ("-l*:debug", "-v")),
        ({"dns-server": ["1.1.1.1", "9.9.9.9"]}, ("--dns-server=1.1.1.1", "--dns-server=9.9.9.9")),
        (("--port", "80"), ("--port", "80")),
    ],
)
def test_words(table: object, expected: tuple[str, ...]) -> None:
    assert words(table) == expected


def test_other_kernels_get_arguments_unquoted() -> None:
    assert join(["root=/dev/xvda", 'x="y"'], mirage=False) == 'root=/dev/xvda x="y"'


@pytest.mark.parametrize(
    ("arg", "mirage", "sentence"),
    [
        ("a b", False, "[boot] args: 'a b' has a space, and unibuild knows only for Mirage unikernels"),
        ("", True, "[boot] args: an empty argument does not reach the kernel"),
        ("a\0", True, "[boot] args: 'a\\x00' has a NUL character"),
    ],
)
def test_arguments_that_cannot_be_passed_are_refused(arg: str, mirage: bool, sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        join([arg], mirage=mirage)
    assert error.value.message.startswith(sentence)


KNOWN = ("--port", "--dns-servers", "--ipv4", "--ipv4-gateway", "-l", "--logs", "--help")


@pytest.mark.parametrize("arg", ["--port=80", "--port", "--ipv4-g=10.0.0.1", "-l", "-l*:debug", "free", "-", "--po"])
def test_a_known_argument(arg: str) -> None:
    check_names([arg, "--", "--no-option-any-more"], KNOWN)


@pytest.mark.parametrize(
    ("arg", "hint"),
    [
        ("--dns_servers=1.1.1.1", "did you mean --dns-servers?"),
        ("--prot=80", "did you mean --port?"),
        ("--xyz", "the arguments are --dns-servers, --help, --ipv4, --ipv4-gateway, --logs, --port, -l"),
    ],
)
def test_an_unknown_argument(arg: str, hint: str) -> None:
    with pytest.raises(SettingsError) as error:
        check_names(["--port=1", arg], KNOWN)
    assert (error.value.message, error.value.hint) == (
        f"[boot] args: the unikernel does not know the argument {arg.partition('=')[0]}",
        hint,
    )


@given(line=st.text(st.sampled_from("ab '\"\\\t=")))
def test_split_matches_every_mirage(line: str) -> None:
    for mirage, old in ((parse_argv, True), (bootvar, False)):
        with contextlib.suppress(RefusedError):
            assert mirage(line) == list(split(line, old=old))
