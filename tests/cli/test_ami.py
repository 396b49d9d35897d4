"""``unibuild ami`` on the emulator: what it shows, removes and keeps."""

from __future__ import annotations

import io

import pytest
from aws_calls import BLOCK, DATA, OTHER
from emulator import AwsError as Refusal

from unibuild.aws import tags
from unibuild.cli import ami as command
from unibuild.errors import AwsError, InputError


def test_list_shows_only_amis_of_unibuild(project):
    one, other = project.ami(), project.ami(**{tags.REVISION: "v1.2", tags.VERIFIED: "2026-11-24T12:00:00Z"})
    project.call.ami(Name="somebody's")
    project.ami(unikernel="another")
    lines = project.run("list").splitlines()
    assert [line.split()[0] for line in lines] == ["AMI", other, one]
    assert "v1.2" in lines[1] and "2026-11-24 12:00" in lines[1]
    assert [found["id"] for found in project.json("list")["amis"]] == [other, one]
    assert len(project.json("list", "--all")["amis"]) == 3


def test_list_shows_users_of_each_ami(project, client):
    one, other = project.ami(), project.ami()
    instance = project.call.run(one)
    data = {"ImageId": one, "InstanceType": "t1.micro"}
    for name in ("web", "more"):
        client("ec2").create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
    lines = project.run("list").splitlines()
    assert lines[0].endswith("USED BY")
    assert lines[2].endswith(f"instance {instance}, version 1 of launch template web, and 1 more")
    used = {found["id"]: found["used_by"] for found in project.json("list")["amis"]}
    assert used[other] == [] and len(used[one]) == 3


def test_list_works_without_permission_to_see_users(project):
    project.ami()
    project.aws.faults.add("500", "DescribeInstances", error=Refusal("UnauthorizedOperation", "No.", 403))
    assert "not known" in project.run("list")
    assert project.json("list")["amis"][0]["used_by"] is None


REFERENCES = [
    ("ssm:Parameter", "arn:aws:ssm:us-east-1:123456789012:parameter/unikernels/hello"),
    ("imagebuilder:ImageRecipe", "arn:aws:imagebuilder:us-east-1:123456789012:image-recipe/hello/1.0.0"),
]


def test_ami_named_by_a_parameter_or_recipe_is_kept(project):
    amis = [project.ami() for _ in range(12)]
    project.aws.region().references[amis[0]] = REFERENCES
    assert "Image Builder recipe hello/1.0.0" in project.run("show", amis[0])
    result = project.json("gc", "--keep", "1")
    assert project.images == [amis[0], amis[-1]]
    assert [one["why"] for one in result["kept"]] == [
        "it is used by parameter unikernels/hello, Image Builder recipe hello/1.0.0"
    ]


def test_gc_reports_users_that_it_may_not_list(project, monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(command, "note", lines.append)
    amis = [project.ami(), project.ami()]
    project.aws.faults.add("500", "DescribeImageReferences", error=Refusal("UnauthorizedOperation", "No.", 403))
    project.run("gc", "--keep", "1")
    assert project.images == amis[1:]
    assert len(lines) == 1 and "ec2:DescribeImageReferences" in lines[0]


def test_shared_ami_is_kept_after_a_recent_launch(project):
    project.settings('[publish]\nshare = ["111122223333"]\n')
    amis = [project.ami(), project.ami()]
    project.call.ec2.terminate_instances(InstanceIds=[project.call.run(amis[0])])
    assert "it is shared" in project.json("gc", "--keep", "1")["kept"][0]["why"]
    project.aws.world.clock.advance(-40 * 86400)
    project.run("gc", "--keep", "1", "--launched", "0")
    assert project.images == amis[1:]


def test_an_endpoint_without_auto_scaling_and_imports(project):
    one, other = project.ami(), project.ami()
    lacking = Refusal("InternalFailure", "not included in your license", 501)
    for operation in ("DescribeLaunchConfigurations", "DescribeAutoScalingGroups", "DescribeImportSnapshotTasks"):
        project.aws.faults.add("500", operation, error=lacking)
    assert project.json("list")["amis"][0]["used_by"] == []
    project.run("show", one)
    project.run("gc", "--keep", "1")
    project.run("rm", other)
    assert project.images == []


def test_empty_list_names_the_regions(project):
    project.settings('[publish]\nregions = ["eu-west-1"]\n')
    assert "us-east-1, eu-west-1" in project.run("list")
    assert "eu-west-1" not in project.run("list", "--region", "us-west-2")


def test_show_prints_users_of_the_ami(project):
    one = project.ami(**{tags.TOOLCHAIN: "mirage 4.11.1"})
    instance = project.call.run(one)
    output = project.run("show", one)
    assert "mirage 4.11.1" in output and f"instance {instance}" in output
    assert project.json("show", "hello-1")["amis"][0]["used_by"] == [f"instance {instance}"]


def test_show_refuses_an_ami_of_another_owner(project):
    project.ami()
    with pytest.raises(InputError, match="no AMI of the project has this id or name: hello-2"):
        command.main(["show", "hello-2"])


def test_diff_prints_blocks_and_bytes(project):
    changed = bytearray(DATA)
    changed[5:8] = b"abc"
    project.ami({0: DATA, 1: DATA, 2: OTHER}, **{tags.REVISION: "v1"})
    project.ami({0: DATA, 1: bytes(changed), 3: OTHER}, **{tags.REVISION: "v2"})
    result = project.json("diff", "hello-1", "hello-2")
    assert result["blocks"] == 4
    assert result["differences"] == [
        {"index": 1, "how": "changed", "bytes": 3, "offset": BLOCK + 5},
        {"index": 2, "how": "first", "bytes": 5, "offset": 2 * BLOCK},
        {"index": 3, "how": "second", "bytes": 5, "offset": 3 * BLOCK},
    ]
    output = project.run("diff", "hello-1", "hello-2")
    assert "revision: v1 -> v2" in output and "3 of 4 blocks of 512 KiB differ, in 13 bytes" in output
    assert "their 3 blocks are the same" in project.run("diff", "hello-1", "hello-1")


def test_gc_plan_removes_nothing(project):
    for _ in range(5):
        project.ami()
    project.aws.calls.clear()
    output = project.run("gc", "--keep", "2", "--plan")
    assert output.count("would go") == 6 and output.count("DeregisterImage") == 3
    assert {name for name in project.aws.calls.counts if not name.startswith("Describe")} == set()


def test_gc_keeps_the_newest_and_their_snapshots(project):
    amis = [project.ami() for _ in range(5)]
    project.run("gc", "--keep", "2", "--yes")
    assert project.images == amis[3:]
    assert len(project.snapshots) == 2
    assert project.run("gc", "--keep", "2") == "nothing is to be removed\n"


def test_gc_keeps_amis_in_use(project, client):
    amis = [project.ami() for _ in range(6)]
    project.call.run(amis[0])
    data = {"ImageId": amis[1], "InstanceType": "t1.micro"}
    client("ec2").create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)
    scaling = client("autoscaling")
    scaling.create_launch_configuration(LaunchConfigurationName="old", ImageId=amis[2], InstanceType="t1.micro")
    output = project.run("gc", "--keep", "1")
    assert project.images == [amis[0], amis[1], amis[2], amis[5]]
    assert "version 1 of launch template web" in output and "launch configuration old" in output


def test_gc_removes_orphans_and_keeps_snapshots_of_other_owners(project):
    project.ami()
    old, pending, foreign = project.snapshot(), project.snapshot(done=False), project.call.snapshot()
    other = project.snapshot(unikernel="other")
    project.aws.world.clock.advance(47 * 3600)
    young, at_it = project.snapshot(), project.snapshot(done=False)
    assert project.run("gc", "--orphans", "0", "--plan").count("would go") == 4
    project.run("gc")
    left = project.snapshots
    assert old not in left and pending not in left
    assert {young, at_it, foreign, other} <= set(left)


def test_gc_removes_what_an_abandoned_import_left(project, client):
    client("s3").create_bucket(Bucket="images")
    project.aws.world.roles["vmimport"] = "images"
    client("s3").put_object(Bucket="images", Key="disk", Body=DATA)
    disk = {"Format": "RAW", "UserBucket": {"S3Bucket": "images", "S3Key": "disk"}}
    for unikernel in ("hello", "other", None):
        marked = tags.write(project.marks(unikernel)) if unikernel else [{"Key": "team", "Value": "edge"}]
        given = [{"ResourceType": "import-snapshot-task", "Tags": marked}]
        client("ec2").import_snapshot(DiskContainer=disk, TagSpecifications=given)
    made, *others = project.snapshots
    assert project.run("gc", "--orphans", "72") == "nothing is to be removed\n"
    output = project.run("gc")
    assert "CreateTags" in output and f"DeleteSnapshot in us-east-1: SnapshotId={made}" in output
    assert project.snapshots == others


def test_gc_continues_after_a_failure(project):
    amis = [project.ami() for _ in range(3)]
    project.aws.faults.add("500", "DeregisterImage", times=1, error=Refusal("OperationNotPermitted", "No.", 400))
    with pytest.raises(AwsError, match="not permitted") as caught:
        command.main(["gc", "--keep", "1"])
    assert "its AMI was not removed" in str(caught.value)
    assert project.images == amis[1:]
    assert len(project.snapshots) == 2


def test_gc_of_all_regions(project):
    project.settings('[publish]\nregions = ["eu-west-1"]\n')
    for number in range(2):
        made = project.ami()
        marked = [{"ResourceType": "image", "Tags": tags.write(project.marks())}]
        project.call.copy(made, Name=f"copy-{number}", TagSpecifications=marked)
        project.aws.world.clock.advance(1)
    result = project.json("gc", "--keep", "1")
    assert {step["region"] for step in result["steps"]} == {"us-east-1", "eu-west-1"}
    assert all(step["done"] for step in result["steps"])
    assert len(project.aws.region("eu-west-1").own_images) == 1


def test_rm_removes_an_ami_and_its_snapshot(project):
    project.ami()
    other = project.ami()
    output = project.run("rm", "hello-1")
    assert output.index("DeregisterImage") < output.index("DeleteSnapshot")
    assert project.images == [other] and len(project.snapshots) == 1


def test_rm_refuses_used_and_protected_amis(project, client):
    one = project.ami()
    project.call.run(one)
    with pytest.raises(InputError, match="used by instance"):
        command.main(["rm", one])
    client("ec2").enable_image_deregistration_protection(ImageId=one, WithCooldown=False)
    with pytest.raises(InputError, match="protected"):
        command.main(["rm", one, "--force"])
    client("ec2").disable_image_deregistration_protection(ImageId=one)
    project.run("rm", one, "--force")
    assert project.images == []


def test_rm_lifts_the_protection_on_request(project, client):
    one = project.ami()
    client("ec2").enable_image_deregistration_protection(ImageId=one, WithCooldown=False)
    assert "`unibuild ami rm --unprotect` lifts the protection" in project.run("show", one)
    project.run("rm", one, "--unprotect")
    assert project.images == [] and project.snapshots == []


def test_ami_with_protection_cooldown_is_removed_a_day_later(project, client):
    one = project.ami()
    client("ec2").enable_image_deregistration_protection(ImageId=one, WithCooldown=True)
    assert "for 24 hours after the protection is lifted" in project.run("show", one)
    output = project.run("rm", one, "--unprotect")
    assert "DisableImageDeregistrationProtection" in output and "EC2 allows its removal 24 hours after" in output
    with pytest.raises(AwsError, match="not permitted") as caught:
        command.main(["rm", one])
    assert "24 hours after it is lifted" in caught.value.hint
    project.aws.world.clock.advance(24 * 3600 + 1)
    project.run("rm", one)
    assert project.images == []


def test_rm_refuses_an_ami_of_another_owner(project):
    foreign = project.call.ami(Name="somebody's")
    with pytest.raises(InputError, match="no AMI of the project"):
        command.main(["rm", foreign, "--all", "--force"])
    assert project.images == [foreign]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "left"), [("n\n", 1), ("\n", 1), ("y\n", 0)])
def test_user_on_a_terminal_confirms(project, monkeypatch, answer, left):
    project.ami()
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert "Make these 2 calls?" in project.run("rm", "hello-1")
    assert len(project.images) == left


def test_ami_that_was_removed_meanwhile_counts_as_removed(project):
    project.ami()
    project.aws.faults.add("500", "DeregisterImage", times=1, error=Refusal("InvalidAMIID.NotFound", "Gone.", 400))
    project.aws.faults.add("500", "DeleteSnapshot", times=1, error=Refusal("InvalidSnapshot.NotFound", "Gone.", 400))
    project.run("rm", "hello-1")


def test_the_number_of_words_is_checked(project):
    with pytest.raises(InputError, match="takes two AMIs"):
        command.main(["diff", "one"])


def test_old_command_end_means_terminate():
    with pytest.raises(InputError) as old:
        command.main(["end", "hello-1"])
    with pytest.raises(InputError) as new:
        command.main(["terminate", "hello-1"])
    assert old.value.message == new.value.message
