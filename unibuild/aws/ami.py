"""Register a snapshot as an AMI once: an AMI of the same name and the same image counts as registered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from unibuild.aws import tags
from unibuild.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unibuild.aws.client import Client
    from unibuild.aws.xen_support import Virtualization

__all__ = ["AmiRegistration", "check_identity", "find_by_name", "register", "root_snapshot", "wait_available"]

ROOT = "/dev/sda1"
"""The root device's name, for PV-GRUB and for HVM."""

_APPEARS = 180.0  # seconds until a new AMI is seen everywhere
_AVAILABLE = 900.0  # seconds that EC2 has to make an AMI available
_STATE = 60.0  # seconds for which a snapshot may be complete here, and not there


@dataclass(frozen=True)
class AmiRegistration:
    """The parameters that an AMI is registered with, in addition to its snapshot.

    Attributes:
        name: its name, unique in the account and region.
        description: for the user.
        virtualization: ``paravirtual`` or ``hvm``.
        kernel: the AKI of a paravirtual AMI.
        volume_type: of the root volume.
        tags: its tags.
    """

    name: str
    description: str
    virtualization: Virtualization
    kernel: str | None
    volume_type: str
    tags: Mapping[str, str] = field(hash=False)

    def params(self, snapshot: str, volume: int) -> dict[str, Any]:
        """Return the parameters of RegisterImage.

        A paravirtual AMI must not have parameters for ENA, SR-IOV, boot mode, TPM or metadata. An HVM AMI needs no
        network parameters, because its network card is Xen's. ``v2.0`` lets its instances require session tokens
        (IMDSv2).
        """
        ebs = {
            "SnapshotId": snapshot,
            "VolumeSize": volume,
            "VolumeType": self.volume_type,
            "DeleteOnTermination": True,
        }
        params = {
            "Name": self.name,
            **({"Description": self.description} if self.description else {}),
            "Architecture": "x86_64",  # the default is i386
            "VirtualizationType": self.virtualization,
            "RootDeviceName": ROOT,
            "BlockDeviceMappings": [{"DeviceName": ROOT, "Ebs": ebs}],
            "TagSpecifications": [{"ResourceType": "image", "Tags": tags.write(self.tags)}],
        }
        hvm = {"BootMode": "legacy-bios", "ImdsSupport": "v2.0"}
        return params | ({"KernelId": self.kernel} if self.kernel else hvm)


class Registered(NamedTuple):
    """An available AMI, as EC2 describes it, and whether another run has registered it."""

    image: dict[str, Any]
    was_there: bool


def register(ec2: Client, wanted: AmiRegistration, snapshot: str, volume: int) -> Registered:
    """Register the AMI and return it once it is available.

    RegisterImage may be called twice, because a name can be taken only once. If an AMI of the same image has the name,
    an earlier answer was lost, or another machine was faster.

    Args:
        ec2: the service.
        wanted: the parameters of the AMI.
        snapshot: the snapshot's id.
        volume: the root volume's size in GiB.

    Raises:
        AwsError: EC2 refused, or another image has the name.
    """
    try:
        answer = ec2.aws.poll(lambda: _registered(ec2, wanted.params(snapshot, volume)), _STATE)
    except AwsError as error:
        if error.code != "InvalidAMIName.Duplicate":
            raise
        found = ec2.aws.poll(lambda: find_by_name(ec2, wanted.name), _APPEARS)  # it may take a while until it is seen
        if found is None or tags.read(found.get("Tags", ())).get(tags.SHA256) != wanted.tags.get(tags.SHA256):
            raise
        return Registered(wait_available(ec2, found["ImageId"]), was_there=True)
    if answer is None:
        raise AwsError(f"cannot register {snapshot} in {ec2.region}: it is not complete", hint="run again")
    return Registered(wait_available(ec2, answer["ImageId"]), was_there=False)


def _registered(ec2: Client, params: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return ec2.call("RegisterImage", appears=_APPEARS, wants=("ImageId",), **params)
    except AwsError as error:
        if error.code == "IncorrectState":
            return None
        raise


def find_by_name(ec2: Client, name: str) -> dict[str, Any] | None:
    """Return the account's AMI of a name, as EC2 describes it; None if there is none. One call."""
    filters = [{"Name": "name", "Values": [name]}]
    found = ec2.call("DescribeImages", wants=("Images",), Owners=["self"], Filters=filters)["Images"]
    return dict(found[0]) if found else None


def check_identity(ec2: Client, image: Mapping[str, Any], identity: str) -> None:
    """Check that an AMI that has the wanted name was made from the wanted image.

    Raises:
        AwsError: it was not, or its tag with the image's hash is missing.
    """
    held = tags.read(image.get("Tags", ())).get(tags.SHA256)
    if held == identity:
        return
    taken = f"{image['ImageId']} in {ec2.region} already has the name {image.get('Name', '')}"
    if held is None:
        raise AwsError(
            f"{taken}, and lacks the tag {tags.SHA256}",
            hint="set [publish] name to another name, or deregister that AMI",
        )
    raise AwsError(
        f"{taken}, and was made from another image",
        hint="put {hash} into [publish] name, or remove the other AMI: `unibuild ami rm`",
    )


def wait_available(ec2: Client, image: str, timeout: float = _AVAILABLE) -> dict[str, Any]:
    """Return an AMI, as EC2 describes it, once it is available.

    Args:
        ec2: the service.
        image: its id.
        timeout: seconds that it may take.

    Raises:
        AwsError: it failed, or took too long.
    """

    def available() -> dict[str, Any] | None:
        found = ec2.call("DescribeImages", appears=_APPEARS, wants=("Images",), ImageIds=[image])["Images"]
        state = found[0].get("State", "pending") if found else "pending"
        if state == "available" or ec2.aws.plan is not None:
            return dict(found[0])
        if state not in ("pending", "transient"):
            why = found[0].get("StateReason", {}).get("Message", state)
            raise AwsError(f"{image} in {ec2.region} did not become available: {why}", hint="run again")
        return None

    found = ec2.aws.poll(available, timeout)
    if found is None:
        raise AwsError(
            f"{image} in {ec2.region} is not available after {timeout / 60:.0f} minutes",
            hint="run again later",
            passing=True,
        )
    return found


def root_snapshot(image: Mapping[str, Any]) -> str:
    """Return the id of the snapshot of an AMI's root volume."""
    mappings = image.get("BlockDeviceMappings", ())
    return str(next((one["Ebs"]["SnapshotId"] for one in mappings if "SnapshotId" in one.get("Ebs", {})), ""))
