"""Check the command line in the boot loaders' files, with the loaders themselves where they are installed."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.errors import SettingsError
from unibuild.image.grub_config import CommandLine, files

PRINTABLE = st.text(st.characters(codec="ascii", min_codepoint=32, exclude_characters="\x7f"))
LINES = PRINTABLE.map(lambda text: text.strip(" \\"))


def grub_words(text: str) -> list[str]:
    """Split a line into words as GRUB 2 does (its grammar for quotes is that of sh)."""
    return shlex.split(text)


@given(LINES)
def test_grub_2_gets_the_words_between_blanks(text: str) -> None:
    assert " ".join(grub_words(CommandLine(text).for_grub)) == text


@given(st.lists(PRINTABLE.filter(bool), min_size=1))
def test_grub_2_gets_the_words_that_the_kernel_parses(words: list[str]) -> None:
    assert grub_words(CommandLine("x", words).for_grub) == words


@given(LINES)
def test_pygrub_finds_the_command_line_in_one_word_of_grub_2(text: str) -> None:
    found = CommandLine(text).for_pygrub("linux /kernel ")
    if not found:
        assert {"'", '"'} <= set(text) or "'" in text
        return
    assert f"linux /kernel {text}" in found.split("\n")
    quote = found[0]
    parts = found.split(quote)
    assert len(parts) % 2 == 1 or not parts[-1].strip()  # every quote is closed, or the line ends outside of them


@pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\0b", "a\\", " a", "a "])
def test_command_line_that_menu_lst_cannot_contain_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="command line"):
        CommandLine(text)


def test_template_of_the_project_is_preferred(tmp_path) -> None:
    (tmp_path / "dodo_templates").mkdir()
    (tmp_path / "dodo_templates/menu.lst.j2").write_text("kernel {{ kernel }} {{ cmdline }} {{ kind }}")
    found = files("pv", CommandLine("a=$b"), "/k", [], tmp_path)
    assert found["/boot/grub/menu.lst"] == b"kernel /k a=$b pv"
    assert b"linux /k 'a=$b'" in found["/boot/grub/grub.cfg"]
