"""Sharing, deprecation, protection and tags of an AMI: calls as values, then sent.

What unibuild set is recorded in tags of the AMI, so that it can be taken back when the settings no longer ask for it.
An account that may launch an AMI gets the right to make volumes of its snapshots too, so that it can copy the AMI to
another region. EC2 knows no such right for an organization: there it is the AMI alone.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from unibuild.aws import tags
from unibuild.aws.dry_run import Call
from unibuild.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from unibuild.aws.inventory import Ami
    from unibuild.settings.ami import Publish

__all__ = ["ALL", "check", "finishing", "is_encrypted", "kms_key", "shared_with", "taking_back"]

ALL = "all"
_LENGTH = 250  # characters of a tag's value, of which EC2 takes 256
_MOST = 4  # tags that record with whom an AMI is shared
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


def finishing(settings: Publish, ami: Ami, now: datetime, description: str | None = None) -> tuple[Call, ...]:
    """Return the calls that share, deprecate, protect and tag an AMI as the settings say.

    What is so already is left out. What is done is recorded before it is done.

    Args:
        settings: ``[publish]``.
        ami: the AMI as it is now, available.
        now: the time from which ``deprecate_after`` counts.
        description: ``[publish] description``, filled in; None: it is not set, and stays as it is.
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


def taking_back(settings: Publish, ami: Ami) -> tuple[Call, ...]:
    """Return the calls that take back what unibuild once set and the settings no longer ask for.

    Args:
        settings: ``[publish]``.
        ami: the AMI as it is now, available.
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
    """Return with whom unibuild shared an AMI, in the words of ``[publish] share``."""
    return " ".join(ami.tags.get(name, "") for name in _names()).split()


def _names() -> list[str]:
    return [tags.SHARED if number == 1 else f"{tags.SHARED}-{number}" for number in range(1, _MOST + 1)]


def _packed(shared: Iterable[str]) -> dict[str, str]:
    """Return the tags that record with whom an AMI is shared; what does not fit is not recorded."""
    texts = [""]
    for who in shared:
        if texts[-1] and len(texts[-1]) + 1 + len(who) > _LENGTH:
            texts.append("")
        texts[-1] += f" {who}" if texts[-1] else who
    return dict(zip(_names(), texts, strict=False)) if texts[0] else {}


def _tagging(ami: Ami, wanted: Mapping[str, str], record: Mapping[str, str]) -> list[Call]:
    """Return the call that gives an AMI tags that it lacks: a user's own ones go to its snapshots too."""
    own = {key: value for key, value in wanted.items() if ami.tags.get(key) != value}
    kept = {key: value for key, value in record.items() if ami.tags.get(key) != value}
    calls = [({**own}, [ami.id, *ami.snapshots])] if own else []
    calls += [({**kept}, [ami.id])] if kept else []
    return [
        Call("ec2", ami.region, "CreateTags", {"Resources": resources, "Tags": tags.write(given)})
        for given, resources in calls
    ]


def _sharing(settings: Publish, ami: Ami) -> list[Call]:
    """Return the calls that share an AMI and its snapshots; to share once more does nothing."""
    if not settings.share or (ALL in settings.share and ami.is_public and len(settings.share) == 1):
        return []
    return _permitting(ami, settings.share, "Add", "add")


def _permitting(ami: Ami, share: Sequence[str], change: str, operation: str) -> list[Call]:
    """Return the calls that add or remove the permissions to launch an AMI and to use its snapshots."""
    calls = [_image(ami, "ModifyImageAttribute", LaunchPermission={change: [_permission(who) for who in share]})]
    accounts = [who for who in share if _ACCOUNT.fullmatch(who)]
    changing: dict[str, Any] = {"Attribute": "createVolumePermission", "OperationType": operation}
    changing |= {"UserIds": accounts} if accounts else {}
    changing |= {"GroupNames": [ALL]} if ALL in share else {}
    if accounts or ALL in share:
        calls += [
            Call("ec2", ami.region, "ModifySnapshotAttribute", {"SnapshotId": snapshot, **changing})
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
