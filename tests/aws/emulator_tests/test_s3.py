"""The emulator's S3 and the import of snapshots from it."""

from __future__ import annotations

import io
import os

import pytest
from aws_calls import code
from boto3.s3.transfer import TransferConfig
from emulator import ManualClock, World

MIB = 1 << 20
DISK = os.urandom(6 * MIB) + bytes(MIB)


@pytest.fixture
def s3(client):
    made = client("s3")
    made.create_bucket(Bucket="disks")
    return made


def bring(call, **params):
    disk = {"Format": "RAW", "UserBucket": {"S3Bucket": "disks", "S3Key": "disk.raw"}}
    return call.ec2.import_snapshot(DiskContainer=disk, **params)["ImportTaskId"]


def detail(call, task):
    (told,) = call.ec2.describe_import_snapshot_tasks(ImportTaskIds=[task])["ImportSnapshotTasks"]
    return told["SnapshotTaskDetail"]


def test_multipart_upload(s3):
    small = TransferConfig(multipart_threshold=MIB, multipart_chunksize=5 * MIB)
    s3.upload_fileobj(io.BytesIO(DISK), "disks", "a/b", Config=small)
    assert s3.head_object(Bucket="disks", Key="a/b")["ContentLength"] == len(DISK)
    assert s3.get_object(Bucket="disks", Key="a/b")["Body"].read() == DISK
    assert s3.list_objects_v2(Bucket="disks")["Contents"][0]["ETag"].endswith('-2"')
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="disks")
    s3.delete_object(Bucket="disks", Key="a/b")
    assert "Contents" not in s3.list_objects_v2(Bucket="disks")


def test_parts_that_are_too_small_are_refused(s3):
    upload = s3.create_multipart_upload(Bucket="disks", Key="k")["UploadId"]
    where = {"Bucket": "disks", "Key": "k", "UploadId": upload}
    parts = [{"PartNumber": n, "ETag": s3.upload_part(**where, PartNumber=n, Body=b"x")["ETag"]} for n in (1, 2)]
    assert code(s3.complete_multipart_upload, **where, MultipartUpload={"Parts": parts}) == "EntityTooSmall"
    assert code(s3.complete_multipart_upload, **where, MultipartUpload={"Parts": parts[::-1]}) == "InvalidPartOrder"
    s3.abort_multipart_upload(**where)
    assert code(s3.list_parts, **where) == "NoSuchUpload"


@pytest.mark.parametrize(
    ("expected", "operation", "params"),
    [
        ("NoSuchBucket", "put_object", {"Bucket": "other", "Key": "k", "Body": b""}),
        ("NoSuchKey", "get_object", {"Bucket": "disks", "Key": "k"}),
        ("404", "head_object", {"Bucket": "disks", "Key": "k"}),
        ("BucketAlreadyExists", "create_bucket", {"Bucket": "unikernels"}),
        ("403", "head_bucket", {"Bucket": "unikernels"}),
        ("BadDigest", "put_object", {"Bucket": "disks", "Key": "k", "Body": b"", "ChecksumCRC32": "AAAAAQ=="}),
    ],
)
def test_refused(aws, s3, expected, operation, params):
    aws.world.taken_buckets.add("unikernels")
    assert code(getattr(s3, operation), **params) == expected


def test_import_of_a_snapshot(call, aws, s3):
    aws.reset(World(clock := ManualClock()))
    aws.world.roles["vmimport"], aws.world.timing.import_completes = "disks", 300
    s3.create_bucket(Bucket="disks")
    s3.put_object(Bucket="disks", Key="disk.raw", Body=DISK)
    task = bring(call)
    assert detail(call, task)["Status"] == "active"
    clock.advance(300)
    made = detail(call, task)["SnapshotId"]
    assert aws.region().snapshots[made].read(0, len(DISK)) == DISK


def test_import_without_the_role(call, s3):
    assert code(bring, call) == "InvalidParameter"


@pytest.mark.parametrize("buckets", ["disks", "others"])
def test_import_of_an_unreadable_object(call, aws, s3, buckets):
    aws.world.roles["vmimport"] = buckets
    told = detail(call, bring(call))
    assert (told["Status"], "Disk validation failed" in told["StatusMessage"]) == ("deleted", True)


def test_role_exists_only_if_it_was_created(client, aws):
    assert code(client("iam").get_role, RoleName="vmimport") == "NoSuchEntity"
    aws.world.roles["vmimport"] = "*"
    assert client("iam").get_role(RoleName="vmimport")["Role"]["Arn"].endswith(":role/vmimport")
