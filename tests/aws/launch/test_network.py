"""The rules of unibuild's own security group."""

from hypothesis import given
from hypothesis import strategies as st

from unibuild.aws import tags
from unibuild.aws.launch.network import PortRule, compare_rules, ip_permission, port_rules

OURS = [{"Key": tags.UNIKERNEL, "Value": "hello"}]


def said(name: str, rule: PortRule, *, ours: bool = True, egress: bool = False) -> dict[str, object]:
    return {
        "SecurityGroupRuleId": name,
        "IsEgress": egress,
        "IpProtocol": rule.protocol,
        "FromPort": rule.first,
        "ToPort": rule.last,
        "CidrIpv6" if ":" in rule.network else "CidrIpv4": rule.network,
        "Tags": OURS if ours else [],
    }


WEB = PortRule("tcp", 80, 80, "0.0.0.0/0")
DNS = PortRule("udp", 53, 53, "0.0.0.0/0")


def test_open_setting_gives_the_wanted_rules():
    assert port_rules(["80", "53/udp", "8000-8010/tcp", "icmp"], ["0.0.0.0/0"]) == (
        WEB,
        DNS,
        PortRule("tcp", 8000, 8010, "0.0.0.0/0"),
        PortRule("icmp", -1, -1, "0.0.0.0/0"),
    )
    assert port_rules(["icmp"], ["::/0"]) == (PortRule("icmpv6", -1, -1, "::/0"),)


def test_only_rules_of_unibuild_are_closed():
    there = [said("sgr-1", DNS), said("sgr-2", PortRule("tcp", 22, 22, "192.0.2.1/32"), ours=False)]
    there.append(said("sgr-3", PortRule("-1", -1, -1, "0.0.0.0/0"), egress=True))
    assert compare_rules([WEB], there) == ((WEB,), ("sgr-1",))
    assert compare_rules([DNS], there) == ((), ())


def test_parameters_for_ec2():
    assert ip_permission(WEB) == {
        "IpProtocol": "tcp",
        "FromPort": 80,
        "ToPort": 80,
        "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
    }
    assert ip_permission(PortRule("tcp", 80, 80, "::/0"))["Ipv6Ranges"] == [{"CidrIpv6": "::/0"}]


rules = st.builds(
    PortRule, st.sampled_from(["tcp", "udp"]), st.just(1), st.integers(1, 4), st.sampled_from(["0.0.0.0/0", "::/0"])
)


@given(st.sets(rules), st.lists(rules, unique=True))
def test_changes_are_complete(asked, before):
    there = {f"sgr-{number}": said(f"sgr-{number}", rule) for number, rule in enumerate(before)}
    missing, surplus = compare_rules(asked, there.values())
    after = [rule for name, rule in there.items() if name not in surplus]
    after += [said(f"new-{number}", rule) for number, rule in enumerate(missing)]
    assert compare_rules(asked, after) == ((), ())
    assert len(after) == len(asked)
