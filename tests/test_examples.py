from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from unibuild.kernel import inspect
from unibuild.settings.loader import load
from unibuild.util import process

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/unibuild.toml"))
MADE = [name for name in NAMES if (EXAMPLES / name / "Makefile").exists()]


@pytest.fixture
def tree(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of the tested example, without files that were built in it."""
    ignore = shutil.ignore_patterns("build", "*.xen", ".unibuild")
    return shutil.copytree(EXAMPLES / request.param, tmp_path / request.param, ignore=ignore)


@pytest.mark.parametrize("name", NAMES)
def test_example_is_complete(name):
    settings = load(EXAMPLES / name, environ={}).settings
    assert settings.name == name
    assert len((EXAMPLES / name / "README.md").read_text().splitlines()) <= 15
    assert "from unibuild import DOIT_CONFIG, unikernel" in (EXAMPLES / name / "dodo.py").read_text()


@pytest.mark.parametrize(("tree", "name"), [(name, name) for name in MADE], indirect=["tree"])
def test_example_builds_without_a_warning(tree, name):
    assert process.run(["make", "-s"], cwd=tree, env={"CFLAGS": "-O2 -g"}).stderr == b""
    assert inspect(tree / f"{name}-pv.xen").type_for(None) == "pv"
    assert inspect(tree / f"{name}-pvh.xen").type_for(None) == "pvh"
    assert (tree / load(tree, environ={}).settings.build.kernel).exists()


@pytest.mark.parametrize(
    ("setting", "missing"), [("XEN_INCLUDE=/none", "apt install libxen-dev"), ("CC=no-such-gcc", "apt install gcc")]
)
@pytest.mark.parametrize("tree", ["hello"], indirect=True)
def test_missing_program_is_reported(tree, setting, missing):
    output = process.run(["make", setting], cwd=tree, check=False).stderr.decode().splitlines()
    assert len(output) == 1
    assert missing in output[0]


def test_same_sources_in_another_folder_build_the_same_kernel(tmp_path):
    kernels = []
    for folder in (tmp_path / "one", tmp_path / "another folder"):
        shutil.copytree(EXAMPLES / "hello", folder, ignore=shutil.ignore_patterns("build", "*.xen", ".unibuild"))
        process.run(["make", "-s", "hello-pvh.xen"], cwd=folder, env={"CFLAGS": "-O1 -g"})
        kernels.append((folder / "hello-pvh.xen").read_bytes())
    assert kernels[0] == kernels[1]
