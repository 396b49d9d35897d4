"""Snapshots via S3, against the emulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from disks import Disk
from emulator.errors import AwsError as Refused
from uploads import REGION, owner

from unibuild.aws.client import RetryPolicy
from unibuild.aws.snapshot.publisher import FinishedSnapshot, SnapshotSpec
from unibuild.aws.snapshot.s3_import import S3Importer
from unibuild.errors import AwsError

if TYPE_CHECKING:
    from emulator import Emulator

SMALL, LARGE = Disk.of(1, 2), Disk({0: 1, 1: 2, 20: 3})
TAGS = {"unibuild:unikernel": "hello", "unibuild:sha256": "0" * 64, "team": "edge"}


class Imports:
    def __init__(self, emulator: Emulator, client) -> None:
        self.emulator = emulator
        client("s3").create_bucket(Bucket="images")
        emulator.world.roles["vmimport"] = "images"
        self.told: list[tuple[str, float | None, str]] = []

    def make(self, disk: Disk = SMALL, bucket: str = "images", encryption: str = "") -> FinishedSnapshot:
        importer = S3Importer(
            owner(RetryPolicy()), REGION, bucket, "vmimport", "owner", lambda *said: self.told.append(said)
        )
        return importer.make(disk, SnapshotSpec(disk.digest, "hello", TAGS, encryption))

    @property
    def left(self) -> list[object]:
        """The rest in the bucket: objects, and unfinished uploads."""
        bucket = self.emulator.world.buckets["images"]
        return [*bucket.objects, *bucket.uploads]

    @property
    def snapshots(self):
        return self.emulator.region(REGION).snapshots


@pytest.fixture
def imports(aws: Emulator, client) -> Imports:
    return Imports(aws, client)


def test_image_becomes_a_snapshot_and_the_object_is_removed(imports: Imports) -> None:
    made = imports.make(LARGE)
    assert imports.snapshots[made.id].content == LARGE.content
    assert imports.emulator.calls.count("UploadPart") == 2
    assert imports.emulator.region(REGION).tags[made.id] == TAGS
    assert imports.left == []
    assert imports.told[1] == ("upload to s3://images", 16 / 21, "8.0 of 10.5 MiB")


@pytest.mark.parametrize("kind", ["throttle", "502", "cut-after", "cut-answer", "garbage"])
def test_faults_during_the_import(imports: Imports, kind: str) -> None:
    imports.emulator.faults.add(kind, rate=0.34)
    made = imports.make()
    assert imports.snapshots[made.id].content == SMALL.content
    assert imports.left == []
    assert list(imports.snapshots) == [made.id]


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload", "ImportSnapshot"])
def test_object_is_removed_after_a_failure_too(imports: Imports, operation: str) -> None:
    imports.emulator.faults.add("500", operation, error=Refused("AccessDenied", "No.", 403))
    with pytest.raises(AwsError, match="may not do this"):
        imports.make()
    assert imports.left == []


def test_failed_import_is_reported_and_can_be_tried_again(imports: Imports) -> None:
    imports.emulator.world.roles["vmimport"] = "other"
    with pytest.raises(AwsError, match="403 Forbidden") as caught:
        imports.make()
    assert "vmie.amazonaws.com" in caught.value.hint
    imports.emulator.world.roles["vmimport"] = "images"
    assert imports.snapshots[imports.make().id].content == SMALL.content


def test_snapshot_that_was_deleted_meanwhile_is_imported_again(imports: Imports) -> None:
    imports.snapshots.pop(imports.make().id)
    assert imports.snapshots[imports.make().id].content == SMALL.content


def test_import_of_a_killed_run_is_continued(imports: Imports) -> None:
    def watch(call, moment):
        if call.operation == "ImportSnapshot" and moment == "after":
            imports.emulator.faults.add("500", error=Refused("AccessDenied", "No.", 403))

    imports.emulator.faults.watch = watch  # from then on the run can call nothing
    with pytest.raises(AwsError):
        imports.make()
    imports.emulator.faults.clear()
    imports.emulator.faults.watch = None
    [begun] = imports.snapshots
    assert imports.make().id == begun
    assert imports.emulator.calls.count("ImportSnapshot") == 1
    assert imports.emulator.region(REGION).tags[begun] == TAGS
    assert imports.left == []


def test_leftovers_of_other_runs_are_removed_after_a_day(imports: Imports, client) -> None:
    s3, bucket = client("s3"), imports.emulator.world.buckets["images"]
    for key in ("unibuild/hello/old.raw", "unibuild/hello/young.raw", "unibuild/other/old.raw", "old.raw"):
        s3.put_object(Bucket="images", Key=key, Body=b"")
        s3.create_multipart_upload(Bucket="images", Key=key)
    for key in bucket.stored:
        bucket.stored[key] -= 25 * 3600 * ("old" in key)
    for upload in bucket.uploads.values():
        upload.started -= 25 * 3600 * ("old" in upload.key)
    imports.make()
    kept = ["unibuild/hello/young.raw", "unibuild/other/old.raw", "old.raw"]
    assert list(bucket.objects) == kept
    assert [upload.key for upload in bucket.uploads.values()] == kept


def test_every_abandoned_upload_is_removed_even_after_a_lost_answer(imports: Imports) -> None:
    faults = imports.emulator.faults
    faults.add("cut-after", "CreateMultipartUpload", times=2)
    faults.add("cut-after", "AbortMultipartUpload", times=1)
    imports.make()
    assert imports.left == []


def test_encryption(imports: Imports) -> None:
    assert imports.snapshots[imports.make(encryption="aws/ebs").id].key.startswith("arn:aws:kms:")


def test_missing_bucket_is_an_error(imports: Imports) -> None:
    with pytest.raises(AwsError, match="the bucket does not exist"):
        imports.make(bucket="nowhere-to-be-found")
