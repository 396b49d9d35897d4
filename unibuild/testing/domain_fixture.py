"""A test domain as a test in Python has it: what it says is expected, what is typed sent, its ports asked."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, Self

from unibuild.deploy import address as reach
from unibuild.domain.crash import console_patterns
from unibuild.domain.probes import TcpProbeFromHost
from unibuild.testing import scratch_domain
from unibuild.testing.expectations import closest_lines
from unibuild.testing.runner import ask

if TYPE_CHECKING:
    from pathlib import Path

    from unibuild.domain.exit_status import DomainExit
    from unibuild.graph.graph import Graph
    from unibuild.host.base import Host

__all__ = ["DomainHandle", "Response"]

_AGAIN = 0.2  # seconds between two attempts to be answered
_ANSWER = 5.0  # seconds for one answer
_TAIL = 40  # lines of the console in a report


@dataclass(frozen=True)
class Response:
    """The answer to an HTTP request; ``body`` is text, in which what is no UTF-8 is replaced."""

    status: int
    body: str


class DomainHandle(contextlib.AbstractContextManager["DomainHandle"]):
    """A domain of its own for one test, removed with all its files at the end of the block.

    Every wait reads the console. What does not come in time, or before the domain ends, is an
    ``AssertionError``.

    Args:
        found: the project's graph, up to date.
        host: where to boot.
        name: what it is called: no other domain has this name.
        log: where its console is kept.

    Raises:
        UnibuildError: it cannot be booted.
    """

    def __init__(self, found: Graph, host: Host, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self._found = found
        self._at = 0  # the line where the next `expect` begins
        self._ways: dict[int, tuple[str, int]] = {}
        with contextlib.ExitStack() as stack:
            stack.enter_context(scratch_domain.copies(host, found.project.root, name))
            self._one = stack.enter_context(scratch_domain.booted(found, host, name, log))
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def lines(self) -> list[str]:
        """What the console said so far, line by line; the last one may have no end yet."""
        self._one.catch_up()
        said = [line.text for line in self._one.lines]
        return [*said, *([self._one.unfinished] if self._one.unfinished else [])]

    @property
    def end(self) -> DomainExit | None:
        """How it ended: ``why`` ("powered off", "crashed" ...), ``code`` and ``is_good``; None while it runs."""
        return self._one.catch_up()

    @property
    def crash(self) -> str | None:
        """How it crashed or failed, in words, as far as its console tells; None where it did not."""
        end = self.end
        if end is None or end.is_good:
            return None
        finding = console_patterns.read("\n".join(self.lines).encode())
        return f"{self.name} {_how(end)}" + (f": {finding.sentence}" if finding else "")

    @property
    def address(self) -> str:
        """Its IP address, as the other domains of the host know it.

        Raises:
            SettingsError: nothing tells it.
        """
        return reach.address(self._one.host, self._one.config, self._found.project.settings.boot.ready.address)

    def expect(self, pattern: str, timeout: float = 30.0) -> re.Match[str]:
        """Wait for a line in which the regular expression is found; the next call begins after that line.

        Args:
            pattern: what is looked for. A line that has no end yet, as a prompt, counts too.
            timeout: seconds.

        Raises:
            AssertionError: no such line came in time, or before the domain ended.
        """
        __tracebackhide__ = True
        one, began = self._one, self._at
        deadline = one.age + timeout
        while True:
            while self._at < len(one.lines):
                self._at += 1
                if found := re.search(pattern, one.lines[self._at - 1].text):
                    return found
            if self._at == len(one.lines) and (found := re.search(pattern, one.unfinished)):
                self._at += 1
                return found
            if one.end or one.age >= deadline:
                break
            one.follow(min(deadline, one.age + _AGAIN))
        like = "".join(
            f"; like it: {line}" for line in closest_lines(pattern, [said.text for said in one.lines[began:]], 1)
        )
        raise AssertionError(f'{self.name} {self._so_far(timeout)} before it said "{pattern}"{like}')

    def send(self, text: str) -> None:
        """Type on its console."""
        self._one.type(text.encode())

    def connect(self, port: int, timeout: float = 30.0) -> socket.socket:
        """Return a connection to a port.

        In the lab it goes through a forwarded port, which takes every connection; so dom0 makes one before, and closes
        it at once.

        Raises:
            AssertionError: the port does not take it in time.
        """
        __tracebackhide__ = True
        deadline = time.monotonic() + timeout
        while True:
            try:
                if self._one.host.address == "lab" and (
                    why := TcpProbeFromHost(self._one.host, self.address, port).attempt()
                ):
                    raise ConnectionError(why)
                return socket.create_connection(self._way(port), _ANSWER)
            except OSError as error:
                self._wait_again(deadline, timeout, f"it took a connection on port {port} ({error})")

    def http(self, path: str = "/", port: int = 80, timeout: float = 30.0) -> Response:
        """Return the answer to a GET request, which is repeated until it is answered.

        Raises:
            AssertionError: no answer came in time.
        """
        __tracebackhide__ = True
        deadline = time.monotonic() + timeout
        while True:
            try:
                return Response(*ask(*self._way(port), path, _ANSWER))
            except (OSError, HTTPException) as error:
                self._wait_again(deadline, timeout, f"it answered GET {path} on port {port} ({error})")

    def wait_end(self, timeout: float = 30.0) -> DomainExit:
        """Wait until it ends, and has said all; return how it ended.

        Raises:
            AssertionError: it runs on.
        """
        __tracebackhide__ = True
        deadline = self._one.age + timeout
        while self._one.end is None:
            if self._one.age >= deadline:
                raise AssertionError(f"{self.name} {self._so_far(timeout)} before it ended")
            self._one.follow(deadline)
        return self._one.end

    def shutdown(self, timeout: float = 30.0) -> DomainExit:
        """Ask it to shut down; return how it ended.

        Raises:
            AssertionError: it runs on.
        """
        __tracebackhide__ = True
        if self.end is None:
            self._one.host.toolstack.request_shutdown(self._one.domain)
        return self.wait_end(timeout)

    def report(self) -> str:
        """Return the end of its console, for people."""
        said = self.lines
        more = [f"... ({len(said) - _TAIL} lines before)"] if len(said) > _TAIL else []
        return "\n".join([*more, *said[-_TAIL:], f"[the whole console: {self.log}]"])

    def _way(self, port: int) -> tuple[str, int]:
        if port not in self._ways:
            self._ways[port] = self._stack.enter_context(reach.forward_port(self._one.host, self.address, port))
        return self._ways[port]

    def _wait_again(self, deadline: float, timeout: float, what: str) -> None:
        __tracebackhide__ = True
        until = self._one.age + _AGAIN
        while self._one.age < until and self._one.end is None:
            self._one.follow(until)
        if self._one.end or time.monotonic() >= deadline:
            raise AssertionError(f"{self.name} {self._so_far(timeout)} before {what}")

    def _so_far(self, timeout: float) -> str:
        return _how(self._one.end) if self._one.end else f"ran for {timeout:g} s"


def _how(end: DomainExit) -> str:
    return end.why + ("" if end.code is None else f" with exit code {end.code}")
