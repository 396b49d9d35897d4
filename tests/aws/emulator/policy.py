"""Evaluate an IAM policy by the IAM user guide ("Policy evaluation logic", "Resource", "Condition").

A call that no statement allows is denied, and a Deny overrides an Allow. A statement applies if its action, its
resource and all of its conditions match. The known condition operators are those in unibuild's policies: of strings,
booleans, and Null.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

EVERYTHING = "*"
"""The resource of an action that has no resource-level permissions."""


@dataclass(frozen=True)
class Resource:
    """A resource that a call uses.

    Attributes:
        arn: Its ARN, which ends in ``*`` for a resource that the call creates, as in EC2.
        tags: Its existing tags; a new resource has none.
        asked: The tags that the call sets.
    """

    arn: str = EVERYTHING
    tags: Mapping[str, str] = field(default_factory=dict)
    asked: Mapping[str, str] = field(default_factory=dict)

    def keys(self) -> dict[str, list[str]]:
        """Return the condition keys that it adds to those of the request, in lower case, as keys are compared."""
        held = {f"aws:resourcetag/{key}": [value] for key, value in self.tags.items()}
        given = {f"aws:requesttag/{key}": [value] for key, value in self.asked.items()}
        names = {"aws:tagkeys": list(self.asked)} if self.asked else {}
        return {key.lower(): values for key, values in {**held, **given, **names}.items()}


def allows(policy: Mapping[str, Any], action: str, resource: Resource, keys: Mapping[str, str]) -> bool:
    """Return whether a policy allows an action on a resource; a call needs this for each resource that it uses.

    Args:
        policy: the document, parsed from JSON.
        action: such as ``ec2:DeleteSnapshot``.
        resource: the resource.
        keys: the request's own condition keys, such as ``aws:RequestedRegion``.
    """
    known = {**{key.lower(): [value] for key, value in keys.items()}, **resource.keys()}
    effects = {
        one["Effect"]
        for one in _list(policy["Statement"])
        if any(_pattern(name.lower()).fullmatch(action.lower()) for name in _list(one["Action"]))
        and any(_names(arn, resource.arn) for arn in _list(one["Resource"]))
        and _holds(one.get("Condition", {}), known)
    }
    return effects == {"Allow"}


def _names(pattern: str, arn: str) -> bool:
    """Compare ARNs part by part: a wildcard does not match a colon, except in the last part."""
    if EVERYTHING in (pattern, arn):
        return pattern == EVERYTHING
    wanted, parts = pattern.split(":", 5), arn.split(":", 5)
    return len(wanted) == len(parts) and all(
        _pattern(one).fullmatch(part) for one, part in zip(wanted, parts, strict=True)
    )


def _holds(conditions: Mapping[str, Mapping[str, Any]], known: Mapping[str, Sequence[str]]) -> bool:
    return all(
        _compares(operator, known.get(key.lower()), _list(wanted))
        for operator, compared in conditions.items()
        for key, wanted in compared.items()
    )


def _compares(operator: str, values: Sequence[str] | None, wanted: Sequence[Any]) -> bool:
    """Compare the values of a key with any of the wanted ones; None: the request lacks the key."""
    quantifier, _, name = operator.rpartition(":")
    if name == "Null":
        return any((values is None) == (str(one).lower() == "true") for one in wanted)
    compare = OPERATORS[name.removesuffix("IfExists")]
    if values is None:
        return name.endswith("IfExists") or quantifier == "ForAllValues"
    matching = [any(compare(value, one) for one in wanted) for value in values]
    return any(matching) if quantifier == "ForAnyValue" else all(matching)


OPERATORS: dict[str, Callable[[str, Any], bool]] = {
    "StringEquals": lambda value, wanted: value == wanted,
    "StringLike": lambda value, wanted: bool(_pattern(wanted).fullmatch(value)),
    "Bool": lambda value, wanted: value.lower() == str(wanted).lower(),
}


@functools.cache
def _pattern(text: str) -> re.Pattern[str]:
    parts = ({"*": ".*", "?": "."}.get(one) or re.escape(one) for one in text)
    return re.compile("".join(parts), re.DOTALL)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
