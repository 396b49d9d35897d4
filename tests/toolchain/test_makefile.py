"""Reading the targets of a Makefile without running it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.toolchain import makefile


@pytest.fixture
def targets(tmp_path):
    """Return a function that reads the targets of a Makefile with this text."""

    def read(text):
        (tmp_path / "Makefile").write_text(text)
        return makefile.targets(tmp_path / "Makefile")

    return read


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a b: c\n\ttouch d: e\n", ("a", "b")),
        ("all:: x\nall:: y\n", ("all",)),
        ("N := k\n$(N).xen ${N}.elf $N: x\n", ("k.xen", "k.elf", "k")),
        ("N = $(M)\nM = k\n$(N).xen:\n", ("k.xen",)),
        ("N ?= a\nN ?= b\nN += c\n$(N):\n", ("a", "c")),
        ("A = \\\n  x \\\n  y\n$(A): z\n", ("x", "y")),
        ("# a: b\nc: d # e: f\n", ("c",)),
        ("V := a:b\nV ::= c\nx y &: z\n", ("x", "y")),
        (".PHONY: all\n%.o: %.c\n$(call f,x).xen: y\n$(shell date): x\n", ()),
        ("R = $(R) $(R)\n$(R):\n", ()),
        ("", ()),
    ],
)
def test_targets(targets, text, found):
    assert targets(text) == found


def test_includes_are_followed_once(targets, tmp_path):
    (tmp_path / "rules.mk").write_text("$(NAME).xen: x\ninclude Makefile rules.mk missing.mk\n")
    assert targets("NAME := hello\ninclude rules.mk\n") == ("hello.xen",)


def test_the_example_of_the_repository():
    hello = Path(__file__).parents[2] / "examples" / "hello" / "Makefile"
    assert makefile.kernels(makefile.targets(hello)) == ("hello-pv.xen", "hello-pvh.xen")


def test_the_likeliest_kernel_comes_first():
    names = ("all", "k.elf", "mini-os.gz", "k.xen", "k.xen.o")
    assert makefile.kernels(names) == ("k.xen", "mini-os.gz", "k.elf")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, None),
        ({"Makefile": ""}, "Makefile"),
        ({"Makefile": "", "makefile": ""}, "makefile"),
        ({"Makefile": "", "GNUmakefile": ""}, "GNUmakefile"),
        ({"Makefile": "", "GNUmakefile": "include unibuild.mk"}, "Makefile"),
        ({"GNUmakefile": "include unibuild.mk"}, "GNUmakefile"),
    ],
)
def test_which_makefile_counts(tmp_path, files, found):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert makefile.find(tmp_path) == (tmp_path / found if found else None)


@given(text=st.text(alphabet="ab$(){}:=?+\\\n\t# .%&", max_size=60))
def test_any_text_gives_names(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("tree") / "Makefile"
    path.write_text(text)
    assert all(name and not set(name) & set("$%() ") for name in makefile.targets(path))
