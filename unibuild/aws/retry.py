"""Retry a call of AWS: classify its faults, compute the waits, and decide when to give up."""

from __future__ import annotations

import contextlib
import random
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unibuild.aws.errors import UNREADABLE, Kind, explain, explain_local, kind_of
from unibuild.errors import AwsLostError
from unibuild.util import waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unibuild.errors import AwsError

__all__ = [
    "READ_POLICY",
    "Clock",
    "Fault",
    "RetryPolicy",
    "RetryState",
    "Stopped",
    "classify_fault",
    "local_errors",
    "malformed_response",
    "remember_answers",
]


class Stopped(Exception):  # noqa: N818 (not a failure: somebody set the clock's ``stop``)
    """A wait ended because the run is to end."""


class Clock:
    """Time and random numbers, which a test may replace.

    ``stop`` ends every wait: threads that sleep between two tries must not delay Ctrl-C.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._random = random.Random()

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            Stopped: ``stop`` is set.
        """
        if waits.wait(self.stop, seconds):
            raise Stopped

    def jitter(self, most: float) -> float:
        """Return a random number from 0 to ``most``, uniformly distributed: full jitter."""
        return self._random.uniform(0.0, most)


@dataclass(frozen=True)
class RetryPolicy:
    """For how long a call is retried, in seconds, whatever the faults are.

    A call gives up ``budget`` after its first fault, but not before it was tried ``tries`` times. If AWS has never
    answered, it gives up after ``first``: then the network or the endpoint is wrong. ``connect`` and ``read`` are the
    timeouts of one try; after each stall the next longer value of ``read`` is used. The waits between tries double from
    ``base`` to ``cap``.
    """

    budget: float = 180.0
    tries: int = 5
    first: float = 15.0
    connect: float = 5.0
    read: tuple[float, ...] = (20.0, 40.0, 80.0, 120.0)
    base: float = 0.1
    cap: float = 8.0


READ_POLICY = RetryPolicy(budget=20.0, tries=3, first=10.0)
"""The policy of a command that only reads: the user waits for it and can run it again."""


_WORDS = 100  # characters of an answer's body in a message
_last = threading.local()  # the status and the body of this thread's last answer


@dataclass(frozen=True)
class Fault:
    """What went wrong, and the error to raise if it was the last try.

    Attributes:
        kind: what to do about it.
        error: the error to raise.
        answered: AWS answered.
        lost: AWS may have carried out the call.
        stalled: nothing arrived for too long.
        doubtful: the endpoint answered with a web page and status 500, as servers that lack an operation do.
    """

    kind: Kind
    error: AwsError
    answered: bool = False
    lost: bool = False
    stalled: bool = False
    doubtful: bool = False


def classify_fault(operation: str, region: str, error: Exception, profile: str = "") -> Fault:
    """Return what an exception of a try means.

    Args:
        operation: what was called.
        region: where.
        error: the exception.
        profile: the profile that has the credentials; empty: the default one.

    Raises:
        Exception: ``error`` itself, if it does not come from AWS, botocore or the network.
    """
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

    name = type(error).__name__
    if isinstance(error, ClientError):
        fields, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
        code, status = str(fields.get("Code", "")), int(meta.get("HTTPStatusCode", 0))
        reason = str(error.response.get("Reason", ""))
        kind, body = kind_of(code, status, reason), getattr(_last, "body", b"")
        asked = str(getattr(error, "operation_name", operation))  # AssumeRole, for a role's credentials
        explained = explain(asked, region, code, str(fields.get("Message", "")), reason, profile, status)
        doubtful = status == 500 and code == "500" and _is_page(body)
        return Fault(kind, explained, answered=True, lost=kind is Kind.TRANSIENT, doubtful=doubtful)
    explained = explain_local(operation, region, name, str(error), profile)
    if isinstance(error, HTTPClientError) or name in ("ResponseStreamingError", "IncompleteReadError"):
        unsent = name in ("EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError", "SSLError")
        kind = Kind.FATAL if name == "SSLError" else Kind.TRANSIENT
        return Fault(kind, explained, lost=not unsent, stalled=name == "ReadTimeoutError")
    if isinstance(error, BotoCoreError) and name != UNREADABLE:
        return Fault(Kind.FATAL, explained)
    if name == UNREADABLE or isinstance(error, (ValueError, LookupError, TypeError, AttributeError)):
        return malformed_response(operation, region, "")  # botocore's parsers raise these on damaged bytes
    if isinstance(error, OSError):
        return Fault(Kind.TRANSIENT, explained, lost=True)
    raise error


def malformed_response(operation: str, region: str, why: str) -> Fault:
    """Return the fault of an answer that was damaged on the way; the error gives its status and first words."""
    status, body = getattr(_last, "status", 0), getattr(_last, "body", b"")
    parts = [f"HTTP {status}"] if status else []
    # A successful answer may hold credentials (AssumeRole), a refusal does not.
    parts += [f'"{words}"'] if status >= 300 and (words := _words(body)) else [f"{len(body)} bytes"] if status else []
    error = explain_local(operation, region, UNREADABLE, ", ".join(filter(None, (why, *parts))))
    return Fault(Kind.TRANSIENT, error, lost=True, doubtful=status == 500 and _is_page(body))


def remember_answers(client: Any) -> None:  # noqa: ANN401 (boto3 has no types)
    """Keep the status and body of each answer of a client, to describe faults in the same thread."""
    client.meta.events.register("before-parse.*.*", _remember, unique_id="unibuild")


def _remember(response_dict: dict[str, Any], **_: object) -> None:
    body = response_dict.get("body", b"")
    _last.status, _last.body = int(response_dict["status_code"]), body if isinstance(body, bytes) else b""


def _is_page(body: bytes) -> bool:
    return bool(re.match(rb"\s*<(!doctype\s+html|html)\b", body, re.IGNORECASE))


def _words(body: bytes) -> str:
    """Return the beginning of an answer's text, without markup and control characters."""
    text = re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", " ", body[:4096].decode(errors="replace"), flags=re.DOTALL)
    text = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return text if len(text) <= _WORDS else text[: _WORDS - 3] + "..."


@contextlib.contextmanager
def local_errors(operation: str, region: str, profile: str = "") -> Iterator[None]:
    """Turn the errors of making a session or client into an ``AwsError``."""
    try:
        yield
    except Exception as error:
        raise classify_fault(operation, region, error, profile).error from None


_QUIET = 3.0  # seconds of tries before the user is informed
_DOUBTS = 3  # tries of a call that the endpoint does not seem to implement


class RetryState:
    """The tries of one call.

    Args:
        policy: how long the call is tried.
        clock: time and random numbers.
        operation: what is called.
        idempotent: see ``Client.call``.
        appears: see ``Client.call``.
        inform: called with the operation and a line for the user if the call takes long.

    Attributes:
        stalls: how many of them stalled.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        clock: Clock,
        operation: str,
        *,
        idempotent: bool,
        appears: float,
        inform: Callable[[str, str], None],
    ) -> None:
        self.stalls = 0
        self._policy, self._clock, self._operation, self._inform = policy, clock, operation, inform
        self._idempotent, self._appears = idempotent, appears
        self._count = self._doubts = 0
        self._since: float | None = None

    def next_wait(self, fault: Fault, *, reached: bool) -> float:
        """Return the seconds to wait before the next try; inform the user if the call takes long.

        Args:
            fault: what went wrong in the last try.
            reached: whether AWS has ever answered a call of this account.

        Raises:
            AwsError: there is no next try.
        """
        policy, now = self._policy, self._clock.now()
        self._count += 1
        self._since = now if self._since is None else self._since
        self.stalls += fault.stalled
        spent = now - self._since
        if fault.kind is Kind.FATAL or (fault.kind is Kind.ABSENT and spent >= self._appears):
            raise fault.error
        if not self._idempotent and fault.lost:
            raise AwsLostError(
                f"{fault.error.message}; AWS may have carried it out",
                hint=fault.error.hint,
                code=fault.error.code,
                passing=True,
            )
        fault.error.passing = True
        if not reached and spent >= policy.first:
            raise fault.error
        self._doubts += fault.doubtful
        if self._doubts >= _DOUBTS:
            fault.error.add("AWS_ENDPOINT_URL: the endpoint may not implement this operation")
            raise fault.error
        if spent >= policy.budget and self._count >= policy.tries:
            fault.error.add(f"{self._operation} was tried {self._count} times in {spent:.0f} s")
            raise fault.error
        if spent >= _QUIET:
            notice = (
                f"{fault.error.message}; trying again (try {self._count + 1}, {spent:.0f} of {policy.budget:.0f} s)"
            )
            self._inform(self._operation, notice)
        return self._clock.jitter(min(policy.cap, policy.base * 2 ** min(self._count, 16)))
