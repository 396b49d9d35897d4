"""The emulator's IAM: what a policy allows."""

from __future__ import annotations

import pytest
from emulator.policy import Resource, allows

SNAPSHOT = "arn:aws:ec2:eu-west-1::snapshot/snap-1"
MINE, TAGGED = {"aws:ResourceTag/owner": "me"}, Resource(SNAPSHOT, {"owner": "me"})


def allowed(statement, resource=TAGGED, action="ec2:DeleteSnapshot", keys=None):
    given = {"Effect": "Allow", "Action": "ec2:*", "Resource": "*", **statement}
    return allows({"Statement": given}, action, resource, keys or {})


def test_call_that_no_statement_allows_is_denied():
    assert not allows({"Statement": []}, "ec2:DeleteSnapshot", TAGGED, {})
    assert not allowed({"Action": "ec2:DescribeSnapshots"})


def test_deny_overrides_allow():
    both = [{"Effect": effect, "Action": "ec2:*", "Resource": "*"} for effect in ("Allow", "Deny")]
    assert not allows({"Statement": both}, "ec2:DeleteSnapshot", TAGGED, {})


@pytest.mark.parametrize("action", ["*", "ec2:*", "ec2:Delete*", "EC2:deletesnapshot", "ec2:Delete?napshot"])
def test_actions(action):
    assert allowed({"Action": ["ec2:RunInstances", action]})
    assert not allowed({"Action": action}, action="ebs:StartSnapshot") or action == "*"


@pytest.mark.parametrize(
    ("pattern", "holds"),
    [
        ("*", True),
        (SNAPSHOT, True),
        ("arn:aws:ec2:*::snapshot/*", True),
        ("arn:aws:ec2:eu-west-?::snapshot/snap-*", True),
        ("arn:*", False),
        ("arn:aws:ec2:us-east-1::snapshot/*", False),
        ("arn:aws:ec2:eu-west-1:*:image/*", False),
        ("arn:aws:ec2:eu-west-1::snapshot/SNAP-1", False),
    ],
)
def test_resources(pattern, holds):
    assert allowed({"Resource": ["arn:aws:s3:::bucket/*", pattern]}) == holds


def test_action_without_resources_needs_a_star():
    assert allowed({}, Resource(), "ec2:DescribeImages")
    assert not allowed({"Resource": "arn:aws:ec2:*:*:*"}, Resource(), "ec2:DescribeImages")


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"StringEquals": MINE}, True),
        ({"StringEquals": {"aws:resourceTag/OWNER": ["you", "me"]}}, True),
        ({"StringEquals": {"aws:ResourceTag/owner": "Me"}}, False),
        ({"StringEquals": {"aws:ResourceTag/owner": "m*"}}, False),
        ({"StringLike": {"aws:ResourceTag/owner": "m*"}}, True),
        ({"StringEquals": {**MINE, "aws:RequestTag/owner": "me"}}, False),
        ({"StringEquals": MINE, "StringLike": {"aws:ResourceTag/team": "*"}}, False),
        ({"StringEqualsIfExists": {"aws:ResourceTag/team": "edge"}}, True),
        ({"StringEqualsIfExists": {"aws:ResourceTag/owner": "you"}}, False),
        ({"StringEquals": {"aws:RequestedRegion": ["eu-west-1"]}}, True),
        ({"Bool": {"aws:SecureTransport": True}}, False),
    ],
)
def test_conditions(condition, holds):
    assert allowed({"Condition": condition}, keys={"aws:RequestedRegion": "eu-west-1"}) == holds


@pytest.mark.parametrize(
    ("operator", "asked", "holds"),
    [
        ("ForAllValues:StringEquals", {"a": "1", "b": "2"}, True),
        ("ForAllValues:StringEquals", {"a": "1", "c": "3"}, False),
        ("ForAllValues:StringEquals", {}, True),
        ("ForAnyValue:StringEquals", {"a": "1", "c": "3"}, True),
        ("ForAnyValue:StringEquals", {"c": "3"}, False),
        ("ForAnyValue:StringEquals", {}, False),
    ],
)
def test_sets_of_values(operator, asked, holds):
    condition = {operator: {"aws:TagKeys": ["a", "b"]}}
    assert allowed({"Condition": condition}, Resource(SNAPSHOT, asked=asked), "ec2:CreateTags") == holds
