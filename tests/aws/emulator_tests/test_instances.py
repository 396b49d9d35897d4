"""The emulator's AMIs and instances follow AWS's documentation, one line for each rule."""

# ruff: noqa: E501 (one line a rule)

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from aws_calls import AKI, DATA, bdm, code
from emulator import Delay, ManualClock, World
from emulator.network import add_vpc, remove_default_vpc

HVM = {"VirtualizationType": "hvm", "KernelId": None}
NOBODY = "i-0123456789abcdef0"
LAUNCH_DATA = {"ImageId": "ami-1", "InstanceType": "t1.micro"}


def at(year):
    return datetime(year, 1, 1, tzinfo=UTC)


REFUSED = {
    "copy: a name that is taken there": ("InvalidAMIName.Duplicate", lambda c: [c.copy(i) for i in [c.ami()] * 2]),
    "copy: no such kernel there": ("InvalidRequest", lambda c: c.copy(c.ami(), "eu-north-1")),
    "copy: unknown AMI": ("InvalidAMIID.NotFound", lambda c: c.copy("ami-0123456789abcdef0")),
    "copy: token with other parameters": ("IdempotentParameterMismatch", lambda c: [c.copy(i, Name=n, ClientToken="t") for i in [c.ami()] for n in ("one", "two")]),
    "share: no account": ("InvalidAMIAttributeItemValue", lambda c: c.ec2.modify_image_attribute(ImageId=c.ami(), LaunchPermission={"Add": [{"UserId": "me"}]})),
    "share: encrypted with all": ("OperationNotPermitted", lambda c: c.ec2.modify_image_attribute(ImageId=c.register(c.snapshot(Encrypted=True)), LaunchPermission={"Add": [{"Group": "all"}]})),
    "share: nothing": ("InvalidParameterCombination", lambda c: c.ec2.modify_image_attribute(ImageId=c.ami())),
    "share: Amazon's": ("AuthFailure", lambda c: c.ec2.modify_image_attribute(ImageId=AKI, LaunchPermission={"Add": [{"Group": "all"}]})),
    "deprecate: long ago": ("InvalidParameterValue", lambda c: c.ec2.enable_image_deprecation(ImageId=c.ami(), DeprecateAt=at(2000))),
    "deprecate: in far future": ("InvalidParameterValue", lambda c: c.ec2.enable_image_deprecation(ImageId=c.ami(), DeprecateAt=at(2100))),
    "deregister: protected": ("OperationNotPermitted", lambda c: (i := c.ami(), c.ec2.enable_image_deregistration_protection(ImageId=i), c.ec2.deregister_image(ImageId=i))),
    "deregister: cooling down": ("OperationNotPermitted", lambda c: (i := c.ami(), c.ec2.enable_image_deregistration_protection(ImageId=i, WithCooldown=True), c.ec2.disable_image_deregistration_protection(ImageId=i), c.ec2.deregister_image(ImageId=i))),
    "run: dry": ("DryRunOperation", lambda c: c.run(DryRun=True)),
    "run: dry, and unknown AMI": ("InvalidAMIID.NotFound", lambda c: c.run("ami-0123456789abcdef0", DryRun=True)),
    "run: PV on Nitro": ("InvalidParameterCombination", lambda c: c.run(InstanceType="t3.micro")),
    "run: PV on Xen's HVM": ("InvalidParameterCombination", lambda c: c.run(InstanceType="t2.micro")),
    "run: HVM on t1": ("InvalidParameterCombination", lambda c: c.run(c.ami(**HVM))),
    "run: x86_64 on Graviton": ("InvalidParameterValue", lambda c: c.run(c.ami(**HVM), InstanceType="t4g.nano")),
    "run: unknown type": ("InvalidParameterValue", lambda c: c.run(InstanceType="t9.huge")),
    "run: a kernel": ("InvalidAMIID.Unavailable", lambda c: c.run(AKI)),
    "run: unknown key": ("InvalidKeyPair.NotFound", lambda c: c.run(KeyName="mine")),
    "run: unknown group": ("InvalidGroup.NotFound", lambda c: c.run(SecurityGroupIds=["sg-1"])),
    "run: unknown subnet": ("InvalidSubnetID.NotFound", lambda c: c.run(SubnetId="subnet-1")),
    "run: user data that is too long": ("InvalidParameterValue", lambda c: c.run(UserData="x" * 16385)),
    "run: token with other parameters": ("IdempotentParameterMismatch", lambda c: [c.run(i, ClientToken="t", InstanceType=t) for i in [c.ami()] for t in ("t1.micro", "m1.small")]),
    "run: token of what is ended": ("IdempotentInstanceTerminated", lambda c: [c.ec2.terminate_instances(InstanceIds=[c.run(i, ClientToken="t")]) for i in [c.ami()] * 2]),
    "run: too many": ("VcpuLimitExceeded", lambda c: c.run(MaxCount=33)),
    "run: tags of another kind": ("InvalidParameterValue", lambda c: c.run(TagSpecifications=[{"ResourceType": "image", "Tags": []}])),
    "describe: unknown instance": ("InvalidInstanceID.NotFound", lambda c: c.instance(NOBODY)),
    "describe: no instance's id": ("InvalidInstanceID.Malformed", lambda c: c.instance("ami-1")),
    "console: the latest of Xen": ("UnsupportedOperation", lambda c: c.ec2.get_console_output(InstanceId=c.run(), Latest=True)),
    "terminate: unknown": ("InvalidInstanceID.NotFound", lambda c: c.ec2.terminate_instances(InstanceIds=[NOBODY])),
    "terminate: protected": ("OperationNotPermitted", lambda c: c.ec2.terminate_instances(InstanceIds=[c.run(DisableApiTermination=True)])),
    "stop: terminated": ("IncorrectInstanceState", lambda c: (i := c.run(), c.ec2.terminate_instances(InstanceIds=[i]), c.ec2.stop_instances(InstanceIds=[i]))),
    "group: name that is taken": ("InvalidGroup.Duplicate", lambda c: [c.ec2.create_security_group(GroupName="web", Description="d") for _ in range(2)]),
    "group: rule that is there": ("InvalidPermission.Duplicate", lambda c: [c.ec2.authorize_security_group_ingress(GroupName="default", IpProtocol="tcp", FromPort=80, ToPort=80, CidrIp="0.0.0.0/0") for _ in range(2)]),
    "group: ports": ("InvalidParameterValue", lambda c: c.ec2.authorize_security_group_ingress(GroupName="default", IpProtocol="tcp", FromPort=80, ToPort=8, CidrIp="0.0.0.0/0")),
    "group: in use": ("DependencyViolation", lambda c: (g := c.ec2.create_security_group(GroupName="web", Description="d")["GroupId"], c.run(SecurityGroupIds=[g]), c.ec2.delete_security_group(GroupId=g))),
    "address: unknown": ("InvalidAllocationID.NotFound", lambda c: c.ec2.describe_addresses(AllocationIds=["eipalloc-1"])),
    "address: in use": ("Resource.AlreadyAssociated", lambda c: [c.ec2.associate_address(AllocationId=a, InstanceId=c.run(i), AllowReassociation=False) for a, i in [(c.address(), c.ami())] * 2]),
    "address: released in use": ("InvalidIPAddress.InUse", lambda c: (a := c.address(), c.ec2.associate_address(AllocationId=a, InstanceId=c.run()), c.ec2.release_address(AllocationId=a))),
    "address: the 6th": ("AddressLimitExceeded", lambda c: [c.address() for _ in range(6)]),
    "region: none": ("InvalidParameterValue", lambda c: c.ec2.describe_regions(RegionNames=["moon-1"])),
}  # fmt: skip


@pytest.mark.parametrize("rule", REFUSED)
def test_refused(call, rule):
    expected, asked = REFUSED[rule]
    assert code(asked, call) == expected


def test_copy_has_the_kernel_of_its_region_and_its_own_snapshot(call, aws):
    copy = call.copy(made := call.ami(), Encrypted=True)
    assert (copy["KernelId"], copy["SourceImageId"], copy["Public"]) == ("aki-dc9ed9af", made, False)
    (snapshot,) = aws.region("eu-west-1").snapshots.values()
    assert copy["BlockDeviceMappings"] == bdm(
        snapshot.id, VolumeSize=1, VolumeType="gp2", DeleteOnTermination=True, Encrypted=True
    )
    assert snapshot.content == {0: DATA}


def test_same_token_copies_once(call):
    image = call.ami()
    assert call.copy(image, ClientToken="t")["ImageId"] == call.copy(image, ClientToken="t")["ImageId"]


def test_copy_is_pending_at_first(call, aws):
    aws.reset(World(clock := ManualClock()))
    aws.world.timing.copy_completes = 600
    copy = call.copy(call.ami())
    assert copy["State"] == "pending"
    clock.advance(600)
    assert (
        call.client("ec2", "eu-west-1").describe_images(ImageIds=[copy["ImageId"]])["Images"][0]["State"] == "available"
    )


def test_sharing_an_ami(call):
    image = call.ami()
    call.ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"UserId": "1" * 12}, {"Group": "all"}]})
    assert call.image(image)["Public"]
    call.ec2.modify_image_attribute(
        ImageId=image, Attribute="launchPermission", OperationType="remove", UserGroups=["all"]
    )
    told = call.ec2.describe_image_attribute(ImageId=image, Attribute="launchPermission")
    assert (told["LaunchPermissions"], call.image(image)["Public"]) == ([{"UserId": "1" * 12}], False)


def test_sharing_a_snapshot(call):
    snapshot = call.snapshot()
    call.ec2.modify_snapshot_attribute(
        SnapshotId=snapshot, Attribute="createVolumePermission", OperationType="add", UserIds=["1" * 12]
    )
    told = call.ec2.describe_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission")
    assert told["CreateVolumePermissions"] == [{"UserId": "1" * 12}]


def test_deprecation_time_is_rounded_to_the_minute(call):
    image = call.ami()
    call.ec2.enable_image_deprecation(ImageId=image, DeprecateAt=datetime(2030, 1, 1, 10, 20, 30, tzinfo=UTC))
    assert call.image(image)["DeprecationTime"] == "2030-01-01T10:20:00.000Z"


def test_deregistration_protection(call):
    image = call.ami()
    call.ec2.enable_image_deregistration_protection(ImageId=image)
    assert call.image(image)["DeregistrationProtection"] == "enabled-without-cooldown"
    call.ec2.disable_image_deregistration_protection(ImageId=image)
    call.ec2.deregister_image(ImageId=image)


def test_states_of_an_instance(call, aws):
    aws.reset(World(clock := ManualClock()))
    aws.world.timing.instance_runs = aws.world.timing.instance_ends = 20
    made = call.run(
        image := call.ami(), TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "k", "Value": "v"}]}]
    )
    told = call.instance(made)
    assert (told["State"]["Name"], told["ImageId"], told["KernelId"], told["Tags"]) == (
        "pending",
        image,
        AKI,
        [{"Key": "k", "Value": "v"}],
    )
    clock.advance(20)
    assert call.instance(made)["State"] == {"Code": 16, "Name": "running"}
    assert call.instance(made)["PublicIpAddress"] == "203.0.113.1"
    call.ec2.terminate_instances(InstanceIds=[made])
    assert call.instance(made)["State"]["Name"] == "shutting-down"
    clock.advance(20)
    assert (call.instance(made)["State"]["Name"], call.instance(made).get("PrivateIpAddress")) == ("terminated", None)
    clock.advance(3600)
    assert code(call.instance, made) == "InvalidInstanceID.NotFound"


def test_same_token_starts_one_instance(call):
    image = call.ami()
    assert call.run(image, ClientToken="t") == call.run(image, ClientToken="t")


def test_instance_appears_late(call, aws):
    aws.world.timing.instance_appears = Delay(calls=1)
    made = call.run()
    assert code(call.instance, made) == "InvalidInstanceID.NotFound"
    assert call.instance(made)["InstanceId"] == made


def test_image_appears_late(call, aws):
    aws.world.timing.image_appears = Delay(calls=1)
    made = call.ami()
    assert code(call.run, made) == "InvalidAMIID.NotFound"
    assert call.run(made)


def test_console_appears_late_and_depends_on_the_volume(call, aws):
    aws.reset(World(clock := ManualClock()))
    aws.world.timing.console_appears = 120
    aws.world.console = lambda instance: f"{len(instance.volume.content)} blocks\n"
    made = call.run()
    assert "Output" not in call.ec2.get_console_output(InstanceId=made)
    clock.advance(120)
    assert call.ec2.get_console_output(InstanceId=made)["Output"] == "1 blocks\n"


def test_status_checks(call, aws):
    aws.reset(World(clock := ManualClock()))
    aws.world.timing.instance_checks = 60
    made = call.run()
    (status,) = call.ec2.describe_instance_status(InstanceIds=[made])["InstanceStatuses"]
    assert status["InstanceStatus"]["Status"] == "initializing"
    clock.advance(60)
    (status,) = call.ec2.describe_instance_status(InstanceIds=[made])["InstanceStatuses"]
    assert status["InstanceStatus"]["Status"] == "ok"


def test_stop_and_start(call):
    made = call.run()
    call.ec2.stop_instances(InstanceIds=[made])
    assert call.instance(made)["State"]["Name"] == "stopped"
    call.ec2.start_instances(InstanceIds=[made])
    assert call.instance(made)["State"]["Name"] == "running"


def test_no_default_vpc(call, aws):
    region = aws.region()
    remove_default_vpc(region)
    assert code(call.run) == "VPCIdNotSpecified"
    vpc = add_vpc(region, default=False)
    subnet = next(one.id for one in region.network.subnets.values() if one.vpc == vpc)
    assert call.instance(call.run(call.ami(Name="other"), SubnetId=subnet))["SubnetId"] == subnet


def test_no_capacity(call, aws):
    aws.world.no_capacity.add("t1.micro")
    assert code(call.run) == "InsufficientInstanceCapacity"


def test_block_public_access(call, aws):
    aws.world.block_public_access = True
    assert (
        code(call.ec2.modify_image_attribute, ImageId=call.ami(), LaunchPermission={"Add": [{"Group": "all"}]})
        == "OperationNotPermitted"
    )


def test_address_moves_between_instances(call):
    old, new = (call.run(image) for image in [call.ami()] * 2)
    address = call.address()
    for instance in (old, new):
        call.ec2.associate_address(AllocationId=address, InstanceId=instance)
    (told,) = call.ec2.describe_addresses(AllocationIds=[address])["Addresses"]
    assert (told["InstanceId"], call.instance(new)["PublicIpAddress"]) == (new, told["PublicIp"])
    assert call.instance(old)["PublicIpAddress"] != told["PublicIp"]
    call.ec2.disassociate_address(AssociationId=told["AssociationId"])
    call.ec2.release_address(AllocationId=address)


def test_group_rules(call):
    made = call.ec2.create_security_group(GroupName="web", Description="d")["GroupId"]
    ports = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80}
    call.ec2.authorize_security_group_ingress(
        GroupId=made, IpPermissions=[{**ports, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    )
    (told,) = call.ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["web"]}])["SecurityGroups"]
    (rule,) = told["IpPermissions"]
    assert (rule["FromPort"], rule["IpRanges"]) == (80, [{"CidrIp": "0.0.0.0/0"}])


def test_rules_have_ids_and_tags(call):
    group = call.ec2.create_security_group(GroupName="web", Description="d")["GroupId"]
    rule = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "CidrIp": "0.0.0.0/0"}
    tags = [{"ResourceType": "security-group-rule", "Tags": [{"Key": "k", "Value": "v"}]}]
    call.ec2.authorize_security_group_ingress(GroupId=group, **rule, TagSpecifications=tags)
    mine = [{"Name": "group-id", "Values": [group]}]
    told, egress = call.ec2.describe_security_group_rules(Filters=mine)["SecurityGroupRules"]
    assert (told["FromPort"], told["CidrIpv4"], told["Tags"], egress["IsEgress"]) == (
        80,
        "0.0.0.0/0",
        tags[0]["Tags"],
        True,
    )
    call.ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=[told["SecurityGroupRuleId"]])
    assert call.ec2.describe_security_group_rules(Filters=mine)["SecurityGroupRules"] == [egress]


def test_key_pairs(call):
    call.ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=b"ssh-ed25519 AAAA")
    assert call.instance(call.run(KeyName="mine"))["KeyName"] == "mine"


def test_launch_templates(call):
    made = call.ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=LAUNCH_DATA)["LaunchTemplate"]
    call.ec2.create_launch_template_version(
        LaunchTemplateId=made["LaunchTemplateId"], LaunchTemplateData={**LAUNCH_DATA, "ImageId": "ami-2"}
    )
    told = call.ec2.describe_launch_template_versions(LaunchTemplateId=made["LaunchTemplateId"])[
        "LaunchTemplateVersions"
    ]
    assert [one["LaunchTemplateData"]["ImageId"] for one in told] == ["ami-1", "ami-2"]
    told = call.ec2.describe_launch_template_versions(Versions=["$Default"])["LaunchTemplateVersions"]
    assert [one["LaunchTemplateData"]["ImageId"] for one in told] == ["ami-1"]


def test_auto_scaling_groups(call):
    scaling = call.client("autoscaling")
    scaling.create_launch_configuration(LaunchConfigurationName="c", ImageId=call.ami(), InstanceType="t1.micro")
    scaling.create_auto_scaling_group(
        AutoScalingGroupName="g", LaunchConfigurationName="c", MinSize=0, MaxSize=1, AvailabilityZones=["us-east-1a"]
    )
    (group,) = scaling.get_paginator("describe_auto_scaling_groups").paginate().build_full_result()["AutoScalingGroups"]
    (told,) = scaling.describe_launch_configurations(LaunchConfigurationNames=[group["LaunchConfigurationName"]])[
        "LaunchConfigurations"
    ]
    assert told["InstanceType"] == "t1.micro"


def test_user_data(call, aws):
    made = call.run(UserData="hello")
    assert base64.b64decode(aws.region().instances[made].params["UserData"]) == b"hello"
