"""Operations on existing AMIs: copies, sharing, deprecation, protection."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emulator.errors import AwsError
from emulator.service import commit
from emulator.snapshot import Snapshot
from emulator.tagging import specified
from emulator.xml_protocol import iso

from . import EC2
from .choose import page
from .images import add, check_name, own_image

if TYPE_CHECKING:
    from emulator.image import Image
    from emulator.request import Params
    from emulator.world import Region

CONCURRENT_COPIES = 20
LATEST_DEPRECATION = 10 * 366 * 86400.0
PERMISSION_KINDS = {
    "UserId": re.compile(r"\d{12}"),
    "Group": re.compile("all"),
    "OrganizationArn": re.compile(r"arn:aws[\w-]*:organizations::\d{12}:organization/o-[a-z0-9]{10,32}"),
    "OrganizationalUnitArn": re.compile(r"arn:aws[\w-]*:organizations::\d{12}:ou/o-[a-z0-9]{10,32}/ou-[0-9a-z-]+"),
}


@EC2.operation(validates=True)
def copy_image(region: Region, params: Params) -> Params:
    mismatch = AwsError("IdempotentParameterMismatch", "The client token was used with other parameters.")
    return {"ImageId": region.once("CopyImage", params, lambda: _copy(region, params), mismatch)}


def _copy(region: Region, params: Params) -> str:
    there = region.world.region(params["SourceRegion"])
    source = there.image(params["SourceImageId"])
    if source.state(there.now) != "available":
        raise AwsError("InvalidAMIID.Unavailable", f"The image ID '{source.id}' is not available")
    check_name(region, params["Name"])
    tags = specified(params, "image", "snapshot")
    kernel = _same_kernel(region, there.images[source.kernel].name) if source.kernel else None
    if sum(one.state(region.now) == "pending" for one in region.own_images.values()) >= CONCURRENT_COPIES:
        raise AwsError("ResourceLimitExceeded", "Too many image copies are in progress")
    if params.get("CopyImageTags"):
        tags["image"] = {**there.tags[source.id], **tags["image"]}
    commit(params)
    made = region.new_id("ami")
    mappings = [
        _copied(region, there, one, f"Copied for DestinationAmi {made} from SourceAmi {source.id}", params)
        for one in source.mappings
    ]
    copy = replace(
        source, id=made, name=params["Name"], created=region.now, kernel=kernel, mappings=mappings, permissions=[],
        description=params.get("Description", f"[Copied {source.id} from {there.name}] {source.name}"), public=False,
        delay=region.world.timing.copy_completes, deprecated=None, protected="disabled", unprotected=None,
        launched=None, source=(there.name, source.id), settings=dict(source.settings),
    )  # fmt: skip
    return add(region, copy, tags)


def _same_kernel(region: Region, name: str) -> str:
    for image in region.images.values():
        if image.kind == "kernel" and image.name == name:
            return image.id
    raise AwsError("InvalidRequest", f"No kernel image in {region.name} matches '{name}' of the source region.")


def _copied(region: Region, there: Region, mapping: dict[str, Any], description: str, params: Params) -> dict[str, Any]:
    """Return a mapping with a copy of its snapshot in this region."""
    if "SnapshotId" not in mapping.get("Ebs", {}):
        return mapping
    old = there.snapshot(mapping["Ebs"]["SnapshotId"])
    is_encrypted = params.get("Encrypted") or old.key or region.encrypts_by_default
    key = region.kms_key(params.get("KmsKeyId")) if is_encrypted else None
    new = Snapshot(region.new_id("snap"), old.size, region.now, description, own=old.blocks, sealed=region.now, key=key)
    new.delay = region.world.timing.copy_completes
    region.snapshots[new.id] = new
    region.tags[new.id] = {}
    return {**mapping, "Ebs": {**mapping["Ebs"], "SnapshotId": new.id, "Encrypted": key is not None}}


@EC2.operation
def modify_image_attribute(region: Region, params: Params) -> None:
    """Change who may launch an AMI, or its description."""
    image = own_image(region, params["ImageId"])
    if "Description" in params:
        image.description = params["Description"].get("Value", "")
    elif params.get("Attribute") == "description":
        image.description = params.get("Value", "")
    elif "LaunchPermission" in params or params.get("Attribute") == "launchPermission":
        added, removed = _permissions(params)
        _check_permissions(region, image, added)
        image.permissions = [one for one in image.permissions if one not in removed]
        image.permissions += [one for one in added if one not in image.permissions]
        image.public = {"Group": "all"} in image.permissions
    else:
        raise AwsError("InvalidParameterCombination", "No attributes specified.")


def _permissions(params: Params) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Return the permissions to add and those to remove, from either form of the parameters."""
    if "LaunchPermission" in params:
        return params["LaunchPermission"].get("Add", []), params["LaunchPermission"].get("Remove", [])
    lists = {
        "UserIds": "UserId",
        "UserGroups": "Group",
        "OrganizationArns": "OrganizationArn",
        "OrganizationalUnitArns": "OrganizationalUnitArn",
    }
    given = [{kind: one} for name, kind in lists.items() for one in params.get(name, [])]
    if params.get("OperationType") not in ("add", "remove") or not given:
        raise AwsError("InvalidParameterCombination", "OperationType and what to add or remove are needed.")
    return (given, []) if params["OperationType"] == "add" else ([], given)


def _check_permissions(region: Region, image: Image, added: list[dict[str, str]]) -> None:
    for one in added:
        ((kind, value),) = one.items()
        if not PERMISSION_KINDS[kind].fullmatch(value):
            raise AwsError(
                "InvalidAMIAttributeItemValue", f'Invalid attribute item value "{value}" for {kind} item type.'
            )
    encrypted = any(region.snapshot(one).key for one in image.snapshot_ids)
    if {"Group": "all"} in added and encrypted:
        raise AwsError("OperationNotPermitted", f"The image {image.id} with encrypted snapshots cannot be made public.")
    if {"Group": "all"} in added and region.world.block_public_access:
        raise AwsError(
            "OperationNotPermitted",
            "You can't publicly share this image because block public access is enabled for this Region.",
        )


ATTRIBUTES = {
    "description": lambda image: {"Description": {"Value": image.description}},
    "kernel": lambda image: {"KernelId": {"Value": image.kernel} if image.kernel else {}},
    "launchPermission": lambda image: {"LaunchPermissions": image.permissions},
    "blockDeviceMapping": lambda image: {"BlockDeviceMappings": image.mappings},
    "deregistrationProtection": lambda image: {"DeregistrationProtection": {"Value": image.protected}},
    "bootMode": lambda image: {
        "BootMode": {"Value": image.settings["BootMode"]} if "BootMode" in image.settings else {}
    },
    "lastLaunchedTime": lambda image: {
        "LastLaunchedTime": {} if image.launched is None else {"Value": iso(image.launched)}
    },
}


@EC2.operation
def describe_image_attribute(region: Region, params: Params) -> Params:
    image = own_image(region, params["ImageId"])
    return {"ImageId": image.id, **ATTRIBUTES[params["Attribute"]](image)}


@EC2.operation
def describe_image_references(region: Region, params: Params) -> Params:
    """List the resources that name an AMI: those that a test has put into ``region.references``."""
    if params.get("IncludeAllResourceTypes") == bool(params.get("ResourceTypes")):
        raise AwsError("InvalidParameterCombination", "Either ResourceTypes or IncludeAllResourceTypes is needed.")
    kinds = [one["ResourceType"] for one in params.get("ResourceTypes", [])]
    told = [
        {"ImageId": own_image(region, image).id, "ResourceType": kind, "Arn": arn}
        for image in params["ImageIds"]
        for kind, arn in region.references.get(image, [])
        if not kinds or kind in kinds
    ]
    found, more = page(told, params, "", low=5)
    return {"ImageReferences": found, **more}


@EC2.operation
def get_image_block_public_access_state(region: Region, params: Params) -> Params:
    blocked = region.world.block_public_access
    return {"ImageBlockPublicAccessState": "block-new-sharing" if blocked else "unblocked"}


@EC2.operation
def enable_image_deprecation(region: Region, params: Params) -> Params:
    """Set the time of an AMI's deprecation: in the future, at most ten years away, rounded down to the minute."""
    image, when = own_image(region, params["ImageId"]), params["DeprecateAt"].timestamp()
    if not region.now < when < region.now + LATEST_DEPRECATION:
        raise AwsError(
            "InvalidParameterValue", "The deprecation date must be in the future, and at most 10 years from now"
        )
    image.deprecated = iso(when // 60 * 60)
    return {"Return": True}


@EC2.operation
def disable_image_deprecation(region: Region, params: Params) -> Params:
    own_image(region, params["ImageId"]).deprecated = None
    return {"Return": True}


@EC2.operation
def enable_image_deregistration_protection(region: Region, params: Params) -> Params:
    image = own_image(region, params["ImageId"])
    image.protected = "enabled-with-cooldown" if params.get("WithCooldown") else "enabled-without-cooldown"
    image.unprotected = None
    return {"Return": image.protected}


@EC2.operation
def disable_image_deregistration_protection(region: Region, params: Params) -> Params:
    image = own_image(region, params["ImageId"])
    if image.protected == "enabled-with-cooldown":
        image.unprotected = region.now
    image.protected = "disabled"
    return {"Return": "disabled"}
