"""tests/snapshots/messages.txt holds the wording of all errors, hints and findings; other tests assert fields."""

import importlib.util
from pathlib import Path

import pytest

from unibuild.errors import DomainError, HostError, NoAnswerError

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def messages():
    spec = importlib.util.spec_from_file_location("collect_messages", ROOT / "tools" / "collect_messages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_wording_is_that_of_the_snapshot(messages, capsys):
    is_changed = messages.main([])
    hint = "run `python tools/collect_messages.py --write` if the new wording is right"
    assert not is_changed, f"{hint}\n{capsys.readouterr().out}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('raise InputError(f"no {name}: {value!r}", hint="run x")', ["InputError: 'no {}: {}'", "  hint: 'run x'"]),
        ('raise InputError("a" + ("" if x else "b"))', ["InputError: 'a{|b}'"]),
        ('error.add("more")', ["  hint: 'more'"]),
        ('Finding("xl", "missing", "not there", f"install {x}")', ["Finding: 'not there'", "  fix: 'install {}'"]),
        ("raise InputError(message, hint=hint)", []),
        ('found.add("more")\nraise ValueError("x")', []),
    ],
)
def test_messages_are_collected_with_their_hints(messages, source, found):
    assert messages.collect(source, frozenset({"InputError"})) == found


def test_fails_compares_class_values_and_fields(fails):
    with fails(NoAnswerError, "xen1", seconds=2.0) as caught:
        raise NoAnswerError("xen1 is silent", seconds=2.0)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("kind", "values", "fields"),
    [(DomainError, (), {}), (HostError, (), {}), (NoAnswerError, ("xen2",), {}), (NoAnswerError, (), {"seconds": 3.0})],
)
def test_fails_refuses_another_class_value_or_field(fails, kind, values, fields):
    with pytest.raises((AssertionError, NoAnswerError)), fails(kind, *values, **fields):
        raise NoAnswerError("xen1 is silent", seconds=2.0)
