"""Copies in other regions, sharing, encryption, deprecation and protection, on the emulator."""

from __future__ import annotations

import threading

import pytest
from emulator import AwsError as Refusal

from unibuild.aws import distribution, tags
from unibuild.aws.client import Aws
from unibuild.aws.dry_run import CallPlan, is_reading
from unibuild.errors import AwsError
from unibuild.settings.ami import Publish

ACCOUNT = "111122223333"


@pytest.fixture
def finish(project):
    """Return a function that distributes an AMI by the settings; ``finish.told`` has the printed lines."""

    def finish(image, **settings):
        return distribution.distribute(Aws(), Publish(**settings), "us-east-1", image, finish.told.append)

    finish.told = []
    return finish


def there(project, region):
    (image,) = project.aws.region(region).own_images.values()
    return image


def test_all_regions_get_a_copy_with_tags_and_the_regions_kernel(project, finish):
    image = project.ami(**{tags.REVISION: "v1"})
    found = finish(image, regions=("eu-west-1", "us-west-2", "us-east-1"))
    assert list(found) == ["us-east-1", "eu-west-1", "us-west-2"]
    copy = there(project, "eu-west-1")
    assert copy.name == "hello-1" and found["eu-west-1"].id == copy.id
    region = project.aws.region("eu-west-1")
    assert region.tags[copy.id] == project.aws.region().tags[image]
    assert region.tags[copy.snapshot_ids[0]][tags.UNIKERNEL] == "hello"
    assert region.images[copy.kernel].name == "pv-grub-hd0_1.05-x86_64.gz"
    assert sorted(finish.told) == ["copying hello-1 to eu-west-1", "copying hello-1 to us-west-2"]


def test_copies_run_in_parallel(project, finish):
    meeting = threading.Barrier(3, timeout=120)  # each waits until all have begun

    def watch(call, moment):
        if call.operation == "CopyImage" and moment == "before":
            meeting.wait()

    project.aws.faults.watch = watch
    assert len(finish(project.ami(), regions=("eu-west-1", "us-west-2", "eu-central-1"))) == 4


def test_second_run_copies_nothing(project, finish):
    image = project.ami()
    finish(image, regions=("eu-west-1",))
    finish(image, regions=("eu-west-1",))
    assert project.aws.calls.count("CopyImage") == 1


@pytest.mark.parametrize("fault", ["cut-after", "garbage", "500"])
def test_lost_answer_makes_no_second_copy(project, finish, fault):
    project.aws.faults.add(fault, "CopyImage", times=1)
    finish(project.ami(), regions=("eu-west-1",))
    assert there(project, "eu-west-1")


def test_region_without_the_kernel_fails_and_the_others_succeed(project, finish):
    with pytest.raises(AwsError, match="the region lacks the kernel image pv-grub") as caught:
        finish(project.ami(), regions=("eu-north-1", "eu-west-1"))
    assert there(project, "eu-west-1").id in caught.value.hint
    assert project.aws.calls.named("CopyImage")[0].region == "eu-west-1"


def test_another_ami_with_the_same_name_is_left_alone(project, finish):
    other = project.call.ami(Name="other")
    project.call.copy(other, Name="hello-1")
    with pytest.raises(AwsError, match="already has the name hello-1"):
        finish(project.ami(), regions=("eu-west-1",))


def test_pending_copy_is_waited_for(project, finish):
    project.aws.world.timing.copy_completes = 3600
    project.aws.faults.watch = lambda call, moment: project.aws.world.clock.advance(1200)
    assert finish(project.ami(), regions=("eu-west-1",))["eu-west-1"].state == "available"


def test_copies_are_encrypted_with_the_key_of_their_region(project, finish):
    for name in ("us-east-1", "eu-west-1"):
        region = project.aws.region(name)
        region.kms[region.arn("kms", "alias/team")] = region.arn("kms", f"key/{name}")
    finish(project.ami(), regions=("eu-west-1",), kms_key=project.aws.region().arn("kms", "alias/team"))
    region = project.aws.region("eu-west-1")
    assert region.snapshots[there(project, "eu-west-1").snapshot_ids[0]].key == region.arn("kms", "key/eu-west-1")


def test_plan_for_an_ami_that_does_not_exist_yet(project):
    plan = CallPlan()
    settings = Publish(regions=("eu-west-1",), share=(ACCOUNT,), deprecate_after=3, protect=True)
    distribution.distribute(Aws(plan=plan), settings, "us-east-1", "<ImageId>", print)
    assert [call.operation for call in plan.calls].count("CopyImage") == 1
    assert {call.operation for call in plan.calls} == {
        "CopyImage",
        "CreateTags",
        "ModifyImageAttribute",
        "ModifySnapshotAttribute",
        "EnableImageDeprecation",
        "EnableImageDeregistrationProtection",
    }
    assert [call.operation for call in project.aws.calls if not call.operation.startswith("Describe")] == []


def test_all_copies_are_shared_deprecated_and_protected(project, finish):
    image = project.ami()
    finish(image, regions=("eu-west-1",), share=(ACCOUNT,), deprecate_after=30, protect=True)
    for one in (project.aws.region().images[image], there(project, "eu-west-1")):
        assert one.permissions == [{"UserId": ACCOUNT}]
        assert one.deprecated and one.protected == "enabled-without-cooldown"
    assert project.aws.calls.count("ModifySnapshotAttribute") == 2


def test_existing_state_is_not_set_again(project, finish):
    image = project.ami()
    settings = {"share": ("all",), "deprecate_after": 30, "protect": True}
    finish(image, **settings)
    project.aws.calls.clear()
    finish(image, **settings)
    assert project.aws.calls.counts == {"DescribeImages": 1}


def test_account_that_blocks_public_images(project, finish):
    project.aws.world.block_public_access = True
    with pytest.raises(AwsError) as caught:
        finish(project.ami(), share=("all",))
    assert "block" in str(caught.value).lower()


def test_failed_region_does_not_stop_copies_to_the_others(project, finish):
    refusal = Refusal("ResourceLimitExceeded", "Too many copies.", 400)
    project.aws.faults.add("500", "CopyImage", times=1, error=refusal)
    with pytest.raises(AwsError, match="limit"):
        finish(project.ami(), regions=("eu-west-1", "us-west-2"))
    made = [len(project.aws.region(name).own_images) for name in ("eu-west-1", "us-west-2")]
    assert sum(made) == 1


def test_removed_settings_are_undone_in_all_regions(project, finish):
    image = project.ami()
    finish(image, regions=("eu-west-1",), share=(ACCOUNT,), deprecate_after=9, protect=True)
    copy = there(project, "eu-west-1")
    assert copy.permissions == [{"UserId": ACCOUNT}]
    finish(image, regions=("eu-west-1",))
    for one, region in ((project.aws.region().images[image], "us-east-1"), (copy, "eu-west-1")):
        assert (one.permissions, one.deprecated, one.protected) == ([], None, "disabled")
        assert project.aws.region(region).snapshot(one.snapshot_ids[0]).permissions == []
    project.aws.calls.clear()
    finish(image, regions=("eu-west-1",))
    assert all(is_reading(call.operation, call.params) for call in project.aws.calls)


def test_undo_that_the_policy_forbids_is_reported(project, finish):
    image = project.ami()
    finish(image, protect=True)
    no = Refusal("UnauthorizedOperation", "No.", 403)
    project.aws.faults.add("500", "DisableImageDeregistrationProtection", error=no)
    finish(image)
    assert "DisableImageDeregistrationProtection" in finish.told[-1]
    assert project.aws.region().images[image].protected != "disabled"


def test_changed_tags_and_description_are_applied_to_ami_and_copies(project, finish):
    image = project.ami()
    finish(image, regions=("eu-west-1",))
    settings = Publish(regions=("eu-west-1",), tags={"Owner": "me"}, volume="gp3")
    distribution.distribute(Aws(), settings, "us-east-1", image, finish.told.append, description="another")
    for region, one in (("us-east-1", project.aws.region().images[image]), ("eu-west-1", there(project, "eu-west-1"))):
        assert one.description == "another"
        assert project.aws.region(region).tags[one.id]["Owner"] == "me"
        assert project.aws.region(region).tags[one.snapshot_ids[0]]["Owner"] == "me"
    assert len([line for line in finish.told if "gp2 volume" in line]) == 2
