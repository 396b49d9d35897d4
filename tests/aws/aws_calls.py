"""Frequent AWS calls in the tests of the emulator."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from botocore.exceptions import ClientError

BLOCK = 524288
DATA = bytes(range(256)) * 2048
OTHER = b"other".ljust(BLOCK, b"\0")
NOWHERE = "snap-0123456789abcdef0"
AKI = "aki-5c21674b"


def checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def bdm(snapshot: str, **ebs: Any) -> list[dict[str, Any]]:
    return [{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot, **ebs}}]


class Caller:
    """Methods for frequent calls, with the clients of the services."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.ec2, self.ebs, self.sts = client("ec2"), client("ebs"), client("sts")

    def start(self, **params: Any) -> str:
        return self.ebs.start_snapshot(**{"VolumeSize": 1, **params})["SnapshotId"]

    def put(self, snapshot: str, index: int, data: bytes = DATA, **params: Any) -> Any:
        given = {"DataLength": len(data), "Checksum": checksum(data), "ChecksumAlgorithm": "SHA256", **params}
        return self.ebs.put_snapshot_block(SnapshotId=snapshot, BlockIndex=index, BlockData=data, **given)

    def complete(self, snapshot: str, count: int, aggregate: str | None = None, method: str | None = "LINEAR") -> Any:
        given = {"Checksum": aggregate, "ChecksumAlgorithm": "SHA256", "ChecksumAggregationMethod": method}
        given = {key: value for key, value in given.items() if value} if aggregate else {}
        return self.ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=count, **given)

    def snapshot(self, blocks: dict[int, bytes] | None = None, **params: Any) -> str:
        blocks = {0: DATA} if blocks is None else blocks
        made = self.start(**params)
        for index, data in blocks.items():
            self.put(made, index, data)
        self.complete(made, len(blocks))
        return made

    def register(self, snapshot: str, **params: Any) -> str:
        ebs = {"VolumeSize": 1, "VolumeType": "gp2", "DeleteOnTermination": True}
        given = {
            "Name": "hello",
            "Architecture": "x86_64",
            "KernelId": AKI,
            "RootDeviceName": "/dev/sda1",
            "VirtualizationType": "paravirtual",
            "BlockDeviceMappings": bdm(snapshot, **ebs),
            **params,
        }
        return self.ec2.register_image(**{key: value for key, value in given.items() if value is not None})["ImageId"]

    def image(self, image_id: str) -> dict[str, Any]:
        return self.ec2.describe_images(ImageIds=[image_id])["Images"][0]

    def ami(self, **params: Any) -> str:
        return self.register(self.snapshot(), **params)

    def run(self, image: str | None = None, **params: Any) -> str:
        given = {"InstanceType": "t1.micro", "MinCount": 1, "MaxCount": 1, **params}
        return self.ec2.run_instances(ImageId=image or self.ami(), **given)["Instances"][0]["InstanceId"]

    def instance(self, instance: str) -> dict[str, Any]:
        return self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]

    def copy(self, image: str, region: str = "eu-west-1", **params: Any) -> dict[str, Any]:
        """Copy an AMI of us-east-1; return the copy as the other region describes it."""
        ec2 = self.client("ec2", region)
        made = ec2.copy_image(**{"SourceImageId": image, "SourceRegion": "us-east-1", "Name": "copy", **params})
        return ec2.describe_images(ImageIds=[made["ImageId"]])["Images"][0]

    def address(self) -> str:
        return self.ec2.allocate_address(Domain="vpc")["AllocationId"]

    def state(self, snapshot: str) -> str:
        return self.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["State"]

    def listed(self, snapshot: str, **params: Any) -> list[int]:
        return [one["BlockIndex"] for one in self.ebs.list_snapshot_blocks(SnapshotId=snapshot, **params)["Blocks"]]

    def changed(self, first: str, second: str) -> list[int]:
        answer = self.ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=second)
        return [one["BlockIndex"] for one in answer["ChangedBlocks"]]

    def read(self, snapshot: str, index: int) -> bytes:
        blocks = self.ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"]
        token = next(one["BlockToken"] for one in blocks if one["BlockIndex"] == index)
        return self.ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=index, BlockToken=token)["BlockData"].read()


def code(function, *args, **params) -> str:
    """Return the code with which AWS refuses a call, and the reason if it gives one."""
    with pytest.raises(ClientError) as caught:
        function(*args, **params)
    reason = caught.value.response.get("Reason")
    return caught.value.response["Error"]["Code"] + (f"/{reason}" if reason else "")
