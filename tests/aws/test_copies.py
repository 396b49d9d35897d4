"""Copies in other regions, sharing, encryption, deprecation and protection, on the emulator."""

from __future__ import annotations

import threading

import pytest
from emulator import AwsError as Refusal

from unibuild.aws import distribute, tags
from unibuild.aws.client import Aws
from unibuild.aws.dry_run import CallPlan, is_reading
from unibuild.errors import AwsError
from unibuild.settings.ami import Publish

ACCOUNT = "111122223333"


@pytest.fixture
def finish(ours):
    """Do with an AMI what the settings say; what was told is kept in ``finish.told``."""

    def finish(image, **settings):
        return distribute.distribute(Aws(), Publish(**settings), "us-east-1", image, finish.told.append)

    finish.told = []
    return finish


def there(ours, region):
    (image,) = ours.aws.region(region).own_images.values()
    return image


def test_all_regions_get_a_copy_with_its_tags_and_its_kernel(ours, finish):
    image = ours.ami(**{tags.REVISION: "v1"})
    found = finish(image, regions=("eu-west-1", "us-west-2", "us-east-1"))
    assert list(found) == ["us-east-1", "eu-west-1", "us-west-2"]
    copy = there(ours, "eu-west-1")
    assert copy.name == "hello-1" and found["eu-west-1"].id == copy.id
    region = ours.aws.region("eu-west-1")
    assert region.tags[copy.id] == ours.aws.region().tags[image]
    assert region.tags[copy.snapshot_ids[0]][tags.UNIKERNEL] == "hello"
    assert region.images[copy.kernel].name == "pv-grub-hd0_1.05-x86_64.gz"
    assert sorted(finish.told) == ["copying hello-1 to eu-west-1", "copying hello-1 to us-west-2"]


def test_copies_are_made_at_the_same_time(ours, finish):
    meeting = threading.Barrier(3, timeout=120)  # none goes on before all have come

    def watch(call, moment):
        if call.operation == "CopyImage" and moment == "before":
            meeting.wait()

    ours.aws.faults.watch = watch
    assert len(finish(ours.ami(), regions=("eu-west-1", "us-west-2", "eu-central-1"))) == 4


def test_again_copies_nothing(ours, finish):
    image = ours.ami()
    finish(image, regions=("eu-west-1",))
    finish(image, regions=("eu-west-1",))
    assert ours.aws.calls.count("CopyImage") == 1


@pytest.mark.parametrize("fault", ["cut-after", "garbage", "500"])
def test_a_lost_answer_makes_no_second_copy(ours, finish, fault):
    ours.aws.faults.add(fault, "CopyImage", times=1)
    finish(ours.ami(), regions=("eu-west-1",))
    assert there(ours, "eu-west-1")


def test_a_region_without_that_kernel_is_refused_and_the_others_are_done(ours, finish):
    with pytest.raises(AwsError, match="eu-north-1 has no kernel image pv-grub") as caught:
        finish(ours.ami(), regions=("eu-north-1", "eu-west-1"))
    assert there(ours, "eu-west-1").id in caught.value.hint
    assert ours.aws.calls.named("CopyImage")[0].region == "eu-west-1"


def test_another_ami_of_that_name_is_left_alone(ours, finish):
    other = ours.call.ami(Name="other")
    ours.call.copy(other, Name="hello-1")
    with pytest.raises(AwsError, match="has the name hello-1 already"):
        finish(ours.ami(), regions=("eu-west-1",))


def test_a_copy_that_is_still_pending_is_waited_for(ours, finish):
    ours.aws.world.timing.copy_completes = 3600
    ours.aws.faults.watch = lambda call, moment: ours.aws.world.clock.advance(1200)
    assert finish(ours.ami(), regions=("eu-west-1",))["eu-west-1"].state == "available"


def test_copies_are_encrypted_with_the_key_of_their_region(ours, finish):
    for name in ("us-east-1", "eu-west-1"):
        region = ours.aws.region(name)
        region.kms[region.arn("kms", "alias/ours")] = region.arn("kms", f"key/{name}")
    finish(ours.ami(), regions=("eu-west-1",), kms_key=ours.aws.region().arn("kms", "alias/ours"))
    region = ours.aws.region("eu-west-1")
    assert region.snapshots[there(ours, "eu-west-1").snapshot_ids[0]].key == region.arn("kms", "key/eu-west-1")


def test_the_plan_of_an_ami_that_is_not_there_yet(ours):
    plan = CallPlan()
    settings = Publish(regions=("eu-west-1",), share=(ACCOUNT,), deprecate_after=3, protect=True)
    distribute.distribute(Aws(plan=plan), settings, "us-east-1", "<ImageId>", print)
    assert [call.operation for call in plan.calls].count("CopyImage") == 1
    assert {call.operation for call in plan.calls} == {
        "CopyImage",
        "CreateTags",
        "ModifyImageAttribute",
        "ModifySnapshotAttribute",
        "EnableImageDeprecation",
        "EnableImageDeregistrationProtection",
    }
    assert [call.operation for call in ours.aws.calls if not call.operation.startswith("Describe")] == []


def test_all_copies_are_shared_deprecated_and_protected(ours, finish):
    image = ours.ami()
    finish(image, regions=("eu-west-1",), share=(ACCOUNT,), deprecate_after=30, protect=True)
    for one in (ours.aws.region().images[image], there(ours, "eu-west-1")):
        assert one.permissions == [{"UserId": ACCOUNT}]
        assert one.deprecated and one.protected == "enabled-without-cooldown"
    assert ours.aws.calls.count("ModifySnapshotAttribute") == 2


def test_what_is_so_already_is_not_asked_for_again(ours, finish):
    image = ours.ami()
    settings = {"share": ("all",), "deprecate_after": 30, "protect": True}
    finish(image, **settings)
    ours.aws.calls.clear()
    finish(image, **settings)
    assert ours.aws.calls.counts == {"DescribeImages": 1}


def test_public_images_may_be_blocked_in_the_account(ours, finish):
    ours.aws.world.block_public_access = True
    with pytest.raises(AwsError) as caught:
        finish(ours.ami(), share=("all",))
    assert "block" in str(caught.value).lower()


def test_a_region_that_fails_does_not_keep_the_others_from_their_copy(ours, finish):
    refusal = Refusal("ResourceLimitExceeded", "Too many copies.", 400)
    ours.aws.faults.add("500", "CopyImage", times=1, error=refusal)
    with pytest.raises(AwsError, match="limit"):
        finish(ours.ami(), regions=("eu-west-1", "us-west-2"))
    made = [len(ours.aws.region(name).own_images) for name in ("eu-west-1", "us-west-2")]
    assert sum(made) == 1


def test_what_was_removed_from_the_settings_is_taken_back_in_all_regions(ours, finish):
    image = ours.ami()
    finish(image, regions=("eu-west-1",), share=(ACCOUNT,), deprecate_after=9, protect=True)
    copy = there(ours, "eu-west-1")
    assert copy.permissions == [{"UserId": ACCOUNT}]
    finish(image, regions=("eu-west-1",))
    for one, region in ((ours.aws.region().images[image], "us-east-1"), (copy, "eu-west-1")):
        assert (one.permissions, one.deprecated, one.protected) == ([], None, "disabled")
        assert ours.aws.region(region).snapshot(one.snapshot_ids[0]).permissions == []
    ours.aws.calls.clear()
    finish(image, regions=("eu-west-1",))
    assert all(is_reading(call.operation, call.params) for call in ours.aws.calls)


def test_what_the_policy_does_not_let_take_back_is_reported(ours, finish):
    image = ours.ami()
    finish(image, protect=True)
    no = Refusal("UnauthorizedOperation", "No.", 403)
    ours.aws.faults.add("500", "DisableImageDeregistrationProtection", error=no)
    finish(image)
    assert "DisableImageDeregistrationProtection" in finish.told[-1]
    assert ours.aws.region().images[image].protected != "disabled"


def test_changed_tags_and_description_reach_an_ami_and_its_copies(ours, finish):
    image = ours.ami()
    finish(image, regions=("eu-west-1",))
    settings = Publish(regions=("eu-west-1",), tags={"Owner": "me"}, volume="gp3")
    distribute.distribute(Aws(), settings, "us-east-1", image, finish.told.append, description="another")
    for region, one in (("us-east-1", ours.aws.region().images[image]), ("eu-west-1", there(ours, "eu-west-1"))):
        assert one.description == "another"
        assert ours.aws.region(region).tags[one.id]["Owner"] == "me"
        assert ours.aws.region(region).tags[one.snapshot_ids[0]]["Owner"] == "me"
    assert len([line for line in finish.told if "gp2 volume" in line]) == 2
