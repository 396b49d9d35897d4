"""Generate the least IAM policy for a configuration: the calls of its goals and commands, and their resources.

Resources and condition keys are those of AWS's Service Authorization Reference. Where EC2 supports it, the policy
allows changes only to resources with unibuild's tag for this unikernel. Only the call that creates a resource may give
it that tag. EC2's reading calls do not support resources, so the policy limits them by region.

One statement holds all actions with the same condition, because a managed policy has at most ``LIMIT`` characters.
Actions share a statement only if none of them supports a resource type that is meant for another one.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from unibuild.aws import distribution
from unibuild.aws.iam_statement import PolicyScope, Statement, allow
from unibuild.aws.snapshot import publisher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unibuild.aws.snapshot.publisher import PublisherPermissions
    from unibuild.settings.model import Settings

__all__ = ["LIMIT", "policy", "size", "split"]

LIMIT = 6144
"""Characters of a managed policy, without white space (IAM and STS quotas)."""


def policy(settings: Settings, unikernel: str, region: str, *, launch: bool = True, clean: bool = True) -> Statement:
    """Return the policy as an object to print as JSON.

    Args:
        settings: the project's settings.
        unikernel: the unikernel's name, the value of unibuild's tag.
        region: where AMIs are published.
        launch: whether to allow what ``launch_ami`` and ``redeploy`` need.
        clean: whether to allow what ``unibuild ami gc`` and ``rm`` need.
    """
    scope = PolicyScope(unikernel, region, settings)
    needed = publisher.find(settings.publish.via).permissions(scope)
    statements = [
        _reading(scope, needed, launch=launch, clean=clean),
        _changing(scope, needed, launch=launch, clean=clean),
        *_creating(scope, needed, launch=launch),
        *(_launch_targets(scope) if launch else ()),
        *needed.statements,
        *(_kms(scope) if distribution.is_encrypted(settings.publish) and settings.publish.kms_key else ()),
    ]
    return _document(statements)


def size(document: Mapping[str, Any]) -> int:
    """Return the characters of a policy as IAM counts them: without white space."""
    return len("".join(json.dumps(document, separators=(",", ":")).split()))


def split(document: Mapping[str, Any]) -> list[Statement]:
    """Return documents of at most ``LIMIT`` characters that together allow the same."""
    found: list[list[Statement]] = [[]]
    for statement in document["Statement"]:
        for parts in found:
            if size(_document([*parts, statement])) <= LIMIT:
                parts.append(statement)
                break
        else:
            found.append([statement])
    return [_document(parts) for parts in found if parts]


def _document(statements: list[Statement]) -> Statement:
    return {"Version": "2012-10-17", "Statement": statements}


def _reading(scope: PolicyScope, needed: PublisherPermissions, *, launch: bool, clean: bool) -> Statement:
    """Return the statement for all calls that only read, which do not support resources."""
    publish = scope.settings.publish
    is_public = distribution.ALL in publish.share
    actions = {
        *("ec2:DescribeImages", "ec2:DescribeSnapshots", "ec2:DescribeInstanceTypes"),
        *("ec2:DescribeInstanceTypeOfferings", "ec2:GetEbsEncryptionByDefault"),
        *(("ec2:GetImageBlockPublicAccessState", "ec2:GetSnapshotBlockPublicAccessState") if is_public else ()),
        *(("ec2:GetEbsDefaultKmsKeyId",) if publish.share else ()),
        *needed.read,
    }
    if launch:
        actions |= {"ec2:DescribeInstances", "ec2:DescribeAddresses", "ec2:DescribeSubnets"}
        actions |= {"ec2:DescribeSecurityGroups"}
        actions |= {"ec2:DescribeSecurityGroupRules", "ec2:DescribeVpcs"} if scope.has_group else set()
    if clean:
        actions |= {"ec2:DescribeInstances", "ec2:DescribeLaunchTemplates", "ec2:DescribeLaunchTemplateVersions"}
        actions |= {"ec2:DescribeImageReferences", "ec2:DescribeImportSnapshotTasks"}
        actions |= {"autoscaling:DescribeLaunchConfigurations", "autoscaling:DescribeAutoScalingGroups"}
    return allow("Look", actions, ["*"], {"StringEquals": {"aws:RequestedRegion": scope.regions}})


def _changing(scope: PolicyScope, needed: PublisherPermissions, *, launch: bool, clean: bool) -> Statement:
    """Return the statement for changes of resources that have unibuild's tag with the unikernel's name."""
    publish = scope.settings.publish
    kinds = ["image", "snapshot"]
    actions = {"ec2:CreateTags", "ec2:DeleteSnapshot", "ec2:ModifyImageAttribute", "ec2:RegisterImage"}
    actions |= {"ec2:DisableImageDeprecation"}
    actions |= {"ec2:ModifySnapshotAttribute"} if publish.share else set()
    actions |= {"ec2:EnableImageDeprecation"} if publish.deprecate_after else set()
    actions |= {"ec2:EnableImageDeregistrationProtection"} if publish.protect else set()
    actions |= {*needed.change, "ebs:ListSnapshotBlocks", "ebs:GetSnapshotBlock"}
    if clean:
        actions |= {"ec2:DeregisterImage"}
        actions |= {"ec2:DisableImageDeregistrationProtection"} if publish.protect else set()
    if launch:
        kinds.append("instance")
        actions |= {"ec2:RunInstances", "ec2:TerminateInstances", "ec2:GetConsoleOutput"}
        actions |= {"ec2:AssociateAddress"} if scope.settings.launch.elastic_ip else set()
        if scope.has_group:
            kinds.append("security-group")
            actions |= {"ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"}
            actions |= {"ec2:DeleteSecurityGroup"}
    return allow("Own", actions, scope.arns(*kinds), {"StringEquals": {**scope.owned, **scope.in_regions}})


def _creating(scope: PolicyScope, needed: PublisherPermissions, *, launch: bool) -> list[Statement]:
    """Return the statements for creating resources, only with unibuild's tag and tagged by the creating call."""
    publish, has_group = scope.settings.publish, launch and scope.has_group
    copying = ["ec2:CopyImage"] if publish.regions else []
    asked = {"StringEquals": {**scope.asked, **scope.in_regions}}
    tagged = ["image", "snapshot"]
    found = []
    images = scope.arns("image", *(["security-group"] if has_group else []))
    actions = ["ec2:RegisterImage", *copying, *(["ec2:CreateSecurityGroup"] if has_group else [])]
    found.append(allow("Make", actions, images, asked))
    if needed.create or copying:
        found.append(allow("MakeSnapshots", [*needed.create, *copying], scope.arns("snapshot"), asked))
    if launch:
        kinds = ["instance", "volume", *(["security-group-rule"] if has_group else [])]
        tagged += [*kinds, *(["security-group"] if has_group else [])]
        actions = ["ec2:RunInstances", *(["ec2:AuthorizeSecurityGroupIngress"] if has_group else [])]
        found.append(allow("Launch", actions, scope.arns(*kinds, home=True), {"StringEquals": scope.asked}))
    made = {**asked, "Null": {"ec2:CreateAction": "false"}}
    return [*found, allow("TagNew", ["ec2:CreateTags"], scope.arns(*tagged, *needed.tagged), made)]


def _launch_targets(scope: PolicyScope) -> list[Statement]:
    """Return the statements for what an instance is launched into. None of this has unibuild's tag."""
    settings = scope.settings.launch
    kinds = ["network-interface", "subnet", "security-group", *(["key-pair"] if settings.key else [])]
    found = [allow("LaunchIn", ["ec2:RunInstances"], scope.arns(*kinds, home=True))]
    places, actions = [], []
    if scope.has_group:
        places, actions = scope.arns("vpc", home=True), ["ec2:CreateSecurityGroup"]
    if settings.elastic_ip:
        given = settings.elastic_ip if settings.elastic_ip.startswith("eipalloc-") else "*"
        places += [*scope.arns("elastic-ip", home=True, name=given), *scope.arns("network-interface", home=True)]
        actions.append("ec2:AssociateAddress")
    return [*found, allow("LaunchTargets", actions, places)] if actions else found


def _kms(scope: PolicyScope) -> list[Statement]:
    """Return the statements for EC2's use of a key for the account; a statement cannot name an alias as a resource."""
    using = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*"]
    found = (distribution.kms_key_in(scope.settings.publish, region, scope.home) for region in scope.regions)
    keys = list(dict.fromkeys(filter(None, found)))
    alias = next((one.rpartition(":")[2] for one in keys if ":alias/" in one), None)
    named = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": alias}} if alias else {}
    keys = [re.sub(":alias/.*", ":key/*", one) for one in keys]
    services: Mapping[str, Any] = {"StringEquals": {"kms:ViaService": f"ec2.{scope.home}.amazonaws.com"}}
    if len(keys) > 1:  # the same key, or alias, in all regions
        keys = [re.sub("(:kms:)[^:]+:", r"\1*:", keys[0])]
        services = {"StringLike": {"kms:ViaService": "ec2.*.amazonaws.com"}, "StringEquals": dict(scope.in_regions)}
    through = {**services, **named}
    grant = {**through, "Bool": {"kms:GrantIsForAWSResource": "true"}}
    return [
        allow("UseKey", using, keys, through),
        allow("GrantKey", ["kms:CreateGrant"], keys, grant),
        allow("FindKey", ["kms:DescribeKey"], keys, named),
    ]
