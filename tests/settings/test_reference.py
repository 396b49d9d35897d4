"""The reference page and the schema match the model."""

import json
from pathlib import Path

import pytest

from unibuild.settings import reference
from unibuild.settings.schema import leaves

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
MEND = "run: python -m unibuild.settings.reference"


def test_page_matches_the_model():
    assert (FOLDER / "settings.md").read_text() == reference.markdown(), MEND


def test_schema_matches_the_model():
    assert (FOLDER / "unibuild.schema.json").read_text() == reference.schema(), MEND


def test_main_writes_both(tmp_path):
    assert reference.main([str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["settings.md", "unibuild.schema.json"]


@pytest.mark.parametrize("leaf", list(leaves()), ids=lambda leaf: leaf.dotted)
def test_every_setting_is_on_the_page_and_in_the_schema(leaf):
    assert f"### `{leaf.dotted}`" in reference.markdown()
    node = json.loads(reference.schema())
    for key in leaf.path:
        node = node["additionalProperties"] if key.startswith("<") else node["properties"][key]
    assert {"type", "enum", "anyOf"} & node.keys()


def test_schema_has_neither_null_nor_references():
    assert "null" not in reference.schema()
    assert "$ref" not in reference.schema()
