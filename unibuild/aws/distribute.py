"""Copies of an AMI in other regions: each is a call that can be made again, all are made at the same time.

The ClientToken of a copy is the id of the AMI that it is made from, so a run that was killed finds its own copies. A
paravirtual AMI needs a kernel image (AKI) of the same name in the other region; that is looked up first.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from unibuild.aws import ami as register
from unibuild.aws import sharing, tags, xen_support
from unibuild.aws.dry_run import Call, mentions_unknown
from unibuild.aws.inventory import Ami, ami
from unibuild.aws.together import together
from unibuild.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unibuild.aws.client import Aws
    from unibuild.settings.ami import Publish

__all__ = ["call", "copy_all", "wait_until_available"]

_PATIENCE = 3600.0  # seconds that a copy may take: snapshots go from region to region in minutes, at times in many


def call(settings: Publish, source: Ami, region: str) -> Call:
    """Return the call that copies an AMI to a region.

    Args:
        settings: ``[publish]``.
        source: what is copied.
        region: where to.
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
    if sharing.is_encrypted(settings) or source.is_encrypted:
        key = sharing.kms_key(settings, region, source.region)
        parameters |= {"Encrypted": True, **({"KmsKeyId": key} if key else {})}
    return Call("ec2", region, "CopyImage", parameters)


def copy_all(aws: Aws, settings: Publish, source: Ami, tell: Callable[[str], None]) -> dict[str, Ami]:
    """Copy an AMI to all regions of ``[publish] regions``, and wait until the copies can be launched.

    All regions are tried, also when one fails.

    Args:
        aws: the account.
        settings: ``[publish]``.
        source: what is copied, available.
        tell: is given a sentence for each copy that is begun.

    Returns:
        The copies by their regions.

    Raises:
        AwsError: a region has no such kernel image; or AWS refused; or a copy failed.
    """
    regions = [region for region in dict.fromkeys(settings.regions) if region != source.region]
    if not regions:
        return {}
    kernel = kernel_name(aws, source)
    made: dict[str, Ami] = {}
    failures: list[AwsError] = []

    def copy(region: str) -> Ami | AwsError:
        try:
            there = None if mentions_unknown(source.id) else _same(aws, source, region)
            if there is None:
                _refuse_without_kernel(aws, kernel, region)
                planned = call(settings, source, region)
                tell(f"copying {source.name} to {region}")
                there = str(aws.send(planned, wants=("ImageId",))["ImageId"])
            return wait_until_available(aws, region, there)
        except AwsError as error:
            return error

    jobs = [functools.partial(copy, region) for region in regions]
    for region, outcome in zip(regions, together(jobs), strict=True):
        if isinstance(outcome, AwsError):
            failures.append(outcome)
        else:
            made[region] = outcome
    if failures:
        raise _failure(source, failures, made)
    return made


def kernel_name(aws: Aws, source: Ami) -> str | None:
    """Return the name of an AMI's kernel image; None: it has none.

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
        AwsError: it failed, or takes too long.
    """
    if mentions_unknown(image):  # it is only planned
        return Ami(image, region, "<Name>", "available", "", ("<SnapshotId>",))
    return ami(region, register.wait_available(aws.client("ec2", region), image, _PATIENCE))


def _same(aws: Aws, source: Ami, region: str) -> str | None:
    """Return the id of the copy that is in a region already; None: there is none.

    Raises:
        AwsError: another AMI has its name there.
    """
    found = register.named(aws.client("ec2", region), source.name)
    if found is None:
        return None
    register.check_identity(aws.client("ec2", region), found, source.tags.get(tags.SHA256, ""))
    return str(found["ImageId"])


def _refuse_without_kernel(aws: Aws, name: str | None, region: str) -> None:
    if name is not None and not xen_support.is_there(aws.client("ec2", region), name):
        raise AwsError(
            f"{region} has no kernel image {name}, so no paravirtual AMI can be copied there",
            hint="take it out of [publish] regions; docs/explanation/ec2.md lists the regions that have PV-GRUB",
        )


def _failure(source: Ami, failures: Sequence[AwsError], made: dict[str, Ami]) -> AwsError:
    """Return the error of those regions that failed; what the others have is told."""
    error = AwsError(failures[0].message, hint=failures[0].hint, code=failures[0].code)
    for other in failures[1:]:
        error.add(f"and: {other.message}")
    there = ", ".join(f"{one.id} in {region}" for region, one in {source.region: source, **made}.items())
    error.add(f"{source.name} is {there}; run again for the rest")
    return error
