"""Which kernel can run where: PV-GRUB's AKIs and the instance types for paravirtual and for Xen HVM AMIs.

Sources: the EC2 user guide ("User provided kernels", "Linux AMI virtualization types") and its list of instance types.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from unibuild.errors import AwsError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unibuild.aws.client import Client

__all__ = ["HVM_TYPES", "PV_TYPES", "Virtualization", "check_kind", "default_type", "newest", "pv_grub"]

Virtualization = Literal["paravirtual", "hvm"]

PV_TYPES = (
    *("t1.micro", "m1.small", "m1.medium", "m1.large", "m1.xlarge", "m3.medium", "m3.large", "m3.xlarge"),
    *("m3.2xlarge", "c1.medium", "c1.xlarge", "c3.large", "c3.xlarge", "c3.2xlarge", "c3.4xlarge", "c3.8xlarge"),
    *("m2.xlarge", "m2.2xlarge", "m2.4xlarge", "hs1.8xlarge"),
)
"""The instance types that run paravirtual AMIs; no newer one does."""
HVM_TYPES = (
    *("t2.micro", "t2.nano", "t2.small", "t2.medium", "t2.large", "m3.medium", "m3.large", "c3.large"),
    *("m4.large", "m4.xlarge", "c4.large", "c4.xlarge", "r3.large", "r4.large", "i2.xlarge", "i3.large"),
)
"""Some instance types whose hypervisor is Xen; on Nitro (T3 and all later ones) no Xen kernel runs."""
_PV_REGIONS = (
    "ap-northeast-1, ap-southeast-1, ap-southeast-2, eu-central-1, eu-west-1, sa-east-1, us-east-1, us-west-1 and "
    "us-west-2 have them"
)
_NAME = re.compile(r"pv-grub-hd0_(\d+(?:\.\d+)*)-x86_64\.gz")


def check_kind(kind: Literal["pv", "pvh"], virtualization: Virtualization) -> None:
    """See that a kernel can be started by what starts an AMI of this virtualization type.

    Raises:
        InputError: it cannot, and why.
    """
    if virtualization == "paravirtual" and kind != "pv":
        raise InputError(
            "the kernel is PVH, and EC2 starts a paravirtual AMI through PV-GRUB, which loads PV kernels only",
            hint='build for PV (Mini-OS, older MirageOS), or try `[publish] virtualization = "hvm"`: experimental, '
            "for T2, M4 and other instance types on Xen",
        )
    if virtualization == "hvm" and kind != "pvh":
        raise InputError(
            "the kernel is PV, and an HVM AMI starts it through GRUB's multiboot, which a PV kernel has no entry for",
            hint='`[publish] virtualization = "paravirtual"`',
        )


def default_type(virtualization: Virtualization) -> str:
    """Return the instance type where none is set: the smallest one."""
    return (PV_TYPES if virtualization == "paravirtual" else HVM_TYPES)[0]


def pv_grub(ec2: Client) -> str:
    """Return the id of the newest PV-GRUB for 64-bit kernels on disks without partitions (``hd0``) in a region.

    Raises:
        AwsError: the region has none.
    """
    named = [{"Name": "image-type", "Values": ["kernel"]}, {"Name": "name", "Values": ["pv-grub-hd0_*-x86_64.gz"]}]
    found = newest(ec2.call("DescribeImages", wants=("Images",), Owners=["amazon"], Filters=named)["Images"])
    if found is None:
        raise AwsError(
            f"{ec2.region} has no PV-GRUB, so no paravirtual AMI can be started there",
            hint=f"[publish] region: {_PV_REGIONS}",
        )
    return found


def newest(images: Iterable[dict[str, Any]]) -> str | None:
    """Return the id of the PV-GRUB with the greatest version: 1.10 is after 1.9."""
    versions = [(_version(image.get("Name", "")), str(image["ImageId"])) for image in images]
    return max((one for one in versions if one[0]), default=((), None))[1]


def _version(name: str) -> tuple[int, ...]:
    found = _NAME.fullmatch(name)
    return tuple(map(int, found[1].split("."))) if found else ()
