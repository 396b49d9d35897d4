"""What the settings add to a build: a step that configures the tree, jobs, a target, variables."""

import pytest
from kinds import KINDS, project
from world import MAKE, REAL_MAKE

CONFIGURE = """\
#!/bin/sh
# Writes what the Makefile includes.
echo "WORD := $(cat m4/more.m4) $1 $(. ./options.txt; echo $WHAT) $LIKE $(cat extra.conf 2> /dev/null)" > config.mk
"""
MAKEFILE = """\
include config.mk
hello.xen: main.c
	cat head.bin main.c > $@; echo $(WORD) >> $@
"""


@pytest.fixture
def configured(world):
    """A tree that a script configures."""
    world.write("configure", CONFIGURE).chmod(0o755)
    for name in ("m4/more.m4", "main.c"):
        world.write(name, "0000")
    world.write("options.txt", "WHAT=0000\n")
    world.write("Makefile", MAKEFILE)
    world.outputs.append("config.mk")
    configure(world, "first")
    return world


def configure(world, word):
    world.write("unibuild.toml", f'[build]\nkernel = "hello.xen"\nconfigure = ["./configure", "{word}"]\n')
    world.commands = [["./configure", word], [REAL_MAKE]]


@pytest.mark.parametrize(
    "edit",
    [
        lambda world: world.write("m4/more.m4", "0001"),
        lambda world: world.write("main.c", "0001"),
        lambda world: world.write("configure", CONFIGURE.replace("WORD := ", "WORD := new ")),
        lambda world: configure(world, "other"),
        lambda world: world.write("options.txt", "WHAT=0001\n"),
        lambda world: world.environment.update(LIKE="0001"),
        lambda world: world.write("extra.conf", "0001"),
        lambda world: world.path("config.mk").unlink(),
        lambda world: (world.path("config.mk").unlink(), world.write("options.txt", "WHAT=0001\n")),
    ],
    ids=["m4", "source", "script", "arguments", "data", "variable", "new", "output", "output and data"],
)
def test_an_edit_of_a_configured_tree_is_in_the_kernel(configured, edit):
    assert configured.unibuild().code == 0
    assert configured.kernel == configured.fresh()
    edit(configured)
    ran = configured.unibuild()
    assert configured.kernel == configured.fresh(), ran.output
    again = configured.unibuild()
    assert again.built == 0, again.output
    assert "./configure" not in again.output, again.output


def test_jobs_and_a_target_change_nothing(world):
    kinds = [KINDS[name] for name in ("main-c", "generated-header", "recursive", "lexer", "blind-data", "slow")]
    project(world, *kinds)
    text = world.path("unibuild.toml").read_text()
    world.write("unibuild.toml", f'{text}target = "hello.xen"\njobs = 4\n')
    assert world.unibuild().code == 0
    for kind in kinds:
        kind.edit(world, "0001")
        ran = world.unibuild()
        assert world.kernel == world.fresh(), ran.output
    assert world.unibuild().built == 0


def test_a_variable_of_the_settings_is_in_the_kernel(world):
    project(world, KINDS["variable"])
    text = world.path("unibuild.toml").read_text()
    for token in ("0001", "0002"):
        world.write("unibuild.toml", f'{text}\n[build.env]\nWORD_OF_ENV = "{token}"\n')
        world.environment["WORD_OF_ENV"] = token  # for the build from nothing
        ran = world.unibuild()
        assert world.kernel == world.fresh(), ran.output


@pytest.mark.parametrize(
    "more",
    [
        "echo 0000 > config.tmp",  # the build takes it away
        "cat config.cache 2> /dev/null; date +%N > config.cache",
        "ls > config.log",
        "cat hello.part 2> /dev/null",  # the build makes it
    ],
)
def test_what_a_script_or_the_build_writes_itself_is_not_an_edit(configured, more):
    configured.outputs += ["config.*", "hello.part"]
    configured.write("configure", f"{CONFIGURE}{more}; true\n")
    configured.write("Makefile", f"{MAKEFILE}\trm -f config.tmp; echo $@ > hello.part\n")
    configured.unibuild()
    configured.unibuild()
    assert "up to date" in configured.unibuild("configure").output
    assert configured.unibuild().built == 0
    configured.write("options.txt", "WHAT=0001\n")
    ran = configured.unibuild()
    assert configured.kernel == configured.fresh(), ran.output
    configured.unibuild()
    assert "up to date" in configured.unibuild("configure").output


def test_what_a_script_writes_outside_is_not_an_edit(configured):
    configured.outputs.append("../made.txt")
    configured.write("configure", f"{CONFIGURE}cat main.c > ../made.txt\n")
    configured.write("Makefile", "include config.mk\nhello.xen: ../made.txt\n\tcat head.bin $< > $@\n")
    assert configured.unibuild().built == 1
    again = configured.unibuild()
    assert again.built == 0, again.output


def test_a_file_outside_that_is_saved_just_before_the_build_is_not_an_edit(world):
    """unibuild has judged the step already, and does not know the file yet."""
    world.outputs.append("../late.txt")
    save = f"mv {world.top}/late.txt {world.around} 2> /dev/null\n"
    world.tool("make", MAKE.format(top=world.top, make=REAL_MAKE).replace("exec", f"{save}exec"))
    world.write("Makefile", "hello.xen:\n\tfalse\n")
    assert world.unibuild().code != 0
    world.write("../../late.txt", "late")
    world.write("Makefile", "hello.xen: ../late.txt\n\tcat head.bin $< > $@\n")
    assert world.unibuild().built == 1
    again = world.unibuild()
    assert again.built == 0, again.output


@pytest.mark.parametrize("settings", ["", 'ignore = ["scratch.dat"]', 'sources = ["*.c", "Makefile", "head.bin"]'])
def test_files_that_the_settings_leave_out_cost_nothing(world, settings):
    project(world, KINDS["main-c"], KINDS["data-txt"])
    world.write("unibuild.toml", f"{world.path('unibuild.toml').read_text()}{settings}\n")
    world.write("scratch.dat", "one")
    world.unibuild()
    world.write("scratch.dat", "two")
    ran = world.unibuild()
    assert (ran.built, ran.asked) == (0, 0 if settings else 1), ran.output
    for name in ("main-c", "data-txt"):  # what a rule of make names counts all the same
        KINDS[name].edit(world, "0001")
        ran = world.unibuild()
        assert world.kernel == world.fresh(), ran.output


@pytest.mark.parametrize("rule", [".PHONY: hello.xen\n", "hello.xen: FORCE\nFORCE:\n"], ids=["phony", "FORCE"])
def test_a_kernel_that_make_always_builds_is_built_after_edits_alone(world, rule):
    project(world, KINDS["main-c"])
    world.write("Makefile", world.path("Makefile").read_text() + rule)
    world.write("README", "one")
    assert world.unibuild().code == 0
    again = world.unibuild()
    assert (again.built, again.asked) == (0, 0), again.output
    KINDS["main-c"].edit(world, "0001")
    ran = world.unibuild()
    assert world.kernel == world.fresh(), ran.output
    world.write("README", "two")
    ran = world.unibuild()
    assert (ran.built, ran.wrote_xl) == (1, False), ran.output  # make -q says that it has something to do


def test_a_folder_of_version_control_does_not_count_where_the_build_does_not_ask(world):
    project(world, KINDS["main-c"])
    world.git("init", "-q")
    world.unibuild()
    world.git("add", "main.c")
    world.git("commit", "-qm", "All")
    world.path(".svn").mkdir()
    world.write(".svn/entries", "12")
    ran = world.unibuild()
    assert (ran.built, ran.asked) == (0, 0), ran.output
