"""Settings of the disk image, the AMI made from it, and the EC2 instance that runs it.

Credentials are not settings: boto3's usual chain finds them.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from unibuild.settings.types import Account, Cidr, Count, OpenPort, Seconds, TagKey, TagValue

__all__ = ["Image", "Launch", "Publish", "Via"]

Via = Literal["ebs", "s3"]
"""The names of the publishers; ``unibuild.aws.snapshot.publisher`` has their classes."""


class Publish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How `publish_ami` makes an AMI of the kernel."""

    name: Annotated[
        str,
        Meta(
            description="The AMI's name, 3 to 128 characters. `{name}` stands for the domain's name, `{hash}` for the "
            "first 12 digits of the image's SHA-256, `{revision}` for the sources' git revision. Without `{hash}` a "
            "changed kernel needs another name."
        ),
    ] = "{name}-{hash}"
    description: Annotated[str | None, Meta(description="The AMI's description; it has the same `{...}`.")] = None
    virtualization: Annotated[
        Literal["paravirtual", "hvm"],
        Meta(
            description="`paravirtual`: a PV kernel, started by PV-GRUB. `hvm`: experimental, a PVH kernel started by "
            "GRUB in a Xen HVM instance (T2, M4 ...)."
        ),
    ] = "paravirtual"
    profile: Annotated[
        str | None,
        Meta(description="The profile of `~/.aws/config`. Not set: boto3's usual chain (`AWS_PROFILE`, roles ...)."),
    ] = None
    region: Annotated[str | None, Meta(description="The AMI's region. Not set: that of boto3's usual chain.")] = None
    regions: Annotated[tuple[str, ...], Meta(description="More regions, which get a copy of the AMI.")] = ()
    verify: Annotated[
        Literal["lab", "none"],
        Meta(
            description="`lab`: before anything is sent, the image itself is booted in the lab, and `[boot.ready]` "
            "must hold. `none`: it is not booted."
        ),
    ] = "lab"
    via: Annotated[
        Via,
        Meta(
            description="`ebs`: upload only what changed, by the EBS direct API. `s3`: upload the whole image to an S3 "
            "bucket and import it from there (ImportSnapshot), for accounts that may not use that API."
        ),
    ] = "ebs"
    bucket: Annotated[str | None, Meta(description='The S3 bucket of `via = "s3"`, in the AMI\'s region.')] = None
    role: Annotated[str, Meta(description='The role that EC2 reads the bucket with (`via = "s3"`).')] = "vmimport"
    volume: Annotated[
        Literal["gp2", "gp3", "standard"],
        Meta(description="The type of the instances' root volume."),
    ] = "gp2"
    share: Annotated[
        tuple[Account, ...],
        Meta(
            description="Who else may launch it: account numbers, ARNs of organizations or organizational units, or "
            "`all` for everybody."
        ),
    ] = ()
    deprecate_after: Annotated[
        Count | None, Meta(description="Days after which EC2 shows the AMI as deprecated. Not set: never.")
    ] = None
    protect: Annotated[bool, Meta(description="Turn deregistration protection on.")] = False
    encrypt: Annotated[bool, Meta(description="Encrypt the snapshot, with `kms_key` or the account's default key.")] = (
        False
    )
    kms_key: Annotated[
        str | None,
        Meta(description="The ARN of a KMS key of this region, or of its alias; setting it turns `encrypt` on."),
    ] = None
    tags: Annotated[
        dict[TagKey, TagValue],
        Meta(
            description="Tags for the AMI and its snapshot, in addition to those of unibuild (`unibuild:unikernel`, "
            "`unibuild:sha256` ...)."
        ),
    ] = {}


class Launch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How `launch_ami` makes an instance of the AMI."""

    type: Annotated[
        str | None,
        Meta(
            description="The instance type. Not set: the smallest that the region offers, as `t1.micro` for a "
            "paravirtual AMI and `t2.micro` for an HVM one."
        ),
    ] = None
    key: Annotated[
        str | None, Meta(description="A key pair. A unikernel does not use it, but some policies require one.")
    ] = None
    subnet: Annotated[str | None, Meta(description="The subnet (`subnet-...`). Not set: one of the default VPC.")] = (
        None
    )
    security_group: Annotated[
        str | None,
        Meta(
            description="The security group (`sg-...`). Not set: one that unibuild makes, with the ports of `open`, or "
            "the VPC's default one if `open` is empty."
        ),
    ] = None
    open: Annotated[
        tuple[OpenPort, ...],
        Meta(description='Ports that unibuild\'s security group opens: `"80"`, `"53/udp"`, `"8000-8010/tcp"`.'),
    ] = ()
    open_to: Annotated[tuple[Cidr, ...], Meta(description="The networks that `open` opens them to.")] = ("0.0.0.0/0",)
    user_data: Annotated[
        str | None,
        Meta(description="A file with the user data (at most 16 KiB), from the project's folder."),
    ] = None
    metadata: Annotated[
        Literal["off", "v2", "on"],
        Meta(
            description="The instance metadata service at 169.254.169.254. `v2`: with session tokens only (IMDSv2). "
            "`on`: also without. `off`: not at all."
        ),
    ] = "v2"
    tags: Annotated[
        dict[TagKey, TagValue],
        Meta(description="Tags for the instance and its volume, in addition to those of unibuild."),
    ] = {}
    address: Annotated[
        Literal["auto", "public", "private"],
        Meta(
            description="The address to probe for `[boot.ready]`. `auto`: the public one if there is one, else the "
            "private one."
        ),
    ] = "auto"
    elastic_ip: Annotated[
        str | None,
        Meta(description="An Elastic IP, as `203.0.113.5` or `eipalloc-...`, for the instance once it is ready."),
    ] = None
    timeout: Annotated[
        Seconds, Meta(description="Seconds within which the instance must run and `[boot.ready]` hold.")
    ] = 600.0
    terminate: Annotated[
        bool, Meta(description="Terminate an instance of `launch_ami` once it was ready, as `--terminate` does.")
    ] = False
    on_failure: Annotated[
        Literal["terminate", "keep"],
        Meta(
            description="What happens to an instance that is not ready. `terminate`: it is terminated. `keep`: it runs."
        ),
    ] = "terminate"


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The disk image that a boot loader starts the kernel from: what `image` writes and `publish_ami` sends."""

    file: Annotated[
        str | None,
        Meta(description="The file that `image` writes, from the project's folder. Not set: `.unibuild/NAME.img`."),
    ] = None
    path: Annotated[str, Meta(description="The kernel's path in the image.", pattern=r"^/[^ ]+$")] = "/kernel"
    cmdline: Annotated[
        str | None, Meta(description="The kernel's command line in the image. Not set: that of the `.xl`.")
    ] = None
    ramdisks: Annotated[
        tuple[str, ...] | None,
        Meta(
            description="Ramdisks and modules, from the project's folder: a single one is like `ramdisk` in the `.xl`, "
            "several become the modules of a multiboot loader. Not set: the `ramdisk` of the `.xl`."
        ),
    ] = None
    bios: Annotated[
        bool,
        Meta(
            description="Whether the image contains GRUB for a BIOS, for a PVH kernel in a Xen HVM domain. With "
            '`[publish] virtualization = "hvm"` it always does.'
        ),
    ] = False
