"""What EC2 offers for Xen: the AKIs of PV-GRUB, and the instance types for paravirtual and Xen HVM AMIs.

Sources: the EC2 user guide ("User provided kernels", "Linux AMI virtualization types") and its list of instance types.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from unibuild.errors import AwsError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unibuild.aws.client import Client

__all__ = [
    "HVM_TYPES",
    "PV_TYPES",
    "Virtualization",
    "check_kind",
    "is_there",
    "newest",
    "pv_grub",
    "smallest_offered",
    "types_for",
]

Virtualization = Literal["paravirtual", "hvm"]

PV_TYPES = (
    *("t1.micro", "m1.small", "m3.medium", "m1.medium", "c1.medium", "c3.large", "m1.large", "m3.large"),
    *("m2.xlarge", "c3.xlarge", "m3.xlarge", "m1.xlarge", "m2.2xlarge", "c1.xlarge", "c3.2xlarge", "m3.2xlarge"),
    *("m2.4xlarge", "c3.4xlarge", "c3.8xlarge"),
)
"""The instance types that run paravirtual AMIs, the smallest first. No newer type does."""
HVM_TYPES = (
    *("t2.micro", "t2.nano", "t2.small", "t2.medium", "m3.medium", "t2.large", "m4.large", "c4.large", "c3.large"),
    *("m3.large", "r4.large", "i3.large", "r3.large", "c4.xlarge", "m4.xlarge", "d2.xlarge", "i2.xlarge"),
    *("h1.2xlarge", "x1e.xlarge", "x1.16xlarge"),
)
"""Some instance types on Xen, the smallest first, except that the free one of T2 comes before all.

Nitro (T3 and all later types) cannot run a Xen kernel.
"""
_LISTED_NAME = "pv-grub-hd0_1.05-x86_64.gz"  # the latest release
_LISTED = {
    "ap-northeast-1": "aki-7077ab11",
    "ap-southeast-1": "aki-73a50110",
    "ap-southeast-2": "aki-66506305",
    "eu-central-1": "aki-931fe3fc",
    "eu-west-1": "aki-dc9ed9af",
    "sa-east-1": "aki-912fbcfd",
    "us-east-1": "aki-5c21674b",
    "us-gov-west-1": "aki-9ee55bff",
    "us-west-1": "aki-59cc8239",
    "us-west-2": "aki-70cb0e10",
}  # "Amazon PV-GRUB kernel image IDs" of the user guide
_NAME = re.compile(r"pv-grub-hd0_(\d+(?:\.\d+)*)-x86_64\.gz")


def check_kind(kind: Literal["pv", "pvh"], virtualization: Virtualization) -> None:
    """Check that the boot loader of an AMI of this virtualization type can start a kernel.

    Raises:
        InputError: it cannot.
    """
    if virtualization == "paravirtual" and kind != "pv":
        raise InputError(
            "the kernel is PVH, and EC2 starts a paravirtual AMI through PV-GRUB, which loads PV kernels only",
            hint='build for PV (Mini-OS, older MirageOS), or set [publish] virtualization = "hvm" (experimental, '
            "for T2, M4 and other instance types on Xen)",
        )
    if virtualization == "hvm" and kind != "pvh":
        raise InputError(
            "the kernel is PV, and an HVM AMI starts it through GRUB's multiboot, for which a PV kernel has no entry",
            hint='set [publish] virtualization = "paravirtual"',
        )


def types_for(virtualization: Virtualization) -> tuple[str, ...]:
    """Return the instance types that run an AMI of this virtualization type on Xen, the smallest first."""
    return PV_TYPES if virtualization == "paravirtual" else HVM_TYPES


def smallest_offered(ec2: Client, virtualization: Virtualization) -> str:
    """Return the smallest instance type of a region that runs an AMI of this virtualization type.

    Raises:
        AwsError: the region offers none.
    """
    usable = types_for(virtualization)
    named = [{"Name": "instance-type", "Values": list(usable)}]
    offerings = ec2.pages("DescribeInstanceTypeOfferings", "InstanceTypeOfferings", Filters=named)
    offered = {one["InstanceType"] for one in offerings}
    found = next((one for one in usable if one in offered), None)
    if found is None:
        raise AwsError(
            f"{ec2.region} offers no instance type that runs a {virtualization} AMI on Xen",
            hint=f"set [publish] region to another one; the types are {', '.join(usable)}",
        )
    return found


def pv_grub(ec2: Client) -> str:
    """Return the id of the newest PV-GRUB for 64-bit kernels on disks without partitions (``hd0``) in a region.

    If EC2 lists none, return the id in the user guide's list; RegisterImage then checks that it exists.

    Raises:
        AwsError: the region has none.
    """
    found = newest(_shown(ec2, "pv-grub-hd0_*-x86_64.gz")) or _LISTED.get(ec2.region)
    if found is None:
        raise AwsError(
            f"cannot start a paravirtual AMI in {ec2.region}: the region lacks PV-GRUB",
            hint=f"set [publish] region to one of {', '.join(_LISTED)}",
        )
    return found


def is_there(ec2: Client, name: str) -> bool:
    """Return whether a region has Amazon's kernel image of a name.

    Raises:
        AwsError: AWS refused.
    """
    return bool(_shown(ec2, name)) or (name == _LISTED_NAME and ec2.region in _LISTED)


def _shown(ec2: Client, name: str) -> list[dict[str, Any]]:
    named = [{"Name": "image-type", "Values": ["kernel"]}, {"Name": "name", "Values": [name]}]
    asked: dict[str, Any] = {"Owners": ["amazon"], "Filters": named, "IncludeDeprecated": True}  # they date from 2016
    return list(ec2.call("DescribeImages", wants=("Images",), **asked)["Images"])


def newest(images: Iterable[dict[str, Any]]) -> str | None:
    """Return the id of the PV-GRUB with the greatest version; 1.10 is greater than 1.9."""
    versions = [(_version(image.get("Name", "")), str(image["ImageId"])) for image in images]
    return max((one for one in versions if one[0]), default=((), None))[1]


def _version(name: str) -> tuple[int, ...]:
    found = _NAME.fullmatch(name)
    return tuple(map(int, found[1].split("."))) if found else ()
