"""--host and --take-over on a command line."""

import pytest

from unibuild.doit_plugin.options import Asked, of_goals, take_out
from unibuild.errors import InputError


@pytest.mark.parametrize(
    ("words", "asked", "rest"),
    [
        ("boot", Asked(), ["boot"]),
        ("boot --host xen1", Asked("xen1"), ["boot"]),
        ("--host=xen1 boot --take-over --wait 3", Asked("xen1", take_over=True), ["boot", "--wait", "3"]),
        ("boot --take", Asked(take_over=True), ["boot"]),
        ("boot --host a --host b", Asked("b"), ["boot"]),
    ],
)
def test_they_are_taken_out_wherever_they_stand(words, asked, rest):
    assert take_out(words.split()) == (asked, rest)


@pytest.mark.parametrize("words", [["boot", "--host"], ["boot", "--host="]])
def test_a_host_without_a_name_is_refused(words):
    with pytest.raises(InputError, match="--host needs the name of a host"):
        take_out(words)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("-n 2 boot --host a --take-over", Asked("a", take_over=True)),
        ("mine --host a", Asked()),
        ("mine --host a boot", Asked()),
        ("boot", Asked()),
    ],
)
def test_of_doits_command_line_those_of_our_goals_count(words, asked):
    assert of_goals(words.split()) == asked
