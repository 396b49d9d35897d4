"""From a kernel to an instance: the uploaded volume boots on the real Xen of the lab, and that is the console."""

from __future__ import annotations

import hashlib
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from unibuild.aws import inventory
from unibuild.ec2.account import open_account
from unibuild.ec2.launch import locked_launch
from unibuild.ec2.publish import publish
from unibuild.graph.disk_image import plan
from unibuild.graph.graph import Graph, graph
from unibuild.settings.loader import load
from unibuild.testing.image_verification import verify

sys.path.insert(0, str(Path(__file__).parents[1] / "aws"))
from emulator import Emulator
from emulator.snapshot import BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from emulator.snapshot import Snapshot

    from tests.conftest import Kernels
    from unibuild.lab.vm import LabVm

pytestmark = pytest.mark.lab

LINE = "from the volume  $x ${y} #e ; | & < > *"
SETTINGS = """
name = "hello"
[build]
kernel = "k.xen"
[xl]
memory = 32
cmdline = '{line}'
[publish]
verify = "none"
virtualization = "{virtualization}"
[boot.ready]
console = "tick 1"
"""


@dataclass(frozen=True)
class Volume:
    """A snapshot as what ``verify`` boots: its volume, up to the last block in which there is something."""

    snapshot: Snapshot
    kind: Literal["pv", "pvh"]
    has_bios: bool

    @property
    def size(self) -> int:
        return (max(self.snapshot.content) + 1) * BLOCK

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.snapshot.read(0, self.size)).hexdigest()

    def blocks(self) -> Iterator[bytes]:
        return (self.snapshot.read(at, BLOCK) for at in range(0, self.size, BLOCK))


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator() as emulator:
        for name, value in emulator.environment().items():
            monkeypatch.setenv(name, value)
        yield emulator
        assert not emulator.bugs


@pytest.fixture
def project(tmp_path: Path, lab_vm: LabVm, hello_kernels: Kernels) -> Callable[..., Graph]:
    """Return a function that creates a project with a built kernel."""

    def make(kind: str, virtualization: str) -> Graph:
        (tmp_path / "unibuild.toml").write_text(SETTINGS.format(line=LINE, virtualization=virtualization))
        (tmp_path / "Makefile").touch()
        (tmp_path / ".unibuild").mkdir()
        shutil.copy(getattr(hello_kernels, kind), tmp_path / ".unibuild/hello.xen")
        return graph(load(tmp_path))

    return make


def test_uploaded_image_boots_and_launches(aws: Emulator, project) -> None:
    """A PV kernel differs only in its image, which tests/lab/test_image.py boots."""
    project = project("pvh", "hvm")
    publish(project)
    (image,) = aws.region().own_images.values()
    assert image.virtualization == "hvm"
    there = plan(project)
    volume = Volume(aws.region().snapshots[image.root["SnapshotId"]], "pvh", has_bios=there.has_bios)
    assert volume.snapshot.read(0, there.size) == b"".join(there.blocks())
    verify(project, volume)
    said = (project.project.root / ".unibuild/test/image.log").read_bytes().decode(errors="replace")
    assert any(row.rstrip().endswith(f"command line: {LINE}") for row in said.splitlines()), said
    aws.world.console = lambda instance: said if instance.volume is volume.snapshot else ""
    client = open_account(project.project.settings.publish)
    (ami,) = inventory.list_amis(client, client.region)
    with locked_launch(project.project, client, client.region) as launch:
        launch.run(ami, replace=False, terminate=False)
    assert "unibuild:verified" in aws.region().tags[image.id]
