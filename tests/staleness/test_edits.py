"""Each kind of edit, on some kinds of file: the kernel is that of a build from nothing, now and after another edit."""

import pytest
from edits import EDITS, GIT, NOTHING, SLOW
from kinds import KINDS, project


def check(world, edit, kind):
    project(world, kind)
    assert world.unibuild().code == 0
    before = world.kernel
    assert before == world.fresh(), world.said
    edit(world, kind, "0001")
    ran = world.unibuild()
    fresh = world.fresh()
    if fresh is None:
        assert ran.code != 0, ran.output
        return ran
    assert world.kernel == fresh, ran.output
    again = world.unibuild()
    assert (again.built, again.wrote_xl) == (0, False), again.output
    kind.edit(world, "0002")
    ran_later = world.unibuild()
    assert world.kernel == world.fresh(), ran_later.output
    return ran


@pytest.mark.parametrize("edit", EDITS)
def test_a_kernel_is_never_stale(world, edit):
    """The edited file is data; the build makes a header of it in the tree."""
    ran = check(world, EDITS[edit], KINDS["generated-header"])
    assert not (edit in NOTHING and ran.wrote_xl)


@pytest.mark.parametrize("edit", SLOW)
@pytest.mark.parametrize("kind", ["slow-data", "slow-generated"])
def test_an_edit_while_the_build_runs_is_seen(world, kind, edit):
    check(world, SLOW[edit], KINDS[kind])


@pytest.mark.parametrize("edit", GIT)
def test_what_git_changes_is_seen(world, edit):
    world.write(".gitignore", "*.part\n*.xen\n.unibuild/\ngen.h\n")
    world.git("init", "-q", "-b", "main")
    kind = KINDS["data-txt"]
    world.write(kind.path, kind.text(kind.path, "0000"))
    world.git("add", "-A")
    world.git("commit", "-qm", "All")
    check(world, GIT[edit], kind)
