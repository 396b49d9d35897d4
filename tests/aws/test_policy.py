"""The IAM policy of a configuration: AWS knows all that it names, and it is enough for what the configuration does.

``iam_actions.json`` is an extract of AWS's Service Authorization Reference (October 2026): of each action that we use
the condition keys, the resource types that it knows, theirs, and which of them it always touches.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest
from disks import Disk
from launches import Launches

from unibuild.aws import publish, steps, tags
from unibuild.aws.client import Aws
from unibuild.aws.policy import policy
from unibuild.aws.upload.journal import Journal
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


@pytest.fixture
def guest(ours, monkeypatch):
    """Go on as somebody who may do what the policy of these settings says."""

    def guest(**settings):
        told = policy(Settings(**settings), "hello", "us-east-1")
        for name, value in ours.aws.environment(ours.aws.new_principal(told)).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("ours.OneSession.made", {})

    yield guest
    refused = [call.operation for call in ours.aws.calls if call.error in ("UnauthorizedOperation", "AccessDenied")]
    assert refused == []


def test_it_is_enough_for_the_commands(ours, guest):
    amis = [ours.ami() for _ in range(3)]
    guest()
    ours.run("list")
    ours.run("show", amis[0])
    ours.run("diff", *amis[:2])
    ours.run("gc", "--keep", "2")
    ours.run("rm", amis[1])
    assert ours.images == amis[2:]


def test_it_is_enough_to_publish_and_to_launch(ours, guest, tmp_path):
    launches = Launches(ours)
    ours.aws.world.public_ips = iter(f"127.0.0.{number}" for number in range(2, 9))
    wanted = Launch(open=("80",), elastic_ip=ours.call.address())
    launches.ready('console = "ready"', f'open = ["80"]\nelastic_ip = "{wanted.elastic_ip}"')
    settings = Publish(regions=("eu-west-1",), share=("111122223333",), deprecate_after=9, protect=True)
    guest(publish=settings, launch=wanted)
    disk = Disk.of(1, 2)
    about = publish.About("hello", disk.digest)
    asked = publish.Wanted("hello-first", "hello", "paravirtual", "gp2", "", about, {})
    aws = Aws()
    made = publish.make(aws, disk, asked, publish.look(aws, asked), Journal(tmp_path), lambda *said: None)
    steps.finish(aws, settings, "us-east-1", made.image, print)
    launches.run(made.image)
    launches.run(ours.ami(), replace=True)
    assert len(launches.alive) == 1
