"""The least IAM policy for a configuration: which calls its goals and commands make, and on what.

Resources and condition keys are those of AWS's Service Authorization Reference. Where EC2 can tell by a tag, only what
carries our tag with this unikernel's name may be changed. Reading EC2 knows no resources, so it is bounded by region.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from unibuild.aws import sharing, tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from unibuild.settings.model import Settings

__all__ = ["policy"]

Statement = dict[str, Any]
_PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}


def policy(settings: Settings, unikernel: str, region: str, *, launch: bool = True, clean: bool = True) -> Statement:
    """Return the policy as an object to print as JSON.

    Args:
        settings: the project's settings.
        unikernel: the name that our tag has.
        region: where AMIs are published.
        launch: also what ``launch_ami`` and ``redeploy`` need.
        clean: also what ``unibuild ami gc`` and ``rm`` need.
    """
    scope = _Scope(unikernel, region, settings)
    statements = [*_publish(scope)]
    statements += _launch(scope) if launch else []
    statements += _clean(scope) if clean else []
    return {"Version": "2012-10-17", "Statement": [_reading(statements, scope), *filter(_is_changing, statements)]}


class _Scope:
    """Where a configuration acts, and on what.

    Attributes:
        ours: the condition that a thing carries our tag with the unikernel's name.
        asked: the condition that it is made with that tag.
        unless_of_another: the condition that it gets that tag, and does not have that of another unikernel.
        regions: all regions of the configuration.
    """

    def __init__(self, unikernel: str, region: str, settings: Settings) -> None:
        self.settings = settings
        self.home = region
        self.regions = list(dict.fromkeys((region, *settings.publish.regions)))
        self.ours = {"StringEquals": {f"aws:ResourceTag/{tags.UNIKERNEL}": unikernel}}
        self.asked = {"StringEquals": {f"aws:RequestTag/{tags.UNIKERNEL}": unikernel}}
        self.unless_of_another = {**self.asked, "StringEqualsIfExists": self.ours["StringEquals"]}

    def made_by(self, *operations: str) -> dict[str, Any]:
        """Return the condition of a tag that is given by the call that makes the thing, and never later."""
        return {"StringEquals": {**self.asked["StringEquals"], "ec2:CreateAction": list(operations)}}

    @property
    def partition(self) -> str:
        return next((name for start, name in _PARTITIONS.items() if self.home.startswith(start)), "aws")

    def arns(self, *kinds: str, regions: Iterable[str] = (), account: str = "*", name: str = "*") -> list[str]:
        """Return the ARNs of all things of these kinds, or of those of a name; AMIs and snapshots have no account."""
        owner = {"image": "", "snapshot": ""}
        return [
            f"arn:{self.partition}:ec2:{region}:{owner.get(kind, account)}:{kind}/{name}"
            for kind in kinds
            for region in regions or self.regions
        ]


def _publish(scope: _Scope) -> list[Statement]:
    """Return the statements of ``publish_ami``."""
    settings = scope.settings.publish
    home = (scope.home,)
    found = [
        _read("ec2:DescribeImages", "ec2:DescribeSnapshots", "ec2:DescribeInstanceTypes"),
        _read("ec2:DescribeInstanceTypeOfferings"),
        _allow("Register", ["ec2:RegisterImage"], scope.arns("image", regions=home), scope.asked),
        _allow("RegisterFrom", ["ec2:RegisterImage"], scope.arns("snapshot", regions=home), scope.ours),
        _allow("TagImages", ["ec2:CreateTags"], scope.arns("image"), scope.made_by("RegisterImage", "CopyImage")),
        # which ec2:CreateAction a StartSnapshot of the EBS direct API has is nowhere written; an import tags later
        _allow("TagSnapshots", ["ec2:CreateTags"], scope.arns("snapshot"), scope.unless_of_another),
        _allow("TagWhatIsOurs", ["ec2:CreateTags"], scope.arns("image", "snapshot"), scope.ours),
        _allow("DeleteUnfinished", ["ec2:DeleteSnapshot"], scope.arns("snapshot"), scope.ours),
        *(_s3(scope) if settings.via == "s3" else _ebs(scope)),
        *_sharing(scope),
    ]
    if settings.regions:
        found.append(_allow("Copy", ["ec2:CopyImage"], scope.arns("image", "snapshot"), scope.asked))
    if sharing.is_encrypted(settings) and settings.kms_key:
        found += _kms(scope)
    return found


def _ebs(scope: _Scope) -> list[Statement]:
    snapshots = scope.arns("snapshot", regions=(scope.home,))
    writing = ["ebs:PutSnapshotBlock", "ebs:CompleteSnapshot"]
    reading = ["ebs:ListSnapshotBlocks", "ebs:GetSnapshotBlock"]
    return [
        _allow("StartSnapshot", ["ebs:StartSnapshot"], snapshots, scope.asked),
        _allow("WriteBlocks", [*writing, *reading], snapshots, scope.ours),
    ]


def _s3(scope: _Scope) -> list[Statement]:
    bucket = f"arn:{scope.partition}:s3:::{scope.settings.publish.bucket or '*'}"
    objects = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    home = (scope.home,)
    return [
        _allow("UploadToBucket", objects, [f"{bucket}/*"]),
        _allow("FindUploads", ["s3:ListBucket", "s3:ListBucketMultipartUploads"], [bucket]),
        _read("ec2:DescribeImportSnapshotTasks"),
        _allow("Import", ["ec2:ImportSnapshot"], scope.arns("import-snapshot-task", "snapshot", regions=home)),
        _allow(
            "TagImport",
            ["ec2:CreateTags"],
            scope.arns("import-snapshot-task", regions=home),
            scope.made_by("ImportSnapshot"),
        ),
    ]


def _sharing(scope: _Scope) -> list[Statement]:
    settings = scope.settings.publish
    images = [
        *(["ec2:ModifyImageAttribute"] if settings.share else []),
        *(["ec2:EnableImageDeprecation"] if settings.deprecate_after else []),
        *(["ec2:EnableImageDeregistrationProtection"] if settings.protect else []),
    ]
    found = [_allow("FinishImage", images, scope.arns("image"), scope.ours)] if images else []
    if settings.share:
        found.append(_allow("ShareSnapshot", ["ec2:ModifySnapshotAttribute"], scope.arns("snapshot"), scope.ours))
    return found


def _kms(scope: _Scope) -> list[Statement]:
    """Return what EC2 does with a key in our name; an alias is no resource that such a statement may name."""
    using = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
    services = [f"ec2.{region}.amazonaws.com" for region in scope.regions]
    through: Mapping[str, Any] = {"StringEquals": {"kms:ViaService": services}}
    keys = [found for region in scope.regions if (found := sharing.kms_key(scope.settings.publish, region, scope.home))]
    aliases = [one.rpartition(":")[2] for one in keys if ":alias/" in one]
    if aliases:
        keys = [re.sub(":alias/.*", ":key/*", one) for one in keys]
        through = {**through, "ForAnyValue:StringEquals": {"kms:ResourceAliases": aliases[0]}}
    grant = {**through, "Bool": {"kms:GrantIsForAWSResource": "true"}}
    return [_allow("UseKey", using, keys, through), _allow("GrantKey", ["kms:CreateGrant"], keys, grant)]


def _launch(scope: _Scope) -> list[Statement]:
    """Return the statements of ``launch_ami``, ``redeploy`` and ``unibuild ami rollback``."""
    settings = scope.settings.launch
    home = (scope.home,)
    places = ["network-interface", "subnet", "security-group", *(["key-pair"] if settings.key else [])]
    found = [
        _read("ec2:DescribeInstances", "ec2:DescribeAddresses", "ec2:DescribeSubnets", "ec2:DescribeSecurityGroups"),
        _allow("LaunchOurs", ["ec2:RunInstances"], scope.arns("image", regions=home), scope.ours),
        _allow("LaunchAs", ["ec2:RunInstances"], scope.arns("instance", "volume", regions=home), scope.asked),
        _allow("LaunchIn", ["ec2:RunInstances"], scope.arns(*places, regions=home)),
        _allow(
            "TagLaunched",
            ["ec2:CreateTags"],
            scope.arns("instance", "volume", regions=home),
            scope.made_by("RunInstances"),
        ),
        _allow(
            "OurInstances",
            ["ec2:TerminateInstances", "ec2:GetConsoleOutput", "ec2:CreateTags"],
            scope.arns("instance", regions=home),
            scope.ours,
        ),
    ]
    if settings.security_group is None and settings.open:
        found += _security_group(scope)
    if settings.elastic_ip:
        given = settings.elastic_ip if settings.elastic_ip.startswith("eipalloc-") else "*"
        address = scope.arns("elastic-ip", regions=home, name=given)
        found += [
            _allow("MoveAddress", ["ec2:AssociateAddress"], [*address, *scope.arns("network-interface", regions=home)]),
            _allow("MoveAddressTo", ["ec2:AssociateAddress"], scope.arns("instance", regions=home), scope.ours),
        ]
    return found


def _security_group(scope: _Scope) -> list[Statement]:
    home = (scope.home,)
    groups, rules = scope.arns("security-group", regions=home), scope.arns("security-group-rule", regions=home)
    opening = ["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"]
    return [
        _read("ec2:DescribeSecurityGroupRules", "ec2:DescribeVpcs"),
        _allow("MakeGroup", ["ec2:CreateSecurityGroup"], groups, scope.asked),
        _allow("MakeGroupIn", ["ec2:CreateSecurityGroup"], scope.arns("vpc", regions=home)),
        _allow("OpenPorts", opening, groups, scope.ours),
        _allow("OpenPortsAs", opening[:1], rules, scope.asked),
        _allow(
            "TagGroup",
            ["ec2:CreateTags"],
            [*groups, *rules],
            scope.made_by("CreateSecurityGroup", "AuthorizeSecurityGroupIngress"),
        ),
    ]


def _clean(scope: _Scope) -> list[Statement]:
    """Return the statements of ``unibuild ami gc`` and ``rm``."""
    is_protecting = scope.settings.publish.protect
    return [
        _read("ec2:DescribeInstances", "ec2:DescribeLaunchTemplates", "ec2:DescribeLaunchTemplateVersions"),
        _read("ec2:DescribeImportSnapshotTasks"),
        _read("autoscaling:DescribeLaunchConfigurations", "autoscaling:DescribeAutoScalingGroups"),
        _allow(
            "Deregister",
            ["ec2:DeregisterImage", *(["ec2:DisableImageDeregistrationProtection"] if is_protecting else [])],
            scope.arns("image"),
            scope.ours,
        ),
    ]


def _allow(
    sid: str, actions: Sequence[str], resources: Sequence[str], condition: Mapping[str, Any] | None = None
) -> Statement:
    found: Statement = {"Sid": sid, "Effect": "Allow", "Action": sorted(actions), "Resource": list(resources)}
    return {**found, "Condition": dict(condition)} if condition else found


def _read(*actions: str) -> Statement:
    return {"Action": list(actions)}


def _is_changing(statement: Statement) -> bool:
    return "Sid" in statement


def _reading(statements: Iterable[Statement], scope: _Scope) -> Statement:
    """Return the one statement of all that only reads, which has no resources to name."""
    actions = {action for one in statements if not _is_changing(one) for action in one["Action"]}
    return _allow("Look", sorted(actions), ["*"], {"StringEquals": {"aws:RequestedRegion": scope.regions}})
