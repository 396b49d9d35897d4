"""The smallest publisher: it puts one block after the other and continues nothing."""

import base64
import contextlib
import hashlib

from unibuild.aws import tags
from unibuild.aws.snapshot.blocks import BLOCK
from unibuild.aws.snapshot.publisher import DEFAULT_KEY, FinishedSnapshot, PublisherEntry, PublisherPermissions
from unibuild.errors import AwsError, SettingsError

ENTRY = PublisherEntry("toy_publisher", "ToyPublisher", "one block after the other")


class ToyPublisher:
    needs_key_arn = True

    def __init__(self, context):
        self.context = context
        self.ebs = context.aws.client("ebs", context.region)
        self.ec2 = context.aws.client("ec2", context.region)

    @classmethod
    def check_settings(cls, settings):
        if settings.bucket:
            raise SettingsError("the toy needs no bucket", hint="remove [publish] bucket")

    @classmethod
    def permissions(cls, scope):
        return PublisherPermissions(
            change=("ebs:PutSnapshotBlock", "ebs:CompleteSnapshot"), create=("ebs:StartSnapshot",)
        )

    @classmethod
    def open(cls, context):
        return cls(context)

    def make(self, source, about, bases=()):
        encryption = {"Encrypted": True} if about.encryption else {}
        if about.encryption not in ("", DEFAULT_KEY):
            encryption["KmsKeyArn"] = about.encryption
        params = {"VolumeSize": source.volume_gib, "Tags": tags.write(about.tags), **encryption}
        snapshot = self.ebs.call("StartSnapshot", **params)["SnapshotId"]
        try:
            self._fill(snapshot, source)
        except AwsError:
            with contextlib.suppress(AwsError):
                self.ec2.call("DeleteSnapshot", SnapshotId=snapshot)
            raise
        return FinishedSnapshot(snapshot, len(source.checksums), None)

    def _fill(self, snapshot, source):
        for number, index in enumerate(source.checksums, 1):
            data = source.read(index)
            self.ebs.call(
                "PutSnapshotBlock",
                SnapshotId=snapshot,
                BlockIndex=index,
                BlockData=data,
                DataLength=BLOCK,
                Checksum=base64.b64encode(hashlib.sha256(data).digest()).decode(),
                ChecksumAlgorithm="SHA256",
            )
            self.context.report("send blocks", number / len(source.checksums), "")
        self.ebs.call("CompleteSnapshot", SnapshotId=snapshot, ChangedBlocksCount=len(source.checksums))
        done = {"Filters": [{"Name": "status", "Values": ["completed"]}], "SnapshotIds": [snapshot]}
        self.context.aws.poll(lambda: self.ec2.call("DescribeSnapshots", **done)["Snapshots"] or None, 60.0)
