"""Record the calls that would change something, in their order, instead of making them (``--plan``).

The caller needs answers to continue. They are made from botocore's model of the operation, with placeholders such as
``<ImageId>`` for what only AWS knows. A reading call that has a placeholder as a parameter is answered the same way.
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
_DEPTH = 6  # the models have recursive structures


@dataclass(frozen=True)
class PlannedCall:
    """A call that would be made; ``params`` hold a block's size instead of its bytes."""

    service: str
    region: str
    operation: str
    params: Mapping[str, object]

    def __str__(self) -> str:
        params = ", ".join(f"{key}={_shown(value)}" for key, value in self.params.items())
        return f"{self.service}:{self.operation} in {self.region}: {params}"


class CallPlan:
    """The planned calls, in their order."""

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
        """Record a call if it changes something; return an answer of the shape that botocore's ``model`` gives."""
        if not is_reading(operation, params):
            kept = {key: f"{len(value)} bytes" if isinstance(value, bytes) else value for key, value in params.items()}
            self.calls.append(PlannedCall(service, region, operation, kept))
        answer = _example(model.output_shape, "", _DEPTH) if model.output_shape else {}
        return answer if isinstance(answer, dict) else {}

    def lines(self) -> Iterator[str]:
        """Yield a line for each call; consecutive calls that differ only in the block share a line."""
        index = 0
        while index < len(self.calls):
            first = self.calls[index]
            end = index + 1
            while end < len(self.calls) and _same(first, self.calls[end]):
                end += 1
            yield str(first) if end == index + 1 else f"{end - index} x {first}"
            index = end


def is_reading(operation: str, params: Mapping[str, object]) -> bool:
    """Return whether a call changes nothing."""
    return bool(_READING.match(operation)) or params.get("DryRun") is True


def mentions_unknown(value: object) -> bool:
    """Return whether a parameter contains a placeholder for something that only a call would have returned."""
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
