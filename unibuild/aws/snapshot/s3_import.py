"""Import a snapshot through S3 (``via = "s3"``): upload the whole image as an object, import it, remove the object.

This is for accounts that may not use the EBS direct API. It needs a bucket in the region, and a role that EC2's import
service may assume (VM Import/Export user guide, "Required permissions"). It is not incremental. The next run continues
the import of a killed run, and removes what that left in the bucket.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import socket
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from unibuild.aws import tags
from unibuild.aws.garbage_collection import ORPHAN_AGE
from unibuild.aws.iam_statement import allow
from unibuild.aws.snapshot.blocks import BLOCK
from unibuild.aws.snapshot.publisher import (
    DEFAULT_KEY,
    FinishedSnapshot,
    PublisherContext,
    PublisherPermissions,
    SnapshotSpec,
)
from unibuild.errors import AwsError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from unibuild.aws.client import Aws
    from unibuild.aws.iam_statement import PolicyScope
    from unibuild.aws.snapshot.blocks import BaseSnapshot
    from unibuild.aws.snapshot.workers import BlockSource
    from unibuild.settings.ami import Publish

__all__ = ["S3Importer"]

_PART = 16  # blocks of a part: 8 MiB; S3 allows 10,000 parts
_IMPORTS = 7200.0  # seconds that an import may take: usually minutes, but more than an hour was seen
_APPEARS = 180.0


@dataclass
class S3Importer:
    """Import snapshots through a bucket.

    Attributes:
        aws: the account.
        region: the region of the bucket and the snapshot.
        bucket: the bucket's name.
        role: the role that EC2 reads the bucket with.
        owner: names the project and the machine, so that other machines use other objects.
        report: called with the progress: the step, the finished part (0 to 1, None: not known), and details.
    """

    aws: Aws
    region: str
    bucket: str
    role: str
    owner: str
    report: Callable[[str, float | None, str], None]

    needs_key_arn: ClassVar[bool] = False

    @classmethod
    def check_settings(cls, settings: Publish) -> None:
        """Check that a bucket is set.

        Raises:
            SettingsError: it is not.
        """
        if not settings.bucket:
            raise SettingsError(
                '[publish] via = "s3" needs a bucket', hint="set [publish] bucket to one of the AMI's region"
            )

    @classmethod
    def permissions(cls, scope: PolicyScope) -> PublisherPermissions:
        """Return the permissions for the bucket and the import.

        The snapshot is tagged later, because an import cannot tag it.
        """
        bucket = f"arn:{scope.partition}:s3:::{scope.settings.publish.bucket or '*'}"
        objects = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
        not_of_another = {"StringEquals": scope.asked, "StringEqualsIfExists": scope.owned}
        return PublisherPermissions(
            read=("ec2:DescribeImportSnapshotTasks",),
            tagged=("import-snapshot-task",),
            statements=(
                allow("Upload", objects, [f"{bucket}/*"]),
                allow("FindUploads", ["s3:ListBucket", "s3:ListBucketMultipartUploads"], [bucket]),
                allow("Import", ["ec2:ImportSnapshot"], scope.arns("import-snapshot-task", "snapshot", home=True)),
                allow("TagImported", ["ec2:CreateTags"], scope.arns("snapshot", home=True), not_of_another),
            ),
        )

    @classmethod
    def open(cls, context: PublisherContext) -> S3Importer:
        """Return an importer. No other machine or project uses its objects in the bucket."""
        owner = f"{socket.gethostname()}:{context.journal.path.resolve()}"
        return cls(context.aws, context.region, context.bucket or "", context.role, owner, context.report)

    def make(
        self,
        source: BlockSource,
        about: SnapshotSpec,
        bases: Sequence[BaseSnapshot] = (),  # noqa: ARG002 (an import is always whole)
    ) -> FinishedSnapshot:
        """Return the finished snapshot of an image. The object is removed, also after a failure.

        Raises:
            AwsError: AWS refused, or the import failed.
            FileError: the image changed while it was read.
        """
        folder = f"unibuild/{re.sub(r'[^A-Za-z0-9._-]', '-', about.tags.get(tags.UNIKERNEL, ''))}/"
        key = f"{folder}{about.identity[:32]}-{hashlib.sha256(self.owner.encode()).hexdigest()[:8]}.raw"
        puts = 0
        try:
            snapshot = self._resume(about)
            if snapshot is None:
                self._upload(source, key)
                puts = source.size // BLOCK
                snapshot = self._import(key, about)
        finally:
            self._remove(key, folder)
        ec2 = self.aws.client("ec2", self.region)
        ec2.call("CreateTags", appears=_APPEARS, Resources=[snapshot], Tags=tags.write(about.tags))
        return FinishedSnapshot(snapshot, puts, None)

    def _resume(self, about: SnapshotSpec) -> str | None:
        """Return the snapshot of an import that an earlier run began, which the tags of its task identify."""
        ec2 = self.aws.client("ec2", self.region)
        for task in ec2.pages("DescribeImportSnapshotTasks", "ImportSnapshotTasks"):
            held, detail = tags.read(task.get("Tags", ())), task.get("SnapshotTaskDetail", {})
            if any(held.get(key) != value for key, value in _few(about.tags).items()):
                continue
            if detail.get("Status") == "active":
                with contextlib.suppress(AwsError):  # if it failed, a new import is started
                    return self._wait(str(task["ImportTaskId"]))
            if detail.get("Status") == "completed" and self._is_there(str(detail["SnapshotId"])):
                return str(detail["SnapshotId"])
        return None

    def _is_there(self, snapshot: str) -> bool:
        try:
            self.aws.client("ec2", self.region).call("DescribeSnapshots", SnapshotIds=[snapshot])
        except AwsError as error:
            if error.code != "InvalidSnapshot.NotFound":
                raise
            return False
        return True

    def _upload(self, source: BlockSource, key: str) -> None:
        s3 = self.aws.client("s3", self.region)
        place: dict[str, Any] = {"Bucket": self.bucket, "Key": key}
        upload = s3.call("CreateMultipartUpload", wants=("UploadId",), **place)["UploadId"]
        parts: list[dict[str, Any]] = []
        blocks = source.size // BLOCK
        for first in range(0, blocks, _PART):
            detail = f"{first * BLOCK / 2**20:.1f} of {source.size / 2**20:.1f} MiB"
            self.report(f"upload to s3://{self.bucket}", first / blocks, detail)
            data = b"".join(map(source.read, range(first, min(first + _PART, blocks))))
            number = len(parts) + 1
            answer = s3.call(
                "UploadPart",
                wants=("ETag",),
                UploadId=upload,
                PartNumber=number,
                Body=data,
                ContentMD5=base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
                **place,
            )
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        try:
            s3.call("CompleteMultipartUpload", UploadId=upload, MultipartUpload={"Parts": parts}, **place)
        except AwsError as error:  # if an answer was lost, the upload is gone and the object exists
            if error.code != "NoSuchUpload" or not self._has(key, source.size):
                raise

    def _has(self, key: str, size: int) -> bool:
        """Return whether the object exists. HeadObject would not do: without a body its answer does not show damage."""
        answer = self.aws.client("s3", self.region).call(
            "ListObjectsV2", wants=("KeyCount",), Bucket=self.bucket, Prefix=key
        )
        return any((one["Key"], one["Size"]) == (key, size) for one in answer.get("Contents", []))

    def _import(self, key: str, about: SnapshotSpec) -> str:
        """Import the object into EC2; return the snapshot's id."""
        ec2 = self.aws.client("ec2", self.region)
        params: dict[str, Any] = {
            "DiskContainer": {"Format": "RAW", "UserBucket": {"S3Bucket": self.bucket, "S3Key": key}},
            "RoleName": self.role,
            "TagSpecifications": [{"ResourceType": "import-snapshot-task", "Tags": tags.write(_few(about.tags))}],
        }
        if about.description:
            params["Description"] = about.description
        if about.encryption:
            params["Encrypted"] = True
            params |= {"KmsKeyId": about.encryption} if about.encryption != DEFAULT_KEY else {}
        token = uuid.uuid4().hex  # an earlier token could find a failed import, or a snapshot that was removed
        started = ec2.call("ImportSnapshot", wants=("ImportTaskId",), ClientToken=token, **params)
        return self._wait(str(started["ImportTaskId"]))

    def _wait(self, task: str) -> str:
        ec2 = self.aws.client("ec2", self.region)

        def imported() -> str | None:
            answer = ec2.call("DescribeImportSnapshotTasks", wants=("ImportSnapshotTasks",), ImportTaskIds=[task])
            [found] = answer["ImportSnapshotTasks"]
            detail = found["SnapshotTaskDetail"]
            self.report("EC2 imports the object", None, f"{detail.get('Progress') or 0} %")
            if self.aws.plan is not None or detail.get("Status") == "completed":
                return str(detail["SnapshotId"])
            if detail.get("Status") in ("deleted", "deleting"):
                raise AwsError(
                    f"{task} in {self.region} failed: {detail.get('StatusMessage') or 'no reason given'}",
                    hint=f"check [publish] role: {self.role} must be allowed to read s3://{self.bucket}, and "
                    "vmie.amazonaws.com must be allowed to assume it",
                )
            return None

        found = self.aws.poll(imported, _IMPORTS)
        if found is None:
            raise AwsError(f"{task} in {self.region} is not done after {_IMPORTS / 3600:.0f} hours", hint="run again")
        return found

    def _remove(self, key: str, folder: str) -> None:
        """Remove the object and the parts of unfinished uploads; ignore failures.

        What other runs of the unikernel left is removed too, once it is so old that no run can still use it.
        """
        s3, before = self.aws.client("s3", self.region), datetime.now(UTC) - ORPHAN_AGE
        place: dict[str, Any] = {"Bucket": self.bucket}
        uploads: list[dict[str, Any]] = []
        objects: list[dict[str, Any]] = []
        with contextlib.suppress(AwsError):
            uploads = s3.call("ListMultipartUploads", Prefix=folder, **place).get("Uploads", [])
        for one in uploads:
            if one["Key"] == key or one["Initiated"] < before:
                with contextlib.suppress(AwsError):  # after a lost answer the second try does not find the upload
                    s3.call("AbortMultipartUpload", Key=one["Key"], UploadId=one["UploadId"], **place)
        with contextlib.suppress(AwsError):
            s3.call("DeleteObject", Key=key, **place)
        with contextlib.suppress(AwsError):
            objects = s3.call("ListObjectsV2", Prefix=folder, **place).get("Contents", [])
        for one in objects:
            if one["LastModified"] < before:
                with contextlib.suppress(AwsError):
                    s3.call("DeleteObject", Key=one["Key"], **place)


def _few(known: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a task: those that identify its unikernel and image."""
    return {key: known[key] for key in (tags.UNIKERNEL, tags.SHA256) if key in known}
