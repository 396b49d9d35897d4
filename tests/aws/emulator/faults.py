"""Injected faults: they depend on the seed and the request, not on the order of threads."""

from __future__ import annotations

import fnmatch
import hashlib
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import AwsError
from .request import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from .calls import Call

BEFORE = ("throttle", "500", "503", "502", "cut-before", "stall")
"""Kinds of faults that prevent the request's effect."""
AFTER = ("cut-after", "cut-answer", "garbage", "slow")
"""Kinds of faults that damage or delay the answer of a request after its effect."""
UPLOAD = "cut-upload"
"""The fault that cuts the connection after half of the body, for services with the operation in the first line."""
KINDS = (*BEFORE, UPLOAD, *AFTER)

_ERRORS = {
    ("throttle", "ebs"): AwsError("RequestThrottledException", "Rate exceeded", 400, Reason="ACCOUNT_THROTTLED"),
    ("throttle", "s3"): AwsError("SlowDown", "Please reduce your request rate.", 503),
    ("throttle", "ec2"): AwsError("RequestLimitExceeded", "Request limit exceeded.", 503),
    ("throttle", ""): AwsError("Throttling", "Rate exceeded", 400),
    ("500", "ebs"): AwsError("InternalServerException", "An internal error has occurred", 500),
    ("500", ""): AwsError("InternalError", "An internal error has occurred", 500),
    ("503", "ebs"): AwsError(
        "ServiceUnavailableException", "The service is unavailable. Please try again shortly.", 503
    ),
    ("503", ""): AwsError("Unavailable", "The service is unavailable. Please try again shortly.", 503),
}


@dataclass
class Rule:
    """A fault, and the requests that it hits.

    Attributes:
        kind: One of KINDS.
        operations: A pattern of operations' names, as in fnmatch.
        rate: The fraction of the requests that it hits.
        skip: How many requests pass first.
        times: The largest number of requests that it hits; None: no limit.
        error: The error to answer instead of the kind's own error.
    """

    kind: str
    operations: str = "*"
    rate: float = 1.0
    skip: int = 0
    times: int | None = None
    error: AwsError | None = None

    def __post_init__(self) -> None:
        assert self.kind in KINDS, self.kind


@dataclass
class Faults:
    """The injected faults and delays.

    Attributes:
        seed: Decides which requests are hit.
        latency: Seconds that are added to each request, in real time, whatever the world's clock.
        timeout: Seconds of a "slow" answer, and of a "stall" until the connection is cut.
        watch: Called with each Call and "before" or "after" its effect; may do anything, such as kill the client.
        hits: How often each kind of fault happened.
    """

    seed: int = 1
    latency: float = 0.0
    timeout: float = 0.3
    rules: list[Rule] = field(default_factory=list)
    watch: Callable[[Call, str], None] | None = None
    hits: Counter[str] = field(default_factory=Counter)
    _seen: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, operations: str = "*", **how: float | AwsError | None) -> Rule:
        """Add a rule: ``add("throttle", "PutSnapshotBlock", times=3)``, ``add("cut-after", rate=0.1)``."""
        rule = Rule(kind, operations, **how)  # type: ignore[arg-type]
        self.rules.append(rule)
        return rule

    def clear(self) -> None:
        self.rules.clear()
        self.watch = None
        self.latency = 0.0

    def choose(self, call: Call, *kinds: str) -> Rule | None:
        """Return the rule of one of these kinds that hits a request.

        The n-th try of the same request has the same result in every run.
        """
        if not any(rule.kind in kinds for rule in self.rules):
            return None
        with self._lock:
            request = f"{call.region}/{call.operation}/{sorted(call.params.items())}"
            self._seen[request] += 1
            for number, rule in enumerate(self.rules):
                if rule.kind not in kinds or rule.times == 0 or not fnmatch.fnmatch(call.operation, rule.operations):
                    continue
                if rule.skip > 0:
                    rule.skip -= 1
                elif _dice(f"{self.seed}/{number}/{request}/{self._seen[request]}") < rule.rate:
                    rule.times = None if rule.times is None else rule.times - 1
                    self.hits[rule.kind] += 1
                    call.fault = rule.kind
                    return rule
        return None


def _dice(text: str) -> float:
    """Return a number in 0..1 that depends only on the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big") / (1 << 56)


def error_of(rule: Rule, service: str) -> AwsError | None:
    """Return the answer of a rule; None: it sends none."""
    return rule.error or _ERRORS.get((rule.kind, service)) or _ERRORS.get((rule.kind, ""))


BAD_GATEWAY = Answer(
    b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>", 502, type="text/html"
)
"""The answer of a proxy between client and server."""


def garbled(answer: Answer, seed: int) -> Answer:
    """Return an answer of the same status with an unreadable body; an empty answer loses its headers."""
    noise = hashlib.sha256(str(seed).encode()).digest() * 2
    return Answer(b"\xff\xfe<" + noise[: max(8, min(48, len(answer.body)))], answer.status, {}, answer.type)
