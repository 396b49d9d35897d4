"""The protocol of publishers, which turn a disk image into an EBS snapshot, and their registry."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from unibuild.aws.client import Aws
    from unibuild.aws.iam_statement import PolicyScope, Statement
    from unibuild.aws.snapshot.blocks import BaseSnapshot
    from unibuild.aws.snapshot.journal import UploadJournal
    from unibuild.aws.snapshot.workers import BlockSource
    from unibuild.settings.ami import Publish

__all__ = [
    "DEFAULT_KEY",
    "PUBLISHERS",
    "FinishedSnapshot",
    "Publisher",
    "PublisherContext",
    "PublisherEntry",
    "PublisherPermissions",
    "SnapshotSpec",
    "find",
]

DEFAULT_KEY = "aws/ebs"
"""The value that means the account's default key for EBS."""


class PublisherEntry(NamedTuple):
    """A publisher in the registry: its module and class, and how the image travels, for the help of ``--via``."""

    module: str
    name: str
    way: str


PUBLISHERS = {
    "ebs": PublisherEntry("unibuild.aws.snapshot.upload", "Uploader", "the EBS direct API"),
    "s3": PublisherEntry("unibuild.aws.snapshot.s3_import", "S3Importer", "an S3 bucket"),
}
"""The publishers by the value of ``[publish] via``. A module is imported once it is used."""


class SnapshotSpec(NamedTuple):
    """What a snapshot is made with, in addition to its blocks.

    Attributes:
        identity: the identity of the image.
        description: for the user.
        tags: its tags.
        encryption: ``aws/ebs`` for the account's default key, or the ARN of a KMS key; empty: it is not encrypted.
    """

    identity: str
    description: str
    tags: Mapping[str, str]
    encryption: str = ""


class FinishedSnapshot(NamedTuple):
    """A finished snapshot.

    Attributes:
        id: its id.
        puts: how many blocks this run sent.
        parent: the snapshot that it began with.
        is_found: it was complete before this upload began, and other AMIs may use it.
    """

    id: str
    puts: int
    parent: str | None
    is_found: bool = False


class PublisherPermissions(NamedTuple):
    """The IAM actions that a publisher needs in addition to those of every publisher.

    Attributes:
        read: they change nothing and support no resources.
        change: they change snapshots with unibuild's tag for this unikernel.
        create: they create a snapshot, and tag it.
        tagged: types of other resources of EC2 that are tagged by the call that creates them.
        statements: what the policy allows for other resources.
    """

    read: Sequence[str] = ()
    change: Sequence[str] = ()
    create: Sequence[str] = ()
    tagged: Sequence[str] = ()
    statements: Sequence[Statement] = ()


@dataclass(frozen=True)
class PublisherContext:
    """Where a publisher works.

    Attributes:
        aws: the account.
        region: the region of the snapshot.
        journal: the unfinished uploads of earlier runs.
        bucket: ``[publish] bucket``; None: it is not set.
        role: ``[publish] role``.
        report: called with the progress: the step, the finished part (0 to 1, None: not known), and details.
    """

    aws: Aws
    region: str
    journal: UploadJournal
    bucket: str | None
    role: str
    report: Callable[[str, float | None, str], None]


class Publisher(Protocol):
    """Turns a disk image into an EBS snapshot of one region."""

    needs_key_arn: ClassVar[bool]
    """Whether it takes a KMS key by its ARN only."""

    @classmethod
    def check_settings(cls, settings: Publish) -> None:
        """Check the settings that this publisher needs, before anything is sent.

        Raises:
            SettingsError: one is missing.
        """

    @classmethod
    def permissions(cls, scope: PolicyScope) -> PublisherPermissions:
        """Return the permissions that ``unibuild iam-policy`` grants for this publisher.

        Args:
            scope: the settings, and the resources of the configuration.
        """

    @classmethod
    def open(cls, context: PublisherContext) -> Self:
        """Return a publisher. AWS is not called."""

    def make(self, source: BlockSource, about: SnapshotSpec, bases: Sequence[BaseSnapshot] = ()) -> FinishedSnapshot:
        """Return the finished snapshot of an image. A second run with the same arguments continues an unfinished one.

        Args:
            source: the image.
            about: what the snapshot is made with.
            bases: finished snapshots with the same encryption, which may be its parent; a publisher may ignore them.

        Raises:
            AwsError: AWS refused, or cannot be reached.
            FileError: the image changed while it was read.
        """


def find(via: str) -> type[Publisher]:
    """Return the publisher for a value of ``[publish] via``."""
    entry = PUBLISHERS[via]
    found: type[Publisher] = getattr(importlib.import_module(entry.module), entry.name)
    return found
