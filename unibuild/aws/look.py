"""Looking at a region: what of ours is there, and what uses it. Nothing is changed here."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from unibuild.aws import tags
from unibuild.aws.errors import DENIED, NOT_IMPLEMENTED, UNREADABLE
from unibuild.aws.inventory import Ami, Inventory, ami, imported, snapshot, users
from unibuild.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unibuild.aws.client import Aws, Client

__all__ = ["amis", "inventory", "references", "used_by"]

_ASKED = 10  # AMIs that DescribeImageReferences takes at once
_REFERRING = {
    "ssm:Parameter": "parameter",
    "imagebuilder:ImageRecipe": "Image Builder recipe",
    "imagebuilder:ContainerRecipe": "Image Builder container recipe",
}
"""What DescribeImageReferences is asked for, and its name: the other users are asked for by their own calls."""
_OURS = {"Name": "tag-key", "Values": [tags.UNIKERNEL]}


def amis(aws: Aws, region: str, *, ours: bool = True) -> tuple[Ami, ...]:
    """Return the AMIs of this account in a region, disabled ones too.

    Args:
        aws: the account.
        region: where.
        ours: only those with our tag.

    Raises:
        AwsError: AWS refused.
    """
    said = aws.client("ec2", region).pages(
        "DescribeImages",
        "Images",
        Owners=["self"],
        IncludeDeprecated=True,
        IncludeDisabled=True,
        **({"Filters": [_OURS]} if ours else {}),
    )
    return tuple(ami(region, one) for one in said)


def inventory(aws: Aws, region: str) -> Inventory:
    """Return all that decides what can be removed in a region.

    Raises:
        AwsError: AWS refused.
    """
    marked = [snapshot(region, one) for one in _snapshots(aws, region, _OURS)]
    ec2 = aws.client("ec2", region)
    # without its tasks the snapshot of an import only stays longer than it must
    made = imported(_where_implemented(ec2, "DescribeImportSnapshotTasks", "ImportSnapshotTasks", UNREADABLE))
    for one in marked:
        made.pop(one.id, None)
    named = {"Name": "snapshot-id", "Values": list(made)}  # those that are gone are not told
    others = [snapshot(region, one) for one in _snapshots(aws, region, named)] if made else []
    others = [dataclasses.replace(one, tags=made[one.id], is_marked=False) for one in others]
    there = amis(aws, region, ours=False)
    users = used_by(aws, region)
    more = references(aws, region, [one.id for one in there if one.unikernel])
    for name, found in (more or {}).items():
        users[name] = (*users.get(name, ()), *found)
    return Inventory(region, there, (*marked, *others), users, are_references_known=more is not None)


def references(aws: Aws, region: str, images: Sequence[str]) -> dict[str, tuple[str, ...]] | None:
    """Return which parameters of Systems Manager and recipes of Image Builder name AMIs, in words, by the AMI's id.

    Args:
        aws: the account.
        region: where.
        images: the ids of AMIs of this account.

    Returns:
        The users; None where the policy does not allow the question or the endpoint lacks it.

    Raises:
        AwsError: another error.
    """
    found: dict[str, tuple[str, ...]] = {}
    asked = [{"ResourceType": one} for one in _REFERRING]
    ec2 = aws.client("ec2", region)
    for start in range(0, len(images), _ASKED):
        try:
            said = ec2.pages(
                "DescribeImageReferences",
                "ImageReferences",
                ImageIds=list(images[start : start + _ASKED]),
                ResourceTypes=asked,
            )
        except AwsError as error:
            if error.code in (*DENIED, NOT_IMPLEMENTED, UNREADABLE):
                return None
            raise
        for one in said:
            named = f"{_REFERRING[one['ResourceType']]} {one['Arn'].partition('/')[2]}"
            found[one["ImageId"]] = (*found.get(one["ImageId"], ()), named)
    return found


def _snapshots(aws: Aws, region: str, wanted: dict[str, Any]) -> list[Any]:
    return aws.client("ec2", region).pages("DescribeSnapshots", "Snapshots", OwnerIds=["self"], Filters=[wanted])


def _where_implemented(client: Client, operation: str, key: str, *also: str) -> list[Any]:
    """Return the list ``key`` of an answer, empty where the endpoint lacks the operation: then it made no such thing.

    Args:
        client: the service.
        operation: what is called.
        key: the list's name.
        also: further codes of errors that count so.

    Raises:
        AwsError: another error.
    """
    try:
        return client.pages(operation, key)
    except AwsError as error:
        if error.code in (NOT_IMPLEMENTED, *also):
            return []
        raise


def used_by(aws: Aws, region: str) -> dict[str, tuple[str, ...]]:
    """Return what uses an AMI in a region, in words, by the AMI's id.

    Raises:
        AwsError: AWS refused.
    """
    ec2, scaling = aws.client("ec2", region), aws.client("autoscaling", region)
    reservations = ec2.pages("DescribeInstances", "Reservations")
    templates = ec2.pages("DescribeLaunchTemplates", "LaunchTemplates")
    versions = [
        version
        for template in templates
        for version in ec2.pages(
            "DescribeLaunchTemplateVersions",
            "LaunchTemplateVersions",
            LaunchTemplateId=template["LaunchTemplateId"],
            ResolveAlias=True,  # an AMI may be named by a parameter of Systems Manager
        )
    ]
    return users(
        [instance for reservation in reservations for instance in reservation["Instances"]],
        versions,
        _where_implemented(scaling, "DescribeLaunchConfigurations", "LaunchConfigurations"),
        _where_implemented(scaling, "DescribeAutoScalingGroups", "AutoScalingGroups"),
    )
