"""The look at a tree: which paths decide, and what differs from the last build."""

import os

import pytest

from unibuild import fingerprint
from unibuild.settings.loader import load
from unibuild.watch.inputs import InputTracker, differences


@pytest.fixture
def look(tree):
    """A tree as of its first build."""
    (tree.root / ".unibuild").mkdir()
    found = InputTracker(load(tree.root))
    found.look()
    found.begin()
    return found


def changed(tree, found):
    found.look()
    return [path.removeprefix(f"{tree.root}/") for path in found.changed()]


def test_a_changed_a_new_and_a_lost_source_are_told_and_the_first_is_one_that_is_there(tree, look):
    (tree.root / "main.c").unlink()
    tree.write("lib/a.c", "new")
    assert changed(tree, look) == ["lib/a.c", "main.c"]


def test_the_youngest_comes_first():
    assert differences({}, {"a": "1:0:0", "b": "2:0:0"}) == ["b", "a"]
    assert differences({"gone": "3:0:0"}, {"a": "1:0:0"}) == ["a", "gone"]


def test_what_the_build_leaves_and_what_is_no_source_is_no_difference(tree, look):
    for name in ("hello.xen", ".unibuild/hello.xen", ".unibuild/hello.xl", ".git/a", ".main.c.swp", "main.c~"):
        tree.write(name, "x")
    assert changed(tree, look) == []


def test_what_is_edited_during_a_build_is_a_difference_after_it_and_a_new_date_is_none(tree, look):
    tree.write("main.c", "two")
    look.look()
    look.begin()
    tree.write("Makefile", "x:")
    os.utime(tree.root / "main.c")
    dated = str(tree.root / "main.c")
    look.end({dated: fingerprint.take(dated)})
    assert changed(tree, look) == ["Makefile"]


def test_settings_and_dodo_are_told_once(tree, look):
    assert look.reloads() == []
    tree.write("unibuild.toml", tree.read("unibuild.toml") + "# more\n")
    assert look.reloads() == [str(tree.root / "unibuild.toml")]
    assert look.reloads() == []


def test_a_template_is_told_when_it_is_new_changed_and_gone(tree, look):
    name = "dodo_templates/libvirt.xml.j2"
    tree.write(name, "one")
    assert look.reloads() == [f"{tree.root}/dodo_templates"]
    assert f"{tree.root}/dodo_templates" in look.watched()
    (tree.root / name).write_text("another one")
    assert look.reloads() == [f"{tree.root}/{name}"]
    (tree.root / name).unlink()
    assert look.reloads() == [f"{tree.root}/dodo_templates"]


def test_folders_that_hold_inputs_matter_and_no_others(tree, look):
    for name in ("lib/a.c", "_build/log", "_build/b.c", ".git/c"):
        tree.write(name, "x")
    look.look()
    assert look.watched() == {str(tree.root), f"{tree.root}/lib"}


def test_a_makefile_that_configure_may_write_counts_as_it_is_after_the_build(tree):
    tree.write("unibuild.toml", '[build]\nkernel = "hello.xen"\nconfigure = ["true"]\n')
    found = InputTracker(load(tree.root))
    found.look()
    found.begin()
    tree.write("Makefile", "by: configure")
    found.end({})
    assert changed(tree, found) == []
    tree.write("Makefile", "by: a person")
    assert changed(tree, found) == ["Makefile"]
