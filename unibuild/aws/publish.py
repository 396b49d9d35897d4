"""Publish a disk image as an AMI: find an existing one, check the prerequisites, upload the changes, register it."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import unibuild
from unibuild.aws import ami, preflight, tags
from unibuild.aws.client import run_parallel
from unibuild.aws.errors import NOT_FOUND
from unibuild.aws.snapshot import blocks
from unibuild.aws.snapshot import publisher as publishers
from unibuild.aws.snapshot import upload as snapshot
from unibuild.aws.snapshot.blocks import BaseSnapshot
from unibuild.aws.snapshot.publisher import PublisherContext, SnapshotSpec
from unibuild.aws.xen_support import Virtualization, pv_grub
from unibuild.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from unibuild.aws.client import Aws, Client
    from unibuild.aws.snapshot.journal import UploadJournal
    from unibuild.aws.snapshot.workers import BlockSource

__all__ = [
    "AmiSpec",
    "KernelInfo",
    "Prerequisites",
    "Published",
    "check_prerequisites",
    "create",
    "find_published",
    "identity",
]

_KEY = "unibuild:key"  # the tag for the key that encrypts a snapshot
_BASES = 8  # snapshots that are compared with the image, the newest ones


class KernelInfo(NamedTuple):
    """The known facts about a kernel; unknown ones are empty.

    Attributes:
        unikernel: its name.
        identity: the identity of its image, as ``identity`` returns it.
        revision: the sources' revision, as ``git describe`` prints it.
        toolchain: what built it, as ``mirage 4.11.1``.
    """

    unikernel: str
    identity: str
    revision: str = ""
    toolchain: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """The tags of its AMI and snapshot."""
        found = {
            tags.UNIKERNEL: self.unikernel,
            tags.SHA256: self.identity,
            tags.REVISION: self.revision,
            tags.TOOLCHAIN: self.toolchain,
            tags.VERSION: unibuild.__version__,
        }
        return {key: value[:255] for key, value in found.items() if value}


@dataclass(frozen=True)
class AmiSpec:
    """The wanted AMI.

    Attributes:
        name: its name.
        description: its description and its snapshot's.
        virtualization: ``paravirtual`` or ``hvm``.
        volume_type: of the root volume.
        encryption: ``aws/ebs`` for the account's default key, or the ARN of a KMS key; empty: not encrypted.
        about: the known facts about the kernel.
        tags: the user's own tags.
        instance_type: the instance type that will run it; None: any type that can.
        via: the publisher, as ``[publish] via``.
        bucket: the S3 bucket, for a publisher that needs one.
        role: the role that EC2 reads the bucket with.
        share: the other accounts that may launch it, as ``[publish] share``.
        regions: the regions to copy it to.
    """

    name: str
    description: str
    virtualization: Virtualization
    volume_type: str
    encryption: str
    about: KernelInfo
    tags: Mapping[str, str] = field(hash=False)
    instance_type: str | None = None
    via: str = "ebs"
    bucket: str | None = None
    role: str = ""
    share: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()

    @property
    def all_tags(self) -> dict[str, str]:
        """The AMI's tags: those of the user and those of unibuild."""
        return {"Name": self.name, **self.tags, **self.about.tags}


class Published(NamedTuple):
    """An AMI that is available.

    Attributes:
        image: its id.
        snapshot: the id of its snapshot.
        name: its name.
        region: where it is.
        is_new: whether this run registered it.
        puts: how many blocks this run sent for it.
        parent: the parent of its snapshot.
        described: the AMI as DescribeImages returns it.
    """

    image: str
    snapshot: str
    name: str
    region: str
    is_new: bool
    puts: int = 0
    parent: str | None = None
    described: Mapping[str, Any] = {}


class Prerequisites(NamedTuple):
    """The facts that are needed before anything is sent.

    Attributes:
        kernel: the AKI of a paravirtual AMI.
        bases: the snapshots that may be the parent of the new one.
        key: the key that encrypts the snapshot, as ``AmiSpec.encryption``, with an alias's ARN resolved.
    """

    kernel: str | None
    bases: tuple[BaseSnapshot, ...]
    key: str = ""


def identity(digest: str, encryption: str) -> str:
    """Return the identity of an image: its SHA-256, or the SHA-256 of that and of the key that encrypts it."""
    return hashlib.sha256(f"{digest} {encryption}".encode()).hexdigest() if encryption else digest


def find_published(aws: Aws, wanted: AmiSpec, journal: UploadJournal) -> Published | None:
    """Return the AMI if it exists already, with one call, and discard what a killed run had begun for it.

    Raises:
        AwsError: another AMI has its name, or the AMI lacks a snapshot.
    """
    ec2 = aws.client("ec2")
    image = ami.find_by_name(ec2, wanted.name)
    if image is None:
        return None
    ami.check_identity(ec2, image, wanted.about.identity)
    snapshot.Uploader(aws, ec2.region, journal).discard_all()
    if image.get("State") != "available":
        image = ami.wait_available(ec2, image["ImageId"])
    root = ami.root_snapshot(image)
    if not root:
        raise AwsError(
            f"{image['ImageId']} in {ec2.region} has the name {wanted.name}, but no root snapshot",
            hint=f"run `unibuild ami rm {image['ImageId']} --region {ec2.region}`, then publish again",
        )
    return Published(image["ImageId"], root, wanted.name, ec2.region, is_new=False, described=image)


def check_prerequisites(aws: Aws, wanted: AmiSpec) -> Prerequisites:
    """Return the prerequisites of an AMI. All calls are made in parallel, and none changes anything.

    Raises:
        AwsError: the region cannot run the AMI, or the account may not create it.
    """
    ec2 = aws.client("ec2")
    is_pv = wanted.virtualization == "paravirtual"
    needs_arn = publishers.find(wanted.via).needs_key_arn
    jobs: list[Callable[[], Any]] = [
        lambda: pv_grub(ec2) if is_pv else None,
        lambda: _snapshots(ec2, wanted),
        lambda: preflight.encrypts_by_default(ec2),
        lambda: preflight.kms_key(ec2, wanted.encryption) if needs_arn else wanted.encryption,
        lambda: preflight.check_types(ec2, wanted.instance_type, wanted.virtualization),
        lambda: preflight.may_register(ec2, wanted.name, wanted.all_tags),
    ]
    if wanted.share:
        regions = [aws.client("ec2", one) for one in dict.fromkeys((ec2.region, *wanted.regions))]
        jobs += [functools.partial(preflight.may_share, one, wanted.share, wanted.encryption) for one in regions]
    kernel, there, by_default, key, *_ = run_parallel(jobs)
    bases = _bases(there, wanted, key, is_encrypted=by_default or bool(wanted.encryption))
    return Prerequisites(kernel, tuple(bases), key)


def create(
    aws: Aws,
    source: BlockSource,
    wanted: AmiSpec,
    found: Prerequisites,
    journal: UploadJournal,
    report: Callable[[str, float | None, str], None],
) -> Published:
    """Create the AMI of an image and return it.

    Args:
        aws: the account, and the region.
        source: the image.
        wanted: the wanted AMI.
        found: the result of ``check_prerequisites``.
        journal: the unfinished uploads of earlier runs.
        report: called with the progress: the step, the finished part (0 to 1, None: not known), and details.

    Raises:
        AwsError: AWS refused, or the retries of a call are used up.
        FileError: the kernel changed meanwhile.
    """
    ec2 = aws.client("ec2")
    about = SnapshotSpec(
        identity=wanted.about.identity,
        description=wanted.description,
        tags={**wanted.all_tags, **blocks.checksum_tags(source.checksums), **_key(wanted.encryption)},
        encryption=found.key or wanted.encryption,
    )
    context = PublisherContext(aws, ec2.region, journal, wanted.bucket, wanted.role, report)
    made = publishers.find(wanted.via).open(context).make(source, about, found.bases)
    snapshot.Uploader(aws, ec2.region, journal).discard_all()  # of earlier runs with another publisher
    report("register the AMI", None, wanted.name)
    registration = ami.AmiRegistration(
        wanted.name, wanted.description, wanted.virtualization, found.kernel, wanted.volume_type, wanted.all_tags
    )
    try:
        image, was_there = ami.register(ec2, registration, made.id, source.volume_gib)
    except AwsError as error:
        error.add(f"the snapshot {made.id} is complete: the next run uses it, `unibuild ami gc` removes it")
        raise
    used = ami.root_snapshot(image) or made.id
    if was_there and used != made.id and not made.is_found:  # another run was faster with the same image
        try:
            ec2.call("DeleteSnapshot", SnapshotId=made.id)
        except AwsError as error:
            if not NOT_FOUND.search(error.code) and error.code != "InvalidSnapshot.InUse":  # an answer was lost
                raise
    return Published(
        image["ImageId"], used, wanted.name, ec2.region, True, made.puts, parent=made.parent, described=image
    )


def _snapshots(ec2: Client, wanted: AmiSpec) -> list[dict[str, Any]]:
    """Return the unikernel's finished snapshots, as EC2 describes them; check that the account may delete them.

    Raises:
        AwsError: it may not.
    """
    filters = [
        {"Name": f"tag:{tags.UNIKERNEL}", "Values": [wanted.about.unikernel]},
        {"Name": "status", "Values": ["completed"]},
    ]
    found = ec2.pages("DescribeSnapshots", "Snapshots", OwnerIds=["self"], Filters=filters)
    if found:
        preflight.may_delete(ec2, found[0]["SnapshotId"])
    return found


def _bases(there: list[dict[str, Any]], wanted: AmiSpec, key: str, *, is_encrypted: bool) -> list[BaseSnapshot]:
    """Return the snapshots that can be the parent of a new one, the newest first.

    A child has the encryption of its parent, so EBS refuses an unencrypted parent if everything is to be encrypted.

    Args:
        there: the unikernel's snapshots.
        wanted: the wanted AMI.
        key: the key that encrypts the new snapshot.
        is_encrypted: whether the new snapshot is encrypted, also by the account's default.
    """
    bases = []
    for one in sorted(there, key=lambda one: one["StartTime"], reverse=True):
        held = tags.read(one.get("Tags", ()))
        digests = blocks.checksums_from_tags(held)
        of_key = not key.startswith("arn:") or one.get("KmsKeyId", key) == key
        same = held.get(_KEY, "") == wanted.encryption and bool(one.get("Encrypted")) == is_encrypted and of_key
        if digests is not None and same:
            bases.append(BaseSnapshot(one["SnapshotId"], one["VolumeSize"], digests))
    return bases[:_BASES]


def _key(encryption: str) -> dict[str, str]:
    return {_KEY: encryption} if encryption else {}
