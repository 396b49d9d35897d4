"""Check the caller's permissions: the actions that a call needs, and the resources that each action uses.

``iam_actions.json`` lists the kinds of resources of each action, and whether the action creates or names them. Not
documented, and assumed here: a missing resource has no tags; a StartSnapshot of EBS direct with tags needs
ec2:CreateTags with an ec2:CreateAction of its name; a default subnet or group counts as having no tags.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import AwsError
from .policy import Resource, allows
from .world import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .request import Params
    from .signing import Principal
    from .world import Region

REFUSED = {"ec2": "UnauthorizedOperation", "ebs": "AccessDeniedException"}
FREE = ("sts:GetCallerIdentity",)
"""Actions that need no permission."""
KNOWN = json.loads((Path(__file__).parents[1] / "iam_actions.json").read_text())
S3_ACTIONS = {
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "HeadObject": "GetObject",
    "HeadBucket": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListMultipartUploads": "ListBucketMultipartUploads",
}
"""The actions of S3's operations with other names than the operation."""
MEMBERS = {
    "AllocationId": "elastic-ip",
    "GroupId": "security-group",
    "Groups": "security-group",
    "ImageId": "image",
    "InstanceId": "instance",
    "InstanceIds": "instance",
    "KeyName": "key-pair",
    "SecurityGroupIds": "security-group",
    "SnapshotId": "snapshot",
    "SubnetId": "subnet",
    "VpcId": "vpc",
}
"""The kinds of resources that parameters name."""
INNER = ("BlockDeviceMappings", "Ebs", "NetworkInterfaces")
WITHOUT_ACCOUNT = ("image", "snapshot")
"""Kinds of resources with ARNs that do not name an account."""
KINDS = {"ami": "image", "snap": "snapshot", "i": "instance", "sg": "security-group", "sgr": "security-group-rule"}
"""The kinds of resources by the prefix of their ids, as far as CreateTags is called for them."""


class Need(NamedTuple):
    """An action on a resource, and the condition keys that the action adds."""

    action: str
    resource: Resource
    keys: dict[str, str]


def authorize(principal: Principal, region: Region, service: str, operation: str, params: Params) -> None:
    """Refuse a call that the policy does not allow, with the service's own code and message."""
    if principal.policy is None:
        return
    keys = {"aws:RequestedRegion": region.name, "ec2:Region": region.name}
    for action, resource, more in needs(region, service, operation, params):
        if action not in FREE and not allows(principal.policy, action, resource, {**keys, **more}):
            message = (
                f"User: {principal.arn} is not authorized to perform: {action} on resource: {resource.arn} "
                f"because no identity-based policy allows the {action} action"
            )
            raise AwsError(REFUSED.get(service, "AccessDenied"), message, 403)


def needs(region: Region, service: str, operation: str, params: Params) -> Iterator[Need]:
    """Return the permissions that a call needs; creating something with tags needs ec2:CreateTags too."""
    action = f"{service}:{S3_ACTIONS.get(operation, operation) if service == 's3' else operation}"
    if operation in ("CreateTags", "DeleteTags"):
        touched = list(_tagged(region, params))
    elif service == "kms":
        yield _of_key(region, action, params)
        return
    elif service == "s3":
        touched = [Resource("arn:aws:s3:::" + "/".join(params[one] for one in ("Bucket", "Key") if one in params))]
    else:
        touched = list(_touched(region, action, params)) or [Resource()]
    yield from (Need(action, one, {}) for one in touched)
    if service == "ebs" and "Tags" in params:
        yield Need("ec2:CreateTags", _new(region, "snapshot", params), {"ec2:CreateAction": operation})
    for one in params.get("TagSpecifications", []) if service == "ec2" else []:
        new = _new(region, one.get("ResourceType", ""), params)
        yield Need("ec2:CreateTags", new, {"ec2:CreateAction": operation})


def _of_key(region: Region, action: str, params: Params) -> Need:
    try:
        key = region.kms_key(params["KeyId"])
    except AwsError:
        return Need(action, Resource(region.arn("kms", "key/none")), {})
    aliases = [name for name, arn in region.kms.items() if arn == key]
    return Need(action, Resource(key), {"kms:ResourceAliases": aliases[0]} if aliases else {})


def _touched(region: Region, action: str, params: Params) -> Iterator[Resource]:
    """Return the resources that an action creates or names; a kind that it always uses counts even if none is named."""
    known = KNOWN.get(action, {"resources": {}})
    named = list(_named(params))
    for kind, keys in known["resources"].items():
        there = [one for its_kind, one in named if its_kind == kind]
        tells = {key.partition("/")[0] for key in (*keys, *known["keys"])}
        if "aws:RequestTag" in tells and not there:
            yield _new(region, kind, params)
        elif there:
            yield from (Resource(arn(region, kind, one), region.tags.get(one, {})) for one in there)
        elif kind in known["required"]:
            yield Resource(arn(region, kind, "*"))


def _named(params: Params) -> Iterator[tuple[str, str]]:
    for member, value in params.items():
        for one in value if isinstance(value, list) else [value]:
            if member in MEMBERS:
                yield MEMBERS[member], one
            elif member in INNER:
                yield from _named(one)


def _new(region: Region, kind: str, params: Params) -> Resource:
    """Return a resource that a call creates, with the tags in the call: EBS direct's, or those for its kind."""
    given = [one for one in params.get("TagSpecifications", []) if one.get("ResourceType") == kind]
    return Resource(arn(region, kind, "*"), asked=_tags(params, *given))


def _tagged(region: Region, params: Params) -> Iterator[Resource]:
    for one in params["Resources"]:
        kind = KINDS.get(one.rpartition("-")[0], "*")
        yield Resource(arn(region, kind, one), region.tags.get(one, {}), _tags(params))


def _tags(*given: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag.get("Value", "") for one in given for tag in one.get("Tags", [])}


def arn(region: Region, kind: str, name: str) -> str:
    return f"arn:aws:ec2:{region.name}:{'' if kind in WITHOUT_ACCOUNT else ACCOUNT}:{kind}/{name}"
