"""Trees of files for the toolchain's tests."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path):
    """Write files below tmp_path: {"path": "content"}; returns tmp_path."""

    def write(files: dict[str, str]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return write


@pytest.fixture(scope="session")
def git():
    """Run git with none of the person's settings; returns what it prints, split at NUL."""

    def run(root: Path, *argv: str) -> list[str]:
        env = {"PATH": "/usr/bin:/bin", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(root)}
        said = subprocess.run(["git", *argv], cwd=root, env=env, check=True, capture_output=True)
        return [word for word in said.stdout.decode(errors="surrogateescape").split("\0") if word]

    return run
