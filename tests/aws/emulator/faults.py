"""Faults that are injected: seeded, and the same for the same requests whatever the order of threads."""

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
"""These keep the request from having an effect."""
AFTER = ("cut-after", "cut-answer", "garbage", "slow")
"""These spoil the answer of a request that had its effect."""
UPLOAD = "cut-upload"
"""This ends the connection when half of the body has come, of services whose operations the first line tells."""
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
    """A fault, and what it happens to.

    Attributes:
        kind: One of KINDS.
        operations: A pattern of operations' names, as of fnmatch.
        rate: Which part of the requests it hits.
        skip: How many requests pass first.
        times: How many it hits at most; None for no end.
        error: What is answered instead of the kind's own error.
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
    """What goes wrong, and how long everything takes.

    Attributes:
        seed: Decides which requests are hit.
        latency: Seconds that each request takes more; it is real time, whatever the world's clock.
        patience: Seconds of a "slow" answer, and of a "stall" until the connection is cut.
        watch: Called with each Call and "before" or "after" it had its effect; may do anything, as to kill the client.
        hits: How often each kind happened.
    """

    seed: int = 1
    latency: float = 0.0
    patience: float = 0.3
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

        The n-th try of the same request has the same fate in every run.
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
    """Return a number in 0..1 that only the text decides."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big") / (1 << 56)


def error_of(rule: Rule, service: str) -> AwsError | None:
    """Return what a rule answers, None where it answers nothing."""
    return rule.error or _ERRORS.get((rule.kind, service)) or _ERRORS.get((rule.kind, ""))


BAD_GATEWAY = Answer(
    b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>", 502, type="text/html"
)
"""What a proxy on the way says."""


def garbled(answer: Answer, seed: int) -> Answer:
    """Return an answer of the same status whose body nobody can read; of an empty one the headers are lost."""
    noise = hashlib.sha256(str(seed).encode()).digest() * 2
    return Answer(b"\xff\xfe<" + noise[: max(8, min(48, len(answer.body)))], answer.status, {}, answer.type)
