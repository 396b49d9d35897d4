"""Security groups and their rules."""

from __future__ import annotations

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

PORTS = ("IpProtocol", "FromPort", "ToPort")
SOURCES = {"CidrIp": "IpRanges", "CidrIpv6": "Ipv6Ranges", "GroupId": "UserIdGroupPairs"}
"""The member with a rule's source, and its list in IpPermission."""
EGRESS = {"IpProtocol": "-1", "CidrIp": "0.0.0.0/0", "IsEgress": True}
GROUP_FILTERS = {
    "description": "Description",
    "group-id": "GroupId",
    "group-name": "GroupName",
    "owner-id": "OwnerId",
    "vpc-id": "VpcId",
}


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
    """Return the group with an id, or with a name in the default VPC."""
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
    tags = specified(params, "security-group-rule")["security-group-rule"]
    for rule in rules:
        _check_rule(rule)
        if any(_bare(rule) == _bare(old) for old in group.rules):
            raise AwsError("InvalidPermission.Duplicate", "the specified rule already exists")
    for rule in rules:
        rule["Id"] = region.new_id("sgr")
        region.tags[rule["Id"]] = dict(tags)
    group.rules += rules
    return {"Return": True, "SecurityGroupRules": [_rule_view(region, group, rule) for rule in rules]}


def _check_rule(rule: Params) -> None:
    if "IpProtocol" not in rule:
        raise AwsError("MissingParameter", "The request must contain the parameter ipProtocol")
    low, high = rule.get("FromPort", -1), rule.get("ToPort", -1)
    if rule["IpProtocol"] in ("tcp", "udp") and not 0 <= low <= high <= 65535:
        raise AwsError("InvalidParameterValue", f"Invalid value for portRange: {low} to {high}")
    if not any(rule.get(source) for source in SOURCES):
        raise AwsError("InvalidParameterValue", "A rule needs a source")


def _bare(rule: Params) -> Params:
    """Return the fields by which two rules are the same."""
    return {key: rule.get(key) for key in (*PORTS, *SOURCES)}


@EC2.operation
def revoke_security_group_ingress(region: Region, params: Params) -> Params:
    group = _group(region, params)
    for wanted in params.get("SecurityGroupRuleIds", []):
        if not any(rule["Id"] == wanted for rule in group.rules):
            raise AwsError(
                "InvalidSecurityGroupRuleId.NotFound", f"The security group rule ID '{wanted}' does not exist"
            )
    ended = [rule for rule in group.rules if rule["Id"] in params.get("SecurityGroupRuleIds", [])]
    for wanted in single_rules(params) if "SecurityGroupRuleIds" not in params else []:
        found = [rule for rule in group.rules if _bare(rule) == _bare(wanted)]
        if not found:
            raise AwsError("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
        ended += found
    for rule in ended:
        group.rules.remove(rule)
        region.tags.pop(rule["Id"])
    return {"Return": True}


@EC2.operation
def describe_security_group_rules(region: Region, params: Params) -> Params:
    """List single rules, including the rule for all outgoing traffic that each new group has."""
    told = []
    for group in region.network.groups.values():
        egress = {**EGRESS, "Id": group.id.replace("sg-", "sgr-")}
        told += [_rule_view(region, group, rule) for rule in (*group.rules, egress)]
    wanted = params.get("SecurityGroupRuleIds")
    told = [rule for rule in told if not wanted or rule["SecurityGroupRuleId"] in wanted]
    fields = {"group-id": "GroupId", "security-group-rule-id": "SecurityGroupRuleId"}
    found, more = page(filtered(told, params.get("Filters"), fields), params, "SecurityGroupRuleIds")
    return {"SecurityGroupRules": found, **more}


def _rule_view(region: Region, group: Group, rule: Params) -> Params:
    referenced = {"GroupId": rule["GroupId"], "UserId": ACCOUNT} if rule.get("GroupId") else None
    return {
        "SecurityGroupRuleId": rule["Id"],
        "GroupId": group.id,
        "GroupOwnerId": ACCOUNT,
        "IsEgress": rule.get("IsEgress", False),
        "IpProtocol": rule["IpProtocol"],
        "FromPort": rule.get("FromPort", -1),
        "ToPort": rule.get("ToPort", -1),
        "CidrIpv4": rule.get("CidrIp"),
        "CidrIpv6": rule.get("CidrIpv6"),
        "ReferencedGroupInfo": referenced,
        "Description": rule.get("Description"),
        "Tags": tag_list(region, rule["Id"]),
    }


@EC2.operation
def describe_security_groups(region: Region, params: Params) -> Params:
    wanted = [region.network.group(one).id for one in params.get("GroupIds", region.network.groups)]
    if "GroupNames" in params:
        wanted = [_group(region, {"GroupName": name}).id for name in params["GroupNames"]]
    told = [_view(region, region.network.groups[one]) for one in wanted]
    found, more = page(filtered(told, params.get("Filters"), GROUP_FILTERS), params, "GroupIds")
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
    ports = {key: rule[key] for key in PORTS if key in rule}
    source = next(key for key in SOURCES if rule.get(key))
    told = {key: rule[key] for key in (source, "Description") if key in rule}
    return {**ports, SOURCES[source]: [told]}
