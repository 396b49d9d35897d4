"""The documentation says what the code does, as far as a test can tell."""

import re
import textwrap
import tomllib
from pathlib import Path

import pytest

from unibuild import errors
from unibuild.settings.loader import load
from unibuild.settings.model import Settings

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def codes():
    """Return the exit code that the page gives for each error."""
    rows = re.findall(r"^\| (\d+) \| ([^|]*) \|", (DOCS / "reference" / "exit-codes.md").read_text(), re.MULTILINE)
    return {name: int(code) for code, names in rows for name in re.findall(r"`(\w+)`", names)}


def test_every_error_has_its_exit_code_on_the_page():
    assert codes() == {name: getattr(errors, name).exit_code for name in errors.__all__}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def settings():
    """Give each piece of unibuild.toml that the pages show: indented lines that begin as one does."""
    for page in PAGES:
        for block in re.findall(r"(?:^(?: {4}.*)?\n)+", page.read_text(), re.MULTILINE):
            if re.match(r"\n*    (\[[a-z]|\w+ = )", block):
                yield pytest.param(textwrap.dedent(block), id=f"{page.stem}-{block.split()[0]}")


@pytest.mark.parametrize("toml", list(settings()))
def test_settings_shown_are_settings(tmp_path, toml):
    (tmp_path / "unibuild.toml").write_text(toml)
    assert load(tmp_path, {}, {}).settings != Settings()


def words():
    """Give each key=value that the pages show on a command line of unibuild, doit or make."""
    for page in PAGES:
        for line in re.findall(r"^.*\b(?:unibuild|doit|make) .*$", page.read_text(), re.MULTILINE):
            for key, text in re.findall(r"(?<![\w.])((?:host|name|\w+\.\w[\w.]*))=(\"[^\"]*\"|[^\s`\"]+)", line):
                yield pytest.param(key, text.strip('"'), id=f"{page.stem}-{key}")


@pytest.mark.parametrize(("key", "text"), list(words()))
def test_words_shown_are_settings(tmp_path, key, text):
    (tmp_path / "unibuild.toml").touch()
    assert load(tmp_path, {key: text}, {}).settings != Settings()


def test_layers_in_the_design_page_match_the_contract():
    contracts = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rows = re.findall(r"^\| \d+ \| ([^|]*) \|", (DOCS / "explanation" / "design.md").read_text(), re.MULTILINE)
    assert [set(re.findall(r"\w+", layer)) for layer in contracts[0]["layers"]] == [
        set(re.findall(r"\w+", row)) for row in rows
    ]
