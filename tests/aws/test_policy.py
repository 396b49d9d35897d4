"""The IAM policy of a configuration: AWS knows all that it names, it is enough for what the configuration does, and
of no use to touch what is not ours.

``iam_actions.json`` is an extract of AWS's Service Authorization Reference (October 2026): of each action that we use
the condition keys, the resource types that it knows, theirs, and which of them it always touches. Two of its entries
are not of that extract but written by hand, after those of their neighbours: that of
ec2:DisableImageDeregistrationProtection and that of s3:ListBucket.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from functools import partial
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from calling import code
from disks import Disk, publish_disk
from emulator.s3 import Bucket
from launches import Launches

from unibuild.aws import steps, tags
from unibuild.aws.client import Aws
from unibuild.aws.errors import DENIED
from unibuild.aws.policy import policy
from unibuild.commands import iam_policy
from unibuild.settings.model import Settings
from unibuild.settings.publish import Launch, Publish

KNOWN = json.loads((Path(__file__).parent / "iam_actions.json").read_text())
KEY = "arn:aws:kms:eu-west-1:111122223333:key/1"
ALIAS = "arn:aws:kms:eu-west-1:111122223333:alias/ours"
ALL = {"regions": ("us-east-1",), "share": ("111122223333",), "deprecate_after": 9, "protect": True}
SETTINGS = [
    Settings(),
    Settings(publish=Publish(**ALL, encrypt=True, kms_key=ALIAS)),
    Settings(publish=Publish(via="s3", bucket="images", kms_key=KEY)),
    Settings(launch=Launch(open=("80",), elastic_ip="eipalloc-1", key="ops")),
]


def statements(settings: Settings, **kwargs: bool):
    return policy(settings, "hello", "eu-west-1", **kwargs)["Statement"]


def actions(settings: Settings, **kwargs: bool) -> set[str]:
    return {action for one in statements(settings, **kwargs) for action in one["Action"]}


def kinds(statement) -> set[str]:
    found = (re.match(r"arn:aws:ec2:[^:]*:[^:]*:([a-z-]+)/", arn) for arn in statement["Resource"])
    return {one[1] for one in found if one}


@pytest.mark.parametrize("settings", SETTINGS)
def test_aws_knows_what_it_names(settings):
    touched = defaultdict(set)
    for one in statements(settings):
        asked = {re.sub("/.*", "/${TagKey}", key) for keys in one.get("Condition", {}).values() for key in keys}
        for action in one["Action"]:
            if action.startswith("kms:"):
                continue
            known = KNOWN[action]
            assert kinds(one) <= set(known["resources"]), (one["Sid"], action)
            touched[action] |= kinds(one) if one["Resource"] != ["*"] else set()
            for kind in kinds(one):
                keys = {*known["keys"], *known["resources"][kind]}
                assert {key for key in asked if key.endswith("}")} <= keys, (one["Sid"], action, kind)
    for action, kinds_of in touched.items():
        if action.startswith(("ec2:", "ebs:")):
            assert set(KNOWN[action]["required"]) <= kinds_of, action


@pytest.mark.parametrize("settings", SETTINGS)
def test_statements_have_names_of_their_own(settings):
    names = [one["Sid"] for one in statements(settings)]
    assert len(names) == len(set(names))
    assert all(re.fullmatch("[A-Za-z0-9]+", name) for name in names)


@pytest.mark.parametrize("settings", SETTINGS)
def test_what_can_be_destroyed_carries_our_tag(settings):
    for one in statements(settings):
        destroying = [action for action in one["Action"] if re.search(":(Delete|Deregister|Terminate|Modify)", action)]
        if any(action.startswith("ec2:") for action in destroying):
            assert one["Condition"] == {"StringEquals": {f"aws:ResourceTag/{tags.UNIKERNEL}": "hello"}}


def test_actions_follow_from_the_settings():
    least = actions(Settings())
    assert actions(Settings(publish=Publish(regions=("us-east-1",)))) - least == {"ec2:CopyImage"}
    shared = actions(Settings(publish=Publish(share=("111122223333",)))) - least
    assert shared == {"ec2:ModifyImageAttribute", "ec2:ModifySnapshotAttribute"}
    assert actions(Settings(publish=Publish(deprecate_after=1))) - least == {"ec2:EnableImageDeprecation"}
    assert "ec2:AssociateAddress" in actions(Settings(launch=Launch(elastic_ip="eipalloc-1"))) - least
    assert "ec2:AuthorizeSecurityGroupIngress" in actions(Settings(launch=Launch(open=("80",)))) - least
    by_s3 = actions(Settings(publish=Publish(via="s3", bucket="b")))
    assert "s3:PutObject" in by_s3 and not any(action.startswith("ebs:Put") for action in by_s3)


def test_the_key_of_each_region():
    found = {one["Sid"]: one for one in statements(SETTINGS[1])}["UseKey"]
    assert found["Resource"] == [f"arn:aws:kms:{name}:111122223333:key/*" for name in ("eu-west-1", "us-east-1")]
    assert found["Condition"]["ForAnyValue:StringEquals"] == {"kms:ResourceAliases": "alias/ours"}
    assert {one["Sid"]: one for one in statements(SETTINGS[2])}["UseKey"]["Resource"] == [KEY]


def test_parts_can_be_left_out():
    publishing = actions(Settings(), launch=False, clean=False)
    assert not {"ec2:RunInstances", "ec2:TerminateInstances", "ec2:DeregisterImage"} & publishing
    assert "ec2:DeregisterImage" in actions(Settings(), launch=False)


def test_other_partitions_have_other_arns():
    told = json.dumps(policy(Settings(), "hello", "us-gov-west-1"))
    assert "arn:aws-us-gov:ec2:us-gov-west-1::image/*" in told and "arn:aws:" not in told


def test_the_command_prints_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "unibuild.toml").write_text('name = "hello"\n[publish]\nregion = "eu-west-1"\n')
    monkeypatch.chdir(tmp_path)
    assert iam_policy.main(["publish.protect=true"]) == 0
    assert json.loads(capsys.readouterr().out) == policy(Settings(publish=Publish(protect=True)), "hello", "eu-west-1")


@pytest.fixture(scope="module")
def session():
    """A session that reads each service's model once."""
    return boto3.session.Session()


@pytest.fixture
def guest(ours, session, monkeypatch):
    """Go on as somebody who may do what the policy of these settings says; return what makes clients of theirs."""

    def guest(**settings):
        who = ours.aws.new_principal(policy(Settings(**settings), "hello", "us-east-1"))
        for name, value in ours.aws.environment(who).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("ours.OneSession.made", {})
        keys = {"aws_access_key_id": who.access_key, "aws_secret_access_key": who.secret_key}
        config = Config(retries={"total_max_attempts": 1})
        return partial(session.client, region_name="us-east-1", endpoint_url=ours.aws.url, config=config, **keys)

    return guest


@pytest.fixture
def enough(ours, guest):
    """Go on as that guest, who is not to be refused anything."""
    yield guest
    refused = [str(call) for call in ours.aws.calls if call.error in DENIED]
    assert refused == []


def test_it_is_enough_for_the_commands(ours, enough):
    amis = [ours.ami() for _ in range(3)]
    enough()
    ours.run("list")
    ours.run("show", amis[0])
    ours.run("diff", *amis[:2])
    ours.run("gc", "--keep", "2")
    ours.run("rm", amis[1])
    assert ours.images == amis[2:]


def test_it_is_enough_to_publish_and_to_launch(ours, enough, tmp_path):
    launches = Launches(ours)
    ours.aws.world.public_ips = iter(f"127.0.0.{number}" for number in range(2, 9))
    wanted = Launch(open=("80",), elastic_ip=ours.call.address())
    launches.ready('console = "ready"', f'open = ["80"]\nelastic_ip = "{wanted.elastic_ip}"')
    settings = Publish(regions=("eu-west-1",), share=("111122223333",), deprecate_after=9, protect=True)
    enough(publish=settings, launch=wanted)
    aws = Aws()
    made, after = (publish_disk(aws, disk, tmp_path) for disk in (Disk.of(1, 2), Disk.of(1, 3)))
    assert after.parent == made.snapshot
    steps.finish(aws, settings, "us-east-1", after.image, print)
    launches.run(made.image)
    launches.run(after.image, replace=True)
    assert list(launches.alive.values()) == [after.image]


def test_it_is_enough_to_publish_through_s3(ours, enough, tmp_path):
    ours.aws.world.buckets["images"], ours.aws.world.roles["vmimport"] = Bucket("us-east-1", 0.0), "images"
    enough(publish=Publish(via="s3", bucket="images"))
    made = publish_disk(Aws(), Disk.of(1, 2), tmp_path, "images")
    assert ours.images == [made.image]


@pytest.fixture
def changes(ours):
    """Make an AMI and an instance of it, with the tag of a unikernel or none; return calls that change or end them."""

    def changes(unikernel):
        marks = tags.write({tags.UNIKERNEL: unikernel} if unikernel else {"Name": "precious"})
        marked = {kind: [{"ResourceType": kind, "Tags": marks}] for kind in ("image", "instance")}
        snapshot = ours.call.snapshot(Tags=marks)
        image = ours.call.register(snapshot, TagSpecifications=marked["image"])
        instance = ours.call.run(image, TagSpecifications=marked["instance"])
        shared, mark = {"Add": [{"UserId": "111122223333"}]}, {"Tags": tags.write({tags.UNIKERNEL: "hello"})}
        return [
            ("deregister_image", {"ImageId": image}),
            ("modify_image_attribute", {"ImageId": image, "LaunchPermission": shared}),
            ("create_tags", {"Resources": [image], **mark}),
            ("delete_snapshot", {"SnapshotId": snapshot}),
            ("modify_snapshot_attribute", {"SnapshotId": snapshot, "CreateVolumePermission": shared}),
            ("terminate_instances", {"InstanceIds": [instance]}),
            ("create_tags", {"Resources": [instance], **mark}),
        ]

    return changes


@pytest.mark.parametrize("unikernel", ["", "another"])
def test_what_is_not_ours_cannot_be_changed(ours, guest, changes, unikernel):
    calls, ec2 = changes(unikernel), guest(publish=Publish(**ALL))("ec2")
    ours.aws.calls.clear()
    for operation, params in calls:
        assert code(getattr(ec2, operation), **params, DryRun=True) == "UnauthorizedOperation"
        assert code(getattr(ec2, operation), **params) == "UnauthorizedOperation"
    assert not any(call.done for call in ours.aws.calls)


def test_what_is_ours_can(guest, changes):
    calls, ec2 = changes("hello"), guest(publish=Publish(**ALL))("ec2")
    for operation, params in calls:
        assert code(getattr(ec2, operation), **params, DryRun=True) == "DryRunOperation"


def test_nothing_of_another_unikernel_becomes_ours(ours, guest):
    ours_now = tags.write({tags.UNIKERNEL: "hello"})
    ec2 = guest()("ec2")
    made = ours.snapshot(unikernel="another")
    assert code(ec2.create_tags, Resources=[made], Tags=ours_now) == "UnauthorizedOperation"
    plain = ours.call.snapshot()  # docs/reference/ami.md says that this is so
    ec2.create_tags(Resources=[plain], Tags=ours_now)
    ec2.delete_snapshot(SnapshotId=plain)


def test_an_elastic_ip_of_another_stays_where_it_is(ours, guest):
    wanted, other = ours.call.address(), ours.call.address()
    instance = ours.call.run(TagSpecifications=[{"ResourceType": "instance", "Tags": tags.write(ours.marks())}])
    ec2 = guest(launch=Launch(elastic_ip=wanted))("ec2")
    assert code(ec2.associate_address, AllocationId=other, InstanceId=instance) == "UnauthorizedOperation"
    ec2.associate_address(AllocationId=wanted, InstanceId=instance)


def test_the_blocks_of_another_unikernel_are_out_of_reach(ours, guest):
    ebs = guest()("ebs")
    done, begun = ours.snapshot(unikernel="another"), ours.snapshot(unikernel="another", done=False)
    assert code(ebs.list_snapshot_blocks, SnapshotId=done) == "AccessDeniedException"
    assert code(ebs.complete_snapshot, SnapshotId=begun, ChangedBlocksCount=0) == "AccessDeniedException"


def test_it_reaches_no_other_region(guest):
    client = guest()
    assert code(client("ec2").describe_images, DryRun=True) == "DryRunOperation"
    assert code(client("ec2", region_name="eu-west-1").describe_images, DryRun=True) == "UnauthorizedOperation"
