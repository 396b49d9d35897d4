"""The fixture ``server``: a real OpenSSH server, one for each worker."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sshd import Server, missing

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    if lacking := missing():
        assert os.environ.get("CI") != "true", f"not installed: {lacking}"
        pytest.skip(f"not installed (scripts/setup test does it): {', '.join(lacking)}")
    with Server() as server:
        yield server
