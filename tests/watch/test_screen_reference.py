"""The reference page of the events says what the events are."""

from pathlib import Path

import msgspec
import pytest

from unibuild.watch import events, reference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "watch.md"


def test_the_page_is_in_step(tmp_path):
    assert reference.main([str(tmp_path / "watch.md")]) == 0
    assert (tmp_path / "watch.md").read_text() == PAGE.read_text(), "run: python -m unibuild.watch.reference"


@pytest.mark.parametrize("kind", events.AnyEvent.__args__, ids=lambda kind: kind.__name__)
def test_every_field_stands_on_the_page(kind):
    (section,) = (
        part for part in PAGE.read_text().split("\n## ") if part.startswith(f"`{kind.__struct_config__.tag}`")
    )
    fields = {field.name for field in msgspec.structs.fields(kind)} - {"at"}
    assert {name for name in fields if f"| `{name}` |" in section} == fields


def test_the_line_on_the_page_is_an_event():
    (line,) = (line.strip() for line in PAGE.read_text().splitlines() if line.startswith("    {"))
    assert isinstance(events.decode(line), events.Changed)
