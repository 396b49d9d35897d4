"""The network of a region: VPCs, subnets, security groups, key pairs, Elastic IPs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import AwsError

if TYPE_CHECKING:
    from .request import Params
    from .world import Region


@dataclass(eq=False)
class Subnet:
    id: str
    vpc: str
    zone: str
    cidr: str
    default: bool
    public: bool
    """Whether instances get a public address by default."""


@dataclass(eq=False)
class Group:
    """A security group; each rule has a protocol, ports and one source."""

    id: str
    name: str
    vpc: str
    description: str
    rules: list[Params] = field(default_factory=list)


@dataclass(eq=False)
class Address:
    """An Elastic IP, and the instance that it is associated with."""

    id: str
    ip: str
    association: str | None = None
    instance: str | None = None


@dataclass
class Network:
    """The network of a region; ``vpcs`` has for each VPC whether it is the default one."""

    vpcs: dict[str, bool] = field(default_factory=dict)
    subnets: dict[str, Subnet] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    key_pairs: dict[str, Params] = field(default_factory=dict)
    addresses: dict[str, Address] = field(default_factory=dict)

    @property
    def default_vpc(self) -> str | None:
        return next((vpc for vpc, default in self.vpcs.items() if default), None)

    def group(self, group_id: str) -> Group:
        if group_id not in self.groups:
            raise AwsError("InvalidGroup.NotFound", f"The security group '{group_id}' does not exist")
        return self.groups[group_id]

    def subnet(self, subnet_id: str) -> Subnet:
        if subnet_id not in self.subnets:
            raise AwsError("InvalidSubnetID.NotFound", f"The subnet ID '{subnet_id}' does not exist")
        return self.subnets[subnet_id]

    def default_group(self, vpc: str) -> Group:
        return next(group for group in self.groups.values() if group.vpc == vpc and group.name == "default")


def add_vpc(region: Region, *, default: bool) -> str:
    """Add a VPC with a subnet in each zone and its default group; return its id."""
    # networks reserved for documentation: no instance gets an address that is in use somewhere
    vpc, network = region.new_id("vpc"), "192.0.2" if default else "198.51.100"
    region.network.vpcs[vpc] = default
    region.tags[vpc] = {}
    for number, zone in enumerate(region.zones):
        cidr = f"{network}.{64 * number}/26"
        subnet = Subnet(region.new_id("subnet"), vpc, zone, cidr, default, public=default)
        region.network.subnets[subnet.id] = subnet
        region.tags[subnet.id] = {}
    add_group(region, "default", vpc, "default VPC security group")
    return vpc


def remove_default_vpc(region: Region) -> None:
    """Remove the default VPC, as in an account that has deleted it."""
    network, vpc = region.network, region.network.default_vpc
    network.vpcs.pop(str(vpc), None)
    network.subnets = {key: one for key, one in network.subnets.items() if one.vpc != vpc}
    network.groups = {key: one for key, one in network.groups.items() if one.vpc != vpc}


def add_group(region: Region, name: str, vpc: str, description: str) -> Group:
    group = Group(region.new_id("sg"), name, vpc, description)
    region.network.groups[group.id] = group
    region.tags[group.id] = {}
    return group


def single_rules(params: Params) -> list[dict[str, Any]]:
    """Return the rules in an IpPermissions parameter or in the older parameters, one for each source."""
    if "IpPermissions" not in params:
        ports = {key: params[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in params}
        return [{**ports, "CidrIp": params.get("CidrIp")}]
    rules = []
    for one in params["IpPermissions"]:
        ports = {key: one[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in one}
        rules += [
            {**ports, **source} for key in ("IpRanges", "Ipv6Ranges", "UserIdGroupPairs") for source in one.get(key, [])
        ]
    return rules
