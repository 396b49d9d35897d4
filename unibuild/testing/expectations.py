"""Compare what a domain did with a test's expectations: timed events go in, a verdict comes out.

A test passes once all it asks for has arrived and the domain has not failed within ``SETTLE_SECONDS`` after that. A
test that asks for nothing needs a sign of life (a line, or readiness) and ``QUIET_SECONDS`` without a bad exit.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unibuild.host.toolstack import SHUTDOWN_REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from unibuild.domain.exit_status import DomainExit
    from unibuild.settings.model import Case, Http

__all__ = [
    "QUIET_SECONDS",
    "SETTLE_SECONDS",
    "CaseProgress",
    "ConsoleLine",
    "DomainEnded",
    "Event",
    "Expectations",
    "HttpAnswer",
    "ReadinessEvent",
    "Tick",
    "closest_lines",
]

SETTLE_SECONDS = 0.5
QUIET_SECONDS = 3.0
_ENDS = {"poweroff": SHUTDOWN_REASONS[0], "reboot": SHUTDOWN_REASONS[1], "crash": SHUTDOWN_REASONS[3]}
_NEAREST = 2000  # lines that are searched for those that are most like a pattern
_LIKE = 0.6  # from 0 to 1
_WIDTH = 200  # characters of a line that are compared


@dataclass(frozen=True)
class ConsoleLine:
    """A line of the console, without its end; ``at`` is in seconds since the domain was started, here and below."""

    at: float
    text: str


@dataclass(frozen=True)
class HttpAnswer:
    """The answer to the next request of the test."""

    at: float
    status: int
    body: str


@dataclass(frozen=True)
class ReadinessEvent:
    """Whether ``[boot.ready]`` held; ``why`` completes "the domain ..."."""

    at: float
    ready: bool
    why: str


@dataclass(frozen=True)
class DomainEnded:
    """The domain ended, and has said all."""

    at: float
    end: DomainExit


@dataclass(frozen=True)
class Tick:
    """Nothing came until this moment."""

    at: float


Event = ConsoleLine | HttpAnswer | ReadinessEvent | DomainEnded | Tick


@dataclass(frozen=True)
class Expectations:
    """What a test wants.

    Attributes:
        case: the test's table.
        ready: whether ``[boot.ready]`` must hold.
        settle: whether it passes only ``QUIET_SECONDS`` seconds after all has come.
    """

    case: Case
    ready: bool = False
    settle: bool = False

    @property
    def asks_nothing(self) -> bool:
        """Whether the test names nothing that must come of the boot."""
        return not self.case.console and not self.case.http and self.case.exit is None


@dataclass(frozen=True)
class CaseProgress:
    """How a test stands.

    Attributes:
        wanted: what it wants.
        matched: patterns that were found, the first ones.
        answered: requests that were answered as they should be, the first ones.
        ready: whether ``[boot.ready]`` held.
        heard: whether the console said anything.
        met: when all had come that is asked for; None: not yet.
        passed: the verdict; None: there is none yet.
        failure: why it did not pass; completes "the test failed: ...".
    """

    wanted: Expectations
    matched: int = 0
    answered: int = 0
    ready: bool = False
    heard: bool = False
    met: float | None = None
    passed: bool | None = None
    failure: str | None = None

    def step(self, event: Event) -> CaseProgress:
        """Return how it stands after an event; nothing changes a verdict."""
        if self.passed is not None:
            return self
        match event:
            case ConsoleLine():
                after = self._said(event)
            case HttpAnswer():
                after = self._answer(event)
            case ReadinessEvent():
                after = dataclasses.replace(self, ready=True) if event.ready else self._failed(f"it {event.why}")
            case DomainEnded():
                return self._ended(event)
            case Tick():
                after = self
        if after.passed is None and after.met is None and after.missing() is None:
            after = dataclasses.replace(after, met=event.at)
        return after._timed(event.at)

    def after(self, events: Iterable[Event]) -> CaseProgress:
        """Return how it stands after several events."""
        progress = self
        for event in events:
            progress = progress.step(event)
        return progress

    @property
    def next_look(self) -> float:
        """When ``Tick`` has to come at the latest."""
        if self.met is None or self.wanted.case.exit is not None:
            return self.wanted.case.timeout
        return self.met + self._pause

    def missing(self) -> str | None:
        """Return what has not come yet, its end aside, in words: "it said ..."; None: nothing is missing."""
        case = self.wanted.case
        if self.wanted.ready and not self.ready:
            return "it was ready"
        if self.matched < len(case.console):
            return f'it said "{case.console[self.matched]}"'
        if self.answered < len(case.http):
            return f"it answered {_request(case.http[self.answered])}"
        if self.wanted.asks_nothing and not self.heard and not self.ready:
            return "it said anything"
        return None

    @property
    def _pause(self) -> float:
        return QUIET_SECONDS if self.wanted.asks_nothing or self.wanted.settle else SETTLE_SECONDS

    def _said(self, event: ConsoleLine) -> CaseProgress:
        patterns = self.wanted.case.console
        found = self.matched < len(patterns) and re.search(patterns[self.matched], event.text) is not None
        return dataclasses.replace(self, heard=True, matched=self.matched + found)

    def _answer(self, event: HttpAnswer) -> CaseProgress:
        if self.answered >= len(self.wanted.case.http):
            return self
        request = self.wanted.case.http[self.answered]
        if event.status != request.status:
            return self._failed(f"{_request(request)} was answered with status {event.status}, not {request.status}")
        if request.body is not None and not re.search(request.body, event.body):
            return self._failed(f'the answer to {_request(request)} has no "{request.body}" in it')
        return dataclasses.replace(self, answered=self.answered + 1)

    def _ended(self, event: DomainEnded) -> CaseProgress:
        how = event.end.why + ("" if event.end.code is None else f" with exit code {event.end.code}")
        wanted = self.wanted.case.exit
        is_right = event.end.is_good if wanted is None else _is(event.end, wanted)
        missing = self.missing()
        if missing:
            return self._failed(f"it {how} before {missing}")
        if not is_right:
            return self._failed(f"it {how}" + ("" if wanted is None else f", not as wanted: exit = {_toml(wanted)}"))
        return dataclasses.replace(self, passed=True)

    def _timed(self, at: float) -> CaseProgress:
        """Return the verdict that only time brings."""
        if self.passed is not None:
            return self
        if self.met is not None and self.wanted.case.exit is None and at >= self.met + self._pause:
            return dataclasses.replace(self, passed=True)
        if at >= self.wanted.case.timeout and (self.met is None or self.wanted.case.exit is not None):
            return self._failed(f"{self.wanted.case.timeout:g} s passed before {self.missing() or 'it ended'}")
        return self

    def _failed(self, why: str) -> CaseProgress:
        return dataclasses.replace(self, passed=False, failure=why)


def closest_lines(pattern: str, lines: Sequence[str], count: int = 3) -> list[str]:
    """Return the lines that are most like a pattern that none of them has, the most like first."""
    recent = [line for line in dict.fromkeys(reversed(lines[-_NEAREST:])) if line.strip()]
    plain = re.sub(r"\\[bBAZdDsSwW]|[\\^$.*+?(){}\[\]|]", "", pattern)[:_WIDTH]
    likeness = {line: _likeness(plain, line[:_WIDTH]) for line in recent}
    return sorted((line for line in recent if likeness[line] >= _LIKE), key=likeness.__getitem__, reverse=True)[:count]


def _likeness(text: str, line: str) -> float:
    """Return how much of ``text`` is in that part of the line which is most like it, from 0 to 1."""
    matcher = difflib.SequenceMatcher(None, text, line, autojunk=False)
    longest = matcher.find_longest_match()
    start = max(0, longest.b - longest.a)
    return difflib.SequenceMatcher(None, text, line[start : start + len(text)], autojunk=False).ratio()


def _is(end: DomainExit, wanted: int | str) -> bool:
    if isinstance(wanted, str):
        return end.why == _ENDS[wanted]
    # Xen knows no code: only the console tells it, and a kernel that tells none says by powering off that all is well
    return (end.code == wanted and (end.is_good or wanted != 0)) or (
        end.code is None and wanted == 0 and end.why == _ENDS["poweroff"]
    )


def _request(request: Http) -> str:
    return f"GET {request.path} on port {request.port}"


def _toml(value: int | str) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
