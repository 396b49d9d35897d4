"""VPCs, subnets, security groups, key pairs, regions and zones."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from emulator.errors import AwsError
from emulator.network import Group, add_group, single_rules
from emulator.tagging import specified, tag_list
from emulator.world import ACCOUNT

from . import EC2
from .choose import filtered, page

if TYPE_CHECKING:
    from emulator.request import Params
    from emulator.world import Region

OPEN_REGIONS = (
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "eu-west-1",
    "eu-central-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-northeast-1",
    "sa-east-1",
)
"""Regions that every account has."""


@EC2.operation
def describe_regions(region: Region, params: Params) -> Params:
    names = params.get("RegionNames") or OPEN_REGIONS
    for name in names:
        if name not in OPEN_REGIONS:
            raise AwsError("InvalidParameterValue", f"Invalid region name: {name}")
    told = [
        {"RegionName": name, "Endpoint": f"ec2.{name}.amazonaws.com", "OptInStatus": "opt-in-not-required"}
        for name in names
    ]
    return {"Regions": told}


@EC2.operation
def describe_availability_zones(region: Region, params: Params) -> Params:
    return {
        "AvailabilityZones": [
            {"ZoneName": zone, "RegionName": region.name, "State": "available"} for zone in region.zones
        ]
    }


@EC2.operation
def describe_vpcs(region: Region, params: Params) -> Params:
    told = [
        {"VpcId": vpc, "IsDefault": default, "State": "available", "OwnerId": ACCOUNT, "Tags": tag_list(region, vpc)}
        for vpc, default in region.network.vpcs.items()
    ]
    for wanted in params.get("VpcIds", []):
        if wanted not in region.network.vpcs:
            raise AwsError("InvalidVpcID.NotFound", f"The vpc ID '{wanted}' does not exist")
    told = [one for one in told if one["VpcId"] in params.get("VpcIds", region.network.vpcs)]
    names = {"is-default": "IsDefault", "isDefault": "IsDefault", "vpc-id": "VpcId", "state": "State"}
    found, more = page(filtered(told, params.get("Filters"), names), params, "VpcIds")
    return {"Vpcs": found, **more}


@EC2.operation
def describe_subnets(region: Region, params: Params) -> Params:
    wanted = [region.network.subnet(one).id for one in params.get("SubnetIds", region.network.subnets)]
    told = [
        {
            "SubnetId": one.id,
            "VpcId": one.vpc,
            "AvailabilityZone": one.zone,
            "CidrBlock": one.cidr,
            "DefaultForAz": one.default,
            "MapPublicIpOnLaunch": one.public,
            "State": "available",
            "AvailableIpAddressCount": 4091,
            "OwnerId": ACCOUNT,
            "Tags": tag_list(region, one.id),
        }
        for one in region.network.subnets.values()
        if one.id in wanted
    ]
    names = {
        "subnet-id": "SubnetId",
        "vpc-id": "VpcId",
        "availability-zone": "AvailabilityZone",
        "default-for-az": "DefaultForAz",
        "cidr-block": "CidrBlock",
        "state": "State",
    }
    found, more = page(filtered(told, params.get("Filters"), names), params, "SubnetIds")
    return {"Subnets": found, **more}


@EC2.operation
def create_security_group(region: Region, params: Params) -> Params:
    network, name = region.network, params["GroupName"]
    vpc = params.get("VpcId") or network.default_vpc
    if vpc is None:
        raise AwsError("VPCIdNotSpecified", "No default VPC for this user.")
    if vpc not in network.vpcs:
        raise AwsError("InvalidVpcID.NotFound", f"The vpc ID '{vpc}' does not exist")
    if name.startswith("sg-") or not 1 <= len(name) <= 255:
        raise AwsError("InvalidParameterValue", f"Value ({name}) for parameter groupName is invalid.")
    if any(one.name == name and one.vpc == vpc for one in network.groups.values()):
        raise AwsError("InvalidGroup.Duplicate", f"The security group '{name}' already exists for VPC '{vpc}'")
    tags = specified(params, "security-group")
    group = add_group(region, name, vpc, params["Description"])
    region.tags[group.id].update(tags["security-group"])
    return {"GroupId": group.id, "Tags": tag_list(region, group.id)}


@EC2.operation
def delete_security_group(region: Region, params: Params) -> Params:
    group = _group(region, params)
    if group.name == "default":
        raise AwsError("CannotDelete", "the specified group: default name: 'default' cannot be deleted by a user")
    if any(group.id in one.groups and one.state(region.now) != "terminated" for one in region.instances.values()):
        raise AwsError("DependencyViolation", f"resource {group.id} has a dependent object")
    del region.network.groups[group.id]
    region.tags.pop(group.id)
    return {"Return": True, "GroupId": group.id}


def _group(region: Region, params: Params) -> Group:
    """Return the group of an id, or of a name in the default VPC."""
    if "GroupId" in params:
        return region.network.group(params["GroupId"])
    for one in region.network.groups.values():
        if one.name == params.get("GroupName") and one.vpc == region.network.default_vpc:
            return one
    raise AwsError(
        "InvalidGroup.NotFound", f"The security group '{params.get('GroupName')}' does not exist in default VPC"
    )


@EC2.operation
def authorize_security_group_ingress(region: Region, params: Params) -> Params:
    group, rules = _group(region, params), single_rules(params)
    for rule in rules:
        _check_rule(rule)
        if any(_bare(rule) == _bare(old) for old in group.rules):
            raise AwsError("InvalidPermission.Duplicate", "the specified rule already exists")
    group.rules += rules
    return {"Return": True, "SecurityGroupRules": [{"GroupId": group.id, "IsEgress": False} for _ in rules]}


def _check_rule(rule: Params) -> None:
    if "IpProtocol" not in rule:
        raise AwsError("MissingParameter", "The request must contain the parameter ipProtocol")
    low, high = rule.get("FromPort", -1), rule.get("ToPort", -1)
    if rule["IpProtocol"] in ("tcp", "udp") and not 0 <= low <= high <= 65535:
        raise AwsError("InvalidParameterValue", f"Invalid value for portRange: {low} to {high}")
    if not any(rule.get(key) for key in ("CidrIp", "CidrIpv6", "GroupId")):
        raise AwsError("InvalidParameterValue", "A rule needs a source")


def _bare(rule: Params) -> Params:
    return {key: value for key, value in rule.items() if key != "Description"}


@EC2.operation
def revoke_security_group_ingress(region: Region, params: Params) -> Params:
    group = _group(region, params)
    for rule in single_rules(params):
        found = [old for old in group.rules if _bare(old) == _bare(rule)]
        if not found:
            raise AwsError("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
        group.rules.remove(found[0])
    return {"Return": True}


@EC2.operation
def describe_security_groups(region: Region, params: Params) -> Params:
    wanted = [region.network.group(one).id for one in params.get("GroupIds", region.network.groups)]
    if "GroupNames" in params:
        wanted = [_group(region, {"GroupName": name}).id for name in params["GroupNames"]]
    told = [_view(region, region.network.groups[one]) for one in wanted]
    names = {
        "group-id": "GroupId",
        "group-name": "GroupName",
        "vpc-id": "VpcId",
        "description": "Description",
        "owner-id": "OwnerId",
    }
    found, more = page(filtered(told, params.get("Filters"), names), params, "GroupIds")
    return {"SecurityGroups": found, **more}


def _view(region: Region, group: Group) -> Params:
    return {
        "GroupId": group.id,
        "GroupName": group.name,
        "Description": group.description,
        "VpcId": group.vpc,
        "OwnerId": ACCOUNT,
        "IpPermissions": [_permission(rule) for rule in group.rules],
        "IpPermissionsEgress": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
        "Tags": tag_list(region, group.id),
    }


def _permission(rule: Params) -> Params:
    ports = {key: rule[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in rule}
    source = {key: value for key, value in rule.items() if key not in ports and value is not None}
    key = "IpRanges" if "CidrIp" in source else "Ipv6Ranges" if "CidrIpv6" in source else "UserIdGroupPairs"
    return {**ports, key: [source]}


@EC2.operation
def import_key_pair(region: Region, params: Params) -> Params:
    name, material = params["KeyName"], params["PublicKeyMaterial"]
    if name in region.network.key_pairs:
        raise AwsError("InvalidKeyPair.Duplicate", f"The keypair '{name}' already exists.")
    pair = {
        "KeyName": name,
        "KeyPairId": region.new_id("key"),
        "KeyFingerprint": base64.b64encode(hashlib.md5(material).digest()).decode(),
    }
    region.network.key_pairs[name] = pair
    return pair


@EC2.operation
def describe_key_pairs(region: Region, params: Params) -> Params:
    pairs = region.network.key_pairs
    for name in params.get("KeyNames", []):
        if name not in pairs:
            raise AwsError("InvalidKeyPair.NotFound", f"The key pair '{name}' does not exist")
    told = [{**one, "Tags": []} for name, one in pairs.items() if name in params.get("KeyNames", pairs)]
    return {"KeyPairs": filtered(told, params.get("Filters"), {"key-name": "KeyName", "key-pair-id": "KeyPairId"})}
