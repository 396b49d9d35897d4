"""The rules of our own security group: which are wanted, which are missing, and which are wanted no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from unibuild.aws import tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Change", "Rule", "change", "permission", "wanted"]


class Rule(NamedTuple):
    """An open range of ports, to one network; the ports are -1 for ``icmp``, whose types they would be."""

    protocol: str
    first: int
    last: int
    network: str


class Change(NamedTuple):
    """What is to be done to a group.

    Attributes:
        missing: rules to add.
        surplus: the ids of rules of ours to remove.
    """

    missing: tuple[Rule, ...]
    surplus: tuple[str, ...]


def wanted(ports: Iterable[str], networks: Sequence[str]) -> tuple[Rule, ...]:
    """Return the rules of ``open`` (``"80"``, ``"53/udp"``, ``"8000-8010/tcp"``, ``"icmp"``) and ``open_to``."""
    found = []
    for port in ports:
        span, _, protocol = port.partition("/")
        for network in networks:
            if span == "icmp":
                found.append(Rule("icmpv6" if ":" in network else "icmp", -1, -1, network))
                continue
            first, _, last = span.partition("-")
            found.append(Rule(protocol or "tcp", int(first), int(last or first), network))
    return tuple(dict.fromkeys(found))


def change(rules: Iterable[Rule], there: Iterable[Mapping[str, Any]]) -> Change:
    """Return what makes a group open just these ports, as far as it is ours to change.

    Args:
        rules: what is wanted.
        there: the group's rules as DescribeSecurityGroupRules tells them; those without our tag are somebody else's,
            and stay.
    """
    asked = tuple(rules)
    incoming = {said["SecurityGroupRuleId"]: said for said in there if not said.get("IsEgress")}
    have = {_read(said) for said in incoming.values()}
    surplus = [
        name
        for name, said in incoming.items()
        if _read(said) not in asked and tags.UNIKERNEL in tags.read(said.get("Tags", ()))
    ]
    return Change(tuple(rule for rule in asked if rule not in have), tuple(surplus))


def permission(rule: Rule) -> dict[str, Any]:
    """Return a rule as AuthorizeSecurityGroupIngress takes it."""
    key, name = ("Ipv6Ranges", "CidrIpv6") if ":" in rule.network else ("IpRanges", "CidrIp")
    return {
        "IpProtocol": rule.protocol,
        "FromPort": rule.first,
        "ToPort": rule.last,
        key: [{name: rule.network}],
    }


def _read(said: Mapping[str, Any]) -> Rule:
    network = said.get("CidrIpv4") or said.get("CidrIpv6") or ""
    return Rule(said.get("IpProtocol", ""), said.get("FromPort", -1), said.get("ToPort", -1), network)
