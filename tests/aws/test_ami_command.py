"""``unibuild ami`` on the emulator: what it shows, what it removes, and what it leaves alone."""

from __future__ import annotations

import io

import pytest
from calling import BLOCK, DATA, OTHER
from emulator import AwsError as Refusal

from unibuild.aws import tags
from unibuild.cli import ami as command
from unibuild.errors import AwsError, InputError


def test_list_shows_only_ours(ours):
    one, other = ours.ami(), ours.ami(**{tags.REVISION: "v1.2", tags.VERIFIED: "2026-11-24T12:00:00Z"})
    ours.call.ami(Name="somebody's")
    ours.ami(unikernel="another")
    lines = ours.run("list").splitlines()
    assert [line.split()[0] for line in lines] == ["AMI", other, one]
    assert "v1.2" in lines[1] and "2026-11-24 12:00" in lines[1]
    assert [found["id"] for found in ours.json("list")["amis"]] == [other, one]
    assert len(ours.json("list", "--all")["amis"]) == 3


def test_list_tells_what_uses_each(ours, client):
    one, other = ours.ami(), ours.ami()
    instance = ours.call.run(one)
    data = {"ImageId": one, "InstanceType": "t1.micro"}
    for name in ("web", "more"):
        client("ec2").create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
    lines = ours.run("list").splitlines()
    assert lines[0].endswith("USED BY")
    assert lines[2].endswith(f"instance {instance}, version 1 of launch template web, and 1 more")
    used = {found["id"]: found["used_by"] for found in ours.json("list")["amis"]}
    assert used[other] == [] and len(used[one]) == 3


def test_list_of_who_may_not_see_what_uses_them(ours):
    ours.ami()
    ours.aws.faults.add("500", "DescribeInstances", error=Refusal("UnauthorizedOperation", "No.", 403))
    assert "not told" in ours.run("list")
    assert ours.json("list")["amis"][0]["used_by"] is None


REFERENCES = [
    ("ssm:Parameter", "arn:aws:ssm:us-east-1:123456789012:parameter/unikernels/hello"),
    ("imagebuilder:ImageRecipe", "arn:aws:imagebuilder:us-east-1:123456789012:image-recipe/hello/1.0.0"),
]


def test_what_a_parameter_or_a_recipe_names_stays(ours):
    amis = [ours.ami() for _ in range(12)]
    ours.aws.region().references[amis[0]] = REFERENCES
    assert "Image Builder recipe hello/1.0.0" in ours.run("show", amis[0])
    told = ours.json("gc", "--keep", "1")
    assert ours.images == [amis[0], amis[-1]]
    assert [one["why"] for one in told["kept"]] == [
        "it is used by parameter unikernels/hello, Image Builder recipe hello/1.0.0"
    ]


def test_gc_reports_users_that_it_may_not_ask_for(ours, monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(command, "note", lines.append)
    amis = [ours.ami(), ours.ami()]
    ours.aws.faults.add("500", "DescribeImageReferences", error=Refusal("UnauthorizedOperation", "No.", 403))
    ours.run("gc", "--keep", "1")
    assert ours.images == amis[1:]
    assert len(lines) == 1 and "ec2:DescribeImageReferences" in lines[0]


def test_a_shared_ami_is_kept_by_its_last_launch(ours):
    ours.settings('[publish]\nshare = ["111122223333"]\n')
    amis = [ours.ami(), ours.ami()]
    ours.call.ec2.terminate_instances(InstanceIds=[ours.call.run(amis[0])])
    assert "it is shared" in ours.json("gc", "--keep", "1")["kept"][0]["why"]
    ours.aws.world.clock.advance(-40 * 86400)
    ours.run("gc", "--keep", "1", "--launched", "0")
    assert ours.images == amis[1:]


def test_an_endpoint_without_auto_scaling_and_imports(ours):
    one, other = ours.ami(), ours.ami()
    lacking = Refusal("InternalFailure", "not included in your license", 501)
    for operation in ("DescribeLaunchConfigurations", "DescribeAutoScalingGroups", "DescribeImportSnapshotTasks"):
        ours.aws.faults.add("500", operation, error=lacking)
    assert ours.json("list")["amis"][0]["used_by"] == []
    ours.run("show", one)
    ours.run("gc", "--keep", "1")
    ours.run("rm", other)
    assert ours.images == []


def test_list_of_nothing_says_where_it_looked(ours):
    ours.settings('[publish]\nregions = ["eu-west-1"]\n')
    assert ours.run("list") == "no AMI of ours is in us-east-1, eu-west-1; `unibuild publish_ami` makes one\n"
    assert "eu-west-1" not in ours.run("list", "--region", "us-west-2")


def test_show_tells_what_uses_it(ours):
    one = ours.ami(**{tags.TOOLCHAIN: "mirage 4.11.1"})
    instance = ours.call.run(one)
    said = ours.run("show", one)
    assert "mirage 4.11.1" in said and f"instance {instance}" in said
    assert ours.json("show", "hello-1")["amis"][0]["used_by"] == [f"instance {instance}"]


def test_show_of_what_is_not_ours(ours):
    ours.ami()
    with pytest.raises(InputError, match="none of our AMIs there is called hello-2"):
        command.main(["show", "hello-2"])


def test_diff_tells_blocks_and_bytes(ours):
    changed = bytearray(DATA)
    changed[5:8] = b"abc"
    ours.ami({0: DATA, 1: DATA, 2: OTHER}, **{tags.REVISION: "v1"})
    ours.ami({0: DATA, 1: bytes(changed), 3: OTHER}, **{tags.REVISION: "v2"})
    told = ours.json("diff", "hello-1", "hello-2")
    assert told["blocks"] == 4
    assert told["differences"] == [
        {"index": 1, "how": "changed", "bytes": 3, "offset": BLOCK + 5},
        {"index": 2, "how": "first", "bytes": 5, "offset": 2 * BLOCK},
        {"index": 3, "how": "second", "bytes": 5, "offset": 3 * BLOCK},
    ]
    said = ours.run("diff", "hello-1", "hello-2")
    assert "revision: v1 -> v2" in said and "3 of 4 blocks of 512 KiB differ, in 13 bytes" in said
    assert "their 3 blocks are the same" in ours.run("diff", "hello-1", "hello-1")


def test_gc_plan_sends_nothing(ours):
    for _ in range(5):
        ours.ami()
    ours.aws.calls.clear()
    said = ours.run("gc", "--keep", "2", "--plan")
    assert said.count("would go") == 6 and said.count("DeregisterImage") == 3
    assert {name for name in ours.aws.calls.counts if not name.startswith("Describe")} == set()


def test_gc_keeps_the_newest_and_their_snapshots(ours):
    amis = [ours.ami() for _ in range(5)]
    ours.run("gc", "--keep", "2", "--yes")
    assert ours.images == amis[3:]
    assert len(ours.snapshots) == 2
    assert ours.run("gc", "--keep", "2") == "nothing is to be removed\n"


def test_gc_spares_what_is_in_use(ours, client):
    amis = [ours.ami() for _ in range(6)]
    ours.call.run(amis[0])
    data = {"ImageId": amis[1], "InstanceType": "t1.micro"}
    client("ec2").create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)
    scaling = client("autoscaling")
    scaling.create_launch_configuration(LaunchConfigurationName="old", ImageId=amis[2], InstanceType="t1.micro")
    said = ours.run("gc", "--keep", "1")
    assert ours.images == [amis[0], amis[1], amis[2], amis[5]]
    assert "version 1 of launch template web" in said and "launch configuration old" in said


def test_gc_removes_orphans_and_spares_what_is_not_ours(ours):
    ours.ami()
    old, pending, foreign = ours.snapshot(), ours.snapshot(done=False), ours.call.snapshot()
    other = ours.snapshot(unikernel="other")
    ours.aws.world.clock.advance(47 * 3600)
    young, at_it = ours.snapshot(), ours.snapshot(done=False)
    assert ours.run("gc", "--orphans", "0", "--plan").count("would go") == 4
    ours.run("gc")
    left = ours.snapshots
    assert old not in left and pending not in left
    assert {young, at_it, foreign, other} <= set(left)


def test_gc_finds_what_an_import_made_that_no_run_came_back_to(ours, client):
    client("s3").create_bucket(Bucket="images")
    ours.aws.world.roles["vmimport"] = "images"
    client("s3").put_object(Bucket="images", Key="disk", Body=DATA)
    disk = {"Format": "RAW", "UserBucket": {"S3Bucket": "images", "S3Key": "disk"}}
    for unikernel in ("hello", "other", None):
        marked = tags.write(ours.marks(unikernel)) if unikernel else [{"Key": "team", "Value": "edge"}]
        given = [{"ResourceType": "import-snapshot-task", "Tags": marked}]
        client("ec2").import_snapshot(DiskContainer=disk, TagSpecifications=given)
    made, *others = ours.snapshots
    assert ours.run("gc", "--orphans", "72") == "nothing is to be removed\n"
    said = ours.run("gc")
    assert "CreateTags" in said and f"DeleteSnapshot in us-east-1: SnapshotId={made}" in said
    assert ours.snapshots == others


def test_gc_goes_on_when_something_fails(ours):
    amis = [ours.ami() for _ in range(3)]
    ours.aws.faults.add("500", "DeregisterImage", times=1, error=Refusal("OperationNotPermitted", "No.", 400))
    with pytest.raises(AwsError, match="not permitted") as caught:
        command.main(["gc", "--keep", "1"])
    assert "is not done, for its AMI stays" in str(caught.value)
    assert ours.images == amis[1:]
    assert len(ours.snapshots) == 2


def test_gc_of_all_regions(ours):
    ours.settings('[publish]\nregions = ["eu-west-1"]\n')
    for number in range(2):
        made = ours.ami()
        marked = [{"ResourceType": "image", "Tags": tags.write(ours.marks())}]
        ours.call.copy(made, Name=f"copy-{number}", TagSpecifications=marked)
        ours.aws.world.clock.advance(1)
    told = ours.json("gc", "--keep", "1")
    assert {step["region"] for step in told["steps"]} == {"us-east-1", "eu-west-1"}
    assert all(step["done"] for step in told["steps"])
    assert len(ours.aws.region("eu-west-1").own_images) == 1


def test_rm_removes_an_ami_and_its_snapshot(ours):
    ours.ami()
    other = ours.ami()
    said = ours.run("rm", "hello-1")
    assert said.index("DeregisterImage") < said.index("DeleteSnapshot")
    assert ours.images == [other] and len(ours.snapshots) == 1


def test_rm_refuses_what_is_used_and_protected(ours, client):
    one = ours.ami()
    ours.call.run(one)
    with pytest.raises(InputError, match="used by instance"):
        command.main(["rm", one])
    client("ec2").enable_image_deregistration_protection(ImageId=one, WithCooldown=False)
    with pytest.raises(InputError, match="protected"):
        command.main(["rm", one, "--force"])
    client("ec2").disable_image_deregistration_protection(ImageId=one)
    ours.run("rm", one, "--force")
    assert ours.images == []


def test_rm_lifts_the_protection_when_told(ours, client):
    one = ours.ami()
    client("ec2").enable_image_deregistration_protection(ImageId=one, WithCooldown=False)
    assert "`unibuild ami rm --unprotect` lifts it" in ours.run("show", one)
    ours.run("rm", one, "--unprotect")
    assert ours.images == [] and ours.snapshots == []


def test_an_ami_whose_protection_has_a_cooldown_goes_a_day_later(ours, client):
    one = ours.ami()
    client("ec2").enable_image_deregistration_protection(ImageId=one, WithCooldown=True)
    assert "for 24 hours after that is lifted" in ours.run("show", one)
    said = ours.run("rm", one, "--unprotect")
    assert "DisableImageDeregistrationProtection" in said and "EC2 lets it go 24 hours after" in said
    with pytest.raises(AwsError, match="not permitted") as caught:
        command.main(["rm", one])
    assert "24 hours after it is lifted" in caught.value.hint
    ours.aws.world.clock.advance(24 * 3600 + 1)
    ours.run("rm", one)
    assert ours.images == []


def test_rm_never_touches_what_is_not_ours(ours):
    foreign = ours.call.ami(Name="somebody's")
    with pytest.raises(InputError, match="none of our AMIs"):
        command.main(["rm", foreign, "--all", "--force"])
    assert ours.images == [foreign]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "left"), [("n\n", 1), ("\n", 1), ("y\n", 0)])
def test_a_person_is_asked(ours, monkeypatch, answer, left):
    ours.ami()
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert "Make these 2 calls?" in ours.run("rm", "hello-1")
    assert len(ours.images) == left


def test_what_has_gone_meanwhile_is_as_good(ours):
    ours.ami()
    ours.aws.faults.add("500", "DeregisterImage", times=1, error=Refusal("InvalidAMIID.NotFound", "Gone.", 400))
    ours.aws.faults.add("500", "DeleteSnapshot", times=1, error=Refusal("InvalidSnapshot.NotFound", "Gone.", 400))
    ours.run("rm", "hello-1")


def test_the_number_of_words_is_checked(ours):
    with pytest.raises(InputError, match="takes two AMIs"):
        command.main(["diff", "one"])


def test_the_old_command_end_is_terminate():
    with pytest.raises(InputError) as old:
        command.main(["end", "hello-1"])
    with pytest.raises(InputError) as new:
        command.main(["terminate", "hello-1"])
    assert old.value.message == new.value.message
