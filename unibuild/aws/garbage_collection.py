"""Plan and execute the removal of old AMIs and snapshots.

The plan depends on an ``Inventory`` alone. An AMI is removed before its snapshots, because EC2 refuses to delete a
snapshot that an AMI uses. A plan names only resources with unibuild's tag.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, starmap
from typing import TYPE_CHECKING

from unibuild.aws import tags
from unibuild.aws.distribution import shared_with
from unibuild.aws.dry_run import PlannedCall
from unibuild.aws.errors import NOT_FOUND
from unibuild.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unibuild.aws.client import Aws
    from unibuild.aws.inventory import Ami, Inventory, Snapshot

__all__ = [
    "LAUNCH_AGE",
    "ORPHAN_AGE",
    "KeptAmi",
    "RemovalPlan",
    "RemovalStep",
    "execute",
    "merge_plans",
    "plan_collection",
    "plan_removal",
]

_IN_USE = "InvalidSnapshot.InUse"
_IN_USE_SECONDS = 60.0  # seconds for which EC2 may count a deregistered AMI as a user of its snapshot


def execute(aws: Aws, removal: RemovalPlan) -> dict[int, AwsError]:
    """Make the calls of a removal, in their order, and continue after a failure.

    A resource that somebody else has removed meanwhile counts as removed.

    Args:
        aws: the account.
        removal: the plan.

    Returns:
        The errors, by the numbers of their steps.
    """
    errors: dict[int, AwsError] = {}
    staying: set[object] = set()
    for number, step in enumerate(removal.steps):
        if staying.intersection(step.amis):
            errors[number] = AwsError(f"skipped {step.call}: its AMI was not removed")
            continue
        try:
            _send(aws, step)
        except AwsError as error:
            errors[number] = error
            staying.add(step.call.params.get("ImageId"))
    return errors


def _send(aws: Aws, step: RemovalStep) -> None:
    """Make a call. A snapshot may count as in use for a while after its AMI was removed."""
    error = None

    def attempt() -> bool | None:
        nonlocal error
        try:
            aws.send(step.call)
        except AwsError as refused:
            if refused.code == _IN_USE:
                error = refused
                return None
            if not NOT_FOUND.search(refused.code) and refused.code != "InvalidAMIID.Unavailable":
                raise
        return True

    if aws.poll(attempt, _IN_USE_SECONDS) is None and error is not None:
        raise error


ORPHAN_AGE = timedelta(days=1)
"""How old a snapshot without an AMI must be: a publish over a slow connection may still be writing it."""

LAUNCH_AGE = timedelta(days=30)
"""For how long a shared AMI stays after its last launch: EC2 does not say which other accounts use it."""

_COOLDOWN = "EC2 allows its removal 24 hours after its protection is lifted: run again then"
_BROKEN = ("failed", "error", "invalid")  # states of an AMI that will never be launched


@dataclass(frozen=True)
class KeptAmi:
    """An AMI that stays, although it is not one of the newest or the user named it; ``why`` is a clause.

    ``later``: a step of the plan prepares its removal, and a later run can remove it.
    """

    ami: Ami
    why: str
    later: bool = False


@dataclass(frozen=True)
class RemovalStep:
    """A call that removes something.

    Attributes:
        call: the call.
        why: the reason, for the user.
        amis: the ids of the AMIs that use the resource, and so must be removed first.
    """

    call: PlannedCall
    why: str
    amis: tuple[str, ...] = ()


@dataclass(frozen=True)
class RemovalPlan:
    """The removals in a region.

    Attributes:
        steps: the calls, in their order.
        kept: AMIs that would have been removed, and why they stay.
    """

    steps: tuple[RemovalStep, ...]
    kept: tuple[KeptAmi, ...] = ()


def plan_collection(
    found: Inventory,
    unikernel: str | None,
    keep: int,
    now: datetime,
    orphan_age: timedelta = ORPHAN_AGE,
    *,
    launched: timedelta = LAUNCH_AGE,
    is_sharing: bool = False,
) -> RemovalPlan:
    """Return the removal of the AMIs and snapshots that are no longer needed.

    Args:
        found: the inventory of the region.
        unikernel: the unikernel; None: every unikernel, each counted separately.
        keep: how many publishes of a unikernel stay, the newest ones. AMIs with the same content, such as an encrypted
            copy and its source, are one publish.
        now: the time.
        orphan_age: how old a snapshot that no AMI uses must be, unless EC2 has given it up.
        launched: a shared AMI that any account launched within this time stays.
        is_sharing: whether all of these AMIs count as shared; else those that are public or that unibuild shared.
    """
    old, kept = _old(found, unikernel, keep, now - launched, is_sharing=is_sharing)
    orphans = [_delete(one, why) for one, why in _orphans(found, unikernel, now - orphan_age)]
    return RemovalPlan((*_removal(found, old), *chain.from_iterable(orphans)), tuple(kept))


def plan_removal(found: Inventory, amis: Sequence[Ami], *, force: bool, unprotect: bool = False) -> RemovalPlan:
    """Return the removal of AMIs that the user named.

    Args:
        found: the inventory of the region.
        amis: the AMIs.
        force: whether to remove AMIs that are in use.
        unprotect: whether to lift the protection against deregistration first. If it has a cooldown, a later run
            removes the AMI. Without ``unprotect`` a protected AMI stays, because EC2 would refuse.
    """
    kept = [KeptAmi(one, why) for one in amis if (why := _needed(found, one, force=force, unprotect=unprotect))]
    stay = {one.ami.id for one in kept}
    going = [one for one in amis if one.id not in stay]
    lifted = [_unprotect(one) for one in going if one.is_protected]
    kept += [KeptAmi(one, _COOLDOWN, later=True) for one in going if one.has_cooldown]
    return RemovalPlan((*lifted, *_removal(found, [(one, "") for one in going if not one.has_cooldown])), tuple(kept))


def _old(
    found: Inventory, unikernel: str | None, keep: int, launched_since: datetime, *, is_sharing: bool
) -> tuple[list[tuple[Ami, str]], list[KeptAmi]]:
    """Return the AMIs to remove, each with the reason, and the equally old ones that stay."""
    old: list[tuple[Ami, str]] = []
    kept: list[KeptAmi] = []
    publishes: dict[str | None, list[str]] = {}
    for one in found.newest_first(unikernel):
        if one.state == "pending":
            continue
        why = f"its state is {one.state}"
        if one.state not in _BROKEN:
            newer = publishes.setdefault(one.unikernel, [])
            content = one.tags.get(tags.SHA256, one.id)
            if content not in newer:
                newer.append(content)
            if newer.index(content) < keep:
                continue
            count = newer.index(content)
            newer_ones = f"publish of {one.unikernel} is" if count == 1 else f"publishes of {one.unikernel} are"
            why = f"{count} {newer_ones} newer"
        if needed := _needed(found, one, force=False) or _launched(one, launched_since, is_sharing=is_sharing):
            kept.append(KeptAmi(one, needed))
        else:
            old.append((one, why))
    return old, kept


def _needed(found: Inventory, one: Ami, *, force: bool, unprotect: bool = False) -> str | None:
    """Return why an AMI must stay; None if it need not."""
    if (users := found.users.get(one.id)) and not force:
        return f"it is used by {', '.join(users)}"
    return "it is protected against deregistration" if one.is_protected and not unprotect else None


def _launched(one: Ami, since: datetime, *, is_sharing: bool) -> str | None:
    """Return that a shared AMI was launched since a time, by any account; None if it was not, or is not shared."""
    if one.last_launched is None or not (is_sharing or one.is_public or shared_with(one)):
        return None
    when = datetime.fromisoformat(one.last_launched)
    return f"it is shared, and was launched on {one.last_launched[:10]}" if when >= since else None


def _removal(found: Inventory, going: Sequence[tuple[Ami, str]]) -> list[RemovalStep]:
    """Return the calls that remove AMIs, then their snapshots that have unibuild's tag and that no other AMI uses."""
    ids = {one.id for one, _ in going}
    used = {snapshot for one in found.amis if one.id not in ids for snapshot in one.snapshots}
    steps = list(starmap(_deregister, going))
    for one in found.snapshots:
        of = [ami for ami, _ in going if one.id in ami.snapshots]
        if one.unikernel in {ami.unikernel for ami in of} and one.id not in used:
            steps += _delete(one, f"of {of[0].name}", *(ami.id for ami in of))
    return steps


def _unprotect(one: Ami) -> RemovalStep:
    call = PlannedCall("ec2", one.region, "DisableImageDeregistrationProtection", {"ImageId": one.id})
    return RemovalStep(call, f"{one.name}: it is protected")


def _deregister(one: Ami, why: str) -> RemovalStep:
    call = PlannedCall("ec2", one.region, "DeregisterImage", {"ImageId": one.id})
    return RemovalStep(call, f"{one.name}: {why}" if why else one.name)


def _delete(one: Snapshot, why: str, *amis: str) -> list[RemovalStep]:
    """Return the calls that delete a snapshot, which gets its missing tags first, because the policy requires them."""
    delete = RemovalStep(PlannedCall("ec2", one.region, "DeleteSnapshot", {"SnapshotId": one.id}), why, amis)
    if one.is_marked:
        return [delete]
    marks = {"Resources": [one.id], "Tags": tags.write(one.tags)}
    return [
        RemovalStep(PlannedCall("ec2", one.region, "CreateTags", marks), "an import of this project made it", amis),
        delete,
    ]


def _orphans(found: Inventory, unikernel: str | None, before: datetime) -> Iterator[tuple[Snapshot, str]]:
    """Yield unibuild's snapshots that no AMI uses and no publish is writing."""
    used = {snapshot for one in found.amis for snapshot in one.snapshots}
    for one in found.snapshots:
        if one.unikernel is None or unikernel not in (None, one.unikernel) or one.id in used:
            continue
        if one.state == "error":
            yield one, "its upload was never completed"
        elif one.started < before:
            yield one, "its upload was interrupted" if one.state == "pending" else "no AMI uses it"


def merge_plans(removals: Sequence[RemovalPlan]) -> RemovalPlan:
    """Return the removals of several regions as one."""
    return RemovalPlan(
        tuple(step for one in removals for step in one.steps), tuple(kept for one in removals for kept in one.kept)
    )
