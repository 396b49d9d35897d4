from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.append(str(Path(__file__).parent))  # for xl_oracle and xl_files, which are helpers and no tests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xl_oracle import Oracle


@pytest.fixture(scope="session")
def oracle() -> Iterator[Oracle]:
    """Xen's own parser. In CI it must be there; elsewhere its tests are skipped without it."""
    from xl_oracle import Oracle

    try:
        found = Oracle()
    except OSError as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    yield found
    found.close()
