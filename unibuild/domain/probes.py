"""Probe a domain's TCP ports, HTTP responses and XenStore keys until it is ready, each probe in its own thread.

A probe is tried every ``AGAIN`` seconds until it passes. Each attempt takes a few seconds at most, so that all threads
end soon after they are stopped.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

from unibuild.errors import CommandError, LostError
from unibuild.util import http_probe, waits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unibuild.host.base import Host
    from unibuild.settings.model import Http
    from unibuild.util.process import Completed
    from unibuild.util.wakeup import Waker

__all__ = ["AGAIN", "HttpProbe", "Probe", "ProbeRunner", "TcpProbe", "TcpProbeFromHost", "XenStoreProbe"]

AGAIN = 0.2  # seconds between two tries


class Probe(Protocol):
    """One condition for readiness; ``what`` names it."""

    @property
    def what(self) -> str: ...  # noqa: D102

    def attempt(self) -> str | None:
        """Try once; return what was found instead, to follow "WHAT: ", or None if the probe passes."""

    def cancel(self) -> None:
        """Stop an attempt in another thread, as far as possible."""


class ProbeRunner(contextlib.AbstractContextManager["ProbeRunner"]):
    """Run probes, each in its own thread, for the time of the block.

    Args:
        checks: the probes.
        waker: woken when a probe passes or cannot be tried.
    """

    def __init__(self, checks: Sequence[Probe], waker: Waker) -> None:
        self._checks = checks
        self._waker = waker
        self._over = threading.Event()
        self._last: dict[int, str | None] = dict.fromkeys(range(len(checks)), "not tried yet")
        self._error: Exception | None = None
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"unibuild probes {check.what}", daemon=True)
            for number, check in enumerate(checks)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for check, thread in zip(self._checks, self._threads, strict=True):
            check.cancel()
            while not waits.join(thread, 0.05):
                check.cancel()

    @property
    def missing(self) -> list[str]:
        """The probes that have not passed yet, each with what was found instead.

        Raises:
            UnibuildError: the host refused a probe.
        """
        if self._error:
            raise self._error
        return [f"{check.what}: {why}" for check, why in zip(self._checks, self._last.values(), strict=True) if why]

    def _work(self, number: int) -> None:
        try:
            while not self._over.is_set():
                why = self._checks[number].attempt()
                if self._over.is_set():  # the attempt was cancelled
                    return
                self._last[number] = why
                if why is None:
                    break
                self._over.wait(AGAIN)
        except Exception as error:  # `missing` raises it
            self._error = error
        self._waker.wake()


_CONNECT = 1  # seconds for a connection
_ANSWER = 5.0  # seconds for a response


@dataclass
class TcpProbe:
    """A TCP port that must accept a connection."""

    address: str
    port: int

    @property
    def what(self) -> str:
        """See ``Probe``."""
        return f"port {self.port} of {self.address}"

    def attempt(self) -> str | None:
        """See ``Probe``."""
        try:
            socket.create_connection((self.address, self.port), _CONNECT).close()
        except OSError as error:
            return _said(error, _CONNECT)
        return None

    def cancel(self) -> None:
        """Do nothing: an attempt to connect takes a second at most."""


@dataclass
class TcpProbeFromHost:
    """A TCP port that must accept a connection from the host itself.

    This is for the lab: QEMU accepts every connection to a forwarded port at once, whether or not the domain does.
    """

    host: Host
    address: str
    port: int

    @property
    def what(self) -> str:
        """See ``Probe``."""
        return f"port {self.port} of {self.address}"

    def attempt(self) -> str | None:
        """See ``Probe``; ``nc`` is busybox's, in which ``-w`` is the time to connect."""
        done = _run(self.host, ["nc", "-w", str(_CONNECT), self.address, str(self.port), "-e", "true"])
        if isinstance(done, str) or done.returncode == 0:
            return done if isinstance(done, str) else None
        output = done.stderr.decode(errors="replace").strip().rpartition(": ")[2].lower()
        return f"no answer within {_CONNECT} s" if output == "timed out" else output or "no connection"

    def cancel(self) -> None:
        """Do nothing: an attempt to connect takes a second at most."""


@dataclass
class HttpProbe:
    """An HTTP request that must get the configured response; a redirection is a response like any other.

    Attributes:
        request: the setting.
        address: the domain's address.
        way: the local address and port that lead to it.
        first: a probe that must pass before.
    """

    request: Http
    address: str
    way: tuple[str, int]
    first: Probe | None = None
    _socket: socket.socket | None = field(default=None, init=False)

    @property
    def what(self) -> str:
        """See ``Probe``."""
        return f"GET {self.request.path} on port {self.request.port} of {self.address}"

    def attempt(self) -> str | None:
        """See ``Probe``."""
        if self.first and (why := self.first.attempt()):
            return why
        try:
            with socket.create_connection(self.way, _CONNECT) as self._socket:
                return self._ask(self._socket)
        except http.client.RemoteDisconnected:
            return "the connection was closed without a response"
        except http.client.HTTPException:
            return "the response is not HTTP"
        except OSError as error:
            return _said(error, _ANSWER)
        finally:
            self._socket = None

    def cancel(self) -> None:
        """See ``Probe``."""
        sock = self._socket
        if sock:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _ask(self, sock: socket.socket) -> str | None:
        wanted = self.request
        with http_probe.get(sock, wanted.path, host=self.address, port=wanted.port, timeout=_ANSWER) as response:
            if response.status != wanted.status:
                return f"status {response.status}, not {wanted.status}"
            if wanted.body is not None:
                body = http_probe.read_body(response, _ANSWER, partial=True)
                if not re.search(wanted.body, body):
                    return f'nothing in the response matches "{wanted.body}"'
        return None


@dataclass
class XenStoreProbe:
    """A XenStore key that must exist: ``KEY`` or ``KEY=VALUE``, relative to the domain's directory."""

    host: Host
    domid: int
    asked: str

    @property
    def what(self) -> str:
        """See ``Probe``."""
        return f"{self.asked.partition('=')[0]} in XenStore"

    def attempt(self) -> str | None:
        """See ``Probe``."""
        key, sign, value = self.asked.partition("=")
        path = key if key.startswith("/") else f"/local/domain/{self.domid}/{key}"
        try:
            got = self.host.toolstack.store.read(path, timeout=_ANSWER)
        except LostError as error:
            return error.message
        except CommandError as error:
            return error.output.strip() or f"exit code {error.returncode}"
        if got is None:
            return "absent"
        return f'"{got}", not "{value}"' if sign and got != value else None

    def cancel(self) -> None:
        """Do nothing: a query takes a few seconds at most."""


def _run(host: Host, argv: Sequence[str]) -> Completed | str:
    """Run a short command on the host; return the reason instead if the host is out of reach.

    Raises:
        HostError: the host refused.
    """
    try:
        return host.run(argv, timeout=_ANSWER, check=False, root=False, background=True)
    except LostError as error:
        return error.message


def _said(error: OSError, timeout: float) -> str:
    """Return the message for a connection that failed."""
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    return (error.strerror or str(error)).lower()
