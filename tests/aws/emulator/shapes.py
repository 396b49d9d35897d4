"""What both protocols check of a value, by botocore's model: required members, enumerations, ranges, patterns."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.model import Shape

    from .errors import AwsError

    Refuse = Callable[[str, str], AwsError]
    """Makes the refusal of a parameter, from its name and what is wrong with it."""

OPEN = ("InstanceType",)
"""Enumerations that each operation checks itself, with a code of its own."""


def check_members(shape: Shape, value: dict[str, Any], path: str, refuse: Refuse) -> None:
    for name in shape.required_members:
        if name not in value:
            raise refuse(f"{path}{name}", "missing")


def check_scalar(shape: Shape, value: Any, path: str, refuse: Refuse) -> Any:
    """Return a string or a number that the model allows. EC2's own server checks its enumerations, so we do."""
    allowed = () if shape.name in OPEN else getattr(shape, "enum", ())
    if allowed and value not in allowed:
        raise refuse(path, f"Invalid value '{value}'")
    size = len(value) if isinstance(value, str | bytes) else value
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if (low is not None and size < low) or (high is not None and size > high):
        raise refuse(path, f"{size} is not between {low} and {high}")
    pattern = shape.metadata.get("pattern")
    if pattern and "\\u" not in pattern and isinstance(value, str) and not re.search(pattern, value):  # \\u is Java's
        raise refuse(path, f"Invalid value '{value}'")
    return value
