"""Compare what a domain did with a test's expectations: timed events go in, a result comes out.

A test passes once all expectations are met and the domain has not failed within ``SETTLE_SECONDS`` after that. A test
without expectations needs a sign of life (a line, or readiness) and ``QUIET_SECONDS`` without a bad exit.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unibuild.host.toolstack import SHUTDOWN_REASONS
from unibuild.util.templates import toml_value

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
_NEAREST = 2000  # lines that are searched for the closest ones to a pattern
_LIKE = 0.6  # least similarity, from 0 to 1
_WIDTH = 200  # characters of a line that are compared


@dataclass(frozen=True)
class ConsoleLine:
    """A line of the console, without its line end; ``at`` is in seconds since the domain was started, as below."""

    at: float
    text: str


@dataclass(frozen=True)
class HttpAnswer:
    """The response to the next request of the test."""

    at: float
    status: int
    body: str


@dataclass(frozen=True)
class ReadinessEvent:
    """Whether the domain was ready as in ``[boot.ready]``; ``why`` completes "the domain ..."."""

    at: float
    ready: bool
    why: str


@dataclass(frozen=True)
class DomainEnded:
    """The domain stopped, and all its output is read."""

    at: float
    end: DomainExit


@dataclass(frozen=True)
class Tick:
    """Nothing happened until this moment."""

    at: float


Event = ConsoleLine | HttpAnswer | ReadinessEvent | DomainEnded | Tick


@dataclass(frozen=True)
class Expectations:
    """What a test expects.

    Attributes:
        case: the test's table.
        ready: whether the domain must be ready as in ``[boot.ready]``.
        must_stay_up: whether it passes only ``QUIET_SECONDS`` seconds after all expectations are met.
    """

    case: Case
    ready: bool = False
    must_stay_up: bool = False

    @property
    def asks_nothing(self) -> bool:
        """Whether the test expects nothing in particular."""
        return not self.case.console and not self.case.http and self.case.exit is None


@dataclass(frozen=True)
class CaseProgress:
    """The state of a test.

    Attributes:
        wanted: its expectations.
        matched: the number of patterns found, in order.
        answered: the number of requests with the expected response, in order.
        ready: whether the domain was ready.
        heard: whether the console printed anything.
        met: when all expectations were met; None: not yet.
        passed: the result; None: there is none yet.
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
        """Return the state after an event; a result is final."""
        if self.passed is not None:
            return self
        match event:
            case ConsoleLine():
                after = self._line(event)
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
        """Return the state after several events."""
        progress = self
        for event in events:
            progress = progress.step(event)
        return progress

    @property
    def next_tick(self) -> float:
        """When the next ``Tick`` has to come at the latest."""
        if self.met is None or self.wanted.case.exit is not None:
            return self.wanted.case.timeout
        return self.met + self._pause

    def missing(self) -> str | None:
        """Return what is missing, other than the exit, in words: "it printed ..."; None: nothing is missing."""
        case = self.wanted.case
        if self.wanted.ready and not self.ready:
            return "it was ready"
        if self.matched < len(case.console):
            return f'it printed "{case.console[self.matched]}"'
        if self.answered < len(case.http):
            return f"it answered {_request(case.http[self.answered])}"
        if self.wanted.asks_nothing and not self.heard and not self.ready:
            return "it printed anything"
        return None

    @property
    def _pause(self) -> float:
        return QUIET_SECONDS if self.wanted.asks_nothing or self.wanted.must_stay_up else SETTLE_SECONDS

    def _line(self, event: ConsoleLine) -> CaseProgress:
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
            return self._failed(f'the response to {_request(request)} does not match "{request.body}"')
        return dataclasses.replace(self, answered=self.answered + 1)

    def _ended(self, event: DomainEnded) -> CaseProgress:
        how = event.end.why + ("" if event.end.code is None else f" with exit code {event.end.code}")
        wanted = self.wanted.case.exit
        is_right = event.end.is_good if wanted is None else _is(event.end, wanted)
        missing = self.missing()
        if missing:
            return self._failed(f"it {how} before {missing}")
        if not is_right:
            return self._failed(f"it {how}" + ("" if wanted is None else f"; expected exit = {toml_value(wanted)}"))
        return dataclasses.replace(self, passed=True)

    def _timed(self, at: float) -> CaseProgress:
        """Return the result that depends on the time."""
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
    """Return the lines closest to a pattern that matches none of them, the closest first."""
    recent = [line for line in dict.fromkeys(reversed(lines[-_NEAREST:])) if line.strip()]
    plain = re.sub(r"\\[bBAZdDsSwW]|[\\^$.*+?(){}\[\]|]", "", pattern)[:_WIDTH]
    similarity = {line: _similarity(plain, line[:_WIDTH]) for line in recent}
    return sorted((line for line in recent if similarity[line] >= _LIKE), key=similarity.__getitem__, reverse=True)[
        :count
    ]


def _similarity(text: str, line: str) -> float:
    """Return how similar the text is to the closest part of the line, from 0 to 1."""
    matcher = difflib.SequenceMatcher(None, text, line, autojunk=False)
    longest = matcher.find_longest_match()
    start = max(0, longest.b - longest.a)
    return difflib.SequenceMatcher(None, text, line[start : start + len(text)], autojunk=False).ratio()


def _is(end: DomainExit, wanted: int | str) -> bool:
    if isinstance(wanted, str):
        return end.why == _ENDS[wanted]
    # Xen knows no exit code: only the console shows it. Without one, powering off counts as success.
    return (end.code == wanted and (end.is_good or wanted != 0)) or (
        end.code is None and wanted == 0 and end.why == _ENDS["poweroff"]
    )


def _request(request: Http) -> str:
    return f"GET {request.path} on port {request.port}"
