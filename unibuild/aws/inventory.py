"""List unibuild's AMIs and snapshots in a region, and what uses an AMI, as plain values.

The shapes are those of EC2's DescribeImages, DescribeSnapshots, DescribeInstances, DescribeLaunchTemplateVersions and
Auto Scaling's DescribeLaunchConfigurations, as botocore parses them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from unibuild.aws import tags
from unibuild.aws.errors import DENIED, NOT_IMPLEMENTED, UNREADABLE
from unibuild.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from unibuild.aws.client import Aws, Client

__all__ = [
    "Ami",
    "Inventory",
    "Snapshot",
    "describe_users",
    "import_tags",
    "list_amis",
    "list_references",
    "list_users",
    "parse_ami",
    "parse_snapshot",
    "take_inventory",
]

_ASKED = 10  # AMIs that DescribeImageReferences accepts at once
_REFERRING = {
    "ssm:Parameter": "parameter",
    "imagebuilder:ImageRecipe": "Image Builder recipe",
    "imagebuilder:ContainerRecipe": "Image Builder container recipe",
}
"""The resource types to ask DescribeImageReferences for, and their names; other calls find the other users."""
_OWNED = {"Name": "tag-key", "Values": [tags.UNIKERNEL]}


def list_amis(aws: Aws, region: str, *, tagged_only: bool = True) -> tuple[Ami, ...]:
    """Return the AMIs of this account in a region, including disabled ones.

    Args:
        aws: the account.
        region: where.
        tagged_only: whether to return only those with unibuild's tag.

    Raises:
        AwsError: AWS refused.
    """
    pages = aws.client("ec2", region).pages(
        "DescribeImages",
        "Images",
        Owners=["self"],
        IncludeDeprecated=True,
        IncludeDisabled=True,
        **({"Filters": [_OWNED]} if tagged_only else {}),
    )
    return tuple(parse_ami(region, one) for one in pages)


def take_inventory(aws: Aws, region: str) -> Inventory:
    """Return everything that the removal of AMIs and snapshots in a region depends on.

    Raises:
        AwsError: AWS refused.
    """
    marked = [parse_snapshot(region, one) for one in _snapshots(aws, region, _OWNED)]
    ec2 = aws.client("ec2", region)
    # Without the tasks, snapshots of imports only stay longer than necessary.
    made = import_tags(_pages_if_implemented(ec2, "DescribeImportSnapshotTasks", "ImportSnapshotTasks", UNREADABLE))
    for one in marked:
        made.pop(one.id, None)
    named = {"Name": "snapshot-id", "Values": list(made)}  # unlike SnapshotIds, a filter may name removed snapshots
    others = [parse_snapshot(region, one) for one in _snapshots(aws, region, named)] if made else []
    others = [dataclasses.replace(one, tags=made[one.id], is_marked=False) for one in others]
    there = list_amis(aws, region, tagged_only=False)
    users = list_users(aws, region)
    more = list_references(aws, region, [one.id for one in there if one.unikernel])
    for name, found in (more or {}).items():
        users[name] = (*users.get(name, ()), *found)
    return Inventory(region, there, (*marked, *others), users, are_references_known=more is not None)


def list_references(aws: Aws, region: str, images: Sequence[str]) -> dict[str, tuple[str, ...]] | None:
    """Return the parameters of Systems Manager and recipes of Image Builder that name AMIs, by the AMI's id.

    Args:
        aws: the account.
        region: where.
        images: the ids of AMIs of this account.

    Returns:
        The users, as text; None if the policy does not allow the call or the endpoint lacks it.

    Raises:
        AwsError: another error.
    """
    found: dict[str, tuple[str, ...]] = {}
    asked = [{"ResourceType": one} for one in _REFERRING]
    ec2 = aws.client("ec2", region)
    for start in range(0, len(images), _ASKED):
        try:
            pages = ec2.pages(
                "DescribeImageReferences",
                "ImageReferences",
                ImageIds=list(images[start : start + _ASKED]),
                ResourceTypes=asked,
            )
        except AwsError as error:
            if error.code in (*DENIED, NOT_IMPLEMENTED, UNREADABLE):
                return None
            raise
        for one in pages:
            named = f"{_REFERRING[one['ResourceType']]} {one['Arn'].partition('/')[2]}"
            found[one["ImageId"]] = (*found.get(one["ImageId"], ()), named)
    return found


def _snapshots(aws: Aws, region: str, wanted: dict[str, Any]) -> list[Any]:
    return aws.client("ec2", region).pages("DescribeSnapshots", "Snapshots", OwnerIds=["self"], Filters=[wanted])


def _pages_if_implemented(client: Client, operation: str, key: str, *also: str) -> list[Any]:
    """Return the list ``key`` of an answer; it is empty if the endpoint lacks the operation and thus the resources.

    Args:
        client: the service.
        operation: what is called.
        key: the list's name.
        also: codes of errors that count as a missing operation too.

    Raises:
        AwsError: another error.
    """
    try:
        return client.pages(operation, key)
    except AwsError as error:
        if error.code in (NOT_IMPLEMENTED, *also):
            return []
        raise


def list_users(aws: Aws, region: str) -> dict[str, tuple[str, ...]]:
    """Return what uses the AMIs of a region, as text, by the AMI's id.

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
            ResolveAlias=True,  # a parameter of Systems Manager may name the AMI
        )
    ]
    return describe_users(
        [instance for reservation in reservations for instance in reservation["Instances"]],
        versions,
        _pages_if_implemented(scaling, "DescribeLaunchConfigurations", "LaunchConfigurations"),
        _pages_if_implemented(scaling, "DescribeAutoScalingGroups", "AutoScalingGroups"),
    )


_GONE = ("shutting-down", "terminated")


@dataclass(frozen=True)
class Ami:
    """An AMI of this account.

    Attributes:
        id: ``ami-...``.
        region: where it is.
        name: unique in the account and region.
        state: as in EC2: ``available``, ``pending``, ``failed``, ``disabled`` ...
        created: UTC, in ISO 8601.
        snapshots: the ids of its volumes' snapshots.
        size: GiB of its volumes.
        virtualization: ``paravirtual`` or ``hvm``.
        kernel: the id of its kernel image (AKI), if it has one.
        is_public: whether every account may launch it.
        is_protected: whether EC2 refuses to deregister it.
        has_cooldown: whether EC2 refuses that for another 24 hours after the protection is lifted.
        is_encrypted: whether its snapshots are.
        deprecated: when it disappears from other accounts' lists: UTC, in ISO 8601.
        description: for the user.
        volume_type: of its root volume, as ``gp2``; empty: not known.
        last_launched: when any account launched it last, which EC2 reports a day later: UTC, in ISO 8601.
        tags: its tags.
    """

    id: str
    region: str
    name: str
    state: str
    created: str
    snapshots: tuple[str, ...]
    size: int = 1
    virtualization: str = "paravirtual"
    kernel: str | None = None
    is_public: bool = False
    is_protected: bool = False
    has_cooldown: bool = False
    is_encrypted: bool = False
    deprecated: str | None = None
    description: str = ""
    volume_type: str = ""
    last_launched: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def unikernel(self) -> str | None:
        """The name of the unikernel; None: unibuild did not make the AMI."""
        return self.tags.get(tags.UNIKERNEL)


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of this account.

    Attributes:
        id: ``snap-...``.
        region: where it is.
        state: ``pending``, ``completed``, ``error`` ...
        started: when it was begun.
        tags: its tags.
        is_marked: whether the tags are its own; else they are those of its import, and it lacks unibuild's tag.
    """

    id: str
    region: str
    state: str
    started: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    is_marked: bool = True

    @property
    def unikernel(self) -> str | None:
        """The name of the unikernel; None: unibuild did not make the snapshot."""
        return self.tags.get(tags.UNIKERNEL)


@dataclass(frozen=True)
class Inventory:
    """The AMIs and snapshots of a region.

    Attributes:
        region: the region.
        amis: all AMIs of this account. Those that unibuild did not make may share a snapshot with one that it made.
        snapshots: unibuild's snapshots.
        users: what uses an AMI, as text, by the AMI's id.
        are_references_known: whether ``users`` has parameters of Systems Manager and recipes of Image Builder.
    """

    region: str
    amis: tuple[Ami, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    users: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    are_references_known: bool = True

    def newest_first(self, unikernel: str | None) -> list[Ami]:
        """Return the AMIs of a unikernel (None: of all unikernels), the newest first."""
        found = [one for one in self.amis if one.unikernel and unikernel in (None, one.unikernel)]
        return sorted(found, key=lambda one: (one.created, one.id), reverse=True)


def parse_ami(region: str, said: Mapping[str, Any]) -> Ami:
    """Parse an AMI from the answer of DescribeImages."""
    volumes = [mapping["Ebs"] for mapping in said.get("BlockDeviceMappings", ()) if "Ebs" in mapping]
    protection = said.get("DeregistrationProtection") or "disabled"
    return Ami(
        id=said["ImageId"],
        region=region,
        name=said.get("Name", ""),
        state=said.get("State", "available"),
        created=said.get("CreationDate", ""),
        snapshots=tuple(volume["SnapshotId"] for volume in volumes if volume.get("SnapshotId")),
        size=sum(volume.get("VolumeSize", 0) for volume in volumes),
        virtualization=said.get("VirtualizationType", ""),
        kernel=said.get("KernelId") or None,
        is_public=bool(said.get("Public")),
        is_protected=protection != "disabled",
        has_cooldown=protection == "enabled-with-cooldown",
        is_encrypted=any(volume.get("Encrypted") for volume in volumes),
        deprecated=said.get("DeprecationTime") or None,
        description=said.get("Description") or "",
        volume_type=next((volume.get("VolumeType", "") for volume in volumes), ""),
        last_launched=said.get("LastLaunchedTime") or None,
        tags=tags.read(said.get("Tags", ())),
    )


def parse_snapshot(region: str, said: Mapping[str, Any]) -> Snapshot:
    """Parse a snapshot from the answer of DescribeSnapshots."""
    started = said.get("StartTime") or datetime.now(UTC)
    return Snapshot(said["SnapshotId"], region, said.get("State", ""), started, tags.read(said.get("Tags", ())))


def import_tags(tasks: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the tags of unibuild's completed imports, by the ids of the snapshots that they made.

    Args:
        tasks: of DescribeImportSnapshotTasks. EC2 gives the tags of an import to its task only.
    """
    found = {}
    for task in tasks:
        detail, held = task.get("SnapshotTaskDetail", {}), tags.read(task.get("Tags", ()))
        if detail.get("Status") == "completed" and detail.get("SnapshotId") and tags.UNIKERNEL in held:
            found[detail["SnapshotId"]] = held
    return found


def describe_users(
    instances: Iterable[Mapping[str, Any]] = (),
    versions: Iterable[Mapping[str, Any]] = (),
    configurations: Iterable[Mapping[str, Any]] = (),
    groups: Sequence[Mapping[str, Any]] = (),
) -> dict[str, tuple[str, ...]]:
    """Return what uses the AMIs, as text, by the AMI's id.

    Args:
        instances: of DescribeInstances; terminated ones are left out.
        versions: of DescribeLaunchTemplateVersions, all of every launch template: a group may use any of them.
        configurations: of DescribeLaunchConfigurations.
        groups: of DescribeAutoScalingGroups; the text names them after the template or configuration that they use.
    """
    by_template, by_configuration = _groups(groups)
    found: dict[str, list[str]] = {}
    for instance in instances:
        if instance["State"]["Name"] not in _GONE:
            found.setdefault(instance["ImageId"], []).append(f"instance {instance['InstanceId']}")
    for version in versions:
        if image := version.get("LaunchTemplateData", {}).get("ImageId"):
            name = f"version {version['VersionNumber']} of launch template {version['LaunchTemplateName']}"
            of = by_template.get(version["LaunchTemplateId"], ())
            found.setdefault(image, []).append(name + _of(of))
    for configuration in configurations:
        name = configuration["LaunchConfigurationName"]
        used = f"launch configuration {name}{_of(by_configuration.get(name, ()))}"
        found.setdefault(configuration["ImageId"], []).append(used)
    return {image: tuple(names) for image, names in found.items()}


def _groups(groups: Iterable[Mapping[str, Any]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the names of Auto Scaling groups by the id of their launch template, and by their launch configuration."""
    templates: dict[str, list[str]] = {}
    configurations: dict[str, list[str]] = {}
    for group in groups:
        name = group["AutoScalingGroupName"]
        if configuration := group.get("LaunchConfigurationName"):
            configurations.setdefault(configuration, []).append(name)
        mixed = group.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
        used = [
            group.get("LaunchTemplate"),
            mixed.get("LaunchTemplateSpecification"),
            *(override.get("LaunchTemplateSpecification") for override in mixed.get("Overrides", ())),
        ]
        for template in filter(None, used):
            templates.setdefault(template["LaunchTemplateId"], []).append(name)
    return templates, configurations


def _of(groups: Sequence[str]) -> str:
    names = ", ".join(dict.fromkeys(groups))
    return f" (Auto Scaling group {names})" if names else ""
