"""Amazon's own kernel images: the releases of PV-GRUB, in the regions that have them.

Source: "User provided kernels" of the EC2 user guide, which lists the ids of 1.05; ids of older releases that the page
lacks are invented.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from .image import Image

if TYPE_CHECKING:
    from .world import Region

AMAZON = "137112412989"
NEWEST = {
    "us-east-1": "aki-5c21674b",
    "us-west-1": "aki-59cc8239",
    "us-west-2": "aki-70cb0e10",
    "eu-west-1": "aki-dc9ed9af",
    "eu-central-1": "aki-931fe3fc",
    "ap-northeast-1": "aki-7077ab11",
    "ap-southeast-1": "aki-73a50110",
    "ap-southeast-2": "aki-66506305",
    "sa-east-1": "aki-912fbcfd",
    "us-gov-west-1": "aki-9ee55bff",
}
OLDER = {
    ("us-east-1", "pv-grub-hd0_1.04-x86_64.gz"): "aki-919dcaf8",
    ("us-west-2", "pv-grub-hd0_1.04-x86_64.gz"): "aki-fc8f11cc",
}
"""Ids of 1.04 that are known from scripts of its time."""


def add_kernels(region: Region) -> None:
    if region.name not in NEWEST:
        return
    for disk in ("hd0", "hd00"):
        for release, arch in ((r, a) for r in ("1.03", "1.04", "1.05") for a in ("i386", "x86_64")):
            name = f"pv-grub-{disk}_{release}-{arch}.gz"
            newest = name == "pv-grub-hd0_1.05-x86_64.gz"
            add_kernel(region, name, NEWEST[region.name] if newest else OLDER.get((region.name, name)))


def add_kernel(region: Region, name: str, kernel_id: str | None = None) -> Image:
    """Add a kernel image owned by Amazon; its name contains its architecture."""
    made_up = hashlib.sha256(f"{region.name}/{name}".encode()).hexdigest()[:8]
    kernel = Image(
        kernel_id or f"aki-{made_up}", name, region.now, kind="kernel", owner=AMAZON, owner_alias="amazon",
        architecture="i386" if "i386" in name else "x86_64", public=True, root_type="instance-store",
        description="PV-GRUB release " + name.partition("_")[2].partition("-")[0],
    )  # fmt: skip
    region.images[kernel.id] = kernel
    return kernel
