"""An instance: its states over time, its addresses, and its launch parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .image import Image
    from .network import Subnet
    from .request import Params
    from .snapshot import Snapshot

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


@dataclass(eq=False)
class Instance:
    """An instance; times are seconds on the world's clock.

    Attributes:
        volume: The snapshot that its root volume was made from.
        life: Its states and their start times, in order; the last ones may lie in the future.
        public_ip: None if it has none; an Elastic IP replaces it.
        params: The parameters of RunInstances.
    """

    id: str
    reservation: str
    image: Image
    volume: Snapshot
    type: str
    subnet: Subnet
    groups: list[str]
    private_ip: str
    public_ip: str | None
    launched: float
    params: Params = field(repr=False)
    index: int = 0
    life: list[tuple[float, str]] = field(default_factory=list)
    public: bool = False

    def state(self, now: float) -> str:
        return [state for when, state in self.life if when <= now][-1]

    def since(self, state: str) -> float | None:
        """Return when it last entered a state; None: it never did and never will."""
        return next((when for when, one in reversed(self.life) if one == state), None)

    def become(self, now: float, first: str, then: str, after: float) -> None:
        """Enter a state now, and the next one some seconds later."""
        self.life = [one for one in self.life if one[0] <= now]
        self.life += [(now, first), (now + after, then)]

    def alive(self, now: float) -> bool:
        return self.state(now) not in ("shutting-down", "terminated")


def state_view(state: str) -> Params:
    return {"Code": CODES[state], "Name": state}
