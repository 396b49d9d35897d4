"""Finding the sources of a project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unibuild.errors import FileError
from unibuild.toolchain.sources import find, git_state


def names(root: Path, *args, **kwargs) -> list[str]:
    return [str(path.relative_to(root)) for path in find(root, *args, **kwargs).files]


def test_every_file_is_a_source_whatever_git_ignores(tree):
    files = {
        "unikernel.ml": "",
        "src/data.bin": "",
        "README.md": "",
        ".config": "",
        "_build/a.c": "",
        "__pycache__/x": "",
    }
    root = tree({**files, ".gitignore": "*\n"})
    assert names(root) == sorted([*files, ".gitignore"])


def test_folders_of_version_control_and_of_tools_hold_no_sources(tree):
    left_out = (
        ".git/a",
        "x/.hg/a",
        ".unibuild/a",
        "_build/.lock",
        "_build/a.c",
        "x/_build/log",
        "_opam/.opam-switch/a",
    )
    assert names(tree({"a.c": "", **dict.fromkeys(left_out, "")})) == ["a.c"]


@pytest.mark.parametrize(
    "name",
    [
        "4913",
        "a.c~",
        ".a.c.swp",
        ".a.c.swx",
        ".#a.c",
        "#a.c#",
        ".goutputstream-AB12",
        "a.c___jb_tmp___",
        ".nfs00000001",
    ],
)
def test_what_editors_drop_is_not_a_source(tree, name):
    assert names(tree({"a.c": "", name: "", f"src/{name}": ""})) == ["a.c"]


def test_the_state_of_git_is_what_is_checked_out(tree, git):
    root = tree({"a.c": ""})
    assert git_state(root, index=True).files == ()
    git(root, "init", "-q", "-b", "main")
    git(root, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x")
    git(root, "worktree", "add", "-q", str(root / "side"), "-b", "side")
    heads = {f".git/refs/heads/{name}" for name in ("main", "side")}
    found = {str(path.relative_to(root)) for path in git_state(root, index=False).files}
    assert found == {".git/HEAD", *heads}
    side = {str(path.relative_to(root)) for path in git_state(root / "side", index=False).files}
    assert side == {".git/worktrees/side/HEAD", *heads}


def test_patterns_of_ones_own_replace_the_usual_ones(tree):
    root = tree({"a.c": "", "data/x/1.bin": "", "data/old/2.bin": "", "b.txt": ""})
    assert names(root, ["*.txt", "data/", "!data/old/"]) == ["b.txt", "data/x/1.bin"]


def test_what_is_never_a_source_whatever_the_patterns_say(tree):
    root = tree({"dist/a.c": "", "lib/dist/a.c": "", "main.c": ""})
    assert names(root, without=["/dist/", "main.c"]) == ["lib/dist/a.c"]


def test_folders_decide_what_is_found(tree):
    root = tree({"src/a.c": "", ".git/b": ""})
    assert find(root).folders == (root, root / "src")


def test_a_link_to_a_folder_outside_is_followed_once(tree):
    root = tree({"project/a.c": "", "common/b.c": ""})
    for link in ("one", "two"):
        (root / "project" / link).symlink_to("../common")
    assert names(root / "project") == ["a.c", "one/b.c"]


@pytest.mark.parametrize("target", [".", "..", "src", "/"])
def test_a_link_into_or_above_the_tree_adds_nothing(tree, target):
    root = tree({"src/a.c": "", "src/b/c.c": ""})
    (root / "src" / "b" / "link").symlink_to(target if target != "src" else root / "src")
    assert names(root) == ["src/a.c", "src/b/c.c"]


def test_what_is_not_a_file_is_not_a_source(tree):
    root = tree({"a.c": ""})
    (root / "gone.c").symlink_to("nowhere")
    (root / "itself.c").symlink_to("itself.c")
    os.mkfifo(root / "pipe.c")
    assert names(root) == ["a.c"]


def test_a_linked_file_is_a_source(tree):
    root = tree({"real.txt": ""})
    (root / "a.c").symlink_to("real.txt")
    assert names(root) == ["a.c", "real.txt"]


def test_a_link_into_a_folder_of_a_tool_is_none(tree):
    root = tree({"_build/_log": "", "_build/main.o": ""})
    (root / "main.o").symlink_to("_build/main.o")
    assert names(root) == []


def test_a_name_that_is_not_text_is_found(tree):
    root = tree({})
    Path(os.fsdecode(os.fsencode(root) + b"/\xff.c")).touch()
    assert [os.fsencode(path.name) for path in find(root).files] == [b"\xff.c"]


def test_no_folder_is_a_sentence(tmp_path):
    with pytest.raises(FileError, match=r"cannot read the folder .*/none"):
        find(tmp_path / "none")
