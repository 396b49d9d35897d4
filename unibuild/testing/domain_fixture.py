"""The handle of a test domain in Python tests: expect console output, type keys, and use its ports."""

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

_AGAIN = 0.2  # seconds between two attempts
_ANSWER = 5.0  # seconds for one response
_TAIL = 40  # lines of the console in a report


@dataclass(frozen=True)
class Response:
    """An HTTP response; ``body`` is text with invalid UTF-8 replaced."""

    status: int
    body: str


class DomainHandle(contextlib.AbstractContextManager["DomainHandle"]):
    """A domain for one test; it and all its files are removed at the end of the block.

    Every wait reads the console. It raises an ``AssertionError`` if the time is up or the domain stops first.

    Args:
        found: the project's graph, up to date.
        host: the host to boot on.
        name: the domain's name; no other domain has it.
        log: the console log's path.

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
        """The console's lines so far; the last one may be incomplete."""
        self._one.catch_up()
        complete = [line.text for line in self._one.lines]
        return [*complete, *([self._one.unfinished] if self._one.unfinished else [])]

    @property
    def end(self) -> DomainExit | None:
        """How it stopped: ``why`` ("powered off", "crashed" ...), ``code`` and ``is_good``; None while it runs."""
        return self._one.catch_up()

    @property
    def crash(self) -> str | None:
        """How it crashed or failed, in words, from its console; None if it did not."""
        end = self.end
        if end is None or end.is_good:
            return None
        finding = console_patterns.read("\n".join(self.lines).encode())
        return f"{self.name} {_how(end)}" + (f": {finding.sentence}" if finding else "")

    @property
    def address(self) -> str:
        """Its IP address, as the host's other domains know it.

        Raises:
            SettingsError: the address is not known.
        """
        return reach.address(self._one.host, self._one.config, self._found.project.settings.boot.ready.address)

    def expect(self, pattern: str, timeout: float = 30.0) -> re.Match[str]:
        """Wait for a line in which the regular expression is found; the next call starts after that line.

        Args:
            pattern: the regular expression. An incomplete line, such as a prompt, counts too.
            timeout: seconds.

        Raises:
            AssertionError: no such line came in time, or before the domain stopped.
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
            f"; closest line: {line}" for line in closest_lines(pattern, [line.text for line in one.lines[began:]], 1)
        )
        raise AssertionError(f'{self.name} {self._so_far(timeout)} before it printed "{pattern}"{like}')

    def send(self, text: str) -> None:
        """Type on its console."""
        self._one.type(text.encode())

    def connect(self, port: int, timeout: float = 30.0) -> socket.socket:
        """Return a connection to a port.

        In the lab it goes through a forwarded port, which accepts every connection. So dom0 first connects to the port
        itself, and closes that connection at once.

        Raises:
            AssertionError: the port does not accept it in time.
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
                self._wait_again(deadline, timeout, f"it accepted a connection on port {port} ({error})")

    def http(self, path: str = "/", port: int = 80, timeout: float = 30.0) -> Response:
        """Return the response to a GET request, which is repeated until a response comes.

        Raises:
            AssertionError: no response came in time.
        """
        __tracebackhide__ = True
        deadline = time.monotonic() + timeout
        while True:
            try:
                return Response(*ask(*self._way(port), path, _ANSWER))
            except (OSError, HTTPException) as error:
                self._wait_again(deadline, timeout, f"it answered GET {path} on port {port} ({error})")

    def wait_end(self, timeout: float = 30.0) -> DomainExit:
        """Wait until it stops and all output is read; return how it stopped.

        Raises:
            AssertionError: it still runs.
        """
        __tracebackhide__ = True
        deadline = self._one.age + timeout
        while self._one.end is None:
            if self._one.age >= deadline:
                raise AssertionError(f"{self.name} {self._so_far(timeout)} before it ended")
            self._one.follow(deadline)
        return self._one.end

    def shutdown(self, timeout: float = 30.0) -> DomainExit:
        """Ask it to shut down; return how it stopped.

        Raises:
            AssertionError: it still runs.
        """
        __tracebackhide__ = True
        if self.end is None:
            self._one.host.toolstack.request_shutdown(self._one.domain)
        return self.wait_end(timeout)

    def report(self) -> str:
        """Return the last lines of its console, for the test report."""
        lines = self.lines
        more = [f"... ({len(lines) - _TAIL} lines before)"] if len(lines) > _TAIL else []
        return "\n".join([*more, *lines[-_TAIL:], f"[the whole console: {self.log}]"])

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
