"""The calls that share, deprecate and protect an AMI, and those that EC2 would refuse."""

import dataclasses
from datetime import UTC, datetime

import pytest

from unibuild.aws import tags
from unibuild.aws.distribution import attribute_calls, check_sharing, kms_key_in, reset_calls, shared_with
from unibuild.aws.inventory import Ami
from unibuild.errors import SettingsError
from unibuild.settings.ami import Publish

NOW = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)
AMI = Ami("ami-1", "eu-west-1", "hello", "available", "2026-11-24T12:00:00.000Z", ("snap-1",))
ORGANIZATION = "arn:aws:organizations::123456789012:organization/o-abc"
UNIT = "arn:aws:organizations::123456789012:ou/o-abc/ou-1"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/"


def planned(**settings):
    return {call.operation: dict(call.params) for call in attribute_calls(Publish(**settings), AMI, NOW)}


def test_default_settings_need_no_call():
    assert planned() == {}


def test_sharing_with_accounts_includes_the_snapshot():
    calls = planned(share=("111122223333",))
    assert calls["ModifyImageAttribute"]["LaunchPermission"] == {"Add": [{"UserId": "111122223333"}]}
    assert calls["ModifySnapshotAttribute"] == {
        "SnapshotId": "snap-1",
        "Attribute": "createVolumePermission",
        "OperationType": "add",
        "UserIds": ["111122223333"],
    }


def test_public_sharing_includes_the_snapshot():
    calls = planned(share=("all",))
    assert calls["ModifyImageAttribute"]["LaunchPermission"] == {"Add": [{"Group": "all"}]}
    assert calls["ModifySnapshotAttribute"]["GroupNames"] == ["all"]


def test_sharing_with_an_organization_excludes_the_snapshot():
    calls = planned(share=(ORGANIZATION, UNIT))
    assert calls.keys() == {"CreateTags", "ModifyImageAttribute"}
    wanted = [{"OrganizationArn": ORGANIZATION}, {"OrganizationalUnitArn": UNIT}]
    assert calls["ModifyImageAttribute"]["LaunchPermission"] == {"Add": wanted}


def test_deprecation_counts_from_now_in_whole_minutes():
    calls = planned(deprecate_after=90, protect=True)
    assert calls["EnableImageDeprecation"]["DeprecateAt"] == datetime(2027, 2, 22, 12, 0, tzinfo=UTC)
    assert calls["EnableImageDeregistrationProtection"] == {"ImageId": "ami-1", "WithCooldown": False}


def test_existing_state_is_not_changed():
    done = Ami(*list(vars(AMI).values())[:6], is_protected=True, is_public=True, deprecated="2027-01-01T00:00:00.000Z")
    assert attribute_calls(Publish(share=("all",), deprecate_after=90, protect=True), done, NOW) == ()


def after(settings: Publish, ami: Ami = AMI) -> Ami:
    """Return the AMI as it is after all its calls."""
    held = dict(ami.tags)
    for call in (*attribute_calls(settings, ami, NOW), *reset_calls(settings, ami)):
        match call.operation:
            case "CreateTags":
                held |= tags.read(call.params["Tags"])
            case "EnableImageDeprecation" | "DisableImageDeprecation":
                ami = dataclasses.replace(ami, deprecated=call.params.get("DeprecateAt"))
            case "EnableImageDeregistrationProtection" | "DisableImageDeregistrationProtection":
                ami = dataclasses.replace(ami, is_protected=call.operation.startswith("Enable"))
    return dataclasses.replace(ami, tags=held)


def test_settings_made_by_unibuild_are_undone():
    done = after(Publish(share=("111122223333", ORGANIZATION), deprecate_after=90, protect=True))
    assert (done.is_protected, done.deprecated is not None) == (True, True)
    calls = {call.operation: dict(call.params) for call in reset_calls(Publish(share=(ORGANIZATION,)), done)}
    assert calls["ModifyImageAttribute"]["LaunchPermission"] == {"Remove": [{"UserId": "111122223333"}]}
    assert calls["ModifySnapshotAttribute"]["OperationType"] == "remove"
    assert {"DisableImageDeprecation", "DisableImageDeregistrationProtection"} <= calls.keys()
    undone = after(Publish(share=(ORGANIZATION,)), done)
    assert (undone.is_protected, undone.deprecated, shared_with(undone)) == (False, None, [ORGANIZATION])
    assert reset_calls(Publish(share=(ORGANIZATION,)), undone) == ()


def test_settings_made_by_others_are_kept():
    other = dataclasses.replace(AMI, is_protected=True, is_public=True, deprecated="2027-01-01T00:00:00.000Z")
    assert reset_calls(Publish(), other) == ()
    assert reset_calls(Publish(), after(Publish(share=("all",), deprecate_after=90, protect=True), other)) == ()


def test_changed_number_of_days_is_applied_to_unibuilds_deprecation():
    done = after(Publish(deprecate_after=90))
    assert attribute_calls(Publish(deprecate_after=90), done, NOW) == ()
    assert {call.operation for call in attribute_calls(Publish(deprecate_after=30), done, NOW)} == {
        "CreateTags",
        "EnableImageDeprecation",
    }


@pytest.mark.parametrize("count", [1, 19, 20, 60])
def test_record_stores_many_accounts_in_valid_tags(count):
    accounts = tuple(f"{number:012}" for number in range(count))
    done = after(Publish(share=accounts))
    assert shared_with(done) == list(accounts)
    assert all(len(value) <= 255 for value in done.tags.values())
    assert shared_with(after(Publish(share=accounts[:1]), done)) == [accounts[0]]
    assert shared_with(after(Publish(), done)) == []


def test_changed_tags_and_description_are_applied():
    there = dataclasses.replace(AMI, tags={"team": "edge", "other": "stays"}, description="old")
    settings = Publish(tags={"team": "core"})
    tagging, described = attribute_calls(settings, there, NOW, "new")
    assert tagging.params == {"Resources": ["ami-1", "snap-1"], "Tags": [{"Key": "team", "Value": "core"}]}
    assert described.params == {"ImageId": "ami-1", "Description": {"Value": "new"}}
    assert attribute_calls(Publish(tags={"team": "edge"}), there, NOW, "old") == ()
    assert attribute_calls(Publish(tags={"team": "edge"}), there, NOW) == ()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"share": ("all",), "encrypt": True}, "no encrypted snapshot public"),
        ({"share": ("all",), "kms_key": KEY + "1"}, "no encrypted snapshot public"),
        ({"share": ("111122223333",), "encrypt": True}, "default key"),
    ],
)
def test_ami_that_cannot_be_shared_is_refused(settings, reason):
    with pytest.raises(SettingsError, match=reason):
        check_sharing(Publish(**settings))


@pytest.mark.parametrize("settings", [{}, {"encrypt": True}, {"share": ("111122223333",), "kms_key": KEY + "1"}])
def test_ami_that_can_be_shared_is_accepted(settings):
    check_sharing(Publish(**settings))


@pytest.mark.parametrize(
    ("key", "there"),
    [
        (None, None),
        ("arn:aws:kms:eu-west-1:123456789012:alias/a", "arn:aws:kms:us-east-1:123456789012:alias/a"),
        (KEY + "1", None),
        (KEY + "mrk-1", KEY.replace("eu-west-1", "us-east-1") + "mrk-1"),
    ],
)
def test_key_of_another_region(key, there):
    settings = Publish(encrypt=True, kms_key=key)
    assert kms_key_in(settings, "us-east-1", "eu-west-1") == there
    assert kms_key_in(settings, "eu-west-1", "eu-west-1") == key
