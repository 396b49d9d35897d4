"""Copy an AMI to other regions in parallel; share, deprecate, protect and tag the copies.

Each call can be repeated. The ClientToken of a copy is the id of its source AMI, so the run after a killed one finds
the copies. A paravirtual AMI needs a kernel image (AKI) of the same name in the other region; that is checked first.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from unibuild.aws import ami as registration
from unibuild.aws import tags, xen_support
from unibuild.aws.client import run_parallel
from unibuild.aws.dry_run import PlannedCall, mentions_unknown
from unibuild.aws.errors import DENIED
from unibuild.aws.inventory import Ami, parse_ami
from unibuild.errors import AwsError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from unibuild.aws.client import Aws
    from unibuild.settings.ami import Publish

__all__ = [
    "ALL",
    "attribute_calls",
    "check_sharing",
    "copy_all",
    "copy_call",
    "distribute",
    "is_encrypted",
    "kms_key_in",
    "reset_calls",
    "shared_with",
    "wait_until_available",
]

ALL = "all"
_LENGTH = 250  # characters of a tag's value; EC2 accepts 256
_MOST = 4  # tags that record the accounts that an AMI is shared with
_ACCOUNT = re.compile(r"\d{12}")
_UNIT = re.compile(r"arn:[^:]+:organizations::\d{12}:ou/")
_EVERYWHERE = re.compile(r"(arn:[^:]+:kms:)[^:]+(:\d{12}:(?:key/mrk-|alias/))")


def check_sharing(settings: Publish) -> None:
    """Check, before anything is sent, that EC2 will not refuse the sharing at the end.

    Raises:
        SettingsError: the AMI is to be shared, and its encryption prevents that.
    """
    if not settings.share or not is_encrypted(settings):
        return
    if ALL in settings.share:
        raise SettingsError(
            '[publish] share = ["all"] and an encrypted AMI exclude each other: EC2 makes no encrypted snapshot public',
            hint="leave out encrypt and kms_key, or name accounts in [publish] share",
        )
    if settings.kms_key is None:
        raise SettingsError(
            "cannot share an AMI that is encrypted with the account's default key: other accounts cannot use the key",
            hint="set [publish] kms_key to a key of your own with a policy that lets those accounts use it",
        )


def is_encrypted(settings: Publish) -> bool:
    """Return whether the settings ask for an encrypted snapshot."""
    return settings.encrypt or settings.kms_key is not None


def kms_key_in(settings: Publish, region: str, home: str) -> str | None:
    """Return the KMS key to use in a region; None: the region's default key.

    Each region can have a key with the same alias, and a multi-region key has the same id in all regions. Any other
    key exists in the AMI's region only.
    """
    key = settings.kms_key
    if key is None or region == home:
        return key
    moved, count = _EVERYWHERE.subn(rf"\g<1>{region}\g<2>", key)
    return moved if count else None


def attribute_calls(
    settings: Publish, ami: Ami, now: datetime, description: str | None = None
) -> tuple[PlannedCall, ...]:
    """Return the calls that share, deprecate, protect and tag an AMI as the settings say.

    Calls that would change nothing are left out. Tags record each change before it is made.

    Args:
        settings: ``[publish]``.
        ami: the current state of the AMI, which is available.
        now: the time that ``deprecate_after`` counts from.
        description: ``[publish] description``, filled in; None: it is not set, and the AMI keeps its description.
    """
    calls, record = _sharing(settings, ami), {}
    if calls:
        record = _packed(dict.fromkeys((*shared_with(ami), *settings.share)))
    days = str(settings.deprecate_after or "")
    if days and (ami.deprecated is None or ami.tags.get(tags.DEPRECATED, days) not in ("", days)):
        at = (now + timedelta(days=int(days))).replace(second=0, microsecond=0)  # EC2 knows minutes
        calls.append(_image(ami, "EnableImageDeprecation", DeprecateAt=at))
        record[tags.DEPRECATED] = days
    if settings.protect and not ami.is_protected:
        calls.append(_image(ami, "EnableImageDeregistrationProtection", WithCooldown=False))
        record[tags.PROTECTED] = "yes"
    if description is not None and description != ami.description:
        calls.append(_image(ami, "ModifyImageAttribute", Description={"Value": description}))
    return (*_tagging(ami, settings.tags, record), *calls)


def reset_calls(settings: Publish, ami: Ami) -> tuple[PlannedCall, ...]:
    """Return the calls that undo what unibuild once set and the settings no longer ask for.

    Args:
        settings: ``[publish]``.
        ami: the current state of the AMI, which is available.
    """
    calls, record = [], {}
    before = shared_with(ami)
    if gone := [who for who in before if who not in settings.share]:
        calls += _permitting(ami, gone, "Remove", "remove")
        record = _packed([who for who in before if who in settings.share])
        record |= {name: "" for name in _names() if ami.tags.get(name) and name not in record}
    if ami.tags.get(tags.DEPRECATED) and not settings.deprecate_after:
        calls += [_image(ami, "DisableImageDeprecation")] if ami.deprecated else []
        record[tags.DEPRECATED] = ""
    if ami.tags.get(tags.PROTECTED) and not settings.protect:
        calls += [_image(ami, "DisableImageDeregistrationProtection")] if ami.is_protected else []
        record[tags.PROTECTED] = ""
    return (*calls, *_tagging(ami, {}, record))


def shared_with(ami: Ami) -> list[str]:
    """Return the accounts that unibuild shared an AMI with, as values of ``[publish] share``."""
    return " ".join(ami.tags.get(name, "") for name in _names()).split()


def _names() -> list[str]:
    return [tags.SHARED if number == 1 else f"{tags.SHARED}-{number}" for number in range(1, _MOST + 1)]


def _packed(shared: Iterable[str]) -> dict[str, str]:
    """Return the tags that record the accounts that an AMI is shared with; those that do not fit are left out."""
    texts = [""]
    for who in shared:
        if texts[-1] and len(texts[-1]) + 1 + len(who) > _LENGTH:
            texts.append("")
        texts[-1] += f" {who}" if texts[-1] else who
    return dict(zip(_names(), texts, strict=False)) if texts[0] else {}


def _tagging(ami: Ami, wanted: Mapping[str, str], record: Mapping[str, str]) -> list[PlannedCall]:
    """Return the calls that give an AMI the tags that it lacks; its snapshots get the user's own tags too."""
    own = {key: value for key, value in wanted.items() if ami.tags.get(key) != value}
    kept = {key: value for key, value in record.items() if ami.tags.get(key) != value}
    calls = [({**own}, [ami.id, *ami.snapshots])] if own else []
    calls += [({**kept}, [ami.id])] if kept else []
    return [
        PlannedCall("ec2", ami.region, "CreateTags", {"Resources": resources, "Tags": tags.write(given)})
        for given, resources in calls
    ]


def _sharing(settings: Publish, ami: Ami) -> list[PlannedCall]:
    """Return the calls that share an AMI and its snapshots; sharing again has no effect."""
    if not settings.share or (ALL in settings.share and ami.is_public and len(settings.share) == 1):
        return []
    return _permitting(ami, settings.share, "Add", "add")


def _permitting(ami: Ami, share: Sequence[str], change: str, operation: str) -> list[PlannedCall]:
    """Return the calls that add or remove the permissions to launch an AMI and to use its snapshots."""
    calls = [_image(ami, "ModifyImageAttribute", LaunchPermission={change: [_permission(who) for who in share]})]
    accounts = [who for who in share if _ACCOUNT.fullmatch(who)]
    changing: dict[str, Any] = {"Attribute": "createVolumePermission", "OperationType": operation}
    changing |= {"UserIds": accounts} if accounts else {}
    changing |= {"GroupNames": [ALL]} if ALL in share else {}
    if accounts or ALL in share:
        calls += [
            PlannedCall("ec2", ami.region, "ModifySnapshotAttribute", {"SnapshotId": snapshot, **changing})
            for snapshot in ami.snapshots
        ]
    return calls


def _permission(who: str) -> dict[str, str]:
    if who == ALL:
        return {"Group": ALL}
    if _ACCOUNT.fullmatch(who):
        return {"UserId": who}
    return {"OrganizationalUnitArn" if _UNIT.match(who) else "OrganizationArn": who}


def _image(ami: Ami, operation: str, **parameters: object) -> PlannedCall:
    return PlannedCall("ec2", ami.region, operation, {"ImageId": ami.id, **parameters})


def distribute(
    aws: Aws,
    settings: Publish,
    region: str,
    image: str,
    report: Callable[[str], None],
    *,
    description: str | None = None,
    known: Ami | None = None,
) -> dict[str, Ami]:
    """Copy an AMI to the other regions, then share, deprecate, protect and tag all copies.

    Each step can be repeated. What unibuild once set and the settings no longer ask for is undone.

    Args:
        aws: the account.
        settings: ``[publish]``; ``check_sharing`` has passed.
        region: the region of the AMI.
        image: its id; it may still be pending.
        report: called with a sentence for each step.
        description: ``[publish] description``, filled in; None: it is not set.
        known: the available AMI, as EC2 has just described it; None: EC2 is asked.

    Returns:
        The AMIs by their regions, that of ``region`` first.

    Raises:
        AwsError: AWS refused; finished steps remain, and the next run continues.
    """
    source = known or wait_until_available(aws, region, image)
    if mentions_unknown(image):
        source = dataclasses.replace(source, virtualization=settings.virtualization)
    made = {region: source, **copy_all(aws, settings, source, report)}
    now = datetime.now(UTC)
    for one in made.values():
        for call in attribute_calls(settings, one, now, description):
            aws.send(call)
        _reset(aws, settings, one, report)
        if one.volume_type and one.volume_type != settings.volume and not mentions_unknown(one.id):
            report(
                f"{one.id} in {one.region} keeps its {one.volume_type} volume: EC2 cannot change it, "
                f"and [publish] volume = {settings.volume} applies to the next AMI"
            )
    return made


def _reset(aws: Aws, settings: Publish, one: Ami, report: Callable[[str], None]) -> None:
    """Undo what the settings no longer ask for; report it if the policy does not allow that."""
    for call in reset_calls(settings, one):
        try:
            aws.send(call)
        except AwsError as error:
            if error.code not in DENIED:
                raise
            report(f"{one.id} in {one.region} keeps its earlier settings: the policy does not allow {call.operation}")
            return


_COPY_TIMEOUT = 3600.0  # seconds that a copy may take: usually a few minutes, at times many


def copy_call(settings: Publish, source: Ami, region: str) -> PlannedCall:
    """Return the call that copies an AMI to a region.

    Args:
        settings: ``[publish]``.
        source: the AMI to copy.
        region: the target region.
    """
    parameters: dict[str, Any] = {
        "Name": source.name,
        **({"Description": source.description} if source.description else {}),
        "SourceImageId": source.id,
        "SourceRegion": source.region,
        "ClientToken": source.id,
        "TagSpecifications": [
            {"ResourceType": kind, "Tags": tags.write(source.tags)} for kind in ("image", "snapshot")
        ],
    }
    if is_encrypted(settings) or source.is_encrypted:
        key = kms_key_in(settings, region, source.region)
        parameters |= {"Encrypted": True, **({"KmsKeyId": key} if key else {})}
    return PlannedCall("ec2", region, "CopyImage", parameters)


def copy_all(aws: Aws, settings: Publish, source: Ami, report: Callable[[str], None]) -> dict[str, Ami]:
    """Copy an AMI to all regions of ``[publish] regions``, and wait until the copies can be launched.

    When one region fails, the others are still tried.

    Args:
        aws: the account.
        settings: ``[publish]``.
        source: the AMI to copy, which is available.
        report: called with a sentence for each copy that begins.

    Returns:
        The copies by their regions.

    Raises:
        AwsError: a region lacks the kernel image, AWS refused, or a copy failed.
    """
    regions = [region for region in dict.fromkeys(settings.regions) if region != source.region]
    if not regions:
        return {}
    kernel = kernel_name(aws, source)
    made: dict[str, Ami] = {}
    failures: list[AwsError] = []

    def copy(region: str) -> Ami | AwsError:
        try:
            there = None if mentions_unknown(source.id) else _find_copy(aws, source, region)
            if there is None:
                _refuse_without_kernel(aws, kernel, region)
                planned = copy_call(settings, source, region)
                report(f"copying {source.name} to {region}")
                there = str(aws.send(planned, wants=("ImageId",))["ImageId"])
            return wait_until_available(aws, region, there)
        except AwsError as error:
            return error

    jobs = [functools.partial(copy, region) for region in regions]
    for region, outcome in zip(regions, run_parallel(jobs), strict=True):
        if isinstance(outcome, AwsError):
            failures.append(outcome)
        else:
            made[region] = outcome
    if failures:
        raise _copy_failure(source, failures, made)
    return made


def kernel_name(aws: Aws, source: Ami) -> str | None:
    """Return the name of an AMI's kernel image; None if it has none.

    Raises:
        AwsError: AWS refused.
    """
    if source.kernel is None:
        return None
    found = aws.client("ec2", source.region).call("DescribeImages", ImageIds=[source.kernel])
    return str(found["Images"][0]["Name"])


def wait_until_available(aws: Aws, region: str, image: str) -> Ami:
    """Wait until an AMI can be launched, and return it.

    Raises:
        AwsError: it failed, or took too long.
    """
    if mentions_unknown(image):  # it is only planned
        return Ami(image, region, "<Name>", "available", "", ("<SnapshotId>",))
    return parse_ami(region, registration.wait_available(aws.client("ec2", region), image, _COPY_TIMEOUT))


def _find_copy(aws: Aws, source: Ami, region: str) -> str | None:
    """Return the id of an existing copy in a region; None if there is none.

    Raises:
        AwsError: another AMI has the name there.
    """
    found = registration.find_by_name(aws.client("ec2", region), source.name)
    if found is None:
        return None
    registration.check_identity(aws.client("ec2", region), found, source.tags.get(tags.SHA256, ""))
    return str(found["ImageId"])


def _refuse_without_kernel(aws: Aws, name: str | None, region: str) -> None:
    if name is not None and not xen_support.is_there(aws.client("ec2", region), name):
        raise AwsError(
            f"cannot copy a paravirtual AMI to {region}: the region lacks the kernel image {name}",
            hint="remove the region from [publish] regions; docs/explanation/ec2.md lists the regions with PV-GRUB",
        )


def _copy_failure(source: Ami, failures: Sequence[AwsError], made: dict[str, Ami]) -> AwsError:
    """Return one error for the regions that failed, which also names the AMIs that exist."""
    error = AwsError(failures[0].message, hint=failures[0].hint, code=failures[0].code)
    for other in failures[1:]:
        error.add(f"and: {other.message}")
    there = ", ".join(f"{one.id} in {region}" for region, one in {source.region: source, **made}.items())
    error.add(f"{source.name} is {there}; run again to copy it to the other regions")
    return error
