"""Finding the sources of a project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unibuild.errors import FileError
from unibuild.toolchain.sources import find


def names(root: Path, *args, **kwargs) -> list[str]:
    return [str(path.relative_to(root)) for path in find(root, *args, **kwargs).files]


def test_the_usual_names_are_sources(tree):
    root = tree({"unikernel.ml": "", "Makefile": "", "src/a.c": "", "README.md": "", "hello.xen": ""})
    assert names(root) == ["Makefile", "src/a.c", "unikernel.ml"]


def test_folders_without_sources_are_left_out(tree):
    root = tree(
        {"a.c": "", "_build/a.c": "", ".git/a.c": "", "x/_opam/a.c": "", ".unibuild/a.c": "", "x/_build/a.c": ""}
    )
    assert names(root) == ["a.c"]


def test_patterns_of_ones_own_replace_the_usual_ones(tree):
    root = tree({"a.c": "", "data/x/1.bin": "", "data/old/2.bin": "", "b.txt": ""})
    assert names(root, ["*.txt", "data/", "!data/old/"]) == ["b.txt", "data/x/1.bin"]


def test_what_is_no_source_whatever_the_patterns_say(tree):
    root = tree({"dist/a.c": "", "lib/dist/a.c": "", "main.c": ""})
    assert names(root, without=["/dist/", "main.c"]) == ["lib/dist/a.c"]


def test_a_gitignore_above_the_project_counts_in_a_git_tree(tree, git):
    root = tree({".gitignore": "gen.c\n/project/out/\n", "project/gen.c": "", "project/a.c": "", "project/out/b.c": ""})
    git(root, "init", "-q")
    found = find(root / "project")
    assert [path.name for path in found.files] == ["a.c"]
    assert root / ".gitignore" in found.folders


def test_a_gitignore_above_the_project_does_not_count_elsewhere(tree):
    root = tree({".gitignore": "*\n", "project/a.c": ""})
    assert names(root / "project") == ["a.c"]


@pytest.mark.parametrize("lines", ["*\n", "/work/\n*.c\n", "project\n*.c\n"])
def test_a_gitignore_above_that_names_the_project_does_not_count(tree, git, lines):
    root = tree({".gitignore": lines, "work/project/a.c": "", "work/.gitignore": ""})
    git(root, "init", "-q")
    assert names(root / "work" / "project") == ["a.c"]


def test_folders_and_gitignore_files_decide_what_is_found(tree):
    root = tree({".gitignore": "skip/\n", "src/a.c": "", "skip/b.c": ""})
    assert find(root).folders == (root, root / ".gitignore", root / "src")


def test_a_link_to_a_folder_outside_is_followed_once(tree):
    root = tree({"project/a.c": "", "shared/b.c": ""})
    for link in ("one", "two"):
        (root / "project" / link).symlink_to("../shared")
    assert names(root / "project") == ["a.c", "one/b.c"]


@pytest.mark.parametrize("target", [".", "..", "src", "/"])
def test_a_link_into_or_above_the_tree_adds_nothing(tree, target):
    root = tree({"src/a.c": "", "src/b/c.c": ""})
    (root / "src" / "b" / "link").symlink_to(target if target != "src" else root / "src")
    assert names(root) == ["src/a.c", "src/b/c.c"]


def test_what_is_no_file_is_no_source(tree):
    root = tree({"a.c": ""})
    (root / "gone.c").symlink_to("nowhere")
    os.mkfifo(root / "pipe.c")
    assert names(root) == ["a.c"]


def test_a_linked_file_is_a_source(tree):
    root = tree({"real.txt": ""})
    (root / "a.c").symlink_to("real.txt")
    assert names(root) == ["a.c"]


def test_a_name_that_is_no_text_is_found(tree):
    root = tree({})
    Path(os.fsdecode(os.fsencode(root) + b"/\xff.c")).touch()
    assert [os.fsencode(path.name) for path in find(root).files] == [b"\xff.c"]


def test_no_folder_is_a_sentence(tmp_path):
    with pytest.raises(FileError, match=r"cannot read the folder .*/none"):
        find(tmp_path / "none")
