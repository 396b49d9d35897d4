"""``--plan``: the calls that would change something, written down in their order instead of being made.

Whoever calls needs answers to go on with: they are made from botocore's model of the operation, with ``<ImageId>`` for
what only AWS can tell. A call that reads something of such a name cannot be made either, and is answered the same way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["CallPlan", "PlannedCall", "is_reading", "mentions_unknown"]

_READING = re.compile(r"^(Describe|List|Get|Head)[A-Z]")
_UNKNOWN = re.compile(r"<[A-Z]\w*>")
_DEPTH = 6  # the models have structures that hold themselves


@dataclass(frozen=True)
class PlannedCall:
    """A call that would be made; ``params`` hold a block's size instead of its bytes."""

    service: str
    region: str
    operation: str
    params: Mapping[str, object]

    def __str__(self) -> str:
        told = ", ".join(f"{key}={_shown(value)}" for key, value in self.params.items())
        return f"{self.service}:{self.operation} in {self.region}: {told}"


class CallPlan:
    """The calls, in their order."""

    def __init__(self) -> None:
        self.calls: list[PlannedCall] = []

    def add(
        self,
        service: str,
        region: str,
        model: Any,  # noqa: ANN401 (botocore has no types)
        operation: str,
        params: Mapping[str, object],
    ) -> dict[str, Any]:
        """Write a call down, if it changes something, and return an answer of its shape, by botocore's ``model``."""
        if not is_reading(operation, params):
            kept = {key: f"{len(value)} bytes" if isinstance(value, bytes) else value for key, value in params.items()}
            self.calls.append(PlannedCall(service, region, operation, kept))
        answer = _example(model.output_shape, "", _DEPTH) if model.output_shape else {}
        return answer if isinstance(answer, dict) else {}

    def lines(self) -> Iterator[str]:
        """Give a line for each call; calls that follow each other and differ only in a block are one."""
        index = 0
        while index < len(self.calls):
            first = self.calls[index]
            end = index + 1
            while end < len(self.calls) and _same(first, self.calls[end]):
                end += 1
            yield str(first) if end == index + 1 else f"{end - index} x {first}"
            index = end


def is_reading(operation: str, params: Mapping[str, object]) -> bool:
    """Tell whether a call changes nothing."""
    return bool(_READING.match(operation)) or params.get("DryRun") is True


def mentions_unknown(value: object) -> bool:
    """Tell whether a parameter holds a name that only a call would have given."""
    if isinstance(value, str):
        return bool(_UNKNOWN.fullmatch(value))
    if isinstance(value, dict):
        return any(map(mentions_unknown, value.values()))
    return isinstance(value, (list, tuple)) and any(map(mentions_unknown, value))


def _same(one: PlannedCall, other: PlannedCall) -> bool:
    return one.operation == other.operation == "PutSnapshotBlock" and one.region == other.region


def _shown(value: object) -> str:
    if isinstance(value, dict):
        if value.keys() == {"Key", "Value"}:
            return f"{value['Key']}={value['Value']}"
        return "{" + ", ".join(f"{key}={_shown(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_shown, value))}]"
    return str(value)


def _example(shape: Any, name: str, depth: int) -> object:  # noqa: ANN401 (botocore has no types)
    """Return a value of a shape of botocore's model."""
    if depth == 0:
        return None
    match shape.type_name:
        case "structure":
            return {key: _example(member, key, depth - 1) for key, member in shape.members.items()}
        case "list":
            return [_example(shape.member, name.removesuffix("s"), depth - 1)]
        case "map" | "timestamp":
            return None
        case "boolean":
            return False
        case "integer" | "long" | "float" | "double":
            return 0
    return f"<{name}>"
