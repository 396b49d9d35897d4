"""The listing that is kept between runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unibuild import fingerprint
from unibuild.settings.loader import state_dir
from unibuild.toolchain import listing, sources

WHAT_IS_IMPORTED = """
import sys; from pathlib import Path; from unibuild.toolchain import listing
found = listing.find(Path(sys.argv[1]), without=["/later.c"])
print(*(path.name for path in found.files), "pathspec" in sys.modules)
"""
CHANGES = {
    "added": lambda root: (root / "src" / "b.c").touch(),
    "removed": lambda root: (root / "src" / "a.c").unlink(),
    "renamed": lambda root: (root / "src" / "a.c").rename(root / "src" / "z.c"),
    "a folder moved": lambda root: (root / "src").rename(root / "lib"),
    "a folder for a folder": lambda root: ((root / "src").rename(root / ".git"), (root / "src").mkdir()),
    "a file for a folder": lambda root: ((root / "src" / "a.c").unlink(), (root / "src" / "a.c").mkdir()),
    "what a link leads to": lambda root: (root.parent / "later").write_text(""),
    "the folder of a link": lambda root: (
        (root.parent / "far").rename(root.parent / "x"),
        (root.parent / "far").mkdir(),
    ),
}


@pytest.fixture
def project(tree) -> Path:
    """A project in a git tree, its listing kept."""
    root = tree({".git/HEAD": "", "far/f.c": "", "project/src/a.c": ""}) / "project"
    (root / "later.c").symlink_to("../later")
    (root / "linked").symlink_to("../far")
    return keep(root)


def keep(root: Path) -> Path:
    """List it when nothing in it is young any more."""
    state_dir(root)
    time.sleep(2 * fingerprint.TICK)
    listing.find(root, without=["/later.c"])
    listing.find(root)
    assert (root / ".unibuild" / "listing").exists()
    return root


def asked(root: Path) -> str:
    argv = [sys.executable, "-c", WHAT_IS_IMPORTED, str(root)]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def test_a_listing_that_holds_needs_no_pathspec(project):
    assert asked(project) == "f.c a.c False"


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(project, change):
    before = sources.find(project)
    CHANGES[change](project)
    assert listing.find(project) == sources.find(project) != before


def test_the_next_time_a_change_is_known(project):
    (project / "b.c").touch()
    keep(project)
    assert asked(project) == "b.c f.c a.c False"


def test_an_edit_of_a_source_is_not_a_change(project):
    (project / "src" / "a.c").write_text("int a;")
    assert asked(project) == "f.c a.c False"


def test_other_patterns_are_another_listing(project):
    found = [listing.find(project, patterns, without=["b.c"]) for patterns in (["*.o"], ["*.c"], ["*.o"])]
    assert found == [sources.find(project, patterns) for patterns in (["*.o"], ["*.c"], ["*.o"])]


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"{}", b'[{"asked": 1}]', b"[", None])
def test_a_damaged_listing_is_none(project, content):
    cache = project / ".unibuild" / "listing"
    cache.write_bytes(cache.read_bytes()[:-20] if content is None else content)
    assert listing.find(project) == sources.find(project)


def test_a_folder_that_changed_just_now_is_not_believed(project):
    for number in range(50):
        (project / f"{number}.c").touch()
        assert project / f"{number}.c" in listing.find(project).files


def test_a_folder_dated_in_the_future_is_not_kept(project):
    ahead = time.time_ns() + 10**12
    os.utime(project / "src", ns=(ahead, ahead))
    assert [asked(project), asked(project)] == ["f.c a.c True"] * 2


def test_a_name_that_is_not_text_is_kept(project):
    Path(os.fsdecode(os.fsencode(project) + b"/\xff.c")).touch()
    keep(project)
    assert listing.find(project) == sources.find(project)


def test_a_tree_without_unibuilds_folder_is_left_as_it_is(tree):
    root = tree({"a.c": ""})
    listing.find(root)
    assert [*root.iterdir()] == [root / "a.c"]
