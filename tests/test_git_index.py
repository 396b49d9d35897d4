"""Reading git's index without the dates in it; git itself writes the index."""

import os
import subprocess

import pytest

from unibuild.git_index import entries


@pytest.fixture(params=[2, 3, 4])
def git(tmp_path, monkeypatch, request):
    """Run git in a tree with some files, and an index of this version."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)

    def run(*words):
        subprocess.run(("git", *words), cwd=tmp_path, check=True, capture_output=True)
        return (tmp_path / ".git" / "index").read_bytes() if words[0] != "init" else b""

    run("init", "-q")
    (tmp_path / "folder").mkdir()
    for number in range(12):  # names of all lengths modulo 8
        (tmp_path / f"{number}").write_text("x")
        (tmp_path / "folder" / f"{'n' * number}.c").write_text("x")
    run("add", ".")
    if request.param == 3:
        (tmp_path / "later").touch()
        run("add", "--intent-to-add", "later")
    else:
        run("update-index", "--index-version", str(request.param))
    run.version, run.root = request.param, tmp_path
    return run


def index(git):
    return (git.root / ".git" / "index").read_bytes()


def test_dates_are_left_out(git):
    before = index(git)
    assert before[7] == git.version
    os.utime(git.root / "0", (1e9, 1e9))
    after = git("status")
    assert after != before
    assert entries(after) == entries(before) != before


@pytest.mark.parametrize("edit", [("add", "0"), ("rm", "--cached", "1"), ("update-index", "--chmod=+x", "2")])
def test_what_is_recorded_is_kept(git, edit):
    (git.root / "0").write_text("edited")
    before = index(git)
    assert entries(git(*edit)) != entries(before)


def test_a_file_in_another_format_is_taken_as_it_is(git):
    whole = index(git)
    for data in (b"", b"DIRC", whole[:-1], whole[:100], whole + b"x", b"DIRC" + b"\xff" * 60, b"ABCD" + whole[4:]):
        assert entries(data) == data


def test_a_split_index_is_taken_as_it_is(git):
    split = git("update-index", "--split-index")
    assert entries(split) == split
