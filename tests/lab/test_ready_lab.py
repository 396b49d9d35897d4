"""examples/http is waited for on the real Xen of the lab: the way to it is made for that, and taken away again."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from unibuild.lab.qmp import Monitor
from unibuild.util import process

pytestmark = pytest.mark.lab

EXAMPLES = Path(__file__).parents[2] / "examples"


class Tree:
    """A copy of examples/http with a domain of its own name."""

    def __init__(self, root: Path, lab_vm) -> None:
        self.root, self.lab_vm = root, lab_vm
        shutil.copytree(EXAMPLES / "http", root, ignore=shutil.ignore_patterns("build", "*.xen", ".unibuild"))

    def run(self, goal: str, *words: str) -> process.Completed:
        program = Path(sys.executable).with_name("unibuild")
        accel = os.environ.get("UNIBUILD_LAB_ACCEL", "auto")
        fixed = ["name=ready", "host=lab", f"lab.accel={accel}", "lab.forward=[]", "boot.console=none"]
        return process.run([str(program), goal, *fixed, *words], cwd=self.root, timeout=120, check=False)

    def forwards(self) -> dict[int, str]:
        with Monitor(self.lab_vm.paths.monitor) as monitor:
            return monitor.forwards()


@pytest.fixture
def tree(lab_vm, tmp_path):
    tree = Tree(tmp_path / "http", lab_vm)
    yield tree
    tree.run("destroy")


def test_domain_is_ready_when_it_responds(tree):
    before = tree.forwards()
    body = "boot.ready.http.body=hello from ready, a PV domain"
    done = tree.run("boot", body, "boot.ready.tcp=80", "boot.ready.timeout=60")
    said = done.stderr.decode()
    assert done.returncode == 0, said
    assert "unibuild: ready was ready after " in said
    assert tree.forwards() == before
