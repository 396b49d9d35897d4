"""Check values by botocore's model, in all protocols: required members, enumerations, ranges, patterns.

botocore itself checks neither patterns nor maximum lengths before it sends a request.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.model import Shape

    from .errors import AwsError

    Refuse = Callable[[str, str], AwsError]
    """Makes the refusal of a parameter, from its name and what is wrong with it."""

OPEN = ("InstanceType",)
"""Enumerations that each operation checks itself, with its own error code."""


def check_members(shape: Shape, value: dict[str, Any], path: str, refuse: Refuse) -> None:
    for name in shape.required_members:
        if name not in value:
            raise refuse(f"{path}{name}", "missing")


def check_scalar(shape: Shape, value: Any, path: str, refuse: Refuse) -> Any:
    """Return a string or a number that the model allows. Enumerations are checked, as EC2's own server does."""
    allowed = () if shape.name in OPEN else getattr(shape, "enum", ())
    if allowed and value not in allowed:
        raise refuse(path, f"Invalid value '{value}'")
    check_size(shape, value, path, refuse)
    pattern = shape.metadata.get("pattern")
    if pattern and isinstance(value, str) and not compiled(pattern).fullmatch(value):
        raise refuse(path, f"Invalid value '{value}'")
    return value


def check_size(shape: Shape, value: Any, path: str, refuse: Refuse) -> None:
    """Check that the model allows a number, or the length of a string or a list."""
    size = len(value) if isinstance(value, str | bytes | list) else value
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if (low is not None and size < low) or (high is not None and size > high):
        raise refuse(path, f"{size} is not between {low} and {high}")


@functools.cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern of the models, which is in Java's syntax, with surrogate pairs and Unicode classes."""
    text = re.sub(r"\\u[dD]800\\u[dD][cC]00-\\u[dD][bB][fF]{2}\\u[dD][fF]{3}", r"\\U00010000-\\U0010FFFF", pattern)
    return re.compile(text.replace(r"\p{L}\p{Z}\p{N}", r"\w\s"))
