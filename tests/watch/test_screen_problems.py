"""Compiler messages become places and problems."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.watch.diagnostics import MOST, places, plain, problems

GCC = """\
main.c: In function 'main':
main.c:12:5: \x1b[01;31m\x1b[Kerror: \x1b[m\x1b[Kexpected ';' before '}' token
   12 |     return 0
      |     ^~~~~~
main.c:3:1: warning: unused
lib/x.h:1:10: fatal error: nowhere.h: No such file or directory
compilation terminated.
make: *** [lib/kernel.mk:60: build/main.o] Error 1
"""
OCAML = """\
File "unikernel.ml", line 3, characters 4-9:
3 |     foo
        ^^^^^
Error: Unbound value foo
File "a.ml", lines 5-7, characters 0-3:
Warning 32 [unused-value-declaration]: unused value x.
"""
LINK = """\
ld: build/main.o: in function `main':
/w/main.c:7: undefined reference to `nothing'
ld: main.c:(.text+0x9): undefined reference to `other'
"""
PYTHON = """\
Traceback (most recent call last):
  File "x.py", line 3, in <module>
ValueError: no
"""


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (
            GCC,
            [
                "main.c:12:5: error: expected ';' before '}' token",
                "lib/x.h:1:10: fatal error: nowhere.h: No such file or directory",
            ],
        ),
        (OCAML, ["unikernel.ml:3:5: Error: Unbound value foo"]),
        (LINK, ["/w/main.c:7: undefined reference to `nothing'", "main.c: undefined reference to `other'"]),
        ("make: *** No rule\n", []),
    ],
)
def test_problems(said, found):
    assert [str(one) for one in problems(said.splitlines())] == found


def test_problem_is_found_once_and_their_number_is_limited():
    lines = [f"a.c:{number // 2}:1: error: x" for number in range(1000)]
    assert len(problems(lines)) == MOST
    assert len(set(problems(lines))) == MOST


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("main.c:12:5: error", [("main.c:12:5", "main.c", 12, 5)]),
        ("see main.c:12, and x.h:3:", [("main.c:12", "main.c", 12, None), ("x.h:3", "x.h", 3, None)]),
        (
            'Raised at f in file "lwt/lwt.ml", line 3141, characters 20-29',
            [('file "lwt/lwt.ml", line 3141, characters 20-29', "lwt/lwt.ml", 3141, 21)],
        ),
        ('  File "x.py", line 3, in <module>', [('File "x.py", line 3', "x.py", 3, None)]),
        ("nothing", []),
        ("a.c:12x", []),
    ],
)
def test_places(line, found):
    assert [(line[one.start : one.end], one.path, one.line, one.column) for one in places(line)] == found


@given(st.lists(st.text('aF.c:1 "\x1b[m', max_size=40)))
def test_any_output_can_be_parsed(lines):
    for line in lines:
        spots = list(places(line))
        assert all(a.end <= b.start for a, b in itertools.pairwise(spots))
    problems(lines)


@given(st.text("ab", max_size=5), st.sampled_from(["\x1b[01;31m", "\x1b[K", "\x1b]8;;u\x1b\\", "\x1bM"]))
def test_plain_removes_escape_sequences(text, sequence):
    assert plain(sequence + text + sequence) == text


def test_ocaml_message_continues_in_indented_lines():
    said = [
        'File "unikernel.ml", line 4, characters 34-35:',
        "Error: This expression has type string but an expression was expected of type",
        "         int",
        "make: *** [Makefile:3: build] Error 2",
    ]
    (found,) = problems(said)
    assert found.text.endswith("was expected of type int")
