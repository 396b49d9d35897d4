"""VPCs, subnets, key pairs, regions and zones."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from emulator.errors import AwsError
from emulator.tagging import tag_list
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
"""Regions that are enabled in every account."""


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
