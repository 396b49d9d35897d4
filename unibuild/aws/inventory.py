"""What of ours is in a region, as plain values: AMIs, snapshots, and what uses an AMI.

The shapes are those of EC2's DescribeImages, DescribeSnapshots, DescribeInstances, DescribeLaunchTemplateVersions and
Auto Scaling's DescribeLaunchConfigurations, as botocore parses them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from unibuild.aws import tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Ami", "Inventory", "Snapshot", "ami", "imported", "snapshot", "users"]

_GONE = ("shutting-down", "terminated")


@dataclass(frozen=True)
class Ami:
    """An AMI of this account.

    Attributes:
        id: ``ami-...``.
        region: where it is.
        name: unique in the account and region.
        state: as EC2 has it: ``available``, ``pending``, ``failed``, ``disabled`` ...
        created: UTC, as ISO 8601 has it.
        snapshots: the ids of its volumes' snapshots.
        size: GiB of its volumes.
        virtualization: ``paravirtual`` or ``hvm``.
        kernel: the id of its kernel image (AKI), if it has one.
        is_public: whether every account may launch it.
        is_protected: whether EC2 refuses to deregister it.
        has_cooldown: whether it refuses that for 24 hours more, once the protection is lifted.
        is_encrypted: whether its snapshots are.
        deprecated: when it is taken out of other accounts' lists: UTC, as ISO 8601 has it.
        description: for people.
        volume_type: of its root volume, as ``gp2``; empty: not known.
        last_launched: when it was launched last, by any account, as EC2 knows it a day later: UTC, ISO 8601.
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
        """The name of the unikernel; None: the AMI is not ours."""
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
        is_marked: whether they are its own; else they are those of the import that made it, and it has none of ours.
    """

    id: str
    region: str
    state: str
    started: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    is_marked: bool = True

    @property
    def unikernel(self) -> str | None:
        """The name of the unikernel; None: the snapshot is not ours."""
        return self.tags.get(tags.UNIKERNEL)


@dataclass(frozen=True)
class Inventory:
    """What was found in a region.

    Attributes:
        region: which.
        amis: all AMIs of this account, those of others too: they may share a snapshot with ours.
        snapshots: the snapshots of ours.
        users: what uses an AMI, in words, by the AMI's id.
        are_references_known: whether parameters of Systems Manager and recipes of Image Builder are among them.
    """

    region: str
    amis: tuple[Ami, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    users: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    are_references_known: bool = True

    def ours(self, unikernel: str | None) -> list[Ami]:
        """Return the AMIs of a unikernel, or with None those of all, the newest first."""
        found = [one for one in self.amis if one.unikernel and unikernel in (None, one.unikernel)]
        return sorted(found, key=lambda one: (one.created, one.id), reverse=True)


def ami(region: str, said: Mapping[str, Any]) -> Ami:
    """Return an AMI as DescribeImages tells it."""
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


def snapshot(region: str, said: Mapping[str, Any]) -> Snapshot:
    """Return a snapshot as DescribeSnapshots tells it."""
    started = said.get("StartTime") or datetime.now(UTC)
    return Snapshot(said["SnapshotId"], region, said.get("State", ""), started, tags.read(said.get("Tags", ())))


def imported(tasks: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the tags of the imports of ours that have ended well, by the ids of the snapshots that they made.

    Args:
        tasks: of DescribeImportSnapshotTasks. EC2 gives the tags of an import to its task alone.
    """
    found = {}
    for task in tasks:
        detail, held = task.get("SnapshotTaskDetail", {}), tags.read(task.get("Tags", ()))
        if detail.get("Status") == "completed" and detail.get("SnapshotId") and tags.UNIKERNEL in held:
            found[detail["SnapshotId"]] = held
    return found


def users(
    instances: Iterable[Mapping[str, Any]] = (),
    versions: Iterable[Mapping[str, Any]] = (),
    configurations: Iterable[Mapping[str, Any]] = (),
    groups: Sequence[Mapping[str, Any]] = (),
) -> dict[str, tuple[str, ...]]:
    """Return what uses an AMI, in words, by the AMI's id.

    Args:
        instances: of DescribeInstances; those that have ended use none.
        versions: of DescribeLaunchTemplateVersions, all of every launch template: a group may use any of them.
        configurations: of DescribeLaunchConfigurations.
        groups: of DescribeAutoScalingGroups, to name them beside what they launch from.
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
