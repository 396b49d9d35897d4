"""The log of calls: one record for each request, which tests count and read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .request import Params


@dataclass
class Call:
    """One request.

    Attributes:
        params: The decoded parameters; BlockData and Body are their sizes in bytes.
        error: The code of the refusal, None for a success, "" if no answer was sent.
        fault: The kind of fault that was injected, None for none.
        began: The beginning in seconds of ``time.monotonic``, as ``ended``.
        done: Whether the operation took effect.
    """

    service: str
    region: str
    operation: str
    params: Params = field(default_factory=dict)
    access_key: str = ""
    status: int = 0
    error: str | None = None
    fault: str | None = None
    began: float = 0.0
    ended: float = 0.0
    done: bool = False

    def __str__(self) -> str:
        return f"{self.operation} in {self.region}: {self.error or self.status}" + (
            f" ({self.fault})" if self.fault else ""
        )


class Log(list[Call]):
    """The calls in the order of their arrival."""

    def named(self, *operations: str) -> list[Call]:
        return [call for call in self if call.operation in operations]

    def count(self, *operations: str) -> int:
        """Return the number of calls of these operations, or of all calls if none is named."""
        return len(self.named(*operations) if operations else self)

    @property
    def counts(self) -> Counter[str]:
        return Counter(call.operation for call in self)

    @property
    def errors(self) -> Counter[str]:
        return Counter(call.error for call in self if call.error)
