"""AMIs: registration, description and deregistration."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from emulator.errors import AwsError
from emulator.image import Image
from emulator.tagging import specified, tag_list
from emulator.world import ACCOUNT

from . import EC2
from .choose import filtered, known, page
from .snapshots import remove

if TYPE_CHECKING:
    from emulator.request import Params
    from emulator.world import Region

NAME = re.compile(r"[A-Za-z0-9()\[\] ./\-'@_]{3,128}")
ONLY_HVM = ("EnaSupport", "SriovNetSupport", "BootMode", "TpmSupport", "ImdsSupport", "UefiData")
"""Settings that make instances of a paravirtual AMI unreachable, by the user guide; they are refused here."""


def _ebs(member: str) -> Any:
    return lambda image: [one["Ebs"].get(member) for one in image["BlockDeviceMappings"] if "Ebs" in one]


FILTERS = {
    "architecture": "Architecture",
    "block-device-mapping.snapshot-id": _ebs("SnapshotId"),
    "block-device-mapping.volume-size": _ebs("VolumeSize"),
    "block-device-mapping.volume-type": _ebs("VolumeType"),
    "creation-date": "CreationDate",
    "description": "Description",
    "ena-support": "EnaSupport",
    "hypervisor": "Hypervisor",
    "image-id": "ImageId",
    "image-type": "ImageType",
    "is-public": "Public",
    "kernel-id": "KernelId",
    "manifest-location": "ImageLocation",
    "name": "Name",
    "owner-alias": "ImageOwnerAlias",
    "owner-id": "OwnerId",
    "ramdisk-id": "RamdiskId",
    "root-device-name": "RootDeviceName",
    "root-device-type": "RootDeviceType",
    "source-image-id": "SourceImageId",
    "source-image-region": "SourceImageRegion",
    "state": "State",
    "virtualization-type": "VirtualizationType",
}


@EC2.operation
def describe_images(region: Region, params: Params) -> Params:
    ids, owners = params.get("ImageIds"), params.get("Owners")
    hidden = {one for one in region.images if region.unseen.hides(one)}
    seen = {name: image for name, image in region.images.items() if name not in hidden}
    known(ids, seen, "AMIID", "ami|aki|ari")
    shown = [one for one in seen.values() if (not ids or one.id in ids) and (not owners or _owned(one, owners))]
    if not ids:
        shown = [one for one in shown if not region.unseen.hides(f"tags:{one.id}")]
    if not params.get("IncludeDeprecated"):
        shown = [one for one in shown if one.owner == ACCOUNT or not one.is_deprecated(region.now)]
    views = [{**one.view(region), "Tags": tag_list(region, one.id)} for one in shown]
    found, more = page(filtered(views, params.get("Filters"), FILTERS), params, "ImageIds", low=1)
    return {"Images": found, **more}


def _owned(image: Image, owners: list[str]) -> bool:
    for owner in owners:
        if not re.fullmatch(r"self|amazon|aws-marketplace|aws-backup-vault|\d{12}", owner):
            raise AwsError("InvalidUserID.Malformed", f'Invalid user id: "{owner}"')
    return bool({image.owner, image.owner_alias} & {ACCOUNT if owner == "self" else owner for owner in owners})


@EC2.operation
def register_image(region: Region, params: Params) -> Params:
    name = params.get("Name") or ""
    check_name(region, name)
    virtualization, architecture = params.get("VirtualizationType", "paravirtual"), params.get("Architecture", "i386")
    if virtualization not in ("paravirtual", "hvm"):
        raise AwsError("InvalidParameterValue", f"Invalid value '{virtualization}' for virtualizationType")
    _check_kernel(region, params, virtualization, architecture)
    tags = specified(params, "image", "snapshot")
    mappings = _mappings(region, params)
    image = Image(
        region.new_id("ami"), name, region.now, params.get("Description", ""), architecture=architecture,
        virtualization=virtualization, kernel=params.get("KernelId"), ramdisk=params.get("RamdiskId"),
        root_device=params["RootDeviceName"], mappings=mappings, delay=region.world.timing.image_available,
        settings={key: params[key] for key in ONLY_HVM if key in params and key != "UefiData"},
    )  # fmt: skip
    return {"ImageId": add(region, image, tags)}


def add(region: Region, image: Image, tags: dict[str, dict[str, str]]) -> str:
    """Add a new AMI to its region, with tags for it and for its snapshots; return its id."""
    region.images[image.id] = image
    region.tags[image.id] = tags["image"]
    for snapshot in image.snapshot_ids:
        region.tags.setdefault(snapshot, {}).update(tags["snapshot"])
    region.unseen.hide(image.id, region.world.timing.image_appears)
    region.unseen.hide(f"tags:{image.id}", region.world.timing.tags_appear)
    return image.id


def check_name(region: Region, name: str) -> None:
    if not NAME.fullmatch(name):
        raise AwsError(
            "InvalidAMIName.Malformed",
            "AMI names must be between 3 and 128 characters long, "
            "and may contain letters, numbers, '(', ')', '.', '-', '/' and '_'",
        )
    for image in region.own_images.values():
        if image.name == name:
            raise AwsError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {image.id}")


def _check_kernel(region: Region, params: Params, virtualization: str, architecture: str) -> None:
    kernel_id = params.get("KernelId")
    if virtualization == "hvm" and kernel_id:
        raise AwsError("InvalidParameterCombination", "KernelId cannot be specified for HVM images")
    for setting in ONLY_HVM:
        if virtualization == "paravirtual" and setting in params:
            raise AwsError("InvalidParameterCombination", f"{setting} cannot be specified for paravirtual images")
    if kernel_id is None:
        return
    known([kernel_id], region.images, "AMIID", "aki")
    if region.images[kernel_id].kind != "kernel":
        raise AwsError("InvalidAMIID.NotFound", f"The kernel image id '[{kernel_id}]' does not exist")
    if region.images[kernel_id].architecture != architecture:
        raise AwsError("InvalidParameterValue", f"The architecture '{architecture}' does not match the kernel's")


def _mappings(region: Region, params: Params) -> list[dict[str, Any]]:
    given, root = params.get("BlockDeviceMappings", []), params.get("RootDeviceName")
    names = [one.get("DeviceName") for one in given]
    if len(set(names)) != len(names) or None in names:
        raise AwsError("InvalidBlockDeviceMapping", "Each mapping needs a device name of its own.")
    if root not in names or not given[names.index(root)].get("Ebs", {}).get("SnapshotId"):
        raise AwsError("InvalidBlockDeviceMapping", "No root snapshot specified in device mapping.")
    return [{**one, "Ebs": _volume(region, one["Ebs"])} if "Ebs" in one else dict(one) for one in given]


def _volume(region: Region, ebs: dict[str, Any]) -> dict[str, Any]:
    if "SnapshotId" not in ebs:
        return {"DeleteOnTermination": True, "VolumeType": "standard", "Encrypted": False, **ebs}
    known([ebs["SnapshotId"]], region.snapshots, "Snapshot", "snap")
    snapshot = region.snapshot(ebs["SnapshotId"])
    state = snapshot.state(region.now)
    if state != "completed":
        raise AwsError("IncorrectState", f"Snapshot {snapshot.id} is in invalid state - {state}")
    if "Encrypted" in ebs or "KmsKeyId" in ebs:
        raise AwsError("InvalidBlockDeviceMapping", "The encrypted flag cannot be specified for a snapshot's volume.")
    size = ebs.get("VolumeSize", snapshot.size)
    if size < snapshot.size:
        raise AwsError(
            "InvalidBlockDeviceMapping",
            f"Volume of size {size}GB is smaller than snapshot '{snapshot.id}', expect size >= {snapshot.size}GB",
        )
    defaults = {"DeleteOnTermination": True, "VolumeType": "standard"}
    return {**defaults, **ebs, "VolumeSize": size, "Encrypted": snapshot.key is not None}


def own_image(region: Region, image_id: str) -> Image:
    """Return an AMI that the account may change."""
    known([image_id], region.images, "AMIID", "ami|aki")
    image = region.image(image_id)
    if image.owner != ACCOUNT:
        raise AwsError("AuthFailure", f"Not authorized for image:{image_id}", 403)
    return image


PROTECTION_COOLDOWN = 86400.0
"""Seconds for which an AMI stays protected after its protection with a cooldown was disabled."""


@EC2.operation
def deregister_image(region: Region, params: Params) -> Params:
    image = own_image(region, params["ImageId"])
    cooling = image.unprotected is not None and region.now < image.unprotected + PROTECTION_COOLDOWN
    if image.protected != "disabled" or cooling:
        raise AwsError("OperationNotPermitted", f"The image {image.id} is protected from deregistration")
    del region.images[image.id]
    region.tags.pop(image.id, None)
    if not params.get("DeleteAssociatedSnapshots"):
        return {"Return": True}
    return {"Return": True, "DeleteSnapshotResults": [_removed(region, one) for one in image.snapshot_ids]}


def _removed(region: Region, snapshot_id: str) -> Params:
    try:
        remove(region, snapshot_id)
    except AwsError as refused:
        return {
            "SnapshotId": snapshot_id,
            "ReturnCode": "skipped" if refused.code == "InvalidSnapshot.InUse" else "client-error",
        }
    return {"SnapshotId": snapshot_id, "ReturnCode": "success"}
