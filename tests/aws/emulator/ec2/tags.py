"""Tags of any resource with an id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulator.errors import AwsError
from emulator.tagging import MAX_TAGS, read_tags

from . import EC2
from .choose import filtered, page

if TYPE_CHECKING:
    from emulator.request import Params
    from emulator.world import Region

KINDS = {
    "ami": ("image", "InvalidAMIID.NotFound"),
    "snap": ("snapshot", "InvalidSnapshot.NotFound"),
    "i": ("instance", "InvalidInstanceID.NotFound"),
    "sgr": ("security-group-rule", "InvalidSecurityGroupRuleId.NotFound"),
    "sg": ("security-group", "InvalidGroup.NotFound"),
    "eipalloc": ("elastic-ip", "InvalidAllocationID.NotFound"),
    "subnet": ("subnet", "InvalidSubnetID.NotFound"),
    "vpc": ("vpc", "InvalidVpcID.NotFound"),
    "import-snap": ("import-snapshot-task", "InvalidID"),
    "lt": ("launch-template", "InvalidLaunchTemplateId.NotFound"),
}
FILTERS = {"key": "Key", "resource-id": "ResourceId", "resource-type": "ResourceType", "value": "Value"}


def _check(region: Region, resources: list[str]) -> None:
    for one in resources:
        if one not in region.tags:
            _, code = KINDS.get(one.rpartition("-")[0], ("", "InvalidID"))
            raise AwsError(code, f"The ID '{one}' is not valid")


@EC2.operation
def create_tags(region: Region, params: Params) -> None:
    _check(region, params["Resources"])
    tags = read_tags(params["Tags"])
    for one in params["Resources"]:
        if len(region.tags[one].keys() | tags.keys()) > MAX_TAGS:
            raise AwsError("TagLimitExceeded", f"The maximum number of Tags for a resource is {MAX_TAGS}")
    for one in params["Resources"]:
        region.tags[one].update(tags)


@EC2.operation
def delete_tags(region: Region, params: Params) -> None:
    """Delete tags by key, or by key and value; without any tag in the call, delete all."""
    _check(region, params["Resources"])
    for one in params["Resources"]:
        tags = region.tags[one]
        wanted = params.get("Tags", [{"Key": key} for key in tags])
        for tag in wanted:
            if tags.get(tag["Key"]) == tag.get("Value", tags.get(tag["Key"])):
                tags.pop(tag["Key"], None)


@EC2.operation
def describe_tags(region: Region, params: Params) -> Params:
    listed = [
        {"ResourceId": one, "ResourceType": KINDS[one.rpartition("-")[0]][0], "Key": key, "Value": value}
        for one, tags in region.tags.items()
        for key, value in tags.items()
    ]
    found, more = page(filtered(listed, params.get("Filters"), FILTERS), params, "")
    return {"Tags": found, **more}
