"""Publish an image as an AMI, against the emulator."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from disks import Disk
from emulator import Delay, ManualClock, World
from emulator.errors import AwsError as Refused
from uploads import Hasty

from unibuild.aws import publish, xen_support
from unibuild.aws.client import Aws
from unibuild.aws.dry_run import CallPlan, is_reading
from unibuild.aws.snapshot.journal import PendingUpload, UploadJournal
from unibuild.errors import AwsError, InputError

if TYPE_CHECKING:
    from pathlib import Path

    from emulator import Emulator
    from emulator.image import Image

REGION = "us-east-1"
OLD, NEW = Disk.of(1, 2, 0, 4, 5), Disk.of(1, 2, 0, 4, 99)


@functools.cache
def account(region: str, plan: CallPlan | None) -> Aws:
    """The account's owner, created once: EC2's client takes a quarter of a second."""
    return Aws(region=region, clock=Hasty(), plan=plan)


class Publisher:
    """Publishes disks to one emulator, each time as in a new process."""

    def __init__(self, emulator: Emulator, folder: Path, region: str = REGION) -> None:
        self.emulator, self.folder, self.region = emulator, folder, region

    def wanted(self, disk: Disk, **how: object) -> publish.AmiSpec:
        about = publish.KernelInfo("hello", disk.digest, "v1.0-3-gabcdef", "mirage 4.11.1")
        basic = publish.AmiSpec(f"hello-{disk.digest[:12]}", "hello", "paravirtual", "gp2", "", about, {"team": "edge"})
        return replace(basic, **how)

    def run(self, disk: Disk, plan: CallPlan | None = None, **how: object):
        aws = account(self.region, plan)
        wanted, journal = self.wanted(disk, **how), UploadJournal(self.folder, writing=plan is None)
        there = publish.find_published(aws, wanted, journal)
        if there is not None:
            return there
        return publish.create(aws, disk, wanted, publish.check_prerequisites(aws, wanted), journal, lambda *said: None)

    @property
    def images(self) -> dict[str, Image]:
        return self.emulator.region(self.region).own_images

    @property
    def snapshots(self):
        return self.emulator.region(self.region).snapshots

    def tags(self, resource: str) -> dict[str, str]:
        return self.emulator.region(self.region).tags[resource]


@pytest.fixture
def publisher(aws: Emulator, tmp_path: Path) -> Publisher:
    return Publisher(aws, tmp_path)


def test_paravirtual_ami(publisher: Publisher) -> None:
    made = publisher.run(OLD)
    [call] = [call for call in publisher.emulator.calls.named("RegisterImage") if call.done]
    image = publisher.images[made.image]
    assert image.virtualization == "paravirtual"
    assert publisher.emulator.region(REGION).images[image.kernel].name == "pv-grub-hd0_1.05-x86_64.gz"
    assert call.params["Architecture"] == "x86_64"
    assert call.params["RootDeviceName"] == "/dev/sda1"
    assert not call.params.keys() & {"EnaSupport", "SriovNetSupport", "BootMode", "TpmSupport", "ImdsSupport"}
    assert publisher.snapshots[image.snapshot_ids[0]].content == OLD.content


def test_tags_of_ami_and_snapshot_name_the_sources(publisher: Publisher) -> None:
    made = publisher.run(OLD)
    for resource in (made.image, made.snapshot):
        tags = publisher.tags(resource)
        assert tags["unibuild:unikernel"] == "hello"
        assert tags["unibuild:sha256"] == OLD.digest
        assert tags["unibuild:revision"] == "v1.0-3-gabcdef"
        assert tags["unibuild:toolchain"] == "mirage 4.11.1"
        assert tags["unibuild:version"]
        assert (tags["team"], tags["Name"]) == ("edge", made.name)


def test_unchanged_image_needs_one_call_and_no_upload(publisher: Publisher) -> None:
    first = publisher.run(OLD)
    publisher.emulator.calls.clear()
    again = publisher.run(OLD)
    assert (again.image, again.is_new) == (first.image, False)
    assert publisher.emulator.calls.counts == {"DescribeImages": 1}


def test_change_of_one_block_puts_one_block_even_from_another_machine(publisher: Publisher, tmp_path: Path) -> None:
    first = publisher.run(OLD)
    publisher.emulator.calls.clear()
    elsewhere = Publisher(publisher.emulator, tmp_path / "elsewhere")
    made = elsewhere.run(NEW)
    assert (made.puts, made.parent) == (1, first.snapshot)
    assert publisher.emulator.calls.count("PutSnapshotBlock") == 1
    assert publisher.snapshots[made.snapshot].content == NEW.content


def test_hvm_ami(publisher: Publisher) -> None:
    made = publisher.run(OLD, virtualization="hvm")
    image = publisher.images[made.image]
    assert (image.virtualization, image.kernel) == ("hvm", None)
    assert image.settings["ImdsSupport"] == "v2.0"


def test_kernel_of_the_wrong_type_is_refused_with_the_reason() -> None:
    with pytest.raises(InputError, match="PV-GRUB, which loads PV kernels only") as caught:
        xen_support.check_kind("pvh", "paravirtual")
    assert 'virtualization = "hvm"' in caught.value.hint
    with pytest.raises(InputError, match="multiboot"):
        xen_support.check_kind("pv", "hvm")


def names(*versions: str) -> list[dict[str, str]]:
    return [{"Name": f"pv-grub-{version}.gz", "ImageId": f"aki-{number}"} for number, version in enumerate(versions)]


@pytest.mark.parametrize(
    ("found", "newest"),
    [
        (["hd0_1.05-x86_64", "hd0_1.04-x86_64"], "aki-0"),
        (["hd0_1.9-x86_64", "hd0_1.10-x86_64"], "aki-1"),
        (["hd00_2.0-x86_64", "hd0_1.04-x86_64", "hd0_1.05-i386"], "aki-1"),
        (["hd0_1.10.1-x86_64", "hd0_1.10-x86_64"], "aki-0"),
        ([], None),
    ],
)
def test_newest_pv_grub_has_the_greatest_version(found: list[str], newest: str | None) -> None:
    assert xen_support.newest(names(*found)) == newest


def test_deprecated_or_hidden_pv_grub_is_used(publisher: Publisher) -> None:
    region = publisher.emulator.region(REGION)
    for image in region.images.values():
        image.deprecated = "2018-01-01T00:00:00.000Z"
    first = publisher.run(OLD)
    assert publisher.images[first.image].kernel == "aki-5c21674b"
    for image in list(region.images):
        region.unseen.hide(f"tags:{image}", Delay(calls=99))
    second = publisher.run(NEW)
    assert publisher.images[second.image].kernel == "aki-5c21674b"


REFUSED = {
    "a region without PV-GRUB": ({}, "eu-west-3", "lacks PV-GRUB|offers no instance type"),
    "a type without PV": ({"instance_type": "t2.micro"}, REGION, "t2.micro cannot run a paravirtual AMI"),
    "a type without Xen": ({"instance_type": "t3.micro", "virtualization": "hvm"}, REGION, "t3.micro does not run Xen"),
    "no such type": ({"instance_type": "t9.tiny"}, REGION, "t9.tiny"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_settings_are_refused_before_the_upload(publisher: Publisher, case: str) -> None:
    how, publisher.region, sentence = REFUSED[case]
    with pytest.raises(AwsError, match=sentence):
        publisher.run(OLD, **how)
    assert publisher.emulator.calls.count("StartSnapshot", "PutSnapshotBlock") == 0


def test_missing_permission_to_register_is_reported_before_the_upload(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = ["ec2:Describe*", "ebs:*", "ec2:CreateTags", "ec2:DeleteSnapshot"]
    statement = {"Effect": "Allow", "Action": allowed, "Resource": "*"}
    account.cache_clear()
    guest = publisher.emulator.new_principal({"Version": "2012-10-17", "Statement": [statement]})
    for name, value in publisher.emulator.environment(guest).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AwsError, match="RegisterImage in us-east-1: the account may not do this") as caught:
        publisher.run(OLD)
    account.cache_clear()
    assert "unibuild iam-policy" in caught.value.hint
    assert publisher.emulator.calls.count("StartSnapshot") == 0


def test_name_of_another_image_is_refused_before_the_upload(publisher: Publisher) -> None:
    publisher.run(OLD, name="hello")
    publisher.emulator.calls.clear()
    with pytest.raises(AwsError, match="already has the name hello"):
        publisher.run(NEW, name="hello")
    assert publisher.emulator.calls.counts == {"DescribeImages": 1}


@pytest.mark.parametrize("kind", ["cut-after", "garbage", "cut-answer", "502"])
def test_lost_answer_of_register_image_leaves_one_ami(publisher: Publisher, kind: str) -> None:
    publisher.emulator.world.timing.tags_appear = Delay(calls=2)
    publisher.emulator.faults.add(kind, "RegisterImage", skip=1, times=1)
    made = publisher.run(OLD)
    assert list(publisher.images) == [made.image]
    assert list(publisher.snapshots) == [made.snapshot]


def test_faster_run_on_another_machine_leaves_one_ami_and_one_snapshot(publisher: Publisher, tmp_path: Path) -> None:
    elsewhere = Publisher(publisher.emulator, tmp_path / "elsewhere")
    faster = []

    def watch(call, moment):
        if call.operation == "CompleteSnapshot" and moment == "after" and not faster:
            publisher.emulator.faults.watch = None
            faster.append(elsewhere.run(OLD, description="of another machine"))

    publisher.emulator.faults.watch = watch
    made = publisher.run(OLD)
    assert made.image == faster[0].image
    assert list(publisher.images) == [made.image]
    assert list(publisher.snapshots) == [made.snapshot]


def interrupted(publisher: Publisher, step: str) -> None:
    """Publish, and interrupt the run as Ctrl-C does when it reports this step."""
    wanted, journal, aws = publisher.wanted(OLD), UploadJournal(publisher.folder), account(REGION, None)

    def interrupt(what: str, *_: object) -> None:
        if what == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish.create(aws, OLD, wanted, publish.check_prerequisites(aws, wanted), journal, interrupt)


def test_resumed_upload_removes_its_snapshot_if_another_run_was_faster(publisher: Publisher, tmp_path: Path) -> None:
    wanted, aws = publisher.wanted(OLD), account(REGION, None)
    interrupted(publisher, "EC2 completes the snapshot")
    region = publisher.emulator.region(REGION)
    [begun] = region.snapshots
    region.unseen.hide(f"tags:{begun}", Delay(calls=99))  # so that the other machine creates its own snapshot
    known = publish.check_prerequisites(aws, wanted)
    faster = Publisher(publisher.emulator, tmp_path / "elsewhere").run(OLD, description="of another machine")
    made = publish.create(aws, OLD, wanted, known, UploadJournal(publisher.folder), lambda *_: None)
    assert (made.image, list(region.snapshots)) == (faster.image, [faster.snapshot])


def test_next_run_uses_a_complete_snapshot_without_an_ami(publisher: Publisher) -> None:
    publisher.emulator.faults.add("500", "RegisterImage", skip=1, error=Refused("ResourceLimitExceeded", "No."))
    with pytest.raises(AwsError, match="a limit of the account") as caught:
        publisher.run(OLD)
    [kept] = publisher.snapshots
    assert kept in caught.value.hint
    publisher.emulator.faults.clear()
    publisher.emulator.calls.clear()
    assert publisher.run(OLD).snapshot == kept
    assert publisher.emulator.calls.count("PutSnapshotBlock", "StartSnapshot") == 0


def test_unfinished_upload_of_a_killed_run_is_removed_once_the_ami_exists(publisher: Publisher) -> None:
    publisher.run(OLD)
    journal = UploadJournal(publisher.folder)
    journal.begin(PendingUpload(REGION, OLD.digest, None, snapshot=publisher.run(NEW, name="pending").snapshot))
    publisher.emulator.region(REGION).images = {
        name: image for name, image in publisher.emulator.region(REGION).images.items() if image.name != "pending"
    }
    assert not publisher.run(OLD).is_new
    assert UploadJournal(publisher.folder).begun == ()
    assert len(publisher.snapshots) == 1


def test_publish_via_s3_removes_an_unfinished_upload_by_ebs_direct(publisher: Publisher, client) -> None:
    client("s3").create_bucket(Bucket="images")
    publisher.emulator.world.roles["vmimport"] = "images"
    interrupted(publisher, "upload to us-east-1")
    assert len(UploadJournal(publisher.folder).begun) == 1
    made = publisher.run(OLD, via="s3", bucket="images", role="vmimport")
    assert UploadJournal(publisher.folder).begun == ()
    assert list(publisher.snapshots) == [made.snapshot]


def test_empty_description_is_omitted(publisher: Publisher) -> None:
    made = publisher.run(OLD, description="")
    assert publisher.images[made.image].description == ""


def test_resources_may_appear_late_in_ec2(publisher: Publisher) -> None:
    clock = ManualClock()
    publisher.emulator.reset(World(clock))
    timing = publisher.emulator.world.timing
    timing.snapshot_completes, timing.image_available = 60, 30
    timing.snapshot_appears = timing.image_appears = timing.tags_appear = Delay(seconds=20, calls=3)
    publisher.emulator.faults.watch = lambda call, moment: clock.advance(1)
    made = publisher.run(OLD)
    assert publisher.snapshots[made.snapshot].content == OLD.content


def test_plan_prints_every_call_and_makes_none(publisher: Publisher) -> None:
    publisher.run(OLD)
    publisher.emulator.calls.clear()
    plan = CallPlan()
    publisher.run(NEW, plan)
    assert [call.operation for call in plan.calls] == [
        "StartSnapshot",
        "PutSnapshotBlock",
        "CompleteSnapshot",
        "RegisterImage",
    ]
    assert all(is_reading(call.operation, call.params) for call in publisher.emulator.calls if call.done)
    assert not (publisher.folder / "aws.json").read_text().count("<")
    publisher.run(NEW)
    sent = [call for call in publisher.emulator.calls if call.done and not is_reading(call.operation, call.params)]
    assert [call.operation for call in sent] == [call.operation for call in plan.calls]


@pytest.mark.parametrize("encryption", ["aws/ebs", "arn"])
def test_encrypted_ami_has_only_a_parent_with_the_same_key(publisher: Publisher, encryption: str) -> None:
    key = publisher.emulator.region(REGION).kms_key(None) if encryption == "arn" else encryption
    publisher.run(OLD)
    first = publisher.run(OLD, encryption=key, name="hello-secret")
    assert (first.puts, publisher.snapshots[first.snapshot].key is not None) == (4, True)
    second = publisher.run(NEW, encryption=key)
    assert (second.puts, second.parent) == (1, first.snapshot)


ALIAS = "arn:aws:kms:us-east-1:123456789012:alias/team"


def test_account_that_encrypts_by_default_publishes_changes(publisher: Publisher) -> None:
    publisher.run(OLD)
    publisher.emulator.region(REGION).encrypts_by_default = True
    first = publisher.run(NEW)
    assert (first.puts, first.parent, publisher.snapshots[first.snapshot].key is not None) == (4, None, True)
    second = publisher.run(Disk.of(1, 2, 0, 4, 77))
    assert (second.puts, second.parent) == (1, first.snapshot)
    publisher.emulator.region(REGION).encrypts_by_default = False
    third = publisher.run(Disk.of(1, 2, 0, 4, 78))
    assert publisher.snapshots[third.snapshot].key is None


def test_parent_that_ebs_refuses_is_omitted(publisher: Publisher) -> None:
    """This happens if the policy does not allow reading the account's setting for encryption by default."""
    publisher.run(OLD)
    publisher.emulator.region(REGION).encrypts_by_default = True
    no = Refused("UnauthorizedOperation", "No.", 403)
    publisher.emulator.faults.add("500", "GetEbsEncryptionByDefault", error=no)
    made = publisher.run(NEW)
    assert (made.puts, made.parent) == (4, None)
    assert len(publisher.snapshots) == 2


def test_alias_is_resolved_for_ebs_direct(publisher: Publisher) -> None:
    region = publisher.emulator.region(REGION)
    region.kms["alias/team"] = region.arn("kms", "key/team")
    made = publisher.run(OLD, encryption=ALIAS)
    assert publisher.snapshots[made.snapshot].key == region.kms["alias/team"]
    region.kms["alias/team"] = region.arn("kms", "key/next")  # a snapshot under the old key is not a parent
    after = publisher.run(NEW, encryption=ALIAS)
    assert (after.parent, publisher.snapshots[after.snapshot].key) == (None, region.kms["alias/team"])
    assert publisher.run(Disk.of(1, 2, 0, 4, 77), encryption=ALIAS).parent == after.snapshot


def test_alias_without_a_key_is_refused_before_the_upload(publisher: Publisher) -> None:
    with pytest.raises(AwsError, match="the KMS key does not exist"):
        publisher.run(OLD, encryption=ALIAS)
    assert publisher.emulator.calls.count("StartSnapshot") == 0


def test_ami_without_its_snapshot_does_not_count_as_published(publisher: Publisher) -> None:
    made = publisher.run(OLD)
    publisher.images[made.image].mappings = []
    with pytest.raises(AwsError, match="no root snapshot") as caught:
        publisher.run(OLD)
    assert f"unibuild ami rm {made.image}" in caught.value.hint


def test_ami_that_lost_its_tags_is_reported(publisher: Publisher) -> None:
    made = publisher.run(OLD)
    publisher.emulator.region(REGION).tags[made.image].clear()
    with pytest.raises(AwsError, match="lacks the tag unibuild:sha256") as caught:
        publisher.run(OLD)
    assert "{hash}" not in caught.value.hint


def test_dry_run_uses_another_name_and_content(publisher: Publisher) -> None:
    name = "n" * 128
    publisher.run(OLD, name=name)
    [asked] = [call for call in publisher.emulator.calls.named("RegisterImage") if call.params.get("DryRun")]
    [marked] = asked.params["TagSpecifications"]
    assert asked.params["Name"] != name and len(asked.params["Name"]) <= 128
    assert "unibuild:sha256" not in {tag["Key"] for tag in marked["Tags"]}


SHARING = {
    "encrypted by default, to accounts": ({"encrypts_by_default": True}, ("111122223333",), "default key"),
    "encrypted by default, to all": ({"encrypts_by_default": True}, ("all",), "with all"),
    "snapshots blocked": ({"block_snapshot_access": True}, ("all",), "snapshots in us-east-1"),
}


@pytest.mark.parametrize("case", SHARING)
def test_forbidden_sharing_is_refused_before_the_upload(publisher: Publisher, case: str) -> None:
    traits, share, sentence = SHARING[case]
    for name, value in traits.items():
        setattr(publisher.emulator.region(REGION), name, value)
    with pytest.raises(AwsError, match=sentence):
        publisher.run(OLD, share=share)
    assert publisher.emulator.calls.count("StartSnapshot") == 0


def test_blocked_public_access_is_found_in_every_region(publisher: Publisher) -> None:
    publisher.emulator.world.block_public_access = True
    with pytest.raises(AwsError, match="AMIs in"):
        publisher.run(OLD, share=("all",), regions=("eu-west-1",))
    assert publisher.emulator.calls.count("GetImageBlockPublicAccessState") >= 1
    publisher.emulator.world.block_public_access = False
    publisher.emulator.region("eu-west-1").block_snapshot_access = True
    with pytest.raises(AwsError, match="snapshots in eu-west-1"):
        publisher.run(OLD, share=("all",), regions=("eu-west-1",))
    assert publisher.run(OLD, share=("111122223333",), regions=("eu-west-1",)).is_new


def test_first_publish_makes_few_calls(publisher: Publisher) -> None:
    publisher.run(OLD)
    counts = publisher.emulator.calls.counts
    assert counts.pop("PutSnapshotBlock") == 4
    assert counts.total() <= 12


def test_large_image_and_long_values_fit_into_tags(publisher: Publisher) -> None:
    large = Disk({0: 1, 240: 2})
    about = publish.KernelInfo("hello", large.digest, "v" * 300)
    made = publisher.run(large, about=about)
    assert publisher.tags(made.snapshot)["unibuild:revision"] == "v" * 255
    publisher.emulator.calls.clear()
    assert publisher.run(Disk({0: 1, 240: 3})).puts == 1
