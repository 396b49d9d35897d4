"""Tags and their rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import AwsError

if TYPE_CHECKING:
    from .request import Params
    from .world import Region

MAX_TAGS = 50


def read_tags(tags: list[dict[str, str]], code: str = "InvalidParameterValue") -> dict[str, str]:
    """Return tags as a dict, by the rules that EC2 documents: sizes, no key twice, none of AWS's own."""
    read: dict[str, str] = {}
    for tag in tags:
        key, value = tag.get("Key", ""), tag.get("Value", "")
        if key in read:
            raise AwsError(code, f"Duplicate tag key '{key}' specified.")
        if not 1 <= len(key) <= 127:
            raise AwsError(code, f"Tag key exceeds the maximum length of 127 characters or is empty: '{key}'")
        if len(value) > 255:
            raise AwsError(code, "Tag value exceeds the maximum length of 255 characters")
        if key.startswith("aws:"):
            raise AwsError(code, "Tag keys starting with 'aws:' are reserved for internal use")
        read[key] = value
    if len(read) > MAX_TAGS:
        raise AwsError("TagLimitExceeded", f"The maximum number of Tags for a resource is {MAX_TAGS}")
    return read


def specified(params: Params, *kinds: str) -> dict[str, dict[str, str]]:
    """Return the tags of TagSpecifications for each kind of resource; other kinds are refused, as in EC2."""
    found: dict[str, dict[str, str]] = {kind: {} for kind in kinds}
    for one in params.get("TagSpecifications", []):
        kind = one.get("ResourceType", "")
        if kind not in found:
            raise AwsError(
                "InvalidParameterValue", f"'{kind}' is not a valid taggable resource type for this operation."
            )
        found[kind].update(read_tags(one.get("Tags", [])))
    return found


def tag_list(region: Region, resource: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in region.tags.get(resource, {}).items()]
