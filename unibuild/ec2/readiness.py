"""The console of an EC2 instance, read as that of a domain is: asked for again and again, for EC2 streams none."""

from __future__ import annotations

import contextlib
import select
import time
from typing import TYPE_CHECKING

from unibuild.aws import instance
from unibuild.aws.console import fresh
from unibuild.domain.exit_status import End, exit_code
from unibuild.util.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unibuild.aws.client import Aws
    from unibuild.domain.console_log import Log

__all__ = ["Console"]

_PAUSES = (1.0, 10.0)  # seconds between two questions to EC2, the first and the longest


class Console(contextlib.AbstractContextManager["Console"]):
    """What an instance says, and whether it still runs; see ``domain.console.Reader``.

    Args:
        aws: the account.
        region: where it is.
        name: its id.
        log: keeps what it says.
        show: is given what it says, as it comes.
    """

    end: End | None = None
    """How the instance ended, once it has."""

    def __init__(self, aws: Aws, region: str, name: str, log: Log, show: Callable[[bytes], None]) -> None:
        self.log = log
        self._aws, self._region, self._name = aws, region, name
        self._show = show
        self._kept = b""  # what EC2 gave last
        self._said = bytearray()
        self._listeners: list[Lines] = []
        self._pause = _PAUSES[0]
        self._next = 0.0

    def __exit__(self, *_: object) -> None:
        self.log.close()

    def pump(self, until: float | None = None, wake: int | None = None) -> End | None:
        """Read until the instance ends, something else is to be done, or the time is up; see ``Reader.pump``.

        Raises:
            AwsError: AWS refused.
        """
        while self.end is None:
            now = time.monotonic()
            if now >= self._next:
                self._ask()
                self._next = time.monotonic() + self._pause
                self._pause = min(self._pause * 1.3, _PAUSES[1])
                continue
            moments = [self._next] if until is None else [self._next, until]
            woken, _, _ = select.select([] if wake is None else [wake], [], [], max(0.0, min(moments) - now))
            if woken or (until is not None and time.monotonic() >= until):
                break
        return self.end

    @contextlib.contextmanager
    def listen(self, hear: Callable[[bytes], None]) -> Iterator[None]:
        """For the time of the block, give ``hear`` each whole line, those that were said before first."""
        lines = Lines(hear)
        lines.feed(bytes(self._said))
        self._listeners.append(lines)
        try:
            yield
        finally:
            self._listeners.remove(lines)

    def _ask(self) -> None:
        """Ask for the console and the state; an instance that has ended is asked for its last words too."""
        found = instance.look(self._aws, self._region, self._name)
        now = instance.said(self._aws, self._region, self._name) if found else self._kept
        data = fresh(self._kept, now)
        if now:
            self._kept = now
        if data:
            self._said += data
            self.log.feed(data)
            self._show(data)
            for lines in self._listeners:
                lines.feed(data)
        if found is None or not found.is_alive:
            for lines in self._listeners:
                lines.end()
            self.end = End(_ending(found), exit_code(bytes(self._said)))


def _ending(found: instance.Instance | None) -> str:
    """Return the words for an instance that ended, to stand after "the instance ..."."""
    if found is None:
        return "was terminated"
    state = {"shutting-down": "terminated", "stopping": "stopped"}.get(found.state, found.state)
    return f"was {state}" + (f" ({found.reason})" if found.reason else "")
