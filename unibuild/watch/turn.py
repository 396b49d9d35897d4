"""One at a time changes the domain: the loop that puts one in place or ends it, and who clears up after one."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Turn"]


class Turn:
    """A lock that knows what it is held for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._what = ""

    @contextlib.contextmanager
    def taken(self, what: str, tell: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        """Hold it for the time of the block.

        Args:
            what: what is done in the block; completes "waiting until ...".
            tell: is told a sentence, where somebody else holds it first.
        """
        if not self._lock.acquire(blocking=False):
            tell(f"waiting until {self._what or 'the domain is free'}")
            self._lock.acquire()
        self._what = what
        try:
            yield
        finally:
            self._lock.release()
