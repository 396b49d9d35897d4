"""Inputs of a project: which paths matter, and which differ from the last build."""

import os

import pytest

from unibuild import fingerprint
from unibuild.settings.loader import load
from unibuild.watch.inputs import InputTracker, differences


@pytest.fixture
def tracker(tree):
    """A project after its first build."""
    (tree.root / ".unibuild").mkdir()
    found = InputTracker(load(tree.root))
    found.look()
    found.begin()
    return found


def changed(tree, found):
    found.look()
    return [path.removeprefix(f"{tree.root}/") for path in found.changed()]


def test_changed_new_and_removed_sources_are_found_existing_ones_first(tree, tracker):
    (tree.root / "main.c").unlink()
    tree.write("lib/a.c", "new")
    assert changed(tree, tracker) == ["lib/a.c", "main.c"]


def test_newest_comes_first():
    assert differences({}, {"a": "1:0:0", "b": "2:0:0"}) == ["b", "a"]
    assert differences({"gone": "3:0:0"}, {"a": "1:0:0"}) == ["a", "gone"]


def test_build_outputs_and_other_files_are_not_changes(tree, tracker):
    for name in ("hello.xen", ".unibuild/hello.xen", ".unibuild/hello.xl", ".git/a", ".main.c.swp", "main.c~"):
        tree.write(name, "x")
    assert changed(tree, tracker) == []


def test_edit_during_a_build_is_a_change_after_it_and_a_new_date_is_not(tree, tracker):
    tree.write("main.c", "two")
    tracker.look()
    tracker.begin()
    tree.write("Makefile", "x:")
    os.utime(tree.root / "main.c")
    dated = str(tree.root / "main.c")
    tracker.end({dated: fingerprint.take(dated)})
    assert changed(tree, tracker) == ["Makefile"]


def test_changed_settings_and_dodo_are_found_once(tree, tracker):
    assert tracker.reloads() == []
    tree.write("unibuild.toml", tree.read("unibuild.toml") + "# more\n")
    assert tracker.reloads() == [str(tree.root / "unibuild.toml")]
    assert tracker.reloads() == []


def test_new_changed_and_removed_templates_are_found(tree, tracker):
    name = "dodo_templates/libvirt.xml.j2"
    tree.write(name, "one")
    assert tracker.reloads() == [f"{tree.root}/dodo_templates"]
    assert f"{tree.root}/dodo_templates" in tracker.watched()
    (tree.root / name).write_text("another one")
    assert tracker.reloads() == [f"{tree.root}/{name}"]
    (tree.root / name).unlink()
    assert tracker.reloads() == [f"{tree.root}/dodo_templates"]


def test_only_folders_with_inputs_are_watched(tree, tracker):
    for name in ("lib/a.c", "_build/log", "_build/b.c", ".git/c"):
        tree.write(name, "x")
    tracker.look()
    assert tracker.watched() == {str(tree.root), f"{tree.root}/lib"}


def test_makefile_that_configure_writes_counts_as_it_is_after_the_build(tree):
    tree.write("unibuild.toml", '[build]\nkernel = "hello.xen"\nconfigure = ["true"]\n')
    found = InputTracker(load(tree.root))
    found.look()
    found.begin()
    tree.write("Makefile", "by: configure")
    found.end({})
    assert changed(tree, found) == []
    tree.write("Makefile", "by: the user")
    assert changed(tree, found) == ["Makefile"]
