"""The pattern language of .gitignore, with git itself as the oracle."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unibuild.toolchain.gitignore import Patterns
from unibuild.toolchain.sources import find

NAMES = ("a", "b", "ab", "a.c", "b.c", "a.b.c", ".c", "c")
PIECES = (
    "a",
    "b",
    "*",
    "**",
    "?",
    "/",
    "*.c",
    ".c",
    "[ab]",
    "[!a]",
    "[a-b]",
    "\\a",
    "!",
    "#",
    " ",
    "\\ ",
    "[",
)

name = st.sampled_from(NAMES)
path = st.lists(name, min_size=1, max_size=3).map("/".join)
line = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join),
    st.builds(
        "{}{}{}{}".format, st.sampled_from(("", "!")), st.sampled_from(("", "/")), path, st.sampled_from(("", "/"))
    ),
)
UNLIKE_GIT = re.compile(r"\[[^]]*/|\\ +$")  # pathspec's own ways, see unibuild/toolchain/gitignore.py
ignore = st.lists(line.filter(lambda line: not UNLIKE_GIT.search(line)), max_size=5).map("\n".join)


def write(root: Path, paths: list[str]) -> None:
    for each in paths:
        target = root / each
        if not any(parent.is_file() for parent in target.parents) and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()


def both(git, paths: list[str], lines: str) -> tuple[set[str], set[str]]:
    """Return what a walk finds in a tree without what these lines name, and what git does."""
    root = Path(tempfile.mkdtemp())
    try:
        git(root, "init", "-q")
        write(root, paths)
        (root / ".git" / "info").mkdir(exist_ok=True)
        (root / ".git" / "info" / "exclude").write_text(lines, newline="")
        expected = set(git(root, "ls-files", "-z", "--others", "--exclude-standard"))
        return {str(file.relative_to(root)) for file in find(root, without=lines.split("\n")).files}, expected
    finally:
        shutil.rmtree(root)


@settings(max_examples=150, deadline=None)
@given(paths=st.lists(path, min_size=1, max_size=12), lines=ignore)
def test_a_walk_finds_what_git_does_not_ignore(git, paths, lines):
    found, expected = both(git, paths, lines)
    assert found == expected


@pytest.mark.parametrize(
    "lines",
    [
        "*\n!*/\n!*.c\n",
        "a/**\n!a/b.c\n",
        "/*\n!/a/\n/a/*\n!/a/b.c\n",
        "ab/\n/*\n!/a/\n",
        "a/\r\n!/a/ \r\n",
        "!/b.c\n**/b.c\n!ab/b.c\n",
        "a//\n//b.c\nab//c\n",
        "a[!x]b.c\n[!x]b\nb[+-9]c\n",
    ],
)
def test_the_usual_ways_to_take_something_in_again(git, lines):
    found, expected = both(git, ["a/b.c", "a/b/c", "a/ab/b.c", "ab/b.c", "ab/c", "b.c", "c"], lines)
    assert found == expected


@pytest.mark.parametrize(
    ("pattern", "entry", "said"),
    [
        ("*.ml", "src/a.ml", True),
        ("*.ml", "src/a.mli", None),
        ("/a.ml", "src/a.ml", None),
        ("src/*.ml", "src/a.ml", True),
        ("src/**/x", "src/x", True),
        ("src/**", "src", None),
        ("a[]-]b", "a-b", True),
        ("a[!]]b", "a]b", None),
        ("a[b", "a[b", None),
        ("a\\*b", "a*b", True),
        ("a\\", "a\\", None),
        ("[b-a]", "a", None),
        ("[[]", "[", True),
        ("a*", "a\nb", True),
        ("x ", "x", True),
        ("x\\ ", "x ", True),
        ("!*.ml", "a.ml", False),
        ("\\!a", "!a", True),
        ("\\#a", "#a", True),
        ("# a", "# a", None),
        ("a/", "a", None),
    ],
)
def test_one_pattern_says_of_a_file(pattern, entry, said):
    assert Patterns([pattern]).match(entry) is said


@given(st.lists(st.text(), max_size=4), st.text(min_size=1))
def test_any_text_is_a_pattern(lines, entry):
    assert Patterns(lines).match(entry, folder=True) in (True, False, None)


@given(st.permutations(["*.c", "!a.c", "a.*", "/a.c"]))
def test_the_last_pattern_decides(lines):
    assert Patterns(lines).match("a.c") is not lines[-1].startswith("!")


def test_a_pattern_with_a_slash_at_its_end_is_for_folders():
    output = [Patterns(["a/"]).match("a", folder=folder) for folder in (True, False)]
    assert output == [True, None]
