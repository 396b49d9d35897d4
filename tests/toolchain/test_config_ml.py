"""Reading a config.ml without running it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.toolchain.mirage import config_ml


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('let () = register "hello" [ main ]', "hello"),
        ('let () =\n  register\n    "my-app.v2"\n    [ main ]', "my-app.v2"),
        ('(* register "old" *) let () = register "new" [ main ]', "new"),
        ('(* a (* register "x" *) "*)" *) let () = Mirage.register "new" [ main ]', "new"),
        ('let c = \'"\' let () = register "hello" [ main ]', "hello"),
        ("let c = '\\'' and d = '\"' let () = register \"hello\" [ main ]", "hello"),
        ('let () = register ~argv:(f "no") ~reporter:[ "no" ] "hello" [ main ]', "hello"),
        ('let () = register ?src:None ~packages "hello" [ main ]', "hello"),
        ("let () = register {|hello|} [ main ]", "hello"),
        ("let () = register {ml|hel|}lo|ml} [ main ]", "hel|}lo"),
        ('let () = register "he\\\n   l\\x6co\\033" []', "hello!"),
        ('let s = "register \\"no\\"" let () = register "yes" []', "yes"),
        ('let register x = x let () = register "hello" []', "hello"),
        ('let () = if qubes then register "a" [] else register "a" [ b ]', "a"),
        ('let () = if qubes then register "a" [] else register "b" []', None),
        ("let () = register name [ main ]", None),
        ('let () = register ("a" ^ suffix) [ main ]', None),
        ('let () = unregister "a"', None),
        ('let () = register\' "a"', None),
        ('(* register "a"', None),
        ("", None),
    ],
)
def test_the_name_is_what_register_gets(text, name):
    assert config_ml.name(text) == name


@given(st.text(alphabet="(*)\"\\{|}'register hello\n"))
def test_any_text_is_read_to_its_end(text):
    config_ml.name(text)
    config_ml.strings(text)
    config_ml.used(text)


@given(st.text(alphabet="ab*( \n").filter(lambda text: "*)" not in text and "(*" not in text and text[-1:] not in "(*"))
def test_a_comment_has_no_meaning(comment):
    text = f'open Mirage (* {comment} *) let () (*{comment} *) = register (* "x" {comment} *) "hello" [ main ]'
    assert config_ml.name(text) == "hello"


@given(st.text(st.characters(codec="ascii", exclude_characters='"\\')))
def test_a_string_is_its_text(text):
    assert config_ml.strings(f'let x = "{text}"') == [text]


def test_strings_are_those_outside_comments():
    assert config_ml.strings('f "a" (* "b" *) {|c"d|} \'"\' "e\\"f"') == ["a", 'c"d', 'e"f']


def test_files_taken_in_are_those_of_use():
    assert config_ml.used('#use "net.ml";;\n(* #use "old.ml" *)\nlet x = "no.ml"') == ["net.ml"]
