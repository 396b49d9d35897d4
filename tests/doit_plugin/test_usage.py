"""--host and --take-over on a command line."""

import pytest

from unibuild.doit_plugin.usage import GoalOptions, options_after_goal, split_options
from unibuild.errors import InputError


@pytest.mark.parametrize(
    ("words", "asked", "rest"),
    [
        ("boot", GoalOptions(), ["boot"]),
        ("boot --host xen1", GoalOptions("xen1"), ["boot"]),
        ("--host=xen1 boot --take-over --wait 3", GoalOptions("xen1", take_over=True), ["boot", "--wait", "3"]),
        ("boot --take", GoalOptions(take_over=True), ["boot"]),
        ("boot --host a --host b", GoalOptions("b"), ["boot"]),
    ],
)
def test_options_are_removed_from_any_position(words, asked, rest):
    assert split_options(words.split()) == (asked, rest)


@pytest.mark.parametrize("words", [["boot", "--host"], ["boot", "--host="]])
def test_host_option_without_a_name_is_refused(words):
    with pytest.raises(InputError, match="--host needs the name of a host"):
        split_options(words)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("-n 2 boot --host a --take-over", GoalOptions("a", take_over=True)),
        ("mine --host a", GoalOptions()),
        ("mine --host a boot", GoalOptions()),
        ("boot", GoalOptions()),
    ],
)
def test_only_options_after_goals_of_unibuild_count(words, asked):
    assert options_after_goal(words.split()) == asked
