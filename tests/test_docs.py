"""The documentation agrees with the code, as far as tests can check."""

import re
import textwrap
import tomllib
from pathlib import Path

import pytest

from unibuild import errors
from unibuild.settings.loader import load
from unibuild.settings.model import Settings

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md"]


def documented_codes():
    """Return the exit code of each error on the page."""
    rows = re.findall(r"^\| (\d+) \| ([^|]*) \|", (DOCS / "reference" / "exit-codes.md").read_text(), re.MULTILINE)
    return {name: int(code) for code, names in rows for name in re.findall(r"`(\w+)`", names)}


def test_exit_codes_page_lists_every_error():
    assert documented_codes() == {name: getattr(errors, name).exit_code for name in errors.__all__}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_relative_links_exist(page):
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def toml_blocks():
    """Yield each fragment of unibuild.toml on the pages: indented lines that begin with a table or key."""
    for page in PAGES:
        for block in re.findall(r"(?:^(?: {4}.*)?\n)+", page.read_text(), re.MULTILINE):
            if re.match(r"\n*    (\[[a-z]|\w+ = )", block):
                yield pytest.param(textwrap.dedent(block), id=f"{page.stem}-{block.split()[0]}")


@pytest.mark.parametrize("toml", list(toml_blocks()))
def test_toml_blocks_are_valid_settings(tmp_path, toml):
    (tmp_path / "unibuild.toml").write_text(toml)
    assert load(tmp_path, {}, {}).settings != Settings()


def overrides():
    """Yield each key=value on the pages' command lines of unibuild, doit or make."""
    for page in PAGES:
        for line in re.findall(r"^.*\b(?:unibuild|doit|make) .*$", page.read_text(), re.MULTILINE):
            for key, text in re.findall(r"(?<![\w.])((?:host|name|\w+\.\w[\w.]*))=(\"[^\"]*\"|[^\s`\"]+)", line):
                yield pytest.param(key, text.strip('"'), id=f"{page.stem}-{key}")


@pytest.mark.parametrize(("key", "text"), list(overrides()))
def test_overrides_on_command_lines_are_valid_settings(tmp_path, key, text):
    (tmp_path / "unibuild.toml").touch()
    assert load(tmp_path, {key: text}, {}).settings != Settings()


def test_files_named_in_contributing_exist():
    named = re.findall(
        r"`((?:unibuild|tests|tools|docs|scripts)/[\w./]*)`", (DOCS.parent / "CONTRIBUTING.md").read_text()
    )
    assert [name for name in named if not (DOCS.parent / name).exists()] == []


def test_layers_in_the_design_page_match_the_contract():
    contracts = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rows = re.findall(r"^\| \d+ \| ([^|]*) \|", (DOCS / "explanation" / "design.md").read_text(), re.MULTILINE)
    assert [set(re.findall(r"\w+", layer)) for layer in contracts[0]["layers"]] == [
        set(re.findall(r"\w+", row)) for row in rows
    ]
