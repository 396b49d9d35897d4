"""Decide what ``unibuild ami gc`` and ``rm`` remove, from a list of AMIs and snapshots."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.aws import tags
from unibuild.aws.garbage_collection import plan_collection, plan_removal
from unibuild.aws.inventory import Ami, Inventory, Snapshot, describe_users

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=30)


def ami(number: int, *snapshots: str, unikernel: str | None = "hello", **facts) -> Ami:
    marks = {} if unikernel is None else {tags.UNIKERNEL: unikernel, tags.SHA256: facts.pop("sha256", f"{number:064x}")}
    return Ami(
        f"ami-{number}",
        "eu-west-1",
        f"hello-{number}",
        facts.pop("state", "available"),
        f"2026-11-{number + 1:02}T00:00:00.000Z",
        snapshots,
        tags=marks,
        **facts,
    )


def snapshot(name: str, state: str = "completed", started: datetime = LONG_AGO, unikernel: str | None = "hello"):
    return Snapshot(name, "eu-west-1", state, started, {tags.UNIKERNEL: unikernel} if unikernel else {})


def removed(removal) -> list[str]:
    return [next(iter(step.call.params.values())) for step in removal.steps]


def test_newest_are_kept_and_an_ami_is_removed_before_its_snapshot():
    found = Inventory("eu-west-1", tuple(ami(n, f"snap-{n}") for n in range(3)), tuple(map(snapshot, SNAPS[:3])))
    removal = plan_collection(found, "hello", 2, NOW)
    assert removed(removal) == ["ami-0", "snap-0"]
    assert [step.call.operation for step in removal.steps] == ["DeregisterImage", "DeleteSnapshot"]
    assert "2 publishes of hello are newer" in removal.steps[0].why


def test_newer_publish_counts_once():
    removal = plan_collection(Inventory("eu-west-1", tuple(map(ami, range(2)))), "hello", 1, NOW)
    assert removal.steps[0].why == "hello-0: 1 publish of hello is newer"


@pytest.mark.parametrize(
    ("facts", "is_sharing", "launched", "stays"),
    [
        ({"is_public": True}, False, "2026-11-01T00:00:00.000Z", True),
        ({}, True, "2026-11-01T00:00:00.000Z", True),
        ({}, False, "2026-11-01T00:00:00.000Z", False),
        ({"is_public": True}, False, "2026-10-01T00:00:00.000Z", False),
        ({"is_public": True}, False, None, False),
    ],
)
def test_recently_launched_shared_ami_is_kept(facts, is_sharing, launched, stays):
    found = Inventory("eu-west-1", (ami(0, last_launched=launched, **facts), ami(1)))
    removal = plan_collection(found, "hello", 1, NOW, is_sharing=is_sharing)
    assert (removed(removal) == [], len(removal.kept)) == (stays, int(stays))


def test_ami_that_unibuild_shared_counts_as_shared():
    shared = ami(0, last_launched="2026-11-23T00:00:00.000Z")
    shared = replace(shared, tags={**shared.tags, tags.SHARED: "111122223333"})
    removal = plan_collection(Inventory("eu-west-1", (shared, ami(1))), "hello", 1, NOW)
    assert [one.why for one in removal.kept] == ["it is shared, and was launched on 2026-11-23"]


SNAPS = [f"snap-{n}" for n in range(6)]


def test_used_ami_is_kept_with_a_reason():
    found = Inventory("eu-west-1", tuple(map(ami, range(3))), users={"ami-0": ("instance i-1",)})
    removal = plan_collection(found, "hello", 1, NOW)
    assert removed(removal) == ["ami-1"]
    assert [(one.ami.id, one.why) for one in removal.kept] == [("ami-0", "it is used by instance i-1")]


def test_protected_ami_is_kept():
    found = Inventory("eu-west-1", (ami(0, is_protected=True), ami(1)))
    assert removed(plan_collection(found, "hello", 1, NOW)) == []


def test_snapshot_that_another_ami_uses_is_kept():
    found = Inventory("eu-west-1", (ami(0, "snap-0"), ami(9, "snap-0", unikernel=None), ami(2)), (snapshot("snap-0"),))
    assert removed(plan_collection(found, "hello", 1, NOW)) == ["ami-0"]


def test_snapshot_of_another_unikernel_is_kept():
    found = Inventory("eu-west-1", (ami(0, "snap-0"), ami(1)), (snapshot("snap-0", unikernel="other"),))
    assert removed(plan_collection(found, "hello", 1, NOW)) == ["ami-0"]


def test_copies_with_the_same_content_are_one_publish():
    same = "f" * 64
    found = Inventory("eu-west-1", (ami(0), ami(1, sha256=same), ami(2, sha256=same)))
    assert removed(plan_collection(found, "hello", 2, NOW)) == []
    assert removed(plan_collection(found, "hello", 1, NOW)) == ["ami-0"]


def test_each_unikernel_is_counted_separately():
    found = Inventory("eu-west-1", (ami(0, unikernel="other"), ami(1), ami(2)))
    assert removed(plan_collection(found, None, 1, NOW)) == ["ami-1"]
    assert removed(plan_collection(found, "other", 1, NOW)) == []


def test_broken_ami_is_removed_and_not_counted():
    found = Inventory("eu-west-1", (ami(0), ami(1), ami(2, state="failed")))
    assert removed(plan_collection(found, "hello", 2, NOW)) == ["ami-2"]


def test_pending_copy_is_kept_and_not_counted():
    found = Inventory("eu-west-1", (ami(0), ami(1, state="pending")))
    assert removed(plan_collection(found, "hello", 1, NOW)) == []


@pytest.mark.parametrize(
    ("one", "goes"),
    [
        (snapshot("snap-0", "error", NOW), True),
        (snapshot("snap-0", "pending"), True),
        (snapshot("snap-0", "pending", NOW - timedelta(hours=2)), False),
        (snapshot("snap-0"), True),
        (snapshot("snap-0", started=NOW - timedelta(minutes=5)), False),
        (snapshot("snap-0", unikernel=None), False),
        (snapshot("snap-0", unikernel="other"), False),
    ],
)
def test_orphaned_snapshots_are_removed(one, goes):
    assert removed(plan_collection(Inventory("eu-west-1", (), (one,)), "hello", 3, NOW)) == (["snap-0"] if goes else [])


def test_rm_refuses_a_used_ami_without_force():
    found = Inventory("eu-west-1", (ami(0, "snap-0"),), (snapshot("snap-0"),), {"ami-0": ("instance i-1",)})
    assert removed(plan_removal(found, found.amis, force=False)) == []
    assert removed(plan_removal(found, found.amis, force=True)) == ["ami-0", "snap-0"]


amis = st.builds(
    lambda number, snapshots, facts: ami(number, *snapshots, **facts),
    st.integers(0, 28),
    st.lists(st.sampled_from(SNAPS), max_size=3),
    st.fixed_dictionaries(
        {
            "unikernel": st.sampled_from(["hello", "other", None]),
            "state": st.sampled_from(["available", "pending", "failed", "disabled"]),
            "is_protected": st.booleans(),
        }
    ),
)
snapshots = st.builds(
    snapshot,
    st.sampled_from(SNAPS),
    st.sampled_from(["completed", "pending", "error"]),
    st.sampled_from([NOW, LONG_AGO]),
    st.sampled_from(["hello", "other", None]),
)


@given(
    st.lists(amis, max_size=8, unique_by=lambda one: one.id),
    st.lists(snapshots, max_size=6, unique_by=lambda one: one.id),
    st.sets(st.integers(0, 28).map("ami-{}".format)),
    st.sampled_from(["hello", None]),
    st.integers(1, 3),
)
def test_gc_never_removes_used_or_foreign_resources(images, snaps, used, unikernel, keep):
    found = Inventory("eu-west-1", tuple(images), tuple(snaps), dict.fromkeys(used, ("instance i-1",)))
    gone = removed(plan_collection(found, unikernel, keep, NOW))
    assert len(gone) == len(set(gone))
    assert not used & set(gone)
    by_id = {one.id: one for one in (*images, *snaps)}
    assert all(by_id[name].unikernel in ({"hello"} if unikernel else {"hello", "other"}) for name in gone)
    left = [one for one in images if one.id not in gone]
    assert not {name for one in left for name in one.snapshots} & set(gone)
    for name in ("hello", "other"):
        good = [one for one in images if one.unikernel == name and one.state in ("available", "disabled")]
        newest = sorted(good, key=lambda one: (one.created, one.id), reverse=True)[:keep]
        assert not {one.id for one in newest} & set(gone)


def test_users_are_described_in_words():
    instances = [
        {"InstanceId": f"i-{number}", "ImageId": "ami-1", "State": {"Name": state}}
        for number, state in enumerate(("stopped", "terminated"), 1)
    ]
    result = describe_users(
        instances,
        [
            {
                "LaunchTemplateId": "lt-1",
                "LaunchTemplateName": "web",
                "VersionNumber": 3,
                "LaunchTemplateData": {"ImageId": "ami-2"},
            }
        ],
        [{"LaunchConfigurationName": "old", "ImageId": "ami-3"}],
        [
            {"AutoScalingGroupName": "g", "LaunchTemplate": {"LaunchTemplateId": "lt-1"}},
            {"AutoScalingGroupName": "h", "LaunchConfigurationName": "old"},
            {
                "AutoScalingGroupName": "m",
                "MixedInstancesPolicy": {
                    "LaunchTemplate": {"LaunchTemplateSpecification": {"LaunchTemplateId": "lt-1"}, "Overrides": [{}]}
                },
            },
        ],
    )
    assert result == {
        "ami-1": ("instance i-1",),
        "ami-2": ("version 3 of launch template web (Auto Scaling group g, m)",),
        "ami-3": ("launch configuration old (Auto Scaling group h)",),
    }
