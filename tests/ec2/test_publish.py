"""`unibuild publish_ami` on the command line, against the emulator."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import warm_cli

from unibuild.aws.dry_run import is_reading
from unibuild.graph.disk_image import plan
from unibuild.graph.graph import graph
from unibuild.settings.loader import load

if TYPE_CHECKING:
    from emulator import Emulator

BIN = Path(sys.executable).parent
MAKEFILE = "hello.xen: main.c\n\tcp kernel $@\n\tcat main.c >> $@\n"
TOML = """\
name = "hello"
[build]
kernel = "hello.xen"
[publish]
verify = "none"
region = "us-east-1"
"""


class Project:
    """A project that builds its kernel with `make`, and its AWS emulator."""

    def __init__(self, root: Path, emulator: Emulator) -> None:
        self.root, self.emulator = root, emulator

    def run(self, *words: str, code: int = 0) -> str:
        found, output = warm_cli.run("unibuild", *words, cwd=self.root)
        assert found == code, output
        return output

    def killed(self, operation: str, moment: str, how: signal.Signals) -> int:
        """Publish in a process that gets a signal before or after an operation takes effect; return its exit code."""
        argv = [str(BIN / "unibuild"), "publish_ami"]
        program = subprocess.Popen(argv, cwd=self.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def watch(call, when):
            if (call.operation, when) == (operation, moment) and not call.params.get("DryRun"):
                program.send_signal(how)

        self.emulator.faults.watch = watch
        try:
            return program.wait(200)
        finally:
            self.emulator.faults.watch = None

    def edit(self, text: str) -> None:
        (self.root / "main.c").write_text(text)

    @property
    def calls(self):
        """The calls since the last use of this property, without calls that read and refused calls."""
        done = [call for call in self.emulator.calls if call.done and not is_reading(call.operation, call.params)]
        self.emulator.calls.clear()
        return [call.operation for call in done]


@pytest.fixture
def project(aws: Emulator, tmp_path: Path, hello_kernels) -> Project:
    shutil.copy(hello_kernels.pv, tmp_path / "kernel")
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "unibuild.toml").write_text(TOML)
    found = Project(tmp_path, aws)
    found.edit("// one\n")
    return found


def test_publish_from_sources_and_publish_again(project: Project) -> None:
    planned = project.run("publish_ami", "--plan")
    assert project.calls == []
    assert "ebs:StartSnapshot in us-east-1" in planned
    assert "ec2:RegisterImage in us-east-1" in planned
    result = project.run("publish_ami")
    [image] = project.emulator.region("us-east-1").own_images.values()
    assert f"{image.name} is {image.id} in us-east-1: 2 blocks (1.0 MiB) sent" in result
    assert project.calls == [
        "StartSnapshot",
        "PutSnapshotBlock",
        "PutSnapshotBlock",
        "CompleteSnapshot",
        "RegisterImage",
    ]
    project.emulator.calls.clear()
    assert f"{image.id} in us-east-1 already: nothing was sent" in project.run("publish_ami")
    assert project.emulator.calls.counts == {"DescribeImages": 1}
    changed = ("publish.tags.Owner=me", "publish.description=another {name}", "publish.volume=gp3")
    assert "keeps its gp2 volume" in project.run("publish_ami", *changed)
    assert project.calls == ["CreateTags", "ModifyImageAttribute"]
    assert (image.description, project.emulator.region().tags[image.id]["Owner"]) == ("another hello", "me")
    project.run("publish_ami", *changed)
    assert project.calls == []
    project.edit("// two\n")
    assert "1 block (0.5 MiB) sent, the rest is from snap-" in project.run("publish_ami")
    assert project.calls == ["StartSnapshot", "PutSnapshotBlock", "CompleteSnapshot", "RegisterImage"]
    held = b"".join(path.read_bytes() for path in (project.root / ".unibuild").rglob("*") if path.is_file())
    assert project.emulator.owner.secret_key.encode() not in held


def test_refused_publish_has_a_hint(project: Project, hello_kernels) -> None:
    result = project.run("publish_ami", "publish.name={nome}-{hash}", code=2)
    assert "[publish] name has `{nome}`, which is not a placeholder" in result
    assert "[publish] name gives 'x'" in project.run("publish_ami", "publish.name=x", code=2)
    assert "must be the ARN of a key" in project.run("publish_ami", "publish.kms_key=alias/mine", code=2)
    shutil.copy(hello_kernels.pvh, project.root / "kernel")
    project.edit("// PVH\n")
    assert "PV-GRUB, which loads PV kernels only" in project.run("publish_ami", code=2)
    assert project.calls == []


def test_publish_via_s3(project: Project, client) -> None:
    client("s3").create_bucket(Bucket="images")
    project.emulator.world.roles["vmimport"] = "images"
    assert "needs a bucket" in project.run("publish_ami", "--via", "s3", code=2)
    assert "2 blocks (1.0 MiB) sent" in project.run("publish_ami", "--via", "s3", "publish.bucket=images")
    assert len(project.emulator.region("us-east-1").own_images) == 1
    assert project.emulator.world.buckets["images"].objects == {}


def test_unibuild_plan_knows_the_goal(project: Project) -> None:
    result = project.run("plan", "publish_ami")
    assert "build: would run" in result
    assert "publish_ami: would run" in result


def test_only_ec2_goals_import_boto3(project: Project) -> None:
    project.run("xl")
    code = "import sys; from unibuild.cli.main import main; main(GOAL); print(sorted(sys.modules))"
    for goal in ("['list', '-s']", "['xl']", "['plan', 'boot']"):
        argv = [sys.executable, "-c", code.replace("GOAL", goal)]
        output = subprocess.run(argv, cwd=project.root, capture_output=True, text=True, timeout=200, check=True).stdout
        assert "'unibuild.graph.graph'" in output
        assert not {"'boto3'", "'botocore'"} & set(output.replace("[", "").replace("]", "").split(", "))


@pytest.mark.long
@pytest.mark.parametrize(
    ("operation", "moment", "how", "code"),
    [
        ("PutSnapshotBlock", "after", signal.SIGKILL, -9),
        ("CompleteSnapshot", "before", signal.SIGINT, 130),
        ("ImportSnapshot", "after", signal.SIGKILL, -9),
        ("CopyImage", "after", signal.SIGKILL, -9),
    ],
)
def test_next_run_finishes_a_killed_run(project: Project, client, operation, moment, how, code):
    client("s3").create_bucket(Bucket="images")
    project.emulator.world.roles["vmimport"] = "images"
    more = {"ImportSnapshot": 'via = "s3"\nbucket = "images"\n', "CopyImage": 'regions = ["eu-west-1"]\n'}
    (project.root / "unibuild.toml").write_text(TOML + more.get(operation, ""))
    assert project.killed(operation, moment, how) == code
    project.run("publish_ami")
    expected = plan(graph(load(project.root)))
    for name in ("us-east-1", "eu-west-1") if operation == "CopyImage" else ("us-east-1",):
        region = project.emulator.region(name)
        [image] = region.own_images.values()
        assert region.snapshots.keys() == {image.root["SnapshotId"]}
        assert region.snapshots[image.root["SnapshotId"]].read(0, expected.size) == b"".join(expected.blocks())
    assert project.emulator.world.buckets["images"].objects == {}
