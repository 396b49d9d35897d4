"""The rules of our own security group."""

from hypothesis import given
from hypothesis import strategies as st

from unibuild.aws import tags
from unibuild.aws.ports import Rule, change, permission, wanted

OURS = [{"Key": tags.UNIKERNEL, "Value": "hello"}]


def said(name: str, rule: Rule, *, ours: bool = True, egress: bool = False) -> dict[str, object]:
    return {
        "SecurityGroupRuleId": name,
        "IsEgress": egress,
        "IpProtocol": rule.protocol,
        "FromPort": rule.first,
        "ToPort": rule.last,
        "CidrIpv6" if ":" in rule.network else "CidrIpv4": rule.network,
        "Tags": OURS if ours else [],
    }


WEB = Rule("tcp", 80, 80, "0.0.0.0/0")
DNS = Rule("udp", 53, 53, "0.0.0.0/0")


def test_what_is_wanted():
    assert wanted(["80", "53/udp", "8000-8010/tcp", "icmp"], ["0.0.0.0/0"]) == (
        WEB,
        DNS,
        Rule("tcp", 8000, 8010, "0.0.0.0/0"),
        Rule("icmp", -1, -1, "0.0.0.0/0"),
    )
    assert wanted(["icmp"], ["::/0"]) == (Rule("icmpv6", -1, -1, "::/0"),)


def test_only_our_own_rules_are_closed():
    there = [said("sgr-1", DNS), said("sgr-2", Rule("tcp", 22, 22, "192.0.2.1/32"), ours=False)]
    there.append(said("sgr-3", Rule("-1", -1, -1, "0.0.0.0/0"), egress=True))
    assert change([WEB], there) == ((WEB,), ("sgr-1",))
    assert change([DNS], there) == ((), ())


def test_how_ec2_is_asked():
    assert permission(WEB) == {
        "IpProtocol": "tcp",
        "FromPort": 80,
        "ToPort": 80,
        "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
    }
    assert permission(Rule("tcp", 80, 80, "::/0"))["Ipv6Ranges"] == [{"CidrIpv6": "::/0"}]


rules = st.builds(
    Rule, st.sampled_from(["tcp", "udp"]), st.just(1), st.integers(1, 4), st.sampled_from(["0.0.0.0/0", "::/0"])
)


@given(st.sets(rules), st.lists(rules, unique=True))
def test_once_changed_nothing_more_is_to_change(asked, before):
    there = {f"sgr-{number}": said(f"sgr-{number}", rule) for number, rule in enumerate(before)}
    missing, surplus = change(asked, there.values())
    after = [rule for name, rule in there.items() if name not in surplus]
    after += [said(f"new-{number}", rule) for number, rule in enumerate(missing)]
    assert change(asked, after) == ((), ())
    assert len(after) == len(asked)
