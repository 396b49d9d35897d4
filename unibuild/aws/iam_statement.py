"""The statements of an IAM policy, and the resources that a configuration acts on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unibuild.aws import tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from unibuild.settings.model import Settings

__all__ = ["PolicyScope", "Statement", "allow"]

Statement = dict[str, Any]
_PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}


class PolicyScope:
    """The regions and resources that a configuration acts on.

    Attributes:
        owned: the condition that a resource has unibuild's tag with the unikernel's name.
        asked: the condition that a call creates it with that tag.
        regions: all regions of the configuration.
        in_regions: the condition that a call is for one of them; empty if the ARNs name the only region.
    """

    def __init__(self, unikernel: str, region: str, settings: Settings) -> None:
        self.settings = settings
        self.home = region
        self.regions = list(dict.fromkeys((region, *settings.publish.regions)))
        many = len(self.regions) > 1
        self.in_regions = {"aws:RequestedRegion": self.regions} if many else {}
        self.owned = {f"aws:ResourceTag/{tags.UNIKERNEL}": unikernel}
        self.asked = {f"aws:RequestTag/{tags.UNIKERNEL}": unikernel}
        self._everywhere = "*" if many else region

    @property
    def partition(self) -> str:
        """The partition of AWS that the region belongs to, as ARNs spell it."""
        return next((name for start, name in _PARTITIONS.items() if self.home.startswith(start)), "aws")

    def arns(self, *kinds: str, home: bool = False, name: str = "*") -> list[str]:
        """Return the ARNs of resources of these types; those of AMIs and snapshots have no account.

        Args:
            kinds: resource types of EC2.
            home: only in the AMI's region; else in all regions, which ``in_regions`` limits.
            name: their id; ``*``: all.
        """
        owner = {"image": "", "snapshot": ""}
        region = self.home if home else self._everywhere
        return [f"arn:{self.partition}:ec2:{region}:{owner.get(kind, '*')}:{kind}/{name}" for kind in kinds]

    @property
    def has_group(self) -> bool:
        """Whether unibuild creates a security group."""
        return self.settings.launch.security_group is None and bool(self.settings.launch.open)


def allow(
    sid: str, actions: Iterable[str], resources: Iterable[str], condition: Mapping[str, Any] | None = None
) -> Statement:
    """Return a statement that allows actions.

    Args:
        sid: its name, unique in the policy.
        actions: IAM actions, as ``ec2:CreateTags``.
        resources: ARNs, or ``*``.
        condition: its condition, if any.
    """
    found: Statement = {"Sid": sid, "Effect": "Allow", "Action": sorted(actions), "Resource": list(resources)}
    return {**found, "Condition": dict(condition)} if condition else found
