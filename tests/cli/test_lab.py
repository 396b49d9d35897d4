"""``unibuild lab``: what its subcommands do; tests/lab tests the lab VM itself."""

from __future__ import annotations

import pytest

from unibuild.cli import lab
from unibuild.errors import InputError, SettingsError
from unibuild.lab import vm
from unibuild.lab.paths import LabPaths


@pytest.fixture
def asked(monkeypatch, tmp_path) -> list[object]:
    """The calls of ``unibuild.lab.vm``, in a folder without a project."""
    calls: list[object] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vm, "up", lambda settings, progress: calls.append(settings))
    monkeypatch.setattr(vm, "down", lambda: calls.append("down") or len(calls) == 1)
    monkeypatch.setattr(vm, "reset", lambda image: calls.append(("reset", image)))
    monkeypatch.setattr(vm, "pack", lambda file, progress: calls.append(file))
    return calls


def test_up_uses_settings_on_the_command_line(asked):
    assert lab.main(["up", "lab.memory=600", 'lab.forward=["8080:80"]']) == 0
    assert (asked[0].memory, asked[0].forward) == (600, ("8080:80",))


def test_lab_image_is_relative_to_the_project(asked, tmp_path, monkeypatch):
    (tmp_path / "unibuild.toml").write_text('[lab]\nimage = "xen.box"\n')
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    lab.main(["up"])
    assert asked[0].image == str(tmp_path / "xen.box")


def test_down_reports_whether_the_lab_was_up(asked, capsys):
    lab.main(["down"])
    lab.main(["down"])
    assert capsys.readouterr().out == "The lab is down.\nThe lab was down already.\n"


@pytest.mark.parametrize(("words", "image"), [(["reset"], False), (["reset", "--image"], True)])
def test_reset_keeps_the_image_unless_asked(asked, words, image):
    assert lab.main(words) == 0
    assert asked == [("reset", image)]


def test_pack_names_the_setting_that_uses_the_file(asked, tmp_path, capsys):
    assert lab.main(["pack", "xen.box"]) == 0
    assert asked == [tmp_path / "xen.box"]
    assert 'image = "xen.box"' in capsys.readouterr().out


@pytest.mark.parametrize(("state", "code"), [("up", 0), ("down", 1), ("broken", 1)])
def test_status_sets_the_exit_code(monkeypatch, capsys, state, code):
    monkeypatch.setattr(vm, "status", lambda: vm.Status(state, {"process": "7"}))
    assert lab.main(["status"]) == code
    assert capsys.readouterr().out == f"The lab is {state}.\n  process  7\n"


def test_words_that_are_not_settings_are_refused(asked):
    with pytest.raises(InputError, match='"memory" is not a setting'):
        lab.main(["up", "memory"])
    with pytest.raises(SettingsError, match="memori"):
        lab.main(["up", "lab.memori=1"])
    assert asked == []


@pytest.mark.parametrize(
    ("words", "remote"), [([], []), (["xl", "list"], ["xl list"]), (["--", "echo a; b"], ["echo a; b"])]
)
def test_ssh_uses_the_running_lab_vm(monkeypatch, tmp_path, words, remote):
    there = vm.LabVm(LabPaths(tmp_path, tmp_path))
    ran = []
    monkeypatch.setattr(vm, "running", lambda: there)
    monkeypatch.setattr(lab.process, "run_interactive", lambda argv: ran.append(argv) or 7)
    assert lab.main(["ssh", *words]) == 7
    assert [word for word in ran[0] if word != "-t"] == ["ssh", "-F", str(there.ssh_config), "box", *remote]


def test_missing_subcommand_is_an_error_that_lists_them(capsys):
    with pytest.raises(SystemExit):
        lab.main([])
    assert "up | down | status | ssh | reset | pack" in capsys.readouterr().err
