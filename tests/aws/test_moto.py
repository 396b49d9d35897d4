"""Publish to moto's server, an independent emulator, to check that unibuild does not depend on its own emulator.

moto 5.2 lacks features that publishing needs; ``_patch_gaps`` adds them. The test cannot check what moto does not
store: checksums, ClientTokens, parents, and all of an AMI except its name and description.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest
from disks import Disk, publish_disk

from unibuild.aws.client import Aws, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unibuild.aws import publish

REGION, OWNER = "us-east-1", "123456789012"


def _patch_gaps(patch: pytest.MonkeyPatch) -> None:
    """Give moto EBS direct's block size (it has 512 bytes) and a PV-GRUB (it lacks kernel images)."""
    from moto.ebs.models import EBSSnapshot
    from moto.ec2.models import ec2_backends
    from moto.ec2.models.amis import Ami

    begin = EBSSnapshot.__init__

    def begin_with_blocks(self: EBSSnapshot, **params: Any) -> None:
        begin(self, **params)
        self.block_size = 524288

    patch.setattr(EBSSnapshot, "__init__", begin_with_blocks)
    ec2 = ec2_backends[OWNER][REGION]
    kernel = {
        "name": "pv-grub-hd0_1.05-x86_64.gz",
        "image_type": "kernel",
        "owner_alias": "amazon",
        "owner_id": "1" * 12,
    }
    ec2.amis["ami-5c21674b"] = Ami(ec2, "ami-5c21674b", **kernel)


@pytest.fixture(scope="module")
def moto() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # loading them takes seconds
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        _patch_gaps(patch)
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        yield
        server.stop()


def make(disk: Disk, folder: Path) -> publish.Published:
    return publish_disk(Aws(retries=RetryPolicy(budget=10.0)), disk, folder)


def held(snapshot: str) -> dict[int, bytes]:
    """Return the blocks of a snapshot."""
    ebs = boto3.client("ebs")
    found = ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"]
    tokens = {one["BlockIndex"]: one["BlockToken"].replace("-", "") for one in found}
    get = ebs.get_snapshot_block
    return {i: get(SnapshotId=snapshot, BlockIndex=i, BlockToken=tokens[i])["BlockData"].read() for i in tokens}


def test_publish(moto, tmp_path):
    made = make(disk := Disk.of(1, 0, 2, 3), tmp_path)
    ec2 = boto3.client("ec2")
    (image,) = ec2.describe_images(ImageIds=[made.image])["Images"]
    assert (made.puts, image["Name"], image["State"]) == (3, f"hello-{disk.digest[:12]}", "available")
    own = ec2.describe_snapshots(Filters=[{"Name": "tag:unibuild:sha256", "Values": [disk.digest]}])["Snapshots"]
    assert [held(one["SnapshotId"]) for one in own] == [disk.content]


def test_publish_of_a_change(moto, tmp_path):
    """moto ignores parents: a snapshot with one block on top of a parent has only that block."""
    make(Disk.of(4, 5, 6), tmp_path)
    made = make(Disk.of(4, 5, 7), tmp_path)
    assert (made.puts, made.parent is not None) == (1, True)
