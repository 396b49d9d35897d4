"""GNU make's database, as make itself prints it."""

from __future__ import annotations

import os
import subprocess

import pytest

from unibuild.toolchain.make_database import parse

MAKEFILE = """\
OBJECTS := $(patsubst %.c,%.o,$(wildcard *.c))
all: k.xen
k.xen: $(OBJECTS) sub/x libs
	cat $(OBJECTS) > $@
libs: lib.a
%.o: %.c gen.h | order
	cat $< > $@
gen.h: in.def
	cat $< > $@
%.tab.c %.tab.h: %.y
	touch $*.tab.c $*.tab.h
lib.a: p.tab.h
	touch $@
order:
	touch $@
include rules.mk
sub/x: FORCE
	$(MAKE) -C sub
FORCE:
.PHONY: all libs FORCE
"""


@pytest.fixture
def database(tree):
    root = tree({"Makefile": MAKEFILE, "a.c": "", "in.def": "", "p.y": "", "rules.mk": "x.h:\n", "sub/y": ""})
    (root / "sub" / "Makefile").write_text("x: y\n\tcp y x\n")
    env = {**os.environ, "LC_ALL": "C", "SECRET": "/elsewhere/x"}
    output = subprocess.run(["make", "-pn"], cwd=root, env=env, capture_output=True, text=True, check=True).stdout
    return parse(output, str(root)), root


def names(root, paths):
    return {os.path.relpath(path, root) for path in paths}


def test_what_a_recipe_makes_is_a_target_and_a_recursive_make_has_its_own(database):
    found, root = database
    made = {"k.xen", "a.o", "gen.h", "p.tab.c", "p.tab.h", "lib.a", "order", "sub/x"}
    assert names(root, found.targets) & made == made
    assert not names(root, found.targets) & {"a.c", "in.def", "p.y", "x.h", "Makefile", "libs", "sub/y"}


def test_what_is_only_a_prerequisite_is_known(database):
    found, root = database
    assert names(root, found.known) >= {"a.c", "in.def", "p.y", "sub/y"}
    assert not {name for name in names(root, found.known) if name.startswith(".")}


def test_rules_and_makefiles_are_found(database):
    found, root = database
    assert names(root, found.rules[f"{root}/a.o"]) == {"a.c", "gen.h", "order"}
    assert names(root, found.makefiles) == {"Makefile", "rules.mk", "sub/Makefile"}


def test_the_environment_is_not_text_of_the_build(database):
    found, _ = database
    assert not [line for lines in found.texts.values() for line in lines if "/elsewhere/x" in line]


def test_no_database_is_an_empty_one(tmp_path):
    assert parse("make: *** No targets specified and no makefile found.  Stop.\n", str(tmp_path)).targets == set()
