"""The network access to an instance: its security group with the open ports, and an Elastic IP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from unibuild.aws import tags
from unibuild.aws.errors import NOT_FOUND
from unibuild.aws.launch.instance import APPEARS
from unibuild.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from unibuild.aws.client import Aws
    from unibuild.settings.ami import Launch

__all__ = [
    "PortRule",
    "RuleChange",
    "compare_rules",
    "holder",
    "ip_permission",
    "move_address",
    "port_rules",
    "remove_security_group",
    "security_group",
]


class PortRule(NamedTuple):
    """A range of ports that is open to one network. For ``icmp`` the ports, which are its types there, are -1."""

    protocol: str
    first: int
    last: int
    network: str


class RuleChange(NamedTuple):
    """The changes to make to a group.

    Attributes:
        missing: rules to add.
        surplus: the ids of the project's own rules to remove.
    """

    missing: tuple[PortRule, ...]
    surplus: tuple[str, ...]


def port_rules(ports: Iterable[str], networks: Sequence[str]) -> tuple[PortRule, ...]:
    """Return the rules of ``open`` (``"80"``, ``"53/udp"``, ``"8000-8010/tcp"``, ``"icmp"``) and ``open_to``."""
    found = []
    for port in ports:
        span, _, protocol = port.partition("/")
        for network in networks:
            if span == "icmp":
                found.append(PortRule("icmpv6" if ":" in network else "icmp", -1, -1, network))
                continue
            first, _, last = span.partition("-")
            found.append(PortRule(protocol or "tcp", int(first), int(last or first), network))
    return tuple(dict.fromkeys(found))


def compare_rules(rules: Iterable[PortRule], there: Iterable[Mapping[str, Any]]) -> RuleChange:
    """Return the changes after which a group opens exactly these ports, apart from rules that unibuild did not make.

    Args:
        rules: the wanted rules.
        there: the group's rules, as DescribeSecurityGroupRules returns them; those without unibuild's tag stay.
    """
    asked = tuple(rules)
    incoming = {said["SecurityGroupRuleId"]: said for said in there if not said.get("IsEgress")}
    have = {_port_rule(said) for said in incoming.values()}
    surplus = [
        name
        for name, said in incoming.items()
        if _port_rule(said) not in asked and tags.UNIKERNEL in tags.read(said.get("Tags", ()))
    ]
    return RuleChange(tuple(rule for rule in asked if rule not in have), tuple(surplus))


def ip_permission(rule: PortRule) -> dict[str, Any]:
    """Return a rule in the form that AuthorizeSecurityGroupIngress accepts."""
    key, name = ("Ipv6Ranges", "CidrIpv6") if ":" in rule.network else ("IpRanges", "CidrIp")
    return {
        "IpProtocol": rule.protocol,
        "FromPort": rule.first,
        "ToPort": rule.last,
        key: [{name: rule.network}],
    }


def _port_rule(said: Mapping[str, Any]) -> PortRule:
    network = said.get("CidrIpv4") or said.get("CidrIpv6") or ""
    return PortRule(said.get("IpProtocol", ""), said.get("FromPort", -1), said.get("ToPort", -1), network)


def holder(aws: Aws, region: str, given: str) -> str | None:
    """Return the id of the instance that an Elastic IP is associated with; None if there is none.

    Raises:
        AwsError: the Elastic IP does not exist.
    """
    return _address(aws, region, given).get("InstanceId") or None


def move_address(aws: Aws, region: str, given: str, name: str) -> str:
    """Associate an Elastic IP with an instance, whichever had it before; return the address.

    Raises:
        AwsError: AWS refused.
    """
    address = _address(aws, region, given)
    if address.get("InstanceId") != name:
        aws.client("ec2", region).call(
            "AssociateAddress", AllocationId=address["AllocationId"], InstanceId=name, AllowReassociation=True
        )
    return str(address["PublicIp"])


def security_group(aws: Aws, settings: Launch, region: str, unikernel: str) -> list[str]:
    """Return the ids of an instance's security groups; create unibuild's own group and open its ports if necessary.

    Raises:
        AwsError: AWS refused, or there is no default VPC and no subnet is set.
    """
    if settings.security_group:
        return [settings.security_group]
    if not settings.open:
        return []
    client = aws.client("ec2", region)
    vpc, name = _vpc(aws, settings, region), f"unibuild-{unikernel}"
    wanted = [{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [vpc]}]
    found = client.call("DescribeSecurityGroups", Filters=wanted).get("SecurityGroups", ())
    marked = tags.write({tags.UNIKERNEL: unikernel})
    if found and tags.UNIKERNEL not in tags.read(found[0].get("Tags", ())):
        raise AwsError(
            f"cannot use the security group {name} in {region}: unibuild did not make it (no tag {tags.UNIKERNEL})",
            hint=f"set [launch] security_group to {found[0]['GroupId']} to use it unchanged",
        )
    if found:
        group = str(found[0]["GroupId"])
    else:
        made = {"ResourceType": "security-group", "Tags": marked}
        answer = client.call(
            "CreateSecurityGroup",
            GroupName=name,
            Description=f"What {unikernel} serves; made by unibuild",
            VpcId=vpc,
            TagSpecifications=[made],
        )
        group = str(answer["GroupId"])
    _open(aws, settings, region, group, marked)
    return [group]


def remove_security_group(aws: Aws, region: str, unikernel: str, seconds: float) -> str | None:
    """Delete the security group that unibuild made for a unikernel; return its id, None if there is none.

    Args:
        aws: the account.
        region: where.
        unikernel: the unikernel's name, the value of unibuild's tag.
        seconds: for how long a terminated instance may still use it.

    Raises:
        AwsError: AWS refused: ``DependencyViolation`` if something uses it.
    """
    client = aws.client("ec2", region)
    named = [
        {"Name": "group-name", "Values": [f"unibuild-{unikernel}"]},
        {"Name": f"tag:{tags.UNIKERNEL}", "Values": [unikernel]},
    ]
    found = client.call("DescribeSecurityGroups", Filters=named).get("SecurityGroups", ())
    for one in found:
        refused: list[AwsError] = []

        def delete(group: str = one["GroupId"], refused: list[AwsError] = refused) -> bool | None:
            try:
                client.call("DeleteSecurityGroup", GroupId=group)
            except AwsError as error:
                if NOT_FOUND.search(error.code):
                    return True
                if error.code != "DependencyViolation":
                    raise
                refused.append(error)
                return None
            return True

        if aws.poll(delete, seconds) is None:
            raise refused[-1]
    return str(found[0]["GroupId"]) if found else None


def _open(aws: Aws, settings: Launch, region: str, group: str, marked: list[dict[str, str]]) -> None:
    """Open the wanted ports of unibuild's group, and close those that it opened and that are no longer wanted."""
    client = aws.client("ec2", region)
    in_group = [{"Name": "group-id", "Values": [group]}]
    there = client.pages("DescribeSecurityGroupRules", "SecurityGroupRules", Filters=in_group)
    change = compare_rules(port_rules(settings.open, settings.open_to), there)
    if change.missing:
        client.call(
            "AuthorizeSecurityGroupIngress",
            appears=APPEARS,
            GroupId=group,
            IpPermissions=[ip_permission(rule) for rule in change.missing],
            TagSpecifications=[{"ResourceType": "security-group-rule", "Tags": marked}],
        )
    if change.surplus:
        client.call("RevokeSecurityGroupIngress", GroupId=group, SecurityGroupRuleIds=list(change.surplus))


def _vpc(aws: Aws, settings: Launch, region: str) -> str:
    """Return the id of the instance's VPC."""
    client = aws.client("ec2", region)
    if settings.subnet:
        return str(client.call("DescribeSubnets", SubnetIds=[settings.subnet])["Subnets"][0]["VpcId"])
    found = client.call("DescribeVpcs", Filters=[{"Name": "is-default", "Values": ["true"]}]).get("Vpcs", ())
    if not found:
        raise AwsError(f"the account has no default VPC in {region}", hint="set [launch] subnet")
    return str(found[0]["VpcId"])


def _address(aws: Aws, region: str, given: str) -> Mapping[str, Any]:
    by: dict[str, Any] = {"AllocationIds": [given]} if given.startswith("eipalloc-") else {"PublicIps": [given]}
    found: Sequence[Mapping[str, Any]] = aws.client("ec2", region).call("DescribeAddresses", **by)["Addresses"]
    if not found:
        raise AwsError(f"no such Elastic IP in {region}: {given}", hint="change [launch] elastic_ip")
    return found[0]
