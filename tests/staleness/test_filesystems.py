"""File systems with coarse dates or another clock, trees that were moved or copied, and files that nobody may write."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from edits import SLOW, added, atomic, same_size
from kinds import KINDS, project
from world import Server, World

LAYER = Path(__file__).with_name("coarse.c")
IS_ROOT = os.geteuid() == 0


def mounted(*argv):
    """Mount something; skip the test where that cannot be."""
    if not IS_ROOT:
        pytest.skip("only root can mount")
    done = subprocess.run(["mount", *argv], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mount: {done.stderr.strip()}")


@pytest.fixture(scope="module")
def layer(tmp_path_factory):
    """The layer that gives files coarse dates."""
    path = tmp_path_factory.mktemp("layer") / "coarse.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(path), str(LAYER)], check=True)
    return path


@pytest.fixture(params=[("mkfs.ext3", "-q", "-I", "128"), ("mkfs.vfat",)], ids=["ext3", "vfat"])
def coarse(request, tmp_path, server):
    """A world on ext3 with inodes of 128 bytes, which keep whole seconds, or on vfat, which keeps every second one."""
    image, place = tmp_path / "image", tmp_path / "mounted"
    name, *options = request.param
    program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        pytest.skip(f"no {name}")
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run([program, *options, str(image)], check=True, capture_output=True)
    mounted("-o", "loop", str(image), str(place))
    yield World(place / "world", server)
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(params=[(1, 300), (2, -300)], ids=["one-second-clock-ahead", "two-seconds-clock-behind"])
def layered(request, tmp_path, layer):
    """A world with files that have the dates of another file system, and of a server with another clock."""
    step, skew = request.param
    (tmp_path / "server").mkdir()
    layered = Server(tmp_path / "server", LD_PRELOAD=str(layer), COARSE_STEP=str(step), COARSE_SKEW=str(skew))
    yield World(tmp_path / "world", layered)
    layered.stop()


def next_second():
    """Wait for the beginning of an even second, so that what follows has one date where dates are coarse."""
    time.sleep(2 - time.time() % 2)


def edits_in_one_second(world):
    """Edit and build as fast as can be, files of all sorts."""
    names = ("main-c", "generated-header", "wildcard", "slow")
    source, definition, pages, slow = kinds = [KINDS[name] for name in names]
    project(world, *kinds)
    next_second()
    assert world.unibuild().code == 0
    assert world.kernel == world.fresh()
    edits = [(same_size, source), (same_size, definition), (added, pages), (atomic, source), (same_size, definition)]
    for number, (edit, kind) in enumerate(edits):
        edit(world, kind, f"{number}...")
        ran = world.unibuild()
        assert world.kernel == world.fresh(), (kind.name, edit, ran.output)
    SLOW["edited-between"](world, slow, "9999")
    world.unibuild()
    assert world.kernel == world.fresh()
    assert world.unibuild().built == 0


def test_an_edit_within_a_second_is_seen_on_a_mounted_file_system(coarse):
    edits_in_one_second(coarse)


def test_an_edit_within_a_second_is_seen_where_dates_are_coarse(layered):
    edits_in_one_second(layered)


def test_the_clock_is_that_of_the_file_system(layered):
    """The layer shows programs the date and resolution of a server; unibuild has to find both."""
    script = "import sys, time; from unibuild import fingerprint as f; print(*f.clock(sys.argv[1]), time.time_ns())"
    argv = [sys.executable, "-c", script, str(layered.root)]
    said = subprocess.run(argv, env={**os.environ, **layered.server.environment}, capture_output=True, check=True)
    now, tick, here = map(int, said.stdout.split())
    step, skew = (int(layered.server.environment[name]) for name in ("COARSE_STEP", "COARSE_SKEW"))
    assert tick == step * 10**9
    assert now % 10**9 == 0
    assert (skew < 0) == (now < here)


@pytest.mark.parametrize("skew", [3600, -3600], ids=["ahead", "behind"])
def test_a_server_with_another_clock_makes_nothing_stale(tmp_path, layer, skew):
    """Its clock may also be set while unibuild does not run: then all that was made has other dates."""
    here, there = tmp_path / "here", tmp_path / "there"
    servers = []
    for folder, other in ((here, 0), (there, skew)):
        folder.mkdir()
        servers.append(Server(folder, LD_PRELOAD=str(layer), COARSE_STEP="1", COARSE_SKEW=str(other)))
    world = World(tmp_path / "world", servers[0])
    source, header = (KINDS[name] for name in ("main-c", "generated-header"))
    project(world, source, header)
    assert world.unibuild().code == 0
    world.server = servers[1]
    ran = world.unibuild()
    assert not ran.changed_xl, ran.output  # it may build: compilers have other dates too
    for number, kind in enumerate((source, header, source)):
        ran = world.unibuild()
        assert (ran.built, ran.wrote_xl) == (0, False), ran.output
        same_size(world, kind, f"{number}...")
        ran = world.unibuild()
        assert world.kernel == world.fresh(), ran.output
    for server in servers:
        server.stop()


FEW = ("main-c", "generated-header", "outside", "wildcard", "cc-header")


@pytest.fixture
def built(world):
    project(world, *(KINDS[name] for name in FEW))
    assert world.unibuild().code == 0
    assert world.unibuild().built == 0
    return world


def test_a_tree_that_was_moved_is_not_built(built):
    built.move()
    ran = built.unibuild()
    assert (ran.code, ran.built) == (0, 0), ran.output


@pytest.mark.parametrize("copy", [["cp", "-a"], ["cp", "-r"]], ids=" ".join)
def test_a_tree_that_was_copied_builds_what_is_edited(built, copy):
    built.move(copy)
    assert built.unibuild().code == 0
    assert built.kernel == built.fresh()
    same_size(built, KINDS["main-c"], "0001")
    assert built.unibuild().code == 0
    assert built.kernel == built.fresh()


def test_a_clone_builds_all(built):
    built.git("init", "-q", "-b", "main")
    built.write(".gitignore", "*.part\n*.xen\n*.o\n*.d\ngen.h\n/.unibuild/\n")
    built.git("add", "-A")
    built.git("commit", "-qm", "All")
    kept = built.top / "kept"
    built.root.rename(kept)
    built.run("git", "clone", "-q", str(kept), str(built.root), cwd=built.top)
    assert built.unibuild().code == 0
    assert built.kernel == built.fresh()


def test_a_tree_that_is_mounted_elsewhere_is_not_built(built):
    place = built.top / "elsewhere"
    place.mkdir()
    mounted("--bind", str(built.around), str(place))
    try:
        before = built.around, built.root
        built.around, built.root = place, place / "hello"
        ran = built.unibuild()
        assert (ran.code, ran.built) == (0, 0), ran.output
        same_size(built, KINDS["main-c"], "0001")
        assert built.unibuild().code == 0
        assert built.kernel == built.fresh()
        built.around, built.root = before
        assert built.unibuild().built == 0
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_read_only_source_that_is_edited_while_the_build_runs_is_seen(world):
    """Its date cannot be set; what is behind a read-only mount can be edited all the same."""
    project(world, KINDS["main-c"])
    real, place = world.top / "real", world.root / "ro"
    for folder in (real, place):
        folder.mkdir()
    (real / "m.c").write_text("one\n")
    mounted("--bind", str(real), str(place))
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
        text = world.path("Makefile").read_text()
        start, rule, end = text.partition("hello.xen: head.bin")
        world.write("Makefile", f"{start}PARTS += ro.part\nro.part: ro/m.c\n\tsee ro/m.c > $@\n{rule}{end}")
        assert world.unibuild().code == 0
        (real / "m.c").write_text("two\n")
        world.pause("between")
        running = world.start()
        assert world.paused(running)
        (real / "m.c").write_text("six\n")
        world.resume()
        running.wait()
        world.unibuild()
        assert world.kernel == world.fresh()
        assert world.unibuild().built == 0
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("is_built", [False, True], ids=["make", "make -q"])
def test_a_makefile_that_is_made_from_a_file_of_the_future_is_an_error(world, is_built):
    """make itself would start over for ever."""
    project(world, KINDS["remade-makefile"])
    if is_built:
        assert world.unibuild().code == 0
    date = time.time() + 3600
    os.utime(world.path("spec.in"), (date, date))
    ran = world.unibuild()
    assert ran.code != 0
    assert "touch spec.in" in ran.output
    os.utime(world.path("spec.in"))
    assert world.unibuild().code == 0
    assert world.kernel == world.fresh()


@pytest.mark.parametrize("variable", ["PWD", "CURDIR"])
def test_make_finds_the_folder_in_its_variable(world, variable):
    """Also where unibuild is called in a folder below."""
    world.write("in.src", "0000")
    world.write("Makefile", f"hello.xen: $({variable})/in.src\n\tcat head.bin $({variable})/in.src > $@\n")
    world.path("below").mkdir()
    for token in ("0000", "0001"):
        world.write("in.src", token)
        running = world.server.start(world.path("below"), ("xl",), world.variables | {"PWD": str(world.path("below"))})
        code, output = running.wait()
        assert code == 0, output
        assert world.kernel == world.fresh()


@pytest.mark.parametrize("flags", ["k", "-j3 --no-print-directory", "s", "--warn-undefined-variables"])
def test_flags_of_an_outer_make_change_nothing(world, flags):
    kinds = [KINDS[name] for name in ("main-c", "generated-header", "recursive")]
    project(world, *kinds)
    world.environment["MAKEFLAGS"] = flags
    assert world.unibuild().code == 0
    for kind in kinds:
        kind.edit(world, "0001")
        assert world.unibuild().code == 0
        assert world.kernel == world.fresh()
    assert world.unibuild().built == 0
