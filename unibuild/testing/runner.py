"""Run boot tests: boot a scratch domain, and compare its output and responses with the test's table."""

from __future__ import annotations

import contextlib
import http.client
import queue
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from unibuild.deploy import address as reach
from unibuild.domain.crash import console_patterns
from unibuild.errors import HostError, SettingsError, UnibuildError
from unibuild.settings.model import Case
from unibuild.testing import scratch_domain
from unibuild.testing.expectations import (
    CaseProgress,
    DomainEnded,
    Expectations,
    HttpAnswer,
    ReadinessEvent,
    Tick,
    closest_lines,
)
from unibuild.util import http_probe, waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from unibuild.graph.graph import Graph
    from unibuild.host.base import Host
    from unibuild.settings.model import Http
    from unibuild.testing.expectations import Event

__all__ = ["DEFAULT", "CaseResult", "ask", "run", "run_case"]

DEFAULT: Mapping[str, Case] = {"boots": Case(timeout=30.0)}
"""The test of a project without tests: the domain prints something, and does not fail within a few seconds."""

_FRAMES = 5  # of a backtrace that a failure shows
_TAIL = 15  # lines of the console that a failure shows
_ANSWER = 5.0  # seconds for one response
_AGAIN = 0.2  # seconds between two attempts


@dataclass(frozen=True)
class CaseResult:
    """The result of a test.

    Attributes:
        name: the test's name.
        outcome: ``failed``: the domain did not meet the expectations; ``error``: the test could not be run.
        seconds: the time from the first step to the result.
        message: why it did not pass.
        details: lines that help to see why: the lines closest to the expected one, and the console's last ones.
        console: all of the console's output.
        log: the console log; None: there is none.
        exit_code: the exit code of the error.
    """

    name: str
    outcome: Literal["passed", "failed", "error", "skipped"]
    seconds: float = 0.0
    message: str | None = None
    details: tuple[str, ...] = ()
    console: str = ""
    log: Path | None = None
    exit_code: int = 0


def run(
    found: Graph, host: Host, name: str, cases: Mapping[str, Case], report: Callable[[CaseResult], None]
) -> list[CaseResult]:
    """Run tests one after another; the domain's files are copied once.

    Args:
        found: the project's graph, up to date.
        host: the host to boot on.
        name: the name of the domains; no other domain has it.
        cases: the tests by name.
        report: called with each result.

    Returns:
        The results in the tests' order; if the host goes out of reach, the remaining tests are skipped.
    """
    results: list[CaseResult] = []
    lost: str | None = None
    with scratch_domain.copies(host, found.project.root, name):
        for test, case in cases.items():
            began = time.monotonic()
            if lost:
                result = CaseResult(test, "skipped", message=lost)
            else:
                try:
                    result = run_case(scratch_domain.with_args(found, case.args), host, name, test, case)
                except UnibuildError as error:
                    details = tuple(error.hint.splitlines()) if error.hint else ()
                    seconds = time.monotonic() - began
                    result = CaseResult(test, "error", seconds, error.message, details, exit_code=error.exit_code)
                    lost = error.message if isinstance(error, HostError) else None
            results.append(result)
            report(result)
    return results


def run_case(
    found: Graph,
    host: Host,
    name: str,
    test: str,
    case: Case,
    change: Callable[[str], str] | None = None,
) -> CaseResult:
    """Run one test; inside ``scratch_domain.copies``.

    Args:
        found: the project's graph, up to date.
        host: the host to boot on.
        name: the domain's name; no other domain has it.
        test: the test's name.
        case: the test.
        change: the last change to the text of the domain's ``.xl``. Such a domain must run longer before it has passed,
            like one without expectations.

    Raises:
        UnibuildError: the test could not be run.
    """
    began = time.monotonic()
    log = scratch_domain.log_path(found.project.root, test)
    with scratch_domain.booted(found, host, name, log, change) as one:
        progress = _watch(found, one, case, must_stay_up=change is not None)
        seconds = time.monotonic() - began
    lines = [line.text for line in one.lines]
    details: tuple[str, ...] = ()
    if not progress.passed:
        pattern = case.console[progress.matched] if progress.matched < len(case.console) else None
        details = (*_crash(lines), *_details(pattern, lines))
    outcome: Literal["passed", "failed"] = "passed" if progress.passed else "failed"
    return CaseResult(test, outcome, seconds, progress.failure, details, "\n".join(lines), log)


def _watch(found: Graph, one: scratch_domain.ScratchDomain, case: Case, *, must_stay_up: bool) -> CaseProgress:
    """Follow the domain until there is a result."""
    is_awaited = _awaits_ready(found, case)
    progress = CaseProgress(Expectations(case, is_awaited, must_stay_up))
    seen = 0
    if is_awaited:
        readiness = _readiness(found, one, case)
        seen = len(one.lines)
        progress = progress.after(sorted([*one.lines, readiness], key=lambda event: event.at))
    with _asking(found, one, case.http) as answers:
        while progress.passed is None:
            one.follow(progress.next_tick)
            if one.age >= case.timeout:
                one.give_up()
            events: list[Event] = [*one.lines[seen:]]
            seen = len(one.lines)
            while not answers.empty():
                answer = answers.get()
                if isinstance(answer, BaseException):
                    raise answer
                events.append(answer)
            if one.end:
                events.append(DomainEnded(one.age, one.end))
            progress = progress.after([*sorted(events, key=lambda event: event.at), Tick(one.age)])
    return progress


def _awaits_ready(found: Graph, case: Case) -> bool:
    """Return whether ``[boot.ready]`` is part of the test; for a test of the exit, only if ``ready_within`` is set.

    Raises:
        SettingsError: ``ready_within`` is set, but ``[boot.ready]`` is not.
    """
    is_set = found.project.settings.boot.ready.is_set
    if case.ready_within is not None and not is_set:
        raise SettingsError(
            "ready_within is set in a test, but [boot.ready] does not define when the domain is ready",
            hint='set [boot.ready] console = "..." (or tcp, http, xenstore), or remove ready_within',
        )
    return is_set and (case.exit is None or case.ready_within is not None)


def _readiness(found: Graph, one: scratch_domain.ScratchDomain, case: Case) -> ReadinessEvent:
    """Wait until the domain is ready, or the time is up."""
    from unibuild.deploy import readiness as ready

    boot = found.project.settings.boot
    within = boot.ready.timeout if case.ready_within is None else case.ready_within
    limited = msgspec.structs.replace(boot.ready, timeout=min(within, case.timeout))
    rules = found.project.settings.lab.forward
    verdict = ready.await_ready(limited, rules, one.host, one.domain, one.config, one.reader)
    one.catch_up()
    return ReadinessEvent(one.age, verdict is None or verdict.ready, verdict.why if verdict else "")


def _crash(lines: Sequence[str]) -> Iterator[str]:
    """Yield what the console reveals about a crash, or about a bad exit."""
    finding = console_patterns.read("\n".join(lines).encode())
    if finding and finding.is_fatal:
        yield from filter(None, (finding.sentence, finding.hint, *(str(frame) for frame in finding.frames[:_FRAMES])))


def _details(pattern: str | None, lines: Sequence[str]) -> Iterator[str]:
    if pattern is not None:
        yield from (f"closest line: {line}" for line in closest_lines(pattern, lines))
    if not lines:
        yield "it printed nothing"
    if len(lines) > _TAIL:
        yield f"... ({len(lines) - _TAIL} lines before)"
    yield from (f"| {line}" for line in lines[-_TAIL:])


@contextlib.contextmanager
def _asking(
    found: Graph, one: scratch_domain.ScratchDomain, requests: Sequence[Http]
) -> Iterator[queue.SimpleQueue[HttpAnswer | BaseException]]:
    """Send the requests in a thread for the time of the block; each response is queued, and wakes the key queue."""
    answers: queue.SimpleQueue[HttpAnswer | BaseException] = queue.SimpleQueue()
    if not requests:
        yield answers
        return
    to = reach.address(one.host, one.config, found.project.settings.boot.ready.address)
    over = threading.Event()
    with contextlib.ExitStack() as stack:
        ways = {
            port: stack.enter_context(reach.forward_port(one.host, to, port))
            for port in {each.port for each in requests}
        }

        def work() -> None:
            try:
                for request in requests:
                    while not over.is_set():
                        try:
                            status, body = ask(*ways[request.port], request.path, _ANSWER)
                        except (OSError, http.client.HTTPException):
                            over.wait(_AGAIN)
                            continue
                        answers.put(HttpAnswer(one.age, status, body))
                        one.key_queue.wake()
                        break
            except Exception as error:
                answers.put(error)
                one.key_queue.wake()

        thread = threading.Thread(target=work, name="unibuild test", daemon=True)
        thread.start()
        try:
            yield answers
        finally:
            over.set()
            waits.join(thread)


def ask(address: str, port: int, path: str, timeout: float) -> tuple[int, str]:
    """Return the status and the body of the response to a GET request.

    Raises:
        OSError: nothing responds.
        HTTPException: the response is not HTTP.
    """
    with (
        socket.create_connection((address, port), timeout) as sock,
        http_probe.get(sock, path, host=address, port=port, timeout=timeout) as response,
    ):
        return response.status, http_probe.read_body(response, timeout, partial=False)
