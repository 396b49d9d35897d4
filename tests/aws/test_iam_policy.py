"""The IAM policy for a configuration is valid, sufficient for the configuration's calls, and forbids other changes.

``iam_actions.json`` is an extract of AWS's Service Authorization Reference (October 2026). For each action of unibuild
it lists the condition keys, the resource types with the condition keys of each, and the types that the action always
uses. Two entries are not from that extract and were written by hand like their neighbours:
ec2:DisableImageDeregistrationProtection and s3:ListBucket.
"""

from __future__ import annotations

import json
import re
import textwrap
import tomllib
from collections import defaultdict
from functools import partial
from pathlib import Path

import boto3
import msgspec
import pytest
from aws_calls import bdm, code
from botocore.config import Config
from disks import Disk, publish_disk
from emulator.s3 import Bucket
from launches import Launches

from unibuild.aws import distribution, tags
from unibuild.aws.client import Aws
from unibuild.aws.errors import DENIED
from unibuild.aws.iam_policy import LIMIT, policy, size, split
from unibuild.cli import iam_policy
from unibuild.settings.ami import Launch, Publish
from unibuild.settings.loader import load
from unibuild.settings.model import Settings

KNOWN = json.loads((Path(__file__).parent / "iam_actions.json").read_text())
KEY = "arn:aws:kms:eu-west-1:111122223333:key/1"
ALIAS = "arn:aws:kms:eu-west-1:111122223333:alias/team"
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
def test_policy_names_only_what_aws_knows(settings):
    touched = defaultdict(set)
    for one in statements(settings):
        asked = {re.sub("/.*", "/${TagKey}", key) for keys in one.get("Condition", {}).values() for key in keys}
        for action in one["Action"]:
            if action.startswith("kms:"):
                continue
            known = KNOWN[action]
            assert not known["resources"] or one["Resource"] != ["*"], action
            assert bool(kinds(one) & set(known["resources"])) == (
                action.partition(":")[0] in ("ec2", "ebs") and bool(known["resources"])
            )
        for kind in kinds(one):
            assert any(kind in KNOWN[action]["resources"] for action in one["Action"]), (one["Sid"], kind)
        for action in one["Action"]:
            if action.startswith("kms:"):
                continue
            known = KNOWN[action]
            for kind in kinds(one) & set(known["resources"]):
                keys = {*known["keys"], *known["resources"][kind]}
                if {key for key in asked if key.endswith("}")} <= keys:
                    touched[action].add(kind)
    for action, kinds_of in touched.items():
        if action.startswith(("ec2:", "ebs:")):
            assert set(KNOWN[action]["required"]) <= kinds_of, action


@pytest.mark.parametrize("settings", SETTINGS)
def test_statements_have_unique_names(settings):
    names = [one["Sid"] for one in statements(settings)]
    assert len(names) == len(set(names))
    assert all(re.fullmatch("[A-Za-z0-9]+", name) for name in names)


@pytest.mark.parametrize("settings", SETTINGS)
def test_destructive_actions_require_the_tag_of_unibuild(settings):
    for one in statements(settings):
        destroying = [action for action in one["Action"] if re.search(":(Delete|Deregister|Terminate|Modify)", action)]
        if any(action.startswith("ec2:") for action in destroying):
            assert one["Condition"]["StringEquals"][f"aws:ResourceTag/{tags.UNIKERNEL}"] == "hello"


def test_actions_follow_from_the_settings():
    least = actions(Settings())
    assert actions(Settings(publish=Publish(regions=("us-east-1",)))) - least == {"ec2:CopyImage"}
    shared = actions(Settings(publish=Publish(share=("111122223333",)))) - least
    assert shared == {"ec2:GetEbsDefaultKmsKeyId", "ec2:ModifySnapshotAttribute"}
    assert actions(Settings(publish=Publish(deprecate_after=1))) - least == {"ec2:EnableImageDeprecation"}
    assert "ec2:AssociateAddress" in actions(Settings(launch=Launch(elastic_ip="eipalloc-1"))) - least
    assert "ec2:AuthorizeSecurityGroupIngress" in actions(Settings(launch=Launch(open=("80",)))) - least
    by_s3 = actions(Settings(publish=Publish(via="s3", bucket="b")))
    assert "s3:PutObject" in by_s3 and not any(action.startswith("ebs:Put") for action in by_s3)


def test_key_of_each_region_is_allowed():
    found = {one["Sid"]: one for one in statements(SETTINGS[1])}["UseKey"]
    assert found["Resource"] == ["arn:aws:kms:*:111122223333:key/*"]
    assert found["Condition"]["StringEquals"]["aws:RequestedRegion"] == ["eu-west-1", "us-east-1"]
    assert found["Condition"]["ForAnyValue:StringEquals"] == {"kms:ResourceAliases": "alias/team"}
    assert {one["Sid"]: one for one in statements(SETTINGS[2])}["UseKey"]["Resource"] == [KEY]


def test_parts_can_be_omitted():
    publishing = actions(Settings(), launch=False, clean=False)
    assert not {"ec2:RunInstances", "ec2:TerminateInstances", "ec2:DeregisterImage"} & publishing
    assert "ec2:DeregisterImage" in actions(Settings(), launch=False)


def test_other_partitions_have_other_arns():
    result = json.dumps(policy(Settings(), "hello", "us-gov-west-1"))
    assert "arn:aws-us-gov:ec2:us-gov-west-1::image/*" in result and "arn:aws:" not in result


def test_command_prints_the_policy(tmp_path, monkeypatch, capsys):
    (tmp_path / "unibuild.toml").write_text('name = "hello"\n[publish]\nregion = "eu-west-1"\n')
    monkeypatch.chdir(tmp_path)
    assert iam_policy.main(["publish.protect=true"]) == 0
    assert json.loads(capsys.readouterr().out) == policy(Settings(publish=Publish(protect=True)), "hello", "eu-west-1")


PAGES = sorted((Path(__file__).parents[2] / "docs").rglob("*.md"))


def shown():
    """Yield the settings on each page: those in its fragments of unibuild.toml and its `iam-policy` lines."""
    for page in PAGES:
        text, tree, words = page.read_text(), {}, {}
        for block in re.findall(r"(?:^(?: {4}.*)?\n)+", text, re.MULTILINE):
            if re.match(r"\n*    (\[[a-z]|\w+ = )", block):
                for table, found in tomllib.loads(textwrap.dedent(block)).items():
                    tree[table] = {**tree.get(table, {}), **found} if isinstance(found, dict) else found
        for line in re.findall(r"unibuild iam-policy .*", text):
            words |= dict(re.findall(r"(\w+\.\w+)=(\S+)", line))
        if words or tree.keys() & {"publish", "launch"}:
            yield pytest.param({key: tree[key] for key in tree.keys() & {"publish", "launch"}}, words, id=page.stem)


@pytest.mark.parametrize(("tree", "words"), list(shown()))
def test_documented_configuration_fits_into_one_managed_policy(tmp_path, monkeypatch, tree, words):
    settings = msgspec.convert(tree, Settings)
    assert size(policy(settings, "a-unikernel-of-a-longer-name", "ap-northeast-1")) <= LIMIT
    (tmp_path / "unibuild.toml").touch()
    with_words = load(tmp_path, words, {}).settings
    assert size(policy(with_words, "a-unikernel-of-a-longer-name", "ap-northeast-1")) <= LIMIT


def sids(*documents) -> list[str]:
    return sorted(one["Sid"] for part in documents for one in part["Statement"])


REGIONS = tuple(f"ap-northeast-{number}" for number in range(1, 35))
LARGEST = Publish(
    regions=REGIONS, share=("111122223333", "all"), deprecate_after=9, protect=True, kms_key=ALIAS, encrypt=True
)


@pytest.mark.parametrize("publish", [LARGEST, msgspec.structs.replace(LARGEST, via="s3", bucket="b" * 63)])
@pytest.mark.parametrize("regions", [0, 6, 34])
def test_largest_configuration_fits_into_one_policy_except_for_all_regions(publish, regions):
    launch = Launch(open=("80",), elastic_ip="eipalloc-0123456789abcdef0", key="ops")
    settings = Settings(publish=msgspec.structs.replace(publish, regions=REGIONS[:regions]), launch=launch)
    result = policy(settings, "a-unikernel-of-a-longer-name", "eu-west-1")
    assert size(result) <= LIMIT or regions == 34
    parts = split(result)
    assert sids(*parts) == sids(result)
    assert all(size(part) <= LIMIT for part in parts)


def test_several_documents_are_written_if_one_is_too_long(tmp_path, monkeypatch, capsys):
    regions = ", ".join(f'"{one}"' for one in REGIONS)
    (tmp_path / "unibuild.toml").write_text(
        f'[publish]\nregion = "eu-west-1"\nregions = [{regions}]\nkms_key = "{ALIAS}"\nprotect = true\n'
        'share = ["111122223333", "all"]\n[launch]\nopen = ["80"]\nelastic_ip = "203.0.113.5"\n'
    )
    monkeypatch.chdir(tmp_path)
    assert iam_policy.main([]) == 0
    printed = capsys.readouterr()
    assert "--split" in printed.err
    assert iam_policy.main(["--split", "policies"]) == 0
    names = capsys.readouterr().out.split()
    documents = [json.loads((tmp_path / name).read_text()) for name in names]
    assert sids(*documents) == sids(json.loads(printed.out))
    assert len(names) == 2 and all(size(one) <= LIMIT for one in documents)


@pytest.fixture(scope="module")
def session():
    """A session that reads each service's model once."""
    return boto3.session.Session()


@pytest.fixture
def guest(project, session, monkeypatch):
    """Become a caller with the policy for some settings; return a function that creates the caller's clients."""

    def guest(**settings):
        who = project.aws.new_principal(policy(Settings(**settings), "hello", "us-east-1"))
        for name, value in project.aws.environment(who).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("ami_project.SharedSession.made", {})
        keys = {"aws_access_key_id": who.access_key, "aws_secret_access_key": who.secret_key}
        config = Config(retries={"total_max_attempts": 1})
        return partial(session.client, region_name="us-east-1", endpoint_url=project.aws.url, config=config, **keys)

    return guest


@pytest.fixture
def enough(project, guest):
    """Become the caller of ``guest``, and fail the test if any call is refused."""
    yield guest
    refused = [str(call) for call in project.aws.calls if call.error in DENIED]
    assert refused == []


def test_policy_is_sufficient_for_the_commands(project, enough):
    amis = [project.ami() for _ in range(3)]
    enough()
    project.run("list")
    project.run("show", amis[0])
    project.run("diff", *amis[:2])
    project.run("gc", "--keep", "2")
    project.run("rm", amis[1])
    assert project.images == amis[2:]


def test_policy_is_sufficient_to_publish_and_launch(project, enough, tmp_path):
    launches = Launches(project)
    project.aws.world.public_ips = iter(f"127.0.0.{number}" for number in range(2, 9))
    wanted = Launch(open=("80",), elastic_ip=project.call.address())
    launches.ready('console = "ready"', f'open = ["80"]\nelastic_ip = "{wanted.elastic_ip}"')
    settings = Publish(regions=("eu-west-1",), share=("111122223333",), deprecate_after=9, protect=True)
    enough(publish=settings, launch=wanted)
    aws = Aws()
    made, after = (publish_disk(aws, disk, tmp_path) for disk in (Disk.of(1, 2), Disk.of(1, 3)))
    assert after.parent == made.snapshot
    distribution.distribute(aws, settings, "us-east-1", after.image, print)
    launches.run(made.image)
    launches.run(after.image, replace=True)
    assert list(launches.alive.values()) == [after.image]


def test_policy_is_sufficient_to_publish_via_s3(project, enough, tmp_path):
    project.aws.world.buckets["images"], project.aws.world.roles["vmimport"] = Bucket("us-east-1", 0.0), "images"
    enough(publish=Publish(via="s3", bucket="images"))
    made = publish_disk(Aws(), Disk.of(1, 2), tmp_path, "images")
    assert project.images == [made.image]


@pytest.fixture
def changes(project):
    """Create an AMI and an instance, with a unikernel's tag or none; return calls that change or remove them."""

    def changes(unikernel):
        marks = tags.write({tags.UNIKERNEL: unikernel} if unikernel else {"Name": "precious"})
        marked = {kind: [{"ResourceType": kind, "Tags": marks}] for kind in ("image", "instance")}
        snapshot = project.call.snapshot(Tags=marks)
        image = project.call.register(snapshot, TagSpecifications=marked["image"])
        instance = project.call.run(image, TagSpecifications=marked["instance"])
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
def test_resources_of_others_cannot_be_changed(project, guest, changes, unikernel):
    calls, ec2 = changes(unikernel), guest(publish=Publish(**ALL))("ec2")
    project.aws.calls.clear()
    for operation, params in calls:
        assert code(getattr(ec2, operation), **params, DryRun=True) == "UnauthorizedOperation"
        assert code(getattr(ec2, operation), **params) == "UnauthorizedOperation"
    assert not any(call.done for call in project.aws.calls)


def test_own_resources_can_be_changed(guest, changes):
    calls, ec2 = changes("hello"), guest(publish=Publish(**ALL))("ec2")
    for operation, params in calls:
        assert code(getattr(ec2, operation), **params, DryRun=True) == "DryRunOperation"


@pytest.mark.parametrize("publish", [Publish(), Publish(**ALL, encrypt=True, kms_key=ALIAS)])
@pytest.mark.parametrize("held", [{}, {"Name": "db-backup"}, {tags.UNIKERNEL: "another"}])
def test_resources_of_others_cannot_be_tagged_as_own(project, guest, publish, held):
    mark = {"Tags": tags.write({tags.UNIKERNEL: "hello"})}
    snapshot = project.call.snapshot(Tags=tags.write(held))
    others = [snapshot, project.call.register(snapshot, Name="other"), project.call.run()]
    client = guest(publish=publish)
    for one in others:
        assert code(client("ec2").create_tags, Resources=[one], **mark) == "UnauthorizedOperation"
    assert code(client("ebs").list_snapshot_blocks, SnapshotId=snapshot) == "AccessDeniedException"
    assert code(client("ec2").delete_snapshot, SnapshotId=snapshot) == "UnauthorizedOperation"
    registered = [{"ResourceType": "image", **mark}]
    asked = {"Name": "taken", "RootDeviceName": "/dev/sda1", "BlockDeviceMappings": bdm(snapshot)}
    assert code(client("ec2").register_image, **asked, TagSpecifications=registered) == "UnauthorizedOperation"


def test_import_may_tag_any_untagged_snapshot(project, guest):
    """docs/reference/ami.md documents this: a policy cannot distinguish a snapshot of an import from other ones."""
    ec2, mark = guest(publish=Publish(via="s3", bucket="images"))("ec2"), tags.write({tags.UNIKERNEL: "hello"})
    assert (
        code(ec2.create_tags, Resources=[project.snapshot(unikernel="another")], Tags=mark) == "UnauthorizedOperation"
    )
    ec2.create_tags(Resources=[project.call.snapshot()], Tags=mark)


def test_other_groups_cannot_be_opened_and_other_snapshots_not_launched(project, guest):
    ec2 = guest(launch=Launch(open=("80",)))("ec2")
    [group] = project.call.ec2.describe_security_groups()["SecurityGroups"]
    rule = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    marked = [{"ResourceType": "security-group-rule", "Tags": tags.write({tags.UNIKERNEL: "hello"})}]
    asked = {"GroupId": group["GroupId"], "IpPermissions": [rule], "TagSpecifications": marked}
    assert code(ec2.authorize_security_group_ingress, **asked) == "UnauthorizedOperation"
    launched = [{"ResourceType": one, "Tags": tags.write({tags.UNIKERNEL: "hello"})} for one in ("instance", "volume")]
    asked = {"ImageId": project.ami(), "InstanceType": "t1.micro", "MinCount": 1, "MaxCount": 1}
    other = {**asked, "BlockDeviceMappings": bdm(project.call.snapshot())}
    assert code(ec2.run_instances, **other, TagSpecifications=launched) == "UnauthorizedOperation"
    ec2.run_instances(**asked, TagSpecifications=launched)


def test_other_elastic_ips_cannot_be_moved(project, guest):
    wanted, other = project.call.address(), project.call.address()
    instance = project.call.run(TagSpecifications=[{"ResourceType": "instance", "Tags": tags.write(project.marks())}])
    ec2 = guest(launch=Launch(elastic_ip=wanted))("ec2")
    assert code(ec2.associate_address, AllocationId=other, InstanceId=instance) == "UnauthorizedOperation"
    ec2.associate_address(AllocationId=wanted, InstanceId=instance)


def test_blocks_of_another_unikernel_cannot_be_read(project, guest):
    ebs = guest()("ebs")
    done, begun = project.snapshot(unikernel="another"), project.snapshot(unikernel="another", done=False)
    assert code(ebs.list_snapshot_blocks, SnapshotId=done) == "AccessDeniedException"
    assert code(ebs.complete_snapshot, SnapshotId=begun, ChangedBlocksCount=0) == "AccessDeniedException"


def test_other_regions_are_denied(guest):
    client = guest()
    assert code(client("ec2").describe_images, DryRun=True) == "DryRunOperation"
    assert code(client("ec2", region_name="eu-west-1").describe_images, DryRun=True) == "UnauthorizedOperation"
