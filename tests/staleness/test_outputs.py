"""Files that a rule makes and that somebody else has written too, or that are outside of the project's folder."""

import os

import pytest

MAKEFILE = """\
hello.xen: head.bin parser.txt
	cat head.bin parser.txt undeclared > $@
parser.txt: parser.y
	sed s/y/made/ parser.y > $@
"""


@pytest.fixture
def parser(world):
    """A project with a file that its rules can make from another one."""
    for name, text in (("undeclared", "0000"), ("parser.y", "y"), ("Makefile", MAKEFILE)):
        world.write(name, text)
    world.outputs.append("parser.txt")
    return world


def build_from_nothing(world, token):
    """Build because of a file that no rule names."""
    world.write("undeclared", token)
    ran = world.unibuild()
    assert ran.built == 1, ran.output
    assert token.encode() in world.kernel, ran.output


def test_a_generated_file_that_git_tracks_is_not_made_again(parser):
    parser.write("parser.txt", "written by hand")
    parser.git("init", "-q", "-b", "main")
    parser.git("add", "-A")
    parser.unibuild()
    for token in ("0001", "0002"):
        build_from_nothing(parser, token)
        assert parser.path("parser.txt").read_text() == "written by hand"


def test_a_copy_is_kept_of_a_file_that_was_there_before_the_first_build(parser):
    parser.write("parser.txt", "written by hand")
    parser.unibuild()
    for token in ("0001", "0002"):
        build_from_nothing(parser, token)
        assert parser.path("parser.txt").read_text() == "made"
        kept = parser.path(".unibuild/replaced").iterdir()
        assert [path.read_text() for path in kept] == ["written by hand"]


def test_a_copy_is_kept_of_an_output_that_was_edited_since(parser):
    parser.unibuild()
    for number, edit in enumerate(("first edit", "second edit")):
        parser.write("parser.txt", edit)
        parser.unibuild()
        assert parser.path("parser.txt").read_text() == edit
        build_from_nothing(parser, f"001{number}")
        assert parser.path("parser.txt").read_text() == "made"
    kept = parser.path(".unibuild/replaced").iterdir()
    assert {path.read_text() for path in kept} == {"first edit", "second edit"}


OUTSIDE = """\
-include ../config.mk
hello.xen: head.bin $(wildcard ../*.txt ../lib/*.inc)
	cat $^ > $@; echo $(WORD) >> $@; cat ../data/* >> $@ || true
"""


@pytest.mark.parametrize("name", ["../config.mk", "../a.txt", "../lib/b.inc", "../data/c"])
def test_a_file_that_appears_outside_is_in_the_kernel(world, name):
    world.write("Makefile", OUTSIDE)
    assert world.unibuild().code == 0
    assert world.unibuild().built == 0
    for edit in (
        lambda: world.write(name, "WORD=one\n"),
        lambda: world.write(name, "WORD=two\n"),
        lambda: world.path(name).unlink(),
    ):
        before = world.kernel
        edit()
        ran = world.unibuild()
        assert world.kernel == world.fresh(), ran.output
        assert world.kernel != before, "the edit changes nothing"
        again = world.unibuild()
        assert again.built == 0, again.output


def test_an_output_outside_is_not_an_input(world):
    world.outputs.append("../out")
    made = "../out/a.part: declared\n\tmkdir -p ../out; cat declared undeclared > $@\n"
    world.write("Makefile", f"hello.xen: head.bin ../out/a.part\n\tcat $^ > $@\n{made}")
    for token, name in (("0000", "declared"), ("0001", "undeclared"), ("0002", "declared"), ("0003", "undeclared")):
        for path in {name, "declared", "undeclared"} if token == "0000" else {name}:
            world.write(path, token)
        ran = world.unibuild()
        assert world.kernel == world.fresh(), ran.output
        again = world.unibuild()
        assert again.built == 0, again.output


@pytest.mark.parametrize("folder", ["sub", "../lib"])
@pytest.mark.parametrize("is_made", [False, True], ids=["new", "made before"])
@pytest.mark.parametrize("edit", ["undeclared", "older"])
def test_an_edit_that_dates_hide_from_a_sub_make_is_in_the_kernel(world, folder, is_made, edit):
    world.outputs += ["sub/*.part", "../lib/*.part"]
    world.write("Makefile", f"hello.xen: part\n\tcat head.bin {folder}/a.part > $@\npart:\n\t$(MAKE) -C {folder}\n")
    world.write(f"{folder}/Makefile", "a.part: declared\n\tcat declared undeclared > $@\n")
    for name in ("declared", "undeclared"):
        world.write(f"{folder}/{name}", "0000")
    if is_made:
        world.run("make")
    assert world.unibuild().code == 0
    name = "undeclared" if edit == "undeclared" else "declared"
    for token in ("0001", "0002"):
        path = world.write(f"{folder}/{name}", token)
        if edit == "older":
            os.utime(path, (1e9, 1e9))
        ran = world.unibuild()
        assert world.kernel == world.fresh(), ran.output


@pytest.mark.parametrize("is_compiled", [False, True], ids=["first", "compiled before"])
def test_a_python_module_that_is_compiled_already_is_in_the_kernel(world, is_compiled):
    """Python does not open the source of a module with a compiled file of the same date and size."""
    world.outputs += ["gen.out", "__pycache__"]
    world.write("Makefile", "hello.xen: gen.out\n\tcat head.bin gen.out > $@\ngen.out: gen.py\n\tpython3 gen.py > $@\n")
    world.write("gen.py", "import words\nprint(words.TEXT)\n")
    world.write("words.py", "TEXT = '0000'\n")
    if is_compiled:
        world.run("python3", "gen.py")
        assert world.path("__pycache__").exists()
    assert world.unibuild().code == 0
    assert world.unibuild().built == 0
    for token in ("0001", "0002", "longer"):
        world.write("words.py", f"TEXT = '{token}'\n")
        ran = world.unibuild()
        assert world.kernel == world.fresh(), ran.output
        again = world.unibuild()
        assert again.built == 0, again.output
