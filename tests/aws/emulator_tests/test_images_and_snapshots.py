"""The emulator follows AWS's documentation, one line for each rule: error codes and answers."""

# ruff: noqa: E501 (one line a rule)

from __future__ import annotations

import hashlib

import pytest
from aws_calls import AKI, BLOCK, DATA, NOWHERE, OTHER, bdm, checksum, code

VALIDATION = "ValidationException/INVALID_PARAMETER_VALUE"
REFUSED = {
    "start: parent and Encrypted": (VALIDATION, lambda c: c.start(ParentSnapshotId=c.snapshot(), Encrypted=True)),
    "start: unknown parent": (
        "ResourceNotFoundException/SNAPSHOT_NOT_FOUND",
        lambda c: c.start(ParentSnapshotId=NOWHERE),
    ),
    "start: pending parent": (
        "ValidationException/INVALID_SNAPSHOT_ID",
        lambda c: c.start(ParentSnapshotId=c.start()),
    ),
    "start: smaller than the parent": (
        "ValidationException/INVALID_VOLUME_SIZE",
        lambda c: c.start(ParentSnapshotId=c.snapshot(VolumeSize=2)),
    ),
    "start: token with other parameters": (
        "ConflictException",
        lambda c: [c.start(ClientToken="t", VolumeSize=size) for size in (1, 2)],
    ),
    "start: too large": ("ValidationException/INVALID_VOLUME_SIZE", lambda c: c.start(VolumeSize=65537)),
    "start: reserved tag": (
        "ValidationException",
        lambda c: c.start(Tags=[{"Key": "aws:x", "Value": ""}]),
    ),
    "start: key without Encrypted": (
        VALIDATION,
        lambda c: c.start(KmsKeyArn="arn:aws:kms:us-east-1:123456789012:key/a"),
    ),
    "start: unknown key": (
        "ResourceNotFoundException/DEPENDENCY_RESOURCE_NOT_FOUND",
        lambda c: c.start(Encrypted=True, KmsKeyArn="arn:aws:kms:us-east-1:123456789012:key/a"),
    ),
    "start: the 101st that is pending": ("ConcurrentLimitExceededException", lambda c: [c.start() for _ in range(101)]),
    "start: an alias is not a key": (
        VALIDATION,
        lambda c: c.start(Encrypted=True, KmsKeyArn="arn:aws:kms:us-east-1:123456789012:alias/aws/ebs"),
    ),
    "start: long description": (VALIDATION, lambda c: c.start(Description="d" * 256)),
    "start: long tag": (VALIDATION, lambda c: c.start(Tags=[{"Key": "k", "Value": "v" * 256}])),
    "start: empty token": (VALIDATION, lambda c: c.start(ClientToken="a b")),
    "start: timeout": (VALIDATION, lambda c: c.start(Timeout=5000)),
    "put: wrong checksum": (
        "ValidationException/INVALID_BLOCK",
        lambda c: c.put(c.start(), 0, Checksum=checksum(b"x")),
    ),
    "put: short": ("ValidationException/INVALID_BLOCK", lambda c: c.put(c.start(), 0, b"short")),
    "put: another length": ("ValidationException/INVALID_BLOCK", lambda c: c.put(c.start(), 0, DataLength=512)),
    "put: another algorithm": (VALIDATION, lambda c: c.put(c.start(), 0, ChecksumAlgorithm="MD5")),
    "put: behind the end": ("ValidationException/INVALID_BLOCK", lambda c: c.put(c.start(), 2048)),
    "put: unknown snapshot": ("ResourceNotFoundException/SNAPSHOT_NOT_FOUND", lambda c: c.put(NOWHERE, 0)),
    "put: completed snapshot": ("ValidationException/INVALID_SNAPSHOT_ID", lambda c: c.put(c.snapshot(), 0)),
    "complete: wrong count": (VALIDATION, lambda c: c.complete(c.start(), 1)),
    "complete: wrong checksum": (VALIDATION, lambda c: c.complete(c.start(), 0, checksum(b"x"))),
    "complete: no method": (VALIDATION, lambda c: c.complete(c.start(), 0, checksum(b""), None)),
    "complete: twice": ("ValidationException/INVALID_SNAPSHOT_ID", lambda c: c.complete(c.snapshot(), 1)),
    "list: pending": ("ValidationException/INVALID_SNAPSHOT_ID", lambda c: c.listed(c.start())),
    "list: no such page": (
        "ValidationException/INVALID_PAGE_TOKEN",
        lambda c: c.listed(c.snapshot(), NextToken="eA=="),
    ),
    "changed: not related": (
        "ValidationException/UNRELATED_SNAPSHOTS",
        lambda c: c.changed(c.snapshot(), c.snapshot()),
    ),
    "get: wrong token": (
        "ValidationException/INVALID_BLOCK_TOKEN",
        lambda c: c.ebs.get_snapshot_block(SnapshotId=c.snapshot(), BlockIndex=0, BlockToken="AAAA"),
    ),
    "get: no such block": (
        "ResourceNotFoundException/BLOCK_NOT_FOUND",
        lambda c: c.ebs.get_snapshot_block(SnapshotId=c.snapshot(), BlockIndex=1, BlockToken="AAAA"),
    ),
    "describe: unknown snapshot": ("InvalidSnapshot.NotFound", lambda c: c.state(NOWHERE)),
    "describe: no snapshot's id": ("InvalidParameterValue", lambda c: c.state("vol-1")),
    "describe: unknown filter": (
        "InvalidParameterValue",
        lambda c: c.ec2.describe_images(Filters=[{"Name": "colour", "Values": ["red"]}]),
    ),
    "describe: unknown image": ("InvalidAMIID.NotFound", lambda c: c.image("ami-0123456789abcdef0")),
    "describe: no image's id": ("InvalidAMIID.Malformed", lambda c: c.image("snap-1")),
    "describe: a page of ids": (
        "InvalidParameterCombination",
        lambda c: c.ec2.describe_snapshots(SnapshotIds=[c.start()], MaxResults=5),
    ),
    "describe: tiny page": ("InvalidParameterValue", lambda c: c.ec2.describe_snapshots(MaxResults=1)),
    "delete: in use": (
        "InvalidSnapshot.InUse",
        lambda c: (s := c.snapshot(), c.register(s), c.ec2.delete_snapshot(SnapshotId=s)),
    ),
    "delete: unknown": ("InvalidSnapshot.NotFound", lambda c: c.ec2.delete_snapshot(SnapshotId=NOWHERE)),
    "register: dry run": ("DryRunOperation", lambda c: c.register(NOWHERE, DryRun=True)),
    "register: unknown snapshot": ("InvalidSnapshot.NotFound", lambda c: c.register(NOWHERE)),
    "register: pending snapshot": ("IncorrectState", lambda c: c.register(c.start())),
    "register: same name": ("InvalidAMIName.Duplicate", lambda c: [c.register(c.snapshot()) for _ in range(2)]),
    "register: bad name": ("InvalidAMIName.Malformed", lambda c: c.register(c.snapshot(), Name="a:b")),
    "register: i386 by default": ("InvalidParameterValue", lambda c: c.register(c.snapshot(), Architecture=None)),
    "register: unknown kernel": ("InvalidAMIID.NotFound", lambda c: c.register(c.snapshot(), KernelId="aki-00000000")),
    "register: hvm with a kernel": (
        "InvalidParameterCombination",
        lambda c: c.register(c.snapshot(), VirtualizationType="hvm"),
    ),
    "register: PV with ENA": ("InvalidParameterCombination", lambda c: c.register(c.snapshot(), EnaSupport=True)),
    "register: no root device": (
        "InvalidBlockDeviceMapping",
        lambda c: c.register(c.snapshot(), RootDeviceName="/dev/xvda"),
    ),
    "register: too small": (
        "InvalidBlockDeviceMapping",
        lambda c: c.register(s := c.snapshot(VolumeSize=2), BlockDeviceMappings=bdm(s, VolumeSize=1)),
    ),
    "register: encrypted": (
        "InvalidBlockDeviceMapping",
        lambda c: c.register(s := c.snapshot(), BlockDeviceMappings=bdm(s, Encrypted=True)),
    ),
    "register: tags of another kind": (
        "InvalidParameterValue",
        lambda c: c.register(c.snapshot(), TagSpecifications=[{"ResourceType": "instance", "Tags": []}]),
    ),
    "register: unknown volume type": (
        "InvalidParameterValue",
        lambda c: c.register(s := c.snapshot(), BlockDeviceMappings=bdm(s, VolumeType="gp9")),
    ),
    "deregister: Amazon's": ("AuthFailure", lambda c: c.ec2.deregister_image(ImageId=AKI)),
    "tags: unknown image": (
        "InvalidAMIID.NotFound",
        lambda c: c.ec2.create_tags(Resources=["ami-0123456789abcdef0"], Tags=[{"Key": "a", "Value": "b"}]),
    ),
    "tags: too long": (
        "InvalidParameterValue",
        lambda c: c.ec2.create_tags(Resources=[c.start()], Tags=[{"Key": "a", "Value": "b" * 256}]),
    ),
    "types: unknown": ("InvalidInstanceType", lambda c: c.ec2.describe_instance_types(InstanceTypes=["t9.huge"])),
}


@pytest.mark.parametrize("rule", REFUSED)
def test_refused(call, rule):
    expected, asked = REFUSED[rule]
    assert code(asked, call) == expected


KERNELS = [{"Name": "image-type", "Values": ["kernel"]}, {"Name": "name", "Values": ["pv-grub-hd0_*-x86_64.gz"]}]
TOLD = {
    "a token gives the same snapshot": lambda c: c.start(ClientToken="t") == c.start(ClientToken="t"),
    "a block has 512 KiB": lambda c: c.ebs.start_snapshot(VolumeSize=1)["BlockSize"] == BLOCK,
    "a put returns its checksum": lambda c: c.put(c.start(), 0)["Checksum"] == checksum(DATA),
    "blocks come back": lambda c: c.read(c.snapshot({3: DATA}), 3) == DATA,
    "the last put of a block counts": lambda c: (
        s := c.start(), c.put(s, 0), c.put(s, 0, OTHER), c.complete(s, 1), c.read(s, 0) == OTHER
    )[-1],
    "the aggregate is of raw digests, by index": lambda c: (
        s := c.start(), c.put(s, 7), c.put(s, 2, OTHER),
        c.complete(s, 2, checksum(hashlib.sha256(OTHER).digest() + hashlib.sha256(DATA).digest()))["Status"] == "pending",
    )[-1],
    "a child has its parent's blocks": lambda c: (
        c.listed(c.snapshot({9: DATA}, ParentSnapshotId=c.snapshot({3: DATA}))) == [3, 9]
    ),
    "and keeps them when it is deleted": lambda c: (
        p := c.snapshot({3: DATA}), s := c.snapshot({9: DATA}, ParentSnapshotId=p),
        c.ec2.delete_snapshot(SnapshotId=p), c.listed(s) == [3, 9],
    )[-1],
    "changed blocks": lambda c: (
        p := c.snapshot({3: DATA, 4: DATA}), c.changed(p, c.snapshot({4: OTHER, 9: DATA}, ParentSnapshotId=p)) == [4, 9],
    )[-1],
    "a listing can begin in the middle": lambda c: c.listed(c.snapshot({1: DATA, 2: DATA}), StartingBlockIndex=2) == [2],
    "pending, then completed": lambda c: (s := c.start(), c.state(s), c.complete(s, 0), c.state(s))[1::2] == ("pending", "completed"),
    "the waiter ends": lambda c: c.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[c.snapshot()]) is None,
    "a snapshot is found by its tag": lambda c: (
        s := c.start(Tags=[{"Key": "a", "Value": "b"}]),
        [one["SnapshotId"] for one in c.ec2.describe_snapshots(
            OwnerIds=["self"], Filters=[{"Name": "tag:a", "Values": ["?"]}])["Snapshots"]] == [s],
    )[-1],
    "encryption": lambda c: c.ebs.start_snapshot(VolumeSize=1, Encrypted=True)["KmsKeyArn"].startswith("arn:aws:kms:us-east-1:"),
    "the releases of PV-GRUB": lambda c: sorted(
        one["Name"] for one in c.ec2.describe_images(Owners=["amazon"], Filters=KERNELS)["Images"]
    ) == [f"pv-grub-hd0_1.0{release}-x86_64.gz" for release in (3, 4, 5)],
    "an AMI is described as it was registered": lambda c: (
        s := c.snapshot(), image := c.image(c.register(s)),
        {key: image[key] for key in ("Name", "State", "Architecture", "VirtualizationType", "KernelId", "RootDeviceName",
                                     "RootDeviceType", "ImageType", "OwnerId", "Public")} == {
            "Name": "hello", "State": "available", "Architecture": "x86_64", "VirtualizationType": "paravirtual",
            "KernelId": AKI, "RootDeviceName": "/dev/sda1", "RootDeviceType": "ebs", "ImageType": "machine",
            "OwnerId": "123456789012", "Public": False}
        and image["BlockDeviceMappings"] == bdm(s, DeleteOnTermination=True, VolumeSize=1, VolumeType="gp2", Encrypted=False),
    )[-1],
    "with its tags": lambda c: (
        c.image(c.register(c.snapshot(), TagSpecifications=[
            {"ResourceType": "image", "Tags": [{"Key": "k", "Value": "v"}]}]))["Tags"] == [{"Key": "k", "Value": "v"}]
    ),
    "tags come and go": lambda c: (
        i := c.register(c.snapshot()), c.ec2.create_tags(Resources=[i], Tags=[{"Key": "k", "Value": "v"}]),
        c.ec2.delete_tags(Resources=[i], Tags=[{"Key": "k"}]), c.image(i)["Tags"] == [],
    )[-1],
    "a deregistered AMI lets its snapshot go": lambda c: (
        s := c.snapshot(), c.ec2.deregister_image(ImageId=c.register(s)), c.ec2.delete_snapshot(SnapshotId=s))[-1],
    "pages": lambda c: len([c.start() for _ in range(12)]) == len(
        c.ec2.get_paginator("describe_snapshots").paginate(PaginationConfig={"PageSize": 5}).build_full_result()["Snapshots"]),
    "t1.micro is PV only": lambda c: c.ec2.describe_instance_types(InstanceTypes=["t1.micro"])["InstanceTypes"][0][
        "SupportedVirtualizationTypes"] == ["paravirtual"],
    "offerings of zones": lambda c: {one["Location"] for one in c.ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["m3.medium"]}],
    )["InstanceTypeOfferings"]} == {"us-east-1a", "us-east-1b"},
    "who calls": lambda c: c.sts.get_caller_identity()["Account"] == "123456789012",
}  # fmt: skip


@pytest.mark.parametrize("rule", TOLD)
def test_answers(call, rule):
    assert TOLD[rule](call) is not False


def test_deregistration_deletes_the_snapshot_on_request(call):
    if (
        "DeleteAssociatedSnapshots"
        not in call.ec2.meta.service_model.operation_model("DeregisterImage").input_shape.members
    ):
        pytest.skip("this botocore is older than the parameter")
    told = call.ec2.deregister_image(ImageId=call.ami(), DeleteAssociatedSnapshots=True)["DeleteSnapshotResults"]
    assert [one["ReturnCode"] for one in told] == ["success"]
