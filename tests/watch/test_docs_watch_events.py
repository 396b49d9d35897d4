"""The docs of watch cover the events, the keys and the variables of a hook."""

import runpy
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from unibuild.settings.loader import CYCLE
from unibuild.watch import events
from unibuild.watch.ui import view

TOOL = Path(__file__).parents[2] / "tools" / "docs_watch_events.py"
DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "reference" / "watch.md"
HOW_TO = (DOCS / "how-to" / "watch.md").read_text()


def test_page_matches_the_events(tmp_path):
    assert runpy.run_path(str(TOOL))["main"]([str(tmp_path / "watch.md")]) == 0
    assert (tmp_path / "watch.md").read_text() == PAGE.read_text(), "run: python tools/docs_watch_events.py"


@pytest.mark.parametrize("kind", events.AnyEvent.__args__, ids=lambda kind: kind.__name__)
def test_page_has_every_field(kind):
    (section,) = (
        part for part in PAGE.read_text().split("\n## ") if part.startswith(f"`{kind.__struct_config__.tag}`")
    )
    fields = {field.name for field in msgspec.structs.fields(kind)} - {"at"}
    assert {name for name in fields if f"| `{name}` |" in section} == fields


def test_example_on_the_page_is_an_event():
    (line,) = (line.strip() for line in PAGE.read_text().splitlines() if line.startswith("    {"))
    assert isinstance(events.decode(line), events.Changed)


@pytest.mark.parametrize("key", view.KEYS)
def test_page_has_every_key(key):
    assert f"| `{key}` | " in HOW_TO


@pytest.mark.parametrize("fact", CYCLE)
def test_page_has_every_variable_of_a_hook(fact):
    assert f"`{fact}`" in HOW_TO


def test_screen_without_a_terminal_does_not_import_rich():
    code = "import sys; from unibuild.watch.ui.streams import PlainScreen; "
    code += "PlainScreen(colour=False); print('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
