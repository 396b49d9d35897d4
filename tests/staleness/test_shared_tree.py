"""A tree that belongs to a colleague: unibuild may write to it, and owns none of its files."""

import os
import shutil
from pathlib import Path

import pytest
from edits import EDITS, SLOW
from kinds import KINDS, project
from world import Server, World

COLLEAGUE = 4242  # a user's number that no account needs
WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")
FEW = ("main-c", "generated-header", "cc-header", "wildcard", "slow")


@pytest.fixture
def shared(tmp_path):
    """A world of root's in which root has no more rights than anybody else."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can give files away, and only setpriv can take root's rights")
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server", WITHOUT_RIGHTS)
    world = World(tmp_path / "world", server)
    project(world, *(KINDS[name] for name in FEW))
    give_away(world)
    yield world
    server.stop()


def give_away(world, mode=0o664):
    """Give all files of the tree to the colleague, with these rights; `.unibuild` is always private."""
    for folder, folders, names in os.walk(world.around):
        folders[:] = [name for name in folders if name != ".unibuild"]
        for path in (Path(folder), *(Path(folder, name) for name in names)):
            rights = mode | path.stat().st_mode & 0o111
            os.chown(path, COLLEAGUE, os.getegid())
            path.chmod(rights)


def is_up_to_date(world):
    ran = world.unibuild()
    return (ran.code, ran.built, ran.wrote_xl) == (0, 0, False), ran.output


def test_the_files_of_a_colleague_are_built_when_they_change(shared):
    assert shared.unibuild().code == 0
    assert shared.kernel == shared.fresh()
    assert is_up_to_date(shared)[0]
    for name in ("same-size", "older", "atomic", "same-date", "copied-over"):
        for kind in ("main-c", "generated-header"):
            EDITS[name](shared, KINDS[kind], f"{len(name):04}")
            give_away(shared)
            ran = shared.unibuild()
            assert shared.kernel == shared.fresh(), ran.output
            assert is_up_to_date(shared)[0]


@pytest.mark.parametrize("edit", ["edited-between", "edited-after", "edited-in-failed-build", "killed-with-make"])
def test_an_edit_of_a_colleague_while_the_build_runs_is_seen(shared, edit):
    assert shared.unibuild().code == 0
    SLOW[edit](shared, KINDS["slow"], "0001")
    ran = shared.unibuild()
    assert shared.kernel == shared.fresh(), ran.output
    assert is_up_to_date(shared)[0]


def test_what_only_the_colleague_may_read_does_no_harm(shared):
    shared.write("private.txt", "mine")
    shared.write("private/notes.txt", "mine")
    give_away(shared)
    shared.path("private.txt").chmod(0o600)
    shared.path("private").chmod(0o700)
    assert shared.unibuild().code == 0
    assert is_up_to_date(shared)[0]
    shared.write("private.txt", "mine, edited")
    assert is_up_to_date(shared)[0]
    KINDS["main-c"].edit(shared, "0001")
    ran = shared.unibuild()
    assert shared.kernel == shared.fresh(), ran.output
    shared.path("main.c").chmod(0o600)
    shared.write("main.c", "0002")
    assert shared.unibuild().code != 0
    shared.path("main.c").chmod(0o644)
    ran = shared.unibuild()
    assert shared.kernel == shared.fresh(), ran.output


def test_what_the_colleague_has_built_is_up_to_date(shared):
    assert shared.unibuild().code == 0
    give_away(shared)
    is_current, said = is_up_to_date(shared)
    assert is_current, said
    for token, rights in (("0001", 0o664), ("0002", 0o644)):
        KINDS["generated-header"].edit(shared, token)
        shared.run("make")
        give_away(shared, rights)
        shared.root.chmod(0o775)  # files may come and go
        ran = shared.unibuild()
        assert shared.kernel == shared.fresh(), ran.output
        assert is_up_to_date(shared)[0]


def test_a_tree_in_which_only_the_colleague_may_write_says_so_when_it_changes(shared):
    assert shared.unibuild().code == 0
    give_away(shared, 0o644)
    is_current, said = is_up_to_date(shared)
    assert is_current, said
    KINDS["main-c"].edit(shared, "0001")
    ran = shared.unibuild()
    assert ran.code != 0
    assert "ermission denied" in ran.output
    give_away(shared)
    ran = shared.unibuild()
    assert shared.kernel == shared.fresh(), ran.output


def test_the_state_of_a_colleague_is_an_error(shared):
    assert shared.unibuild().code == 0
    state = shared.path(".unibuild")
    os.chown(state, COLLEAGUE, COLLEAGUE)
    ran = shared.unibuild()
    assert (ran.code, "hint: " in ran.output) == (3, True), ran.output
    for words in (("plan",), ("list", "-s"), ("clean",)):
        shared.unibuild(*words)  # which lets no traceback pass
    os.chown(state, os.geteuid(), os.getegid())
    assert is_up_to_date(shared)[0]
