"""Each kind of file that decides a kernel: an edit is in the next kernel, and what decides nothing boots nothing."""

import os

import pytest
from edits import EDITS
from kinds import GIT_TREES, KINDS, SIMPLE, project
from world import World, stub

ALL = {**{name: kind for name, kind in KINDS.items() if kind not in SIMPLE}, **GIT_TREES}


@pytest.fixture(scope="module")
def named(tmp_path_factory, server):
    """A project with a file of every usual name, which a rule puts into the kernel as it is."""
    world = World(tmp_path_factory.mktemp("named"), server)
    project(world, *SIMPLE)
    assert world.unibuild().code == 0
    assert world.kernel == world.fresh(), world.said
    return world


@pytest.mark.parametrize("kind", SIMPLE, ids=lambda kind: kind.name)
def test_a_file_of_any_name_counts(named, kind):
    kind.edit(named, "0001")
    ran = named.unibuild()
    assert named.kernel == stub() + b"".join(named.path(kind.path).read_bytes() for kind in SIMPLE), ran.output
    assert named.unibuild().built == 0


@pytest.mark.parametrize("name", ALL)
def test_an_edit_is_in_the_kernel(world, name):
    kind = ALL[name]
    project(world, kind)
    assert world.unibuild().code == 0
    assert world.kernel == world.fresh(), world.said
    assert world.unibuild().built == 0
    for token in ("0001", "two"):
        before = world.kernel
        kind.edit(world, token)
        ran = world.unibuild()
        assert world.kernel == world.fresh(), ran.output
        assert world.kernel != before, "the edit changes nothing"
        again = world.unibuild()
        assert (again.built, again.wrote_xl) == (0, False), again.output


TOUCHED = ("main-c", "data-txt", "cc-header", "wildcard", "recursive", "lexer", "link-to-file", "blind-data", "script")


@pytest.mark.parametrize("name", TOUCHED)
def test_a_touch_boots_nothing(world, name):
    kind = KINDS[name]
    project(world, kind)
    assert world.unibuild().code == 0
    os.utime(world.path(kind.path))
    ran = world.unibuild()
    assert not ran.wrote_xl
    assert world.kernel == world.fresh(), ran.output


def test_what_git_notes_for_itself_is_not_an_edit(world):
    """git's index holds dates of files, which `git status` and the build's own `git describe` bring up to date."""
    project(world, KINDS["git-dirty"], KINDS["main-c"])
    for token in ("0001", "0000"):
        assert world.unibuild().code == 0
        os.utime(world.path("main.c"))
        world.unibuild()
        world.git("status")
        ran = world.unibuild()
        assert ran.built == 0, ran.output
        KINDS["main-c"].edit(world, token)
        ran = world.unibuild()
        assert world.kernel == world.fresh(), ran.output
        again = world.unibuild()
        assert (again.built, again.asked) == (0, 0), again.output


@pytest.mark.parametrize("name", ["packed", "script", "blind-script"])
def test_the_right_to_run_a_file_is_seen(world, name):
    """An archive of the tree records it, and without it a script does not run."""
    project(world, KINDS[name])
    assert world.unibuild().code == 0
    for _ in range(2):
        before = world.kernel
        EDITS["executable"](world, KINDS[name], "")
        ran = world.unibuild()
        fresh = world.fresh()
        assert (fresh is None) == (ran.code != 0), ran.output
        assert fresh is None or world.kernel == fresh, ran.output
        assert name != "packed" or world.kernel != before


def test_the_right_to_run_a_file_is_seen_while_the_build_runs(world):
    """Also where recipes call chmod for other files."""
    project(world, *(KINDS[name] for name in ("packed", "script-made-executable", "slow")))
    assert world.unibuild().code == 0
    assert world.unibuild().built == 0
    KINDS["slow"].edit(world, "0001")
    world.pause("after")
    running = world.start()
    assert world.paused(running)
    world.path("disk/init").chmod(0o755)
    world.resume()
    running.wait()
    ran = world.unibuild()
    assert world.kernel == world.fresh(), ran.output
    assert world.unibuild().built == 0


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.folder])
def test_files_appear_and_vanish(world, name):
    kind = KINDS[name]
    project(world, kind)
    assert world.unibuild().code == 0
    folder = world.path(kind.path).parent
    for change in (
        lambda: (folder / f"new{world.path(kind.path).suffix}").write_text("new"),
        lambda: (folder / f"new{world.path(kind.path).suffix}").unlink(),
        lambda: world.path(kind.path).rename(folder / f"renamed{world.path(kind.path).suffix}"),
    ):
        change()
        ran = world.unibuild()
        assert world.kernel == world.fresh(), ran.output
        assert world.unibuild().built == 0


def test_an_unrelated_variable_builds_nothing(world):
    project(world, KINDS["variable"], KINDS["main-c"])
    assert world.unibuild().code == 0
    world.environment["UNRELATED_WORD"] = "x"
    assert world.unibuild().built == 0


def test_a_variable_that_is_unset_again_is_seen(world):
    project(world, KINDS["variable-with-a-default"])
    for value in ("0001", None):
        world.environment = {} if value is None else {"OPTIONAL_WORD": value}
        ran = world.unibuild()
        assert world.kernel == world.fresh(), ran.output


def test_strange_files_do_no_harm(world):
    """A pipe without a writer, a file that takes hours to read, links that lead nowhere, names that are not text."""
    project(world, KINDS["main-c"])
    os.mkfifo(world.path("pipe"))
    with world.path("huge.img").open("wb") as file:
        file.truncate(1 << 40)
    world.path("nowhere").symlink_to("not-there")
    world.path("loop").symlink_to("loop")
    world.path("latin-\udce9.txt").write_text("x")
    world.path("two\nlines.txt").write_text("x")
    world.outputs += ["pipe", "huge.img"]  # a copy of them has no end
    assert world.unibuild().code == 0
    assert world.unibuild().built == 0
    os.utime(world.path("huge.img"))
    KINDS["main-c"].edit(world, "0001")
    ran = world.unibuild()
    assert world.kernel == world.fresh(), ran.output
