"""Auto Scaling, as far as groups name AMIs; groups do not start instances."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from .errors import AwsError
from .service import Service

if TYPE_CHECKING:
    from .request import Params
    from .world import Region

AUTOSCALING = Service("autoscaling")


@AUTOSCALING.operation
def create_launch_configuration(region: Region, params: Params) -> None:
    region.image(params["ImageId"])
    name = params["LaunchConfigurationName"]
    region.launch_configurations[name] = {
        key: params[key] for key in ("LaunchConfigurationName", "ImageId", "InstanceType")
    }
    region.launch_configurations[name]["CreatedTime"] = region.now


@AUTOSCALING.operation
def create_auto_scaling_group(region: Region, params: Params) -> None:
    keys = (
        "AutoScalingGroupName",
        "LaunchConfigurationName",
        "LaunchTemplate",
        "MixedInstancesPolicy",
        "MinSize",
        "MaxSize",
    )
    named = params.get("LaunchConfigurationName")
    if named is not None and named not in region.launch_configurations:
        raise AwsError("ValidationError", f"Launch configuration name not found - {named}")
    region.scaling_groups[params["AutoScalingGroupName"]] = {
        **{key: params[key] for key in keys if key in params},
        "DesiredCapacity": params.get("DesiredCapacity", params["MinSize"]),
        "DefaultCooldown": 300,
        "HealthCheckType": "EC2",
        "AvailabilityZones": params.get("AvailabilityZones", region.zones),
        "CreatedTime": region.now,
    }


@AUTOSCALING.operation
def describe_auto_scaling_groups(region: Region, params: Params) -> Params:
    names = params.get("AutoScalingGroupNames")
    groups = [one for name, one in region.scaling_groups.items() if not names or name in names]
    return _page(groups, params, "AutoScalingGroups")


@AUTOSCALING.operation
def describe_launch_configurations(region: Region, params: Params) -> Params:
    names = params.get("LaunchConfigurationNames")
    found = [one for name, one in region.launch_configurations.items() if not names or name in names]
    return _page(found, params, "LaunchConfigurations")


def _page(items: list[Params], params: Params, member: str) -> Params:
    """Return a page: 50 items by default, 100 at most."""
    start, size = int(base64.b64decode(params.get("NextToken", "")) or 0), min(params.get("MaxRecords", 50), 100)
    token = base64.b64encode(str(start + size).encode()).decode() if len(items) > start + size else None
    return {member: items[start : start + size], "NextToken": token}
