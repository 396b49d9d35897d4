"""Selection in EC2's Describe operations: ids, filters with wildcards, pages."""

from __future__ import annotations

import base64
import functools
import re
from typing import TYPE_CHECKING, Any

from emulator.errors import AwsError, unknown_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from emulator.request import Params

    Fields = Mapping[str, str | Callable[[Params], Any]]
    """The filters of an operation: the member that each compares, or a function that returns it (or a list)."""


def matches(value: Any, patterns: Iterable[str]) -> bool:
    """Return whether a value matches one of the patterns: ``*`` is any text, ``?`` a character, ``\\`` escapes them."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return any(_pattern(pattern).fullmatch(text) for pattern in patterns)


@functools.cache
def _pattern(pattern: str) -> re.Pattern[str]:
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    expression = "".join({"*": ".*", "?": "."}.get(part) or re.escape(part[-1]) for part in parts)
    return re.compile(expression, re.DOTALL)


def filtered(items: list[Params], filters: list[Params] | None, fields: Fields) -> list[Params]:
    """Return the items that match all filters; an item's tags are its member ``Tags``."""
    for one in filters or []:
        name, patterns = one.get("Name", ""), one.get("Values", [])
        tags = [item.get("Tags", []) for item in items]
        if name.startswith("tag:"):
            found = [any(tag["Key"] == name[4:] and matches(tag["Value"], patterns) for tag in own) for own in tags]
        elif name == "tag-key":
            found = [any(matches(tag["Key"], patterns) for tag in own) for own in tags]
        elif name in fields:
            found = [_holds(item, fields[name], patterns) for item in items]
        else:
            raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid")
        items = [item for item, kept in zip(items, found, strict=True) if kept]
    return items


def _holds(item: Params, field: str | Callable[[Params], Any], patterns: list[str]) -> bool:
    value = item.get(field) if isinstance(field, str) else field(item)
    values = value if isinstance(value, list) else [value]
    return any(one is not None and matches(one, patterns) for one in values)


def known(ids: list[str] | None, there: Iterable[str], kind: str, prefixes: str) -> None:
    """Refuse malformed ids (``prefixes`` is a regular expression), and ids that do not exist."""
    for one in ids or []:
        if not re.fullmatch(rf"({prefixes})-[0-9a-f]+", one):
            code = f"Invalid{kind}.Malformed" if kind in ("AMIID", "InstanceID") else "InvalidParameterValue"
            raise AwsError(code, f'Invalid id: "{one}" (expecting "{prefixes.partition("|")[0]}-...")')
        if one not in there:
            raise unknown_id(kind, one)


def page(
    items: list[Params], params: Params, ids: str, *, low: int = 5, high: int = 1000
) -> tuple[list[Params], Params]:
    """Return a page, and the answer's NextToken if more follow; ``ids`` names the parameter with the ids."""
    size = params.get("MaxResults")
    if size is None:
        return items, {}
    if params.get(ids):
        raise AwsError(
            "InvalidParameterCombination", f"The parameter {ids} cannot be used with the parameter maxResults"
        )
    if not low <= size <= high:
        raise AwsError(
            "InvalidParameterValue", f"Value ( {size} ) for parameter maxResults is invalid. Expecting {low} to {high}."
        )
    start = 0
    if "NextToken" in params:
        try:
            start = int(base64.b64decode(params["NextToken"], validate=True))
        except ValueError:
            raise AwsError("InvalidNextToken", "The specified pagination token is not valid") from None
    rest = items[start + size :]
    token = base64.b64encode(str(start + size).encode()).decode()
    return items[start : start + size], {"NextToken": token} if rest else {}
