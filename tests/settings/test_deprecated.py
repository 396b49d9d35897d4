"""Old spellings of settings and options are accepted with a hint."""

import pytest

from unibuild.errors import SettingsError
from unibuild.settings import deprecated
from unibuild.settings.loader import load
from unibuild.settings.schema import leaves

VALUES = {"boot.ready.otherwise": "keep", "launch.otherwise": "keep", "lab.box": "x", "watch.patience": "7"}
SETTINGS = [(old, new, VALUES.get(old, "7")) for old, new in deprecated.RENAMED.items() if "." in old]
SOURCES = ("file", "environment", "command line")


@pytest.fixture(autouse=True)
def _nothing_reported(monkeypatch):
    monkeypatch.setattr(deprecated, "_reported", set())


def read(folder, source, values, *, report=True):
    """Return the settings of a project where one source has these values."""
    toml, environ, words = "", {}, {}
    for key, value in values.items():
        if source == "file":
            text = value if value.isdigit() else f'"{value}"'
            table, _, name = key.rpartition(".")
            toml += f"{name} = {text}\n" if f"[{table}]" in toml else f"[{table}]\n{name} = {text}\n"
        elif source == "environment":
            environ["UNIBUILD_" + key.replace(".", "_").upper()] = value
        else:
            words[key] = value
    (folder / "unibuild.toml").write_text(toml)
    return load(folder, words, environ, report=report).settings


def test_new_spellings_exist_in_the_same_table():
    known = {leaf.dotted for leaf in leaves()}
    for old, new, _ in SETTINGS:
        assert (old.rpartition(".")[0], new in known, old in known) == (new.rpartition(".")[0], True, False)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("old", "new", "value"), SETTINGS)
def test_an_old_spelling_sets_the_same_setting(tmp_path, capsys, source, old, new, value):
    expected = read(tmp_path, source, {new: value})
    assert capsys.readouterr().err == ""
    assert read(tmp_path, source, {old: value}) == expected
    assert read(tmp_path, source, {old: value}) == expected
    assert capsys.readouterr().err.startswith("hint: ")


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        ("file", "[watch] settle", "debounce"),
        ("environment", "UNIBUILD_WATCH_SETTLE", "UNIBUILD_WATCH_DEBOUNCE"),
        ("command line", "watch.settle", "watch.debounce"),
    ],
)
def test_the_hint_has_the_spelling_of_the_source_and_appears_once(tmp_path, capsys, source, old, new):
    for _ in range(2):
        read(tmp_path, source, {"watch.settle": "1"})
    hint = capsys.readouterr().err
    assert f"`{old}` is now `{new}`" in hint
    assert len(hint.splitlines()) == 1


def test_a_process_that_must_not_report_prints_no_hint(tmp_path, capsys):
    read(tmp_path, "file", {"watch.settle": "1"}, report=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("old", "new", "value"), SETTINGS)
def test_both_spellings_in_one_source_are_an_error(tmp_path, source, old, new, value):
    with pytest.raises(SettingsError, match="the same setting"):
        read(tmp_path, source, {old: value, new: value})


def test_a_later_source_wins_over_an_old_spelling(tmp_path):
    (tmp_path / "unibuild.toml").write_text("[watch]\nsettle = 1\n")
    assert load(tmp_path, {"watch.debounce": "2"}, {}).settings.watch.debounce == 2


def test_a_wrong_value_is_reported_at_the_old_spelling(tmp_path):
    (tmp_path / "unibuild.toml").write_text('[watch]\npoll = true\nsettle = "x"\n')
    with pytest.raises(SettingsError, match=r":3: `\[watch\] settle`"):
        load(tmp_path, {}, {})


def test_an_old_option_is_taken_for_the_new_one(capsys):
    assert deprecated.current_word("--take") == "--take-over"
    assert deprecated.current_word("--wait") == "--wait"
    assert capsys.readouterr().err.startswith("hint: `--take` is now `--take-over`")
