"""What can be known before a byte is sent: whether the region can run the AMI, and whether we may make it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unibuild.aws import tags
from unibuild.aws.errors import DENIED
from unibuild.aws.kernels import HVM_TYPES, PV_TYPES, Virtualization
from unibuild.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unibuild.aws.client import Client

__all__ = ["check_types", "may_delete", "may_register"]

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
    usable = PV_TYPES if virtualization == "paravirtual" else HVM_TYPES
    if wanted is None:
        named = [{"Name": "instance-type", "Values": list(usable)}]
        if not ec2.call("DescribeInstanceTypeOfferings", Filters=named).get("InstanceTypeOfferings"):
            raise AwsError(
                f"{ec2.region} offers no instance type that runs a {virtualization} AMI on Xen",
                hint=f"[publish] region: another one; the types are {', '.join(usable)}",
            )
        return
    [found] = ec2.call("DescribeInstanceTypes", wants=("InstanceTypes",), InstanceTypes=[wanted])["InstanceTypes"]
    if virtualization not in found.get("SupportedVirtualizationTypes", (virtualization,)):
        raise AwsError(
            f"{wanted} runs no {virtualization} AMI",
            hint=f"[launch] type: one of {', '.join(usable)}",
        )
    if found.get("Hypervisor", "xen") != "xen" or found.get("BareMetal"):
        raise AwsError(
            f"{wanted} has no Xen, which the kernel needs", hint=f"[launch] type: as {', '.join(HVM_TYPES[:6])}"
        )


def may_register(ec2: Client, name: str, marks: Mapping[str, str]) -> None:
    """See that we may register an AMI of this name and these tags; EBS direct has no such question.

    It is asked without a snapshot: of one that is not there no policy can tell whether it is ours.

    Raises:
        AwsError: we may not.
    """
    root = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 1}}
    given = {"ResourceType": "image", "Tags": tags.write(marks)}
    _ask(
        ec2,
        "RegisterImage",
        Name=name,
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
