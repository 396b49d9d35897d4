"""Who may launch an AMI, when it is deprecated, and whether it may be deregistered: calls as values, then sent.

An account that may launch an AMI gets the right to make volumes of its snapshots too, so that it can copy the AMI to
another region. EC2 knows no such right for an organization: there it is the AMI alone.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from unibuild.aws.plan import Call
from unibuild.errors import SettingsError

if TYPE_CHECKING:
    from datetime import datetime

    from unibuild.aws.inventory import Ami
    from unibuild.settings.publish import Publish

__all__ = ["ALL", "check", "finishing", "kms_key"]

ALL = "all"
_ACCOUNT = re.compile(r"\d{12}")
_UNIT = re.compile(r"arn:[^:]+:organizations::\d{12}:ou/")
_EVERYWHERE = re.compile(r"(arn:[^:]+:kms:)[^:]+(:\d{12}:(?:key/mrk-|alias/))")


def check(settings: Publish) -> None:
    """Refuse, before anything is sent, what EC2 would refuse at the end.

    Raises:
        SettingsError: it shall be shared, and is encrypted so that it cannot be.
    """
    if not settings.share or not is_encrypted(settings):
        return
    if ALL in settings.share:
        raise SettingsError(
            '[publish] share = ["all"] and an encrypted AMI exclude each other: EC2 makes no encrypted snapshot public',
            hint="leave out encrypt and kms_key, or name the accounts that may launch it",
        )
    if settings.kms_key is None:
        raise SettingsError(
            "[publish] share is set, and the AMI is encrypted with the account's default key, which is for no others",
            hint="kms_key: a key of your own whose policy lets those accounts use it",
        )


def is_encrypted(settings: Publish) -> bool:
    """Say whether the settings want an encrypted snapshot."""
    return settings.encrypt or settings.kms_key is not None


def kms_key(settings: Publish, region: str, home: str) -> str | None:
    """Return the KMS key that encrypts in a region; None: the region's default key.

    An alias can be of a key in each region, and a multi-region key has the same id in all of them. Any other key is
    one of the AMI's own region.
    """
    key = settings.kms_key
    if key is None or region == home:
        return key
    moved, count = _EVERYWHERE.subn(rf"\g<1>{region}\g<2>", key)
    return moved if count else None


def finishing(settings: Publish, ami: Ami, now: datetime) -> tuple[Call, ...]:
    """Return the calls that share, deprecate and protect an AMI as the settings say; what is so already is left out.

    Args:
        settings: ``[publish]``.
        ami: the AMI as it is now, available.
        now: the time from which ``deprecate_after`` counts.
    """
    calls = [*_sharing(settings, ami)]
    if settings.deprecate_after and ami.deprecated is None:
        at = (now + timedelta(days=settings.deprecate_after)).replace(second=0, microsecond=0)  # EC2 knows minutes
        calls.append(_image(ami, "EnableImageDeprecation", DeprecateAt=at))
    if settings.protect and not ami.is_protected:
        calls.append(_image(ami, "EnableImageDeregistrationProtection", WithCooldown=False))
    return tuple(calls)


def _sharing(settings: Publish, ami: Ami) -> list[Call]:
    """Return the calls that share an AMI and its snapshots; to share once more does nothing."""
    if not settings.share or (ALL in settings.share and ami.is_public and len(settings.share) == 1):
        return []
    calls = [
        _image(ami, "ModifyImageAttribute", LaunchPermission={"Add": [_permission(who) for who in settings.share]})
    ]
    accounts = [who for who in settings.share if _ACCOUNT.fullmatch(who)]
    adding: dict[str, Any] = {"Attribute": "createVolumePermission", "OperationType": "add"}
    adding |= {"UserIds": accounts} if accounts else {}
    adding |= {"GroupNames": [ALL]} if ALL in settings.share else {}
    if accounts or ALL in settings.share:
        calls += [
            Call("ec2", ami.region, "ModifySnapshotAttribute", {"SnapshotId": snapshot, **adding})
            for snapshot in ami.snapshots
        ]
    return calls


def _permission(who: str) -> dict[str, str]:
    if who == ALL:
        return {"Group": ALL}
    if _ACCOUNT.fullmatch(who):
        return {"UserId": who}
    return {"OrganizationalUnitArn" if _UNIT.match(who) else "OrganizationArn": who}


def _image(ami: Ami, operation: str, **parameters: object) -> Call:
    return Call("ec2", ami.region, operation, {"ImageId": ami.id, **parameters})
