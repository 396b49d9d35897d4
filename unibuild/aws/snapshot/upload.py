"""Upload an image as a snapshot by the EBS direct API: start or resume it, put missing blocks, complete it.

Whatever ends a run, the next one continues. The ClientToken is the same for the same upload, so a retry after a lost
answer of StartSnapshot finds the same snapshot, and the journal records the blocks that were put. After a permanent
error the snapshot is deleted.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from unibuild.aws import tags
from unibuild.aws.client import Aws, RetryPolicy
from unibuild.aws.snapshot import blocks
from unibuild.aws.snapshot.blocks import BLOCK, BaseSnapshot, UploadPlan
from unibuild.aws.snapshot.journal import PendingUpload, UploadJournal
from unibuild.aws.snapshot.publisher import (
    DEFAULT_KEY,
    FinishedSnapshot,
    PublisherContext,
    PublisherPermissions,
    SnapshotSpec,
)
from unibuild.aws.snapshot.workers import BlockSource, put_blocks
from unibuild.errors import AwsError, SettingsError, UnibuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unibuild.aws.iam_statement import PolicyScope
    from unibuild.settings.ami import Publish

__all__ = ["TIMEOUT", "Uploader"]

TIMEOUT = 60
"""Minutes without a block after which EBS gives up a pending snapshot."""

_APPEARS = 180.0  # seconds; coldsnap has observed 56, and EBS's team names two minutes
_RESUMED = 30.0  # the same for a snapshot that has existed before
_ATTEMPTS = 4  # snapshots of one upload that may vanish
_COMPLETES = 1800.0  # seconds that EC2 has to complete a snapshot
_SAVE = 0.5  # seconds between writes of the journal
_CLEANUP = RetryPolicy(budget=15.0, tries=2, first=5.0)


class _SnapshotVanished(Exception):  # noqa: N818 (an attempt ends, and another one begins)
    """The snapshot cannot be finished: its ``parent`` or itself is gone; ``left`` is the id of what remains of it."""

    def __init__(self, *, parent: str | None = None, left: str | None = None) -> None:
        super().__init__()
        self.parent, self.left = parent, left


@dataclass
class Uploader:
    """Upload snapshots to one region.

    Attributes:
        aws: the account.
        region: the region.
        journal: the unfinished uploads.
        report: called with the progress: the step, the finished part (0 to 1, None: not known), and details.
    """

    aws: Aws
    region: str
    journal: UploadJournal
    report: Callable[[str, float | None, str], None] = lambda what, fraction, detail: None  # noqa: ARG005

    needs_key_arn: ClassVar[bool] = True

    @classmethod
    def check_settings(cls, settings: Publish) -> None:
        """Check that a KMS key is given by its ARN.

        Raises:
            SettingsError: it is not.
        """
        if settings.kms_key is not None and not settings.kms_key.startswith("arn:"):
            raise SettingsError(
                f"[publish] kms_key must be the ARN of a key for the EBS direct API: {settings.kms_key}",
                hint="run `aws kms describe-key --key-id ...`, which prints it: arn:aws:kms:...:key/...",
            )

    @classmethod
    def permissions(cls, scope: PolicyScope) -> PublisherPermissions:  # noqa: ARG003 (the same for all settings)
        """Return the permissions for the EBS direct API."""
        return PublisherPermissions(
            change=("ebs:PutSnapshotBlock", "ebs:CompleteSnapshot"), create=("ebs:StartSnapshot",)
        )

    @classmethod
    def open(cls, context: PublisherContext) -> Uploader:
        """Return an uploader."""
        return cls(context.aws, context.region, context.journal, context.report)

    def make(self, source: BlockSource, about: SnapshotSpec, bases: Sequence[BaseSnapshot] = ()) -> FinishedSnapshot:
        """Return the finished snapshot of an image; an unfinished upload is continued.

        Args:
            source: the image.
            about: what the snapshot is made with.
            bases: finished snapshots with the same encryption, which may be its parent.

        Raises:
            AwsError: AWS refused, and the pending snapshot was deleted. If AWS cannot be reached, or with
                ``AwsError.passing``, the next run continues.
            FileError: the image changed while it was read, or the journal cannot be written.
        """
        for _ in range(_ATTEMPTS):
            begun, upload = self._begin(source, about, bases)
            try:
                return self._finish(begun, upload, source, about)
            except _SnapshotVanished as gone:
                self._delete(gone.left)
                begun.snapshot, begun.sealed, begun.done = None, False, {}
                begun.attempt += 1
                if gone.parent is not None:
                    bases = [base for base in bases if base.id != gone.parent]
                    self.journal.drop(begun)
            except UnibuildError as error:
                if not (isinstance(error, AwsError) and error.passing):
                    self.discard(begun)
                raise
        raise AwsError(f"{self.region}: every snapshot that was begun is gone again", hint="run again")

    def discard(self, begun: PendingUpload) -> None:
        """Delete what is left of an upload, as far as that goes; what does not go ends after its timeout by itself."""
        self._delete(begun.snapshot)
        self.journal.drop(begun)

    def discard_all(self) -> None:
        """Delete what is left of every upload that was begun in the region."""
        for begun in self.journal.begun:
            if begun.region == self.region:
                self.discard(begun)

    def _delete(self, snapshot: str | None) -> None:
        if snapshot is not None:
            aws = self.aws.like(retries=_CLEANUP)
            with contextlib.suppress(AwsError):
                aws.client("ec2", self.region).call("DeleteSnapshot", SnapshotId=snapshot)

    def _begin(
        self, source: BlockSource, about: SnapshotSpec, bases: Sequence[BaseSnapshot]
    ) -> tuple[PendingUpload, UploadPlan]:
        """Return the upload, which an earlier run may have begun; discard unfinished uploads of other images."""
        found = None
        for begun in self.journal.begun:
            if begun.region != self.region:
                continue
            known = begun.parent is None or any(base.id == begun.parent for base in bases)
            if begun.identity == about.identity and known and found is None:
                found = begun
            else:
                self.discard(begun)
        if found is not None:
            bases = [base for base in bases if base.id == found.parent]
            upload = blocks.plan_upload(source.checksums, source.volume_gib, bases)
            if upload.parent == found.parent:
                return found, upload
            self.discard(found)
        upload = blocks.plan_upload(source.checksums, source.volume_gib, bases)
        found = PendingUpload(self.region, about.identity, upload.parent)
        self.journal.begin(found)
        return found, upload

    def _finish(
        self, begun: PendingUpload, upload: UploadPlan, source: BlockSource, about: SnapshotSpec
    ) -> FinishedSnapshot:
        count = 0
        if upload.parent is not None and not upload.puts:  # the snapshot exists, without an AMI
            self.journal.drop(begun)
            return FinishedSnapshot(upload.parent, 0, None, is_found=True)
        if self._start(begun, upload, about) != "completed":
            try:
                count = self._put(begun, upload, source)
                self._complete(begun, upload)
            except AwsError as error:
                if error.code == "ResourceNotFoundException":
                    raise _SnapshotVanished from None
                if error.reason != "INVALID_SNAPSHOT_ID":  # else it is complete, and the answer was lost
                    raise
            self._wait(begun)
        assert begun.snapshot is not None
        self.journal.drop(begun)
        return FinishedSnapshot(begun.snapshot, count, upload.parent)

    def _start(self, begun: PendingUpload, upload: UploadPlan, about: SnapshotSpec) -> str:
        """Start the snapshot or find the existing one; return its status."""
        params: dict[str, Any] = {
            "VolumeSize": upload.volume,
            **({"Description": about.description} if about.description else {}),
            "Tags": tags.write(about.tags),
            "Timeout": TIMEOUT,
        }
        if upload.parent is not None:
            params["ParentSnapshotId"] = upload.parent
        elif about.encryption:
            params["Encrypted"] = True
            if about.encryption != DEFAULT_KEY:
                params["KmsKeyArn"] = about.encryption
        token = blocks.client_token(upload, params, begun.attempt)
        ebs = self.aws.client("ebs", self.region)
        try:
            answer = ebs.call("StartSnapshot", wants=("SnapshotId", "Status"), ClientToken=token, **params)
        except AwsError as error:
            if error.code == "ConflictException":
                raise _SnapshotVanished from None
            if error.code == "ResourceNotFoundException" and error.reason != "DEPENDENCY_RESOURCE_NOT_FOUND":
                raise _SnapshotVanished(parent=upload.parent) from None
            if error.code == "ValidationException" and upload.parent is not None:  # it may be the parent's encryption
                raise _SnapshotVanished(parent=upload.parent) from None
            raise
        if answer.get("BlockSize") not in (None, 0, BLOCK):
            raise AwsError(
                f"unsupported size of EBS blocks: {answer['BlockSize']} bytes", hint="unibuild supports 524288 bytes"
            )
        if answer["Status"] == "error":
            raise _SnapshotVanished(left=answer["SnapshotId"])
        if begun.snapshot != answer["SnapshotId"]:
            begun.snapshot, begun.sealed, begun.done = answer["SnapshotId"], False, {}
            self.journal.save()
        return str(answer["Status"])

    def _put(self, begun: PendingUpload, upload: UploadPlan, source: BlockSource) -> int:
        """Put the missing blocks; return how many."""
        assert begun.snapshot is not None
        left = {i: digest for i, digest in upload.puts.items() if begun.done.get(i) != digest.hex()}
        show = _ProgressReport(self, len(upload.puts), len(upload.puts) - len(left))
        appears = _RESUMED if begun.done else _APPEARS
        ebs = self.aws.client("ebs", self.region)

        def there(index: int) -> None:
            begun.done[index] = left[index].hex()
            show.put()

        try:
            put_blocks(ebs, begun.snapshot, source, left, appears=appears, there=there, beat=show.beat)
        finally:
            self.journal.save()
        return len(left)

    def _complete(self, begun: PendingUpload, upload: UploadPlan) -> None:
        begun.sealed = True
        self.journal.save()
        self.aws.client("ebs", self.region).call(
            "CompleteSnapshot",
            appears=_APPEARS,
            SnapshotId=begun.snapshot,
            ChangedBlocksCount=len(upload.puts),
            Checksum=blocks.aggregate(upload.puts),
            ChecksumAlgorithm="SHA256",
            ChecksumAggregationMethod="LINEAR",
        )

    def _wait(self, begun: PendingUpload) -> None:
        """Wait until EC2 has completed the snapshot."""
        ec2 = self.aws.client("ec2", self.region)

        def completed() -> str | None:
            self.report("EC2 completes the snapshot", None, str(begun.snapshot))
            try:
                found = ec2.call("DescribeSnapshots", appears=_APPEARS, SnapshotIds=[begun.snapshot])["Snapshots"]
            except AwsError as error:
                if error.code == "InvalidSnapshot.NotFound":
                    raise _SnapshotVanished from None
                raise
            if found and found[0]["State"] == "error":
                raise _SnapshotVanished(left=begun.snapshot)
            return "completed" if found and found[0]["State"] == "completed" else None

        if self.aws.plan is None and self.aws.poll(completed, _COMPLETES) is None:
            raise AwsError(
                f"{begun.snapshot} in {self.region} is not complete after {_COMPLETES / 60:.0f} minutes",
                hint="run again: the next run continues where this one stopped",
                passing=True,
            )


class _ProgressReport:
    """Report the progress of the blocks, and save the journal at intervals."""

    def __init__(self, uploader: Uploader, total: int, before: int) -> None:
        self._uploader, self._total, self._done, self._before = uploader, total, before, before
        self._since = self._saved = uploader.aws.clock.now()
        self.beat()

    def put(self) -> None:
        self._done += 1
        self.beat()

    def beat(self) -> None:
        now = self._uploader.aws.clock.now()
        if now - self._saved >= _SAVE:
            self._saved = now
            self._uploader.journal.save()
        mib = BLOCK / 2**20
        detail = f"{self._done * mib:.1f} of {self._total * mib:.1f} MiB"
        here = self._done - self._before
        if here and self._done < self._total:
            detail += f", {(now - self._since) / here * (self._total - self._done):.0f} s left"
        self._uploader.report(f"upload to {self._uploader.region}", self._done / max(1, self._total), detail)
