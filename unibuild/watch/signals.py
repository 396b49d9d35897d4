"""The signals that end the loop in order, as messages to it."""

from __future__ import annotations

import contextlib
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["Signal", "heeded"]

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "TERM", signal.SIGHUP: "HUP"}


@dataclass(frozen=True)
class Signal:
    """A signal came: ``Ctrl-C``, ``TERM`` or ``HUP``."""

    name: str


@contextlib.contextmanager
def heeded(put: Callable[[Signal], None]) -> Iterator[None]:
    """For the time of the block hand the first signal to ``put``; a second one does not wait for an orderly end.

    Raises:
        SystemExit: for the second one.
    """
    seen: list[int] = []

    def hear(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) > 1:
            raise SystemExit(128 + number)
        put(Signal(_NAMES[signal.Signals(number)]))

    numbers = [number for number in _NAMES if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, hear) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
