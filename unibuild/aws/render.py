"""Render AMIs as text and as JSON; docs/reference/ami.md describes the objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unibuild.aws import tags

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from unibuild.aws.garbage_collection import RemovalPlan
    from unibuild.aws.inventory import Ami
    from unibuild.aws.snapshot.comparison import BlockDifference

__all__ = [
    "TABLE_HEAD",
    "VERSION",
    "ami_object",
    "detail_lines",
    "difference_lines",
    "provenance",
    "removal_object",
    "table_row",
]

VERSION = 2
"""The version of the objects that ``--json`` prints; it goes up when a field is removed or changes its meaning."""

TABLE_HEAD = ("AMI", "REGION", "NAME", "MADE (UTC)", "TYPE", "STATE", "FROM", "VERIFIED (UTC)", "USED BY")
_SHOWN = 2  # users of an AMI that a table shows
_PROVENANCE = {
    "unikernel": tags.UNIKERNEL,
    "sha256": tags.SHA256,
    "revision": tags.REVISION,
    "toolchain": tags.TOOLCHAIN,
    "version": tags.VERSION,
    "verified": tags.VERIFIED,
}


def table_row(one: Ami, users: Sequence[str] | None) -> tuple[str, ...]:
    """Return the row of an AMI in a table with ``TABLE_HEAD``; None for ``users``: they are not known."""
    notes = [note for note, is_so in (("public", one.is_public), ("protected", one.is_protected)) if is_so]
    return (
        one.id,
        one.region,
        one.name,
        _minute(one.created),
        one.virtualization,
        ", ".join((one.state, *notes)),
        one.tags.get(tags.REVISION, ""),
        _minute(one.tags.get(tags.VERIFIED, "")),
        "not known" if users is None else _few(users),
    )


def provenance(one: Ami) -> dict[str, str | None]:
    """Return the facts about the kernel of an AMI that its tags hold; None: there is no tag."""
    return {name: one.tags.get(key) for name, key in _PROVENANCE.items()}


def ami_object(one: Ami, users: Sequence[str] | None = None) -> dict[str, Any]:
    """Return an AMI for ``--json``, with what uses it if ``users`` is given."""
    return {
        "id": one.id,
        "region": one.region,
        "name": one.name,
        "state": one.state,
        "created": one.created,
        "virtualization": one.virtualization,
        "kernel_image": one.kernel,
        "snapshots": list(one.snapshots),
        "size_gib": one.size,
        "public": one.is_public,
        "protected": one.is_protected,
        "encrypted": one.is_encrypted,
        "deprecated": one.deprecated,
        "provenance": provenance(one),
        "tags": dict(one.tags),
        **({} if users is None else {"used_by": list(users)}),
    }


def detail_lines(one: Ami, users: Sequence[str]) -> Iterator[str]:
    """Yield the lines that describe an AMI in full."""
    yield f"{one.id}  {one.name}"
    shown = {
        "region": one.region,
        "state": one.state,
        "made": one.created,
        "type": one.virtualization + (f", kernel image {one.kernel}" if one.kernel else ""),
        "snapshots": ", ".join(one.snapshots) + f" ({one.size} GiB{', encrypted' if one.is_encrypted else ''})",
        **{name: text or "" for name, text in provenance(one).items()},
        "deprecated": one.deprecated or "",
        "public": "every account may launch it" if one.is_public else "",
        "protected": _protection(one),
        "used by": ", ".join(users),
    }
    own = set(_PROVENANCE.values())
    shown |= {f"tag {key}": text for key, text in one.tags.items() if key not in own}
    width = max(map(len, shown))
    for name, text in shown.items():
        if text:
            yield f"  {name:<{width}}  {text}"


def difference_lines(
    first: Ami, second: Ami, blocks: int, found: Sequence[BlockDifference], size: int
) -> Iterator[str]:
    """Yield the lines that describe how two AMIs differ.

    Args:
        first: one of them.
        second: the other.
        blocks: how many blocks have data in either.
        found: the blocks that differ.
        size: bytes of a block.
    """
    yield f"{first.id} {first.name} ({first.region})"
    yield f"{second.id} {second.name} ({second.region})"
    one, other = provenance(first), provenance(second)
    for name in _PROVENANCE:
        if one[name] != other[name]:
            yield f"  {name}: {one[name] or 'not known'} -> {other[name] or 'not known'}"
    if not found:
        yield f"  their {blocks} blocks are the same"
        return
    yield f"  {len(found)} of {blocks} blocks of {size >> 10} KiB differ, in {sum(each.bytes for each in found)} bytes:"
    for each in found:
        where = {"changed": "", "first": ", only in the first", "second": ", only in the second"}[each.how]
        yield f"  block {each.index}: {each.bytes} bytes from {each.offset} on{where}"


def removal_object(removal: RemovalPlan, failures: Mapping[int, str], *, planned: bool) -> dict[str, Any]:
    """Return a removal for ``--json``; ``failures`` are reasons by the number of the step."""
    steps = [
        {
            "region": step.call.region,
            "call": f"{step.call.service}:{step.call.operation}",
            "parameters": dict(step.call.params),
            "why": step.why,
            "done": not planned and number not in failures,
            "failure": failures.get(number),
        }
        for number, step in enumerate(removal.steps)
    ]
    kept = [{"id": one.ami.id, "region": one.ami.region, "name": one.ami.name, "why": one.why} for one in removal.kept]
    return {"version": VERSION, "planned": planned, "steps": steps, "kept": kept}


def _protection(one: Ami) -> str:
    if not one.is_protected:
        return ""
    after = ", and for 24 hours after the protection is lifted" if one.has_cooldown else ""
    return f"EC2 refuses to deregister it{after}; `unibuild ami rm --unprotect` lifts the protection"


def _few(users: Sequence[str]) -> str:
    more = len(users) - _SHOWN
    return ", ".join(users[:_SHOWN]) + (f", and {more} more" if more > 0 else "")


def _minute(text: str) -> str:
    return text[:16].replace("T", " ")
