"""The emulator's account settings change other calls, and its checks cover what botocore does not check."""

from __future__ import annotations

import pytest
from aws_calls import code
from emulator import service
from emulator.server import SERVICES
from emulator.shapes import check_scalar, check_size, compiled

KEY = "arn:aws:kms:us-east-1:123456789012:key/team"


def patterns():
    for name in SERVICES:
        model = service.model_of(name)
        for shape in map(model.shape_for, model.shape_names):
            if "pattern" in shape.metadata:
                yield pytest.param(shape.metadata["pattern"], id=f"{name}-{shape.name}")


def test_every_pattern_of_the_models_compiles():
    found = [one.values[0] for one in patterns()]
    assert len(found) > 100
    for pattern in found:
        compiled(pattern)


def refuse(path, why):
    return ValueError(f"{path}: {why}")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("KmsKeyArn", KEY, KEY.replace("key/", "alias/")),
        ("KmsKeyArn", KEY, f"x{KEY}"),
        ("SnapshotId", "snap-0123456789abcdef0", "snap-x"),
        ("TagValue", "v" * 255, "v" * 256),
        ("TagKey", "k" * 127, "k" * 128),
        ("Timeout", 10, 9),
        ("BlockIndex", 0, -1),
    ],
)
def test_values_are_checked_by_the_model(name, good, bad):
    shape = service.model_of("ebs").shape_for(name)
    assert check_scalar(shape, good, name, refuse) == good
    with pytest.raises(ValueError, match=name):
        check_scalar(shape, bad, name, refuse)


def test_length_of_a_list_is_checked_by_the_model():
    shape = service.model_of("ec2").operation_model("DescribeImageReferences").input_shape.members["ImageIds"]
    check_size(shape, ["ami-1"] * 10, "ImageIds", refuse)
    with pytest.raises(ValueError, match="ImageIds"):
        check_size(shape, ["ami-1"] * 11, "ImageIds", refuse)


def test_encryption_by_default(aws, call, client):
    plain = call.snapshot()
    assert call.ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"] is False
    call.ec2.enable_ebs_encryption_by_default()
    refused = "ValidationException/INVALID_DEPENDENCY_REQUEST"
    assert code(call.start, ParentSnapshotId=plain) == refused
    made = call.snapshot()
    assert call.ec2.describe_snapshots(SnapshotIds=[made])["Snapshots"][0]["Encrypted"]
    call.start(ParentSnapshotId=made)
    client("ec2", "eu-west-1").enable_ebs_encryption_by_default()
    copied = call.copy(call.register(plain))
    assert copied["BlockDeviceMappings"][0]["Ebs"]["Encrypted"]


def test_snapshot_under_the_default_key_cannot_be_shared(call):
    shared = {"Attribute": "createVolumePermission", "OperationType": "add", "UserIds": ["111122223333"]}
    made = call.snapshot(Encrypted=True)
    assert code(call.ec2.modify_snapshot_attribute, SnapshotId=made, **shared) == "OperationNotPermitted"


def test_blocked_public_access_to_snapshots(aws, call):
    aws.region().block_snapshot_access = True
    shared = {"Attribute": "createVolumePermission", "OperationType": "add", "GroupNames": ["all"]}
    assert call.ec2.get_snapshot_block_public_access_state()["State"] == "block-new-sharing"
    assert code(call.ec2.modify_snapshot_attribute, SnapshotId=call.snapshot(), **shared) == "OperationNotPermitted"


def test_enforced_tokens_of_the_metadata_service(aws, call):
    image = call.ami()
    aws.region().http_tokens_enforced = True
    assert code(call.run, image) == "UnsupportedOperation"
    call.run(image, MetadataOptions={"HttpTokens": "required"})
    of_hvm = call.ami(Name="hvm", KernelId=None, VirtualizationType="hvm", BootMode="legacy-bios", ImdsSupport="v2.0")
    call.run(of_hvm, InstanceType="t2.micro")


def test_disabled_metadata_service_has_no_further_options(call):
    options = {"HttpEndpoint": "disabled", "HttpTokens": "required"}
    assert code(call.run, MetadataOptions=options) == "InvalidParameterCombination"


def test_kms_finds_the_key_of_an_alias(aws, client):
    region = aws.region()
    region.kms["alias/team"] = KEY
    for name in ("alias/team", region.arn("kms", "alias/team"), KEY, "team"):
        assert client("kms").describe_key(KeyId=name)["KeyMetadata"]["Arn"] == KEY
    assert code(client("kms").describe_key, KeyId="alias/none") == "NotFoundException"


def test_addresses_are_reserved_for_documentation(aws, call):
    made = call.instance(call.run())
    assert made["PublicIpAddress"].startswith("203.0.113.")
    assert made["PrivateIpAddress"].startswith("192.0.2.")
    aws.world.public_ips = iter(["8.8.8.8"])
    code(call.run, call.ami(Name="another"))
    assert "may be somebody's" in aws.bugs.pop()
