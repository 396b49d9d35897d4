from __future__ import annotations

import io

import pytest

from unibuild.util.progress import note, shown


@pytest.fixture(autouse=True)
def a_terminal_that_can_move(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_each_step_is_a_line():
    out = io.StringIO()
    with shown(out) as tell:
        for fraction in (None, 0.5, 1.0):
            tell("download", fraction)
        tell("unpack", None)
    assert out.getvalue() == "download\nunpack\n"


def test_nothing_is_written_without_a_report():
    out = Terminal()
    with shown(out):
        pass
    assert out.getvalue() == ""


def test_on_a_terminal_a_finished_step_is_ticked():
    out = Terminal()
    with shown(out) as tell:
        tell("download [bold]", 0.5)
        tell("download [bold]", 1.0)
        tell("unpack", None)
    last = out.getvalue().rpartition("download [bold]")
    assert last[0].rstrip().endswith("✓\x1b[0m")


def test_on_a_terminal_an_unfinished_step_is_crossed_out():
    out = Terminal()
    with shown(out) as tell:
        tell("boot under KVM", 0.0)
        tell("boot emulated", None)
    last = out.getvalue().rpartition("boot under KVM")
    assert last[0].rstrip().endswith("✗\x1b[0m")
    assert "✓" in last[2]


def test_detail_is_shown_only_next_to_the_bar():
    out, terminal = io.StringIO(), Terminal()
    for file in (out, terminal):
        with shown(file) as tell:
            tell("upload", 0.5, "5.0 of [10.0] MiB")
    assert out.getvalue() == "upload\n"
    assert "5.0 of [10.0] MiB" in terminal.getvalue()


def test_terminal_is_restored_after_an_error():
    out = Terminal()
    with pytest.raises(KeyboardInterrupt), shown(out) as tell:
        tell("download", 0.1)
        raise KeyboardInterrupt
    assert "\x1b[?25h" in out.getvalue()


def test_note_is_a_line_among_the_steps(capsys):
    out = io.StringIO()
    with shown(out) as tell:
        note("before")
        tell("upload", 0.5)
        note("trying again")
    note("after")
    assert out.getvalue() == "before\nupload\ntrying again\n"
    assert capsys.readouterr().err == "after\n"


def test_note_on_a_terminal_keeps_the_bar():
    out = Terminal()
    with shown(out) as tell:
        tell("upload", 0.5)
        note("trying [again]")
        tell("upload", 1.0)
    assert "trying [again]\n" in out.getvalue()
    assert "upload" in out.getvalue().rpartition("trying [again]")[2]
