"""RunInstances: launch instances, and refuse combinations that EC2 refuses."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from emulator.errors import AwsError
from emulator.instance import Instance
from emulator.service import commit
from emulator.tagging import specified

from . import EC2
from .choose import known
from .instances import reservations
from .types import TYPES, Type, type_of

if TYPE_CHECKING:
    from emulator.image import Image
    from emulator.network import Subnet
    from emulator.request import Params
    from emulator.world import Region

MAX_USER_DATA = 16384
"""The largest user data, in bytes before encoding."""


@EC2.operation(validates=True)
def run_instances(region: Region, params: Params) -> Params:
    """Start instances. The same ClientToken returns the same instances, whatever their state is now."""
    mismatch = AwsError("IdempotentParameterMismatch", "The client token was used with other parameters.")
    reservation = region.once("RunInstances", params, lambda: _run(region, params), mismatch)
    made = [one for one in region.instances.values() if one.reservation == reservation]
    if not any(one.alive(region.now) for one in made):
        raise AwsError("IdempotentInstanceTerminated", "The instances of this client token were terminated.")
    return reservations(region, made)[0]


def _run(region: Region, params: Params) -> str:
    if not 1 <= params["MinCount"] <= params["MaxCount"]:
        raise AwsError("InvalidParameterValue", "MinCount must be at least 1, and not more than MaxCount")
    if "ImageId" not in params:
        raise AwsError("MissingParameter", "The request must contain the parameter ImageId")
    known([params["ImageId"]], region.images, "AMIID", "ami|aki")
    image, kind = region.image(params["ImageId"]), type_of(region, params.get("InstanceType", "m1.small"))
    check_type(region, image, kind)
    _check_user_data(params.get("UserData"))
    _check_metadata(region, image, params.get("MetadataOptions", {}))
    if "KeyName" in params and params["KeyName"] not in region.network.key_pairs:
        raise AwsError("InvalidKeyPair.NotFound", f"The key pair '{params['KeyName']}' does not exist")
    subnet, groups, public = _place(region, params)
    tags = specified(params, "instance", "volume", "network-interface")
    _check_limits(region, kind, params["MaxCount"])
    commit(params)
    reservation, image.launched = region.new_id("r"), region.now
    for index in range(params["MaxCount"]):
        one = _instance(region, params, image, kind, subnet, groups, public)
        one.reservation, one.index = reservation, index
        region.instances[one.id] = one
        region.tags[one.id] = dict(tags["instance"])
        region.unseen.hide(one.id, region.world.timing.instance_appears)
    return reservation


def _instance(
    region: Region, params: Params, image: Image, kind: Type, subnet: Subnet, groups: list[str], public: bool
) -> Instance:
    start = int(subnet.cidr.partition("/")[0].rpartition(".")[2])
    number = start + len(region.instances) % 58 + 4
    one = Instance(
        region.new_id("i"), "", image, region.snapshot(image.root["SnapshotId"]), kind.name, subnet, groups,
        f"{subnet.cidr.rpartition('.')[0]}.{number}", region.world.new_public_ip() if public else None,
        region.now, params, public=public,
    )  # fmt: skip
    one.become(region.now, "pending", "running", region.world.timing.instance_runs)
    return one


def check_type(region: Region, image: Image, kind: Type) -> None:
    """Refuse an AMI that is not available yet, and one that this instance type cannot run."""
    if image.kind != "machine" or image.state(region.now) != "available":
        raise AwsError("InvalidAMIID.Unavailable", f"The image ID '{image.id}' is not available")
    if image.architecture not in kind.architectures:
        raise AwsError(
            "InvalidParameterValue",
            f"The architecture of the instance type does not match '{image.architecture}' of the specified AMI.",
        )
    if image.virtualization not in kind.virtualization:
        raise AwsError(
            "InvalidParameterCombination",
            f"Non-Windows instances with a virtualization type of '{image.virtualization}' "
            f"are currently not supported for this instance type : {kind.name}.",
        )


def _check_metadata(region: Region, image: Image, options: Params) -> None:
    """Refuse conflicting metadata options, and instances without required tokens if the account enforces them.

    Not documented, and assumed here: the enforcement requires tokens even if the endpoint is disabled.
    """
    if options.get("HttpEndpoint") == "disabled" and len(options) > 1:
        raise AwsError("InvalidParameterCombination", "HttpEndpoint must be enabled to set other metadata options.")
    tokens = options.get("HttpTokens", "required" if image.settings.get("ImdsSupport") == "v2.0" else "optional")
    if region.http_tokens_enforced and tokens != "required":
        raise AwsError(
            "UnsupportedOperation", "HttpTokens must be set to required: the account enforces IMDSv2 in this Region."
        )


def _check_user_data(text: str | None) -> None:
    try:
        size = len(base64.b64decode(text or "", validate=True))
    except (binascii.Error, ValueError):
        raise AwsError("InvalidParameterValue", "Invalid BASE64 encoding of user data.") from None
    if size > MAX_USER_DATA:
        raise AwsError("InvalidParameterValue", "User data is limited to 16384 bytes")


def _place(region: Region, params: Params) -> tuple[Subnet, list[str], bool]:
    """Return the subnet, the groups, and whether the instance gets a public address."""
    interface = (params.get("NetworkInterfaces") or [{}])[0]
    if interface and any(key in params for key in ("SubnetId", "SecurityGroupIds", "SecurityGroups")):
        raise AwsError(
            "InvalidParameterCombination",
            "Network interfaces and an instance-level subnet ID or security groups may not be specified together",
        )
    subnet = _subnet(region, interface.get("SubnetId") or params.get("SubnetId"), params.get("Placement", {}))
    groups = list(interface.get("Groups") or params.get("SecurityGroupIds", []))
    for name in params.get("SecurityGroups", []):
        found = [
            one.id
            for one in region.network.groups.values()
            if one.name == name and one.vpc == region.network.default_vpc
        ]
        if not found:
            raise AwsError("InvalidGroup.NotFound", f"The security group '{name}' does not exist in default VPC")
        groups += found
    for group in groups:
        if region.network.group(group).vpc != subnet.vpc:
            raise AwsError(
                "InvalidParameter", f"Security group {group} and subnet {subnet.id} belong to different networks."
            )
    return (
        subnet,
        groups or [region.network.default_group(subnet.vpc).id],
        interface.get("AssociatePublicIpAddress", subnet.public),
    )


def _subnet(region: Region, subnet_id: str | None, placement: Params) -> Subnet:
    if subnet_id:
        return region.network.subnet(subnet_id)
    default = region.network.default_vpc
    if default is None:
        raise AwsError(
            "VPCIdNotSpecified",
            "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.",
        )
    zone = placement.get("AvailabilityZone", region.zones[0])
    for one in region.network.subnets.values():
        if one.vpc == default and one.zone == zone:
            return one
    raise AwsError("InvalidParameterValue", f"Invalid availability zone: [{zone}]")


def _check_limits(region: Region, kind: Type, count: int) -> None:
    used = sum(TYPES[one.type].cpus for one in region.instances.values() if one.alive(region.now))
    if used + count * kind.cpus > region.world.quotas.vcpus:
        raise AwsError(
            "VcpuLimitExceeded",
            f"You have requested more vCPU capacity than your limit of {region.world.quotas.vcpus} allows.",
        )
    if kind.name in region.world.no_capacity:
        raise AwsError(
            "InsufficientInstanceCapacity",
            f"We currently do not have sufficient {kind.name} capacity in the Availability Zone you requested.",
            500,
        )
