from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from unibuild import process

EXAMPLES = Path(__file__).parents[1] / "examples"


@dataclass(frozen=True)
class Kernels:
    """The kernels that examples/hello builds."""

    pv: Path
    pvh: Path


@pytest.fixture(scope="session")
def hello_kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    folder = tmp_path_factory.mktemp("kernels") / "hello"
    shutil.copytree(EXAMPLES / "hello", folder, ignore=shutil.ignore_patterns("build", "*.xen", ".unibuild"))
    process.run(["make", "-s"], cwd=folder)
    return Kernels(pv=folder / "hello-pv.xen", pvh=folder / "hello-pvh.xen")
