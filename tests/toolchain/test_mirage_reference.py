"""The reference page says what the table says."""

from pathlib import Path

from unibuild.toolchain import reference
from unibuild.toolchain.mirage.flags import FLAGS
from unibuild.toolchain.mirage.releases import RELEASES, series

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "mirage.md"


def test_the_page_is_in_step():
    assert PAGE.read_text() == reference.markdown(), "run: python -m unibuild.toolchain.reference"


def test_every_row_stands_on_it():
    assert all(f"\n| {series(row)} | `mirage configure " in reference.markdown() for row in RELEASES)
    assert all(f"`{name}`" in reference.markdown() for flag in FLAGS for name in flag.names)


def test_main_writes_it(tmp_path):
    assert reference.main([str(tmp_path)]) == 0
    assert (tmp_path / "mirage.md").read_text() == reference.markdown()
