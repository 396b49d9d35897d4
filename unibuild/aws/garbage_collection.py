"""Which AMIs and snapshots can go: decided from an ``Inventory`` alone, nothing is asked and nothing changed here.

An AMI goes before its snapshots, for EC2 refuses to delete a snapshot that an AMI uses. Only what carries our tag is
ever named in a plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, starmap
from typing import TYPE_CHECKING

from unibuild.aws import tags
from unibuild.aws.dry_run import Call
from unibuild.aws.sharing import shared_with

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unibuild.aws.inventory import Ami, Inventory, Snapshot

__all__ = ["LAUNCHED", "ORPHAN_AGE", "Kept", "Removal", "Step", "collect", "joined", "remove"]

ORPHAN_AGE = timedelta(days=1)
"""How old a snapshot without an AMI must be: a publish of a slow connection may still be at it."""

LAUNCHED = timedelta(days=30)
"""For how long a shared AMI stays after its last launch: EC2 does not tell who else uses it."""

_COOLDOWN = "EC2 lets it go 24 hours after its protection is lifted: run again then"
_BROKEN = ("failed", "error", "invalid")  # states of an AMI that will never be launched


@dataclass(frozen=True)
class Kept:
    """An AMI that stays, though it is none of the newest or was named; ``why`` is a clause.

    ``later``: it stays only for now, and a step brings nearer that it goes.
    """

    ami: Ami
    why: str
    later: bool = False


@dataclass(frozen=True)
class Step:
    """A call that removes something.

    Attributes:
        call: the call.
        why: why it goes, in words.
        amis: the ids of the AMIs that use it, and so must be gone before.
    """

    call: Call
    why: str
    amis: tuple[str, ...] = ()


@dataclass(frozen=True)
class Removal:
    """What goes in a region.

    Attributes:
        steps: the calls, in their order.
        kept: AMIs that would have gone, and why they do not.
    """

    steps: tuple[Step, ...]
    kept: tuple[Kept, ...] = ()


def collect(
    found: Inventory,
    unikernel: str | None,
    keep: int,
    now: datetime,
    orphan_age: timedelta = ORPHAN_AGE,
    *,
    launched: timedelta = LAUNCHED,
    is_sharing: bool = False,
) -> Removal:
    """Return what is not needed any more.

    Args:
        found: what is in the region.
        unikernel: whose AMIs; None: those of every unikernel, each by itself.
        keep: how many publishes of a unikernel stay, the newest ones. AMIs of one content, as an encrypted copy and
            what it was copied from, are one publish.
        now: the time.
        orphan_age: how old a snapshot must be that no AMI uses, unless EC2 has given it up.
        launched: a shared AMI stays that was launched within this time, by any account.
        is_sharing: whether all of these AMIs count as shared; else those that are public or that unibuild shared.
    """
    old, kept = _old(found, unikernel, keep, now - launched, is_sharing=is_sharing)
    orphans = [_delete(one, why) for one, why in _orphans(found, unikernel, now - orphan_age)]
    return Removal((*_removal(found, old), *chain.from_iterable(orphans)), tuple(kept))


def remove(found: Inventory, amis: Sequence[Ami], *, force: bool, unprotect: bool = False) -> Removal:
    """Return the removal of AMIs that a person named.

    Args:
        found: what is in the region.
        amis: the AMIs.
        force: those go too that something uses.
        unprotect: the protection against deregistration is lifted first. Where it has a cooldown that is all that can
            be done now. Else a protected AMI stays: EC2 would refuse.
    """
    kept = [Kept(one, why) for one in amis if (why := _needed(found, one, force=force, unprotect=unprotect))]
    stay = {one.ami.id for one in kept}
    going = [one for one in amis if one.id not in stay]
    lifted = [_unprotect(one) for one in going if one.is_protected]
    kept += [Kept(one, _COOLDOWN, later=True) for one in going if one.has_cooldown]
    return Removal((*lifted, *_removal(found, [(one, "") for one in going if not one.has_cooldown])), tuple(kept))


def _old(
    found: Inventory, unikernel: str | None, keep: int, launched_since: datetime, *, is_sharing: bool
) -> tuple[list[tuple[Ami, str]], list[Kept]]:
    """Return the AMIs to remove, each with the reason, and those that are as old and stay."""
    old: list[tuple[Ami, str]] = []
    kept: list[Kept] = []
    publishes: dict[str | None, list[str]] = {}
    for one in found.ours(unikernel):  # the newest first
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
            kept.append(Kept(one, needed))
        else:
            old.append((one, why))
    return old, kept


def _needed(found: Inventory, one: Ami, *, force: bool, unprotect: bool = False) -> str | None:
    """Say why an AMI must stay; None: it need not."""
    if (users := found.users.get(one.id)) and not force:
        return f"it is used by {', '.join(users)}"
    return "it is protected against deregistration" if one.is_protected and not unprotect else None


def _launched(one: Ami, since: datetime, *, is_sharing: bool) -> str | None:
    """Say that a shared AMI was launched lately, perhaps by another account; None: it was not, or is not shared."""
    if one.last_launched is None or not (is_sharing or one.is_public or shared_with(one)):
        return None
    when = datetime.fromisoformat(one.last_launched)
    return f"it is shared, and was launched on {one.last_launched[:10]}" if when >= since else None


def _removal(found: Inventory, going: Sequence[tuple[Ami, str]]) -> list[Step]:
    """Return the calls that remove AMIs, then those of their snapshots that are ours and no other AMI uses."""
    ids = {one.id for one, _ in going}
    used = {snapshot for one in found.amis if one.id not in ids for snapshot in one.snapshots}
    steps = list(starmap(_deregister, going))
    for one in found.snapshots:
        of = [ami for ami, _ in going if one.id in ami.snapshots]
        if one.unikernel in {ami.unikernel for ami in of} and one.id not in used:
            steps += _delete(one, f"of {of[0].name}", *(ami.id for ami in of))
    return steps


def _unprotect(one: Ami) -> Step:
    call = Call("ec2", one.region, "DisableImageDeregistrationProtection", {"ImageId": one.id})
    return Step(call, f"{one.name}: it is protected")


def _deregister(one: Ami, why: str) -> Step:
    call = Call("ec2", one.region, "DeregisterImage", {"ImageId": one.id})
    return Step(call, f"{one.name}: {why}" if why else one.name)


def _delete(one: Snapshot, why: str, *amis: str) -> list[Step]:
    """Return the calls that delete a snapshot; one without our tags gets them first, for the policy asks for them."""
    delete = Step(Call("ec2", one.region, "DeleteSnapshot", {"SnapshotId": one.id}), why, amis)
    if one.is_marked:
        return [delete]
    marks = {"Resources": [one.id], "Tags": tags.write(one.tags)}
    return [Step(Call("ec2", one.region, "CreateTags", marks), "an import of ours made it", amis), delete]


def _orphans(found: Inventory, unikernel: str | None, before: datetime) -> Iterator[tuple[Snapshot, str]]:
    """Give the snapshots of ours that no AMI uses and no publish is at."""
    used = {snapshot for one in found.amis for snapshot in one.snapshots}
    for one in found.snapshots:
        if one.unikernel is None or unikernel not in (None, one.unikernel) or one.id in used:
            continue
        if one.state == "error":
            yield one, "its upload was never completed"
        elif one.started < before:
            yield one, "its upload was broken off" if one.state == "pending" else "no AMI uses it"


def joined(removals: Sequence[Removal]) -> Removal:
    """Return the removals of several regions as one."""
    return Removal(
        tuple(step for one in removals for step in one.steps), tuple(kept for one in removals for kept in one.kept)
    )
