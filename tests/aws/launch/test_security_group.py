"""unibuild's own security group on the emulator: created once, with the ports of the setting [launch] open."""

from __future__ import annotations

import pytest
from emulator.network import add_vpc, remove_default_vpc
from launches import Launches

from unibuild.aws.client import Aws
from unibuild.aws.launch.network import remove_security_group, security_group
from unibuild.errors import AwsError
from unibuild.settings.ami import Launch


@pytest.fixture
def groups(project):
    def groups(**settings):
        return security_group(Aws(), Launch(**settings), "us-east-1", "hello")

    return groups


def rules(client, group):
    found = client("ec2").describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])
    incoming = [one for one in found["SecurityGroupRules"] if not one["IsEgress"]]
    return sorted((one["IpProtocol"], one["FromPort"], one["ToPort"], one.get("CidrIpv4")) for one in incoming)


def test_no_ports_need_no_group(project, groups):
    assert groups() == [] and groups(security_group="sg-1", open=("80",)) == ["sg-1"]
    assert len(project.aws.calls) == 0


def test_group_is_created_once(project, groups, client):
    (group,) = groups(open=("80", "53/udp"))
    assert rules(client, group) == [("tcp", 80, 80, "0.0.0.0/0"), ("udp", 53, 53, "0.0.0.0/0")]
    assert groups(open=("80", "53/udp")) == [group]
    assert (
        project.aws.calls.count("CreateSecurityGroup") == project.aws.calls.count("AuthorizeSecurityGroupIngress") == 1
    )


def test_ports_follow_the_settings_and_other_rules_are_kept(groups, client):
    (group,) = groups(open=("80",))
    client("ec2").authorize_security_group_ingress(
        GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="192.0.2.1/32"
    )
    groups(open=("443",), open_to=("198.51.100.0/24",))
    assert rules(client, group) == [("tcp", 22, 22, "192.0.2.1/32"), ("tcp", 443, 443, "198.51.100.0/24")]


def test_group_of_another_owner_with_the_same_name_is_refused(project, groups, client):
    client("ec2").create_security_group(GroupName="unibuild-hello", Description="mine")
    with pytest.raises(AwsError, match="unibuild did not make it"):
        groups(open=("80",))
    assert project.aws.calls.count("AuthorizeSecurityGroupIngress") == 0


def test_group_is_created_in_the_vpc_of_the_subnet(project, groups):
    vpc = add_vpc(project.aws.region(), default=False)
    subnet = next(one.id for one in project.aws.region().network.subnets.values() if one.vpc == vpc)
    (group,) = groups(open=("80",), subnet=subnet)
    assert project.aws.region().network.groups[group].vpc == vpc


def test_subnet_is_required_without_a_default_vpc(project, groups):
    remove_default_vpc(project.aws.region())
    with pytest.raises(AwsError, match="no default VPC") as caught:
        groups(open=("80",))
    assert "subnet" in caught.value.hint


def test_group_is_removed_with_the_instance(project, client):
    launches = Launches(project)
    launches.ready('console = "ready"', 'open = ["80"]')
    launches.run(project.ami())
    project.run("terminate")
    assert [one["GroupName"] for one in client("ec2").describe_security_groups()["SecurityGroups"]] == ["default"]


def test_group_is_removed_after_a_refused_launch(project, client):
    launches = Launches(project)
    launches.ready('console = "ready"', 'open = ["80"]')
    project.aws.world.quotas.vcpus = 0
    with pytest.raises(AwsError):
        launches.run(project.ami())
    assert project.aws.calls.count("CreateSecurityGroup") == 1
    assert [one["GroupName"] for one in client("ec2").describe_security_groups()["SecurityGroups"]] == ["default"]


def test_group_in_use_is_kept(project, groups):
    (group,) = groups(open=("80",))
    project.call.run(SecurityGroupIds=[group])
    with pytest.raises(AwsError) as caught:
        remove_security_group(Aws(), "us-east-1", "hello", 0.0)
    assert caught.value.code == "DependencyViolation"
