"""Errors and tables on the terminal."""

import pytest

from unibuild.errors import InputError
from unibuild.util.output import print_error, table

ROWS = [("1", "2026-11-28 09:45", "lab", "crashed", "563ed60f3111", "fault=1 " * 12), ("12", "", "xen1", "", "", "")]
HEAD = ("GENERATION", "BOOTED (UTC)", "HOST", "OUTCOME", "KERNEL", "ARGUMENTS")


@pytest.mark.parametrize("columns", [60, 80, 300])
def test_table_fits_the_terminal(monkeypatch, columns):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = list(table(HEAD, ROWS))
    assert max(map(len, lines)) <= columns
    assert ("…" in lines[1]) == (columns < 300)


def test_table_in_a_pipe_is_whole(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    monkeypatch.setenv("COLUMNS", "40")
    assert list(table(HEAD, ROWS))[1].endswith("fault=1")


@pytest.mark.parametrize(
    ("hint", "lines"),
    [
        (None, ["error: a.xl:1: no value"]),
        ("run unibuild init", ["error: a.xl:1: no value", "hint: run unibuild init"]),
        ("- one\n- two", ["error: a.xl:1: no value", "  - one", "  - two"]),
    ],
)
def test_error_has_a_prefix_and_a_single_line_of_help_is_a_hint(capsys, hint, lines):
    assert print_error(InputError("a.xl:1: no value", hint=hint)) == InputError.exit_code
    assert capsys.readouterr().err.splitlines() == lines
