"""The reference page lists every release and argument of the tables."""

import runpy
from pathlib import Path

from unibuild.toolchain.mirage.flags import FLAGS
from unibuild.toolchain.mirage.releases import RELEASES, series

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "mirage.md").read_text()


def test_page_is_up_to_date(tmp_path):
    assert runpy.run_path(str(ROOT / "tools" / "docs_mirage.py"))["main"]([str(tmp_path / "mirage.md")]) == 0
    assert (tmp_path / "mirage.md").read_text() == PAGE, "run: python tools/docs_mirage.py"


def test_page_has_every_release_and_argument():
    assert all(f"\n| {series(row)} | `mirage configure " in PAGE for row in RELEASES)
    assert all(f"`{name}`" in PAGE for flag in FLAGS for name in flag.names)
