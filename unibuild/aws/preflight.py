"""What can be known before a byte is sent: whether the region can run the AMI, and whether we may make it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unibuild.aws import tags
from unibuild.aws.distribution import ALL
from unibuild.aws.errors import DENIED, NOT_IMPLEMENTED
from unibuild.aws.xen_support import HVM_TYPES, Virtualization, smallest_offered, types_for
from unibuild.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unibuild.aws.client import Client

__all__ = ["check_types", "encrypts_by_default", "kms_key", "may_delete", "may_register", "may_share"]

_PREFLIGHT = "-preflight"  # ends the name in a dry run
_TELLING = (*DENIED, "InvalidAMIName.Malformed")


def check_types(ec2: Client, wanted: str | None, virtualization: Virtualization) -> None:
    """See that an instance type that runs the AMI is offered in the region.

    Args:
        ec2: the service.
        wanted: the type of ``[launch]``; None: any will do.
        virtualization: the AMI's type.

    Raises:
        AwsError: it is not.
    """
    if wanted is None:
        smallest_offered(ec2, virtualization)
        return
    [found] = ec2.call("DescribeInstanceTypes", wants=("InstanceTypes",), InstanceTypes=[wanted])["InstanceTypes"]
    if virtualization not in found.get("SupportedVirtualizationTypes", (virtualization,)):
        raise AwsError(
            f"{wanted} runs no {virtualization} AMI",
            hint=f"[launch] type: one of {', '.join(one for one in types_for(virtualization) if one != wanted)}",
        )
    if found.get("Hypervisor", "xen") != "xen" or found.get("BareMetal"):
        raise AwsError(
            f"{wanted} has no Xen, which the kernel needs", hint=f"[launch] type: as {', '.join(HVM_TYPES[:6])}"
        )


def encrypts_by_default(ec2: Client) -> bool:
    """Tell whether EBS encrypts every new snapshot in a region: the account's "encryption by default".

    An older policy may not allow the question, and an emulator may lack it: then the answer is no.

    Raises:
        AwsError: another error.
    """
    return bool(_setting(ec2, "GetEbsEncryptionByDefault").get("EbsEncryptionByDefault"))


def kms_key(ec2: Client, encryption: str) -> str:
    """Return the ARN of the key that an alias's ARN stands for; anything else as it is.

    Raises:
        AwsError: there is no such key; or it may not be looked up.
    """
    if ":alias/" not in encryption:
        return encryption
    found = ec2.aws.client("kms", ec2.region).call("DescribeKey", wants=("KeyMetadata",), KeyId=encryption)
    return str(found["KeyMetadata"]["Arn"])


def may_share(ec2: Client, share: Sequence[str], encryption: str) -> None:
    """See that the account's settings in a region allow to share an AMI.

    Args:
        ec2: the service.
        share: ``[publish] share``.
        encryption: what the snapshot is encrypted with; empty: the settings do not ask for that.

    Raises:
        AwsError: they do not.
    """
    if share and not encryption and encrypts_by_default(ec2):
        key = str(_setting(ec2, "GetEbsDefaultKmsKeyId").get("KmsKeyId", ""))
        if ALL in share or key.endswith("alias/aws/ebs"):
            raise AwsError(
                f"{ec2.region} encrypts every snapshot (EBS encryption by default), so the AMI cannot be shared"
                + (" with all" if ALL in share else " under the account's default key"),
                hint="[publish] kms_key: a key of your own whose policy lets the accounts of `share` use it"
                if ALL not in share
                else "[publish] share: name accounts, with a kms_key that they may use",
            )
    if ALL not in share:
        return
    image = str(_setting(ec2, "GetImageBlockPublicAccessState").get("ImageBlockPublicAccessState", "unblocked"))
    snapshot = str(_setting(ec2, "GetSnapshotBlockPublicAccessState").get("State", "unblocked"))
    for what, state, command in (
        ("AMIs", image, "aws ec2 disable-image-block-public-access"),
        ("snapshots", snapshot, "aws ec2 disable-snapshot-block-public-access"),
    ):
        if state != "unblocked":
            raise AwsError(
                f'[publish] share = ["all"]: the account blocks public access to {what} in {ec2.region} ({state})',
                hint=f"{command} --region {ec2.region}, or name the accounts that may launch it",
            )


def _setting(ec2: Client, operation: str) -> Mapping[str, Any]:
    """Return an answer about the account's settings; an empty one where it cannot be had."""
    try:
        return ec2.call(operation)
    except AwsError as error:
        if error.code in (*DENIED, NOT_IMPLEMENTED):
            return {}
        raise


def may_register(ec2: Client, name: str, marks: Mapping[str, str]) -> None:
    """See that we may register an AMI of these tags; EBS direct has no such question.

    It is asked without a snapshot: of one that is not there no policy can tell whether it is ours. The name is another
    one, and the image's hash is left out, so an endpoint that ignores DryRun makes no AMI that counts as published.

    Raises:
        AwsError: we may not.
    """
    root = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 1}}
    given = {"ResourceType": "image", "Tags": tags.write({k: v for k, v in marks.items() if k != tags.SHA256})}
    _ask(
        ec2,
        "RegisterImage",
        Name=f"{name[: 128 - len(_PREFLIGHT)]}{_PREFLIGHT}",
        RootDeviceName="/dev/sda1",
        BlockDeviceMappings=[root],
        TagSpecifications=[given],
    )


def may_delete(ec2: Client, snapshot: str) -> None:
    """See that we may delete a snapshot of ours, as one that fails has to be.

    Raises:
        AwsError: we may not.
    """
    _ask(ec2, "DeleteSnapshot", SnapshotId=snapshot)


def _ask(ec2: Client, operation: str, **params: Any) -> None:  # noqa: ANN401
    try:
        ec2.dry_run(operation, **params)
    except AwsError as error:
        if error.code in _TELLING or error.passing:
            raise  # what else is wrong with the example says nothing of our rights
