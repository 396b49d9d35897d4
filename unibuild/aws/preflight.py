"""Check, before anything is sent, that the region can run the AMI and that the account may create it."""

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
_CONCLUSIVE = (*DENIED, "InvalidAMIName.Malformed")


def check_types(ec2: Client, wanted: str | None, virtualization: Virtualization) -> None:
    """Check that the region offers an instance type that runs the AMI.

    Args:
        ec2: the service.
        wanted: the type of ``[launch]``; None: any.
        virtualization: the AMI's type.

    Raises:
        AwsError: it does not.
    """
    if wanted is None:
        smallest_offered(ec2, virtualization)
        return
    [found] = ec2.call("DescribeInstanceTypes", wants=("InstanceTypes",), InstanceTypes=[wanted])["InstanceTypes"]
    if virtualization not in found.get("SupportedVirtualizationTypes", (virtualization,)):
        raise AwsError(
            f"{wanted} cannot run a {virtualization} AMI",
            hint="set [launch] type to one of " + ", ".join(one for one in types_for(virtualization) if one != wanted),
        )
    if found.get("Hypervisor", "xen") != "xen" or found.get("BareMetal"):
        raise AwsError(
            f"{wanted} does not run Xen, which the kernel needs",
            hint=f"set [launch] type to a type such as {', '.join(HVM_TYPES[:6])}",
        )


def encrypts_by_default(ec2: Client) -> bool:
    """Return whether EBS encrypts every new snapshot in a region: the account's "encryption by default".

    If the policy does not allow the call, or an emulator lacks it, the answer is no.

    Raises:
        AwsError: another error.
    """
    return bool(_setting(ec2, "GetEbsEncryptionByDefault").get("EbsEncryptionByDefault"))


def kms_key(ec2: Client, encryption: str) -> str:
    """Return the ARN of the key behind an alias's ARN; return anything else unchanged.

    Raises:
        AwsError: the key does not exist, or the policy does not allow the call.
    """
    if ":alias/" not in encryption:
        return encryption
    found = ec2.aws.client("kms", ec2.region).call("DescribeKey", wants=("KeyMetadata",), KeyId=encryption)
    return str(found["KeyMetadata"]["Arn"])


def may_share(ec2: Client, share: Sequence[str], encryption: str) -> None:
    """Check that the account's settings in a region allow sharing an AMI.

    Args:
        ec2: the service.
        share: ``[publish] share``.
        encryption: the key that encrypts the snapshot; empty: the settings do not ask for encryption.

    Raises:
        AwsError: they do not.
    """
    if share and not encryption and encrypts_by_default(ec2):
        key = str(_setting(ec2, "GetEbsDefaultKmsKeyId").get("KmsKeyId", ""))
        if ALL in share or key.endswith("alias/aws/ebs"):
            raise AwsError(
                f"cannot share the AMI{' with all' if ALL in share else ''}: {ec2.region} encrypts every snapshot "
                "(EBS encryption by default)" + ("" if ALL in share else ", with the account's default key"),
                hint="set [publish] kms_key to a key of your own with a policy that lets the accounts of `share` use it"
                if ALL not in share
                else "name accounts in [publish] share, with a kms_key that they may use",
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
                f'cannot use [publish] share = ["all"]: the account blocks public access to {what} in {ec2.region} '
                f"({state})",
                hint=f"run `{command} --region {ec2.region}`, or name the accounts that may launch the AMI",
            )


def _setting(ec2: Client, operation: str) -> Mapping[str, Any]:
    """Return the answer to a query of the account's settings; an empty one if it is denied or not implemented."""
    try:
        return ec2.call(operation)
    except AwsError as error:
        if error.code in (*DENIED, NOT_IMPLEMENTED):
            return {}
        raise


def may_register(ec2: Client, name: str, marks: Mapping[str, str]) -> None:
    """Check that the account may register an AMI with these tags. The EBS direct API has no such check.

    The call names no snapshot, because no policy can match the tags of one that does not exist yet. It uses another
    name and leaves out the image's hash, so that an endpoint that ignores DryRun makes no AMI that counts as published.

    Raises:
        AwsError: it may not.
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
    """Check that the account may delete a snapshot of unibuild, which is necessary after a failed upload.

    Raises:
        AwsError: it may not.
    """
    _ask(ec2, "DeleteSnapshot", SnapshotId=snapshot)


def _ask(ec2: Client, operation: str, **params: Any) -> None:  # noqa: ANN401
    try:
        ec2.dry_run(operation, **params)
    except AwsError as error:
        if error.code in _CONCLUSIVE or error.passing:
            raise  # other errors in the example say nothing about the permissions
