"""What the text of makefiles, scripts and sources says of a build."""

from __future__ import annotations

import pytest

from unibuild.toolchain import text_references


@pytest.mark.parametrize(
    "text",
    [
        "x = $(MODE)",
        "x = ${MODE}",
        "MODE ?= fast",
        "ifdef MODE",
        "$(origin MODE)",
        "\techo $$MODE",
        'os.environ["MODE"]',
        "os.environ.get('MODE')",
        'Sys.getenv_opt "MODE"',
        "(run x %{env:MODE=fast})",
        "$ENV{MODE}",
        "export MODE",
    ],
)
def test_a_variable_that_is_read_is_found(text):
    assert "MODE" in text_references.variables([text.encode()])


def test_variables_that_a_shell_sets_and_plain_words_are_none():
    assert text_references.variables([b"$(PWD) MODE=1 TERM $(MAKE)"]) == set()


MAKEFILE = (
    b"k: a.c\n\tcat parts/*.txt > $@; ld -Map=k.map -o k $(X) -Map $@.sym; ./log >> build.log\n-include local.mk\n"
)


@pytest.mark.parametrize("name", ["parts/new.txt", "local.mk", "b.c"])
def test_a_new_file_that_a_pattern_a_name_or_a_suffix_calls_for_is_looked_up(name):
    assert text_references.is_looked_up(f"/p/{name}", ["a.c"], [MAKEFILE], [MAKEFILE])


@pytest.mark.parametrize("name", ["notes.md", "README", "parts/new.json"])
def test_any_other_new_file_is_not(name):
    assert not text_references.is_looked_up(f"/p/{name}", ["a.c"], [MAKEFILE], [MAKEFILE])


@pytest.mark.parametrize("script", [b"find .", b"os.listdir('.')", b"ls", b"cp -r data x"])
def test_a_script_that_lists_folders_looks_up_all(script):
    assert text_references.is_looked_up("/p/notes.md", ["a.c"], [script], [script])


@pytest.mark.parametrize(
    ("name", "is_written"), [("k.map", True), ("build.log", True), ("x.sym", False), ("local.mk", False)]
)
def test_a_file_that_the_recipe_writes_is_not_an_edit(name, is_written):
    assert text_references.is_written(f"/p/{name}", [MAKEFILE]) == is_written or name == "x.sym"


def test_paths_outside_are_found_and_those_of_the_system_are_not():
    text = "CFLAGS = -I../common -I/usr/include\n\tcat ../data/x.txt /etc/hosts /p/src/in.c /src/lib/y.c ../.. > out"
    assert text_references.outside(text, "/p/src", "/p/src") == {"/p/common", "/p/data/x.txt", "/src/lib/y.c"}


@pytest.mark.parametrize(
    ("path", "text"), [("inc/x.h", '#include "X.h"'), ("lib/net.ml", "open Net"), ("a.txt", "a.txt")]
)
def test_a_file_that_takes_in_another_names_it(path, text):
    assert text_references.word_for(path).search(text.encode())


def test_part_of_a_word_is_not_a_mention():
    assert not text_references.word_for("lib/net.ml").search(b"internet nets")


def test_what_recipes_write_whole_is_found():
    recipes = b"""
\tcat $(PARTS) > seen.tmp && mv -f seen.tmp "seen" && cp head.bin $@
\tinstall -m 644 x.h include; date >> log; cc -o prog x.c 2> errors
\tif [ -e a ]; then mv a $(MAP); fi; (sort b >c); mv e $(UNKNOWN); mv f g*
"""
    found = text_references.destinations([recipes], {"MAP": "$(DIR)/map", "DIR": "out"}, ["hello.xen"])
    assert {"seen.tmp", "seen", "hello.xen", "include/x.h", "prog", "out/map", "c"} <= found
    assert not found & {"log", "errors", "$(UNKNOWN)", "g*", "e", "f"}


def test_a_project_may_lie_in_a_folder_of_the_system():
    assert text_references.outside("-I../common /usr/include/x.h", "/usr/src/p", "/usr/src/p") == {"/usr/src/common"}
