"""The client of AWS: every call goes through ``Client.call``, which retries it.

No other module imports boto3, and this one imports it when it makes the first client. boto3's usual chain finds the
credentials, the region and the endpoint: environment, profiles, SSO, roles, ``AWS_ENDPOINT_URL``. Secrets stay inside
boto3.
"""

from __future__ import annotations

import contextlib
import copy
import queue
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import unibuild
from unibuild.aws.dry_run import CallPlan, PlannedCall, is_reading, mentions_unknown
from unibuild.aws.errors import explain_local
from unibuild.aws.retry import (
    Clock,
    RetryPolicy,
    RetryState,
    Stopped,
    classify_fault,
    local_errors,
    malformed_response,
    remember_answers,
)
from unibuild.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from unibuild.aws.errors import Kind

__all__ = ["Aws", "Client", "Clock", "RetryPolicy", "Stopped", "run_parallel"]

T = TypeVar("T")


def run_parallel(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Run each job in its own thread, and return their results in the jobs' order.

    Raises:
        Exception: that of the first job that failed, at once. Neither this function nor Ctrl-C waits for the others.
    """
    results: queue.SimpleQueue[tuple[int, T | None, BaseException | None]] = queue.SimpleQueue()

    def work(number: int, job: Callable[[], T]) -> None:
        try:
            results.put((number, job(), None))
        except BaseException as error:
            results.put((number, None, error))

    for number, job in enumerate(jobs):
        threading.Thread(target=work, args=(number, job), daemon=True, name=f"job-{number}").start()
    found: dict[int, T] = {}
    while len(found) < len(jobs):
        number, result, error = results.get()
        if error is not None:
            raise error
        found[number] = result  # type: ignore[assignment]  # T may be None itself
    return [found[number] for number in range(len(jobs))]


Answer = dict[str, Any]


_POLL = (0.2, 5.0)  # seconds between two polls: at first, and at most
_INFORM = 15.0  # seconds between two notices of one operation


class Aws:
    """An AWS account, as boto3's usual chain finds it.

    Args:
        profile: the profile's name; None: the chain's.
        region: the region; None: the chain's.
        retries: for how long a call is retried; None: the defaults of ``RetryPolicy``.
        clock: time and random numbers.
        plan: records the calls that change something, which are then not made; None: they are made.
        notify: called with a line for the user while a call is being retried; None: the user gets no line.
    """

    def __init__(
        self,
        profile: str | None = None,
        region: str | None = None,
        *,
        retries: RetryPolicy | None = None,
        clock: Clock | None = None,
        plan: CallPlan | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self.retries = retries or RetryPolicy()
        self.clock = clock or Clock()
        self.plan = plan
        self.answered = False  # whether AWS has ever answered
        self._profile, self._region = profile, region
        self._session: Any = None
        self._made: dict[tuple[str, str, float, float], Any] = {}
        self._notify = notify
        self._informed: dict[str, float] = {}  # when the user was informed last, by operation
        self._lock = threading.RLock()

    @property
    def region(self) -> str:
        """The region of clients that name no other.

        Raises:
            AwsError: no region is set, or the profile does not exist.
        """
        with local_errors("AWS", self._region or "", self._profile or ""):
            found = self.session().region_name
        if not found:
            raise explain_local("AWS", "", "NoRegionError", "")
        return str(found)

    @property
    def profile(self) -> str:
        """The name of the profile that has the credentials; empty: the default one."""
        name = self._session.profile_name if self._session is not None else self._profile or ""
        return "" if name == "default" else str(name)

    def client(self, service: str, region: str | None = None) -> Client:
        """Return the client of a service (``ec2``, ``ebs``, ``s3``, ``sts``), without calling AWS."""
        return Client(self, service, region or self.region)

    def send(self, planned: PlannedCall, *, wants: tuple[str, ...] = (), appears: float = 0.0) -> Answer:
        """Make a planned call, which may be made twice; the arguments are those of ``Client.call``.

        Raises:
            AwsError: as ``Client.call``.
        """
        params: dict[str, Any] = dict(planned.params)
        return self.client(planned.service, planned.region).call(
            planned.operation, wants=wants, appears=appears, **params
        )

    def like(
        self, *, retries: RetryPolicy | None = None, clock: Clock | None = None, plan: CallPlan | None = None
    ) -> Aws:
        """Return the same account with another retry policy, clock or plan; both share session and clients."""
        other = copy.copy(self)
        other.retries, other.clock = retries or self.retries, clock or self.clock
        other.plan = plan or self.plan
        return other

    def inform(self, operation: str, line: str) -> None:
        """Notify the user of an operation, unless there was a notice some seconds ago."""
        if self._notify is None:
            return
        with self._lock:
            now = self.clock.now()
            if now - self._informed.get(operation, -_INFORM) < _INFORM:
                return
            self._informed[operation] = now
        with contextlib.suppress(OSError):  # standard error was closed
            self._notify(line)

    def poll(self, query: Callable[[], T | None], seconds: float) -> T | None:
        """Call ``query`` after growing pauses until it returns something; return None after so many seconds."""
        until, pause = self.clock.now() + seconds, _POLL[0]
        while (found := query()) is None and self.clock.now() < until:
            self.clock.sleep(pause)
            pause = min(_POLL[1], pause * 1.5)
        return found

    def session(self) -> Any:  # noqa: ANN401 (boto3 has no types)
        """Return boto3's session, which is made once."""
        with self._lock:
            if self._session is None:
                import boto3

                self._session = boto3.Session(profile_name=self._profile, region_name=self._region)
            return self._session

    def raw(self, service: str, region: str, stalls: int) -> Any:  # noqa: ANN401
        """Return botocore's client for a try after so many stalls. Thread-safe, like these clients."""
        read = self.retries.read[min(stalls, len(self.retries.read) - 1)]
        with self._lock:
            key = (service, region, self.retries.connect, read)
            if key not in self._made:
                from botocore.config import Config

                config = Config(
                    retries={"mode": "standard", "total_max_attempts": 1},  # ``Client.call`` retries
                    connect_timeout=self.retries.connect,
                    read_timeout=read,
                    tcp_keepalive=True,
                    max_pool_connections=32,
                    user_agent_extra=f"unibuild/{unibuild.__version__}",
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                )
                self._made[key] = self.session().client(service, region_name=region, config=config)
                remember_answers(self._made[key])
            return self._made[key]


@dataclass(frozen=True)
class Client:
    """One service in one region."""

    aws: Aws = field(repr=False)
    service: str
    region: str

    def call(
        self,
        operation: str,
        /,
        *,
        idempotent: bool = True,
        appears: float = 0.0,
        wants: tuple[str, ...] = (),
        turn: AbstractContextManager[object] | None = None,
        heed: Callable[[Kind], None] | None = None,
        **params: Any,  # noqa: ANN401 (AWS's own types)
    ) -> Answer:
        """Call an operation of AWS and return its answer; every call of unibuild goes through here.

        Args:
            operation: its name in AWS's reference, ``RegisterImage``.
            idempotent: whether a second call does no harm. Else only a call that AWS certainly refused is retried.
            appears: seconds for which "does not exist" may mean "not yet".
            wants: the keys that the answer must have; an answer without one was damaged on the way.
            turn: entered for each try, and left for the waits between them.
            heed: called with the kind of each fault that leads to another try.
            params: the operation's parameters, by AWS's names.

        Raises:
            AwsError: AWS refused, or the retries are used up.
            AwsLostError: the call is not ``idempotent``, and AWS may have carried it out.
            Stopped: the clock's ``stop`` was set meanwhile.
        """
        if self.aws.plan is not None and (mentions_unknown(params) or not is_reading(operation, params)):
            return self._plan_call(self.aws.plan, operation, params)
        aws = self.aws
        tries = RetryState(aws.retries, aws.clock, operation, idempotent=idempotent, appears=appears, inform=aws.inform)
        while True:
            with turn or contextlib.nullcontext():
                if self.aws.clock.stop.is_set():
                    raise Stopped
                try:
                    answer = self._try(operation, params, tries.stalls)
                    missing = [key for key in wants if key not in answer]
                    if not missing:
                        self.aws.answered = True
                        return answer
                    found = malformed_response(operation, self.region, f"it has no {missing[0]}")
                except Exception as error:  # an error that is not a fault of the call is raised again
                    found = classify_fault(operation, self.region, error, self.aws.profile)
            aws.answered |= found.answered
            wait = tries.next_wait(found, reached=aws.answered)
            if heed is not None:
                heed(found.kind)
            self.aws.clock.sleep(wait)

    def dry_run(self, operation: str, /, **params: Any) -> None:  # noqa: ANN401
        """Ask EC2 whether it would accept a call, as far as its DryRun checks that.

        Raises:
            AwsError: it would not.
        """
        try:
            self.call(operation, **params, DryRun=True)
        except AwsError as error:
            if error.code != "DryRunOperation":
                raise

    def pages(self, operation: str, key: str, /, **params: Any) -> list[Any]:  # noqa: ANN401
        """Return the whole list ``key`` of an answer that comes in pages (``NextToken``).

        Raises:
            AwsError: as ``call``.
        """
        found: list[Any] = []
        token: Mapping[str, Any] = {}
        while True:
            answer = self.call(operation, **params, **token)
            found += answer.get(key, [])
            if not answer.get("NextToken") or mentions_unknown(answer["NextToken"]):  # a planned call has no last page
                return found
            token = {"NextToken": answer["NextToken"]}

    def _plan_call(self, plan: CallPlan, operation: str, params: Mapping[str, object]) -> Answer:
        with local_errors(operation, self.region, self.aws.profile):
            from botocore.exceptions import ParamValidationError
            from botocore.validate import ParamValidator

            raw = self.aws.raw(self.service, self.region, 0)
            model = raw.meta.service_model.operation_model(operation)
            report = ParamValidator().validate(params, model.input_shape)
            if report.has_errors():
                raise ParamValidationError(report=report.generate_report())
        return plan.add(self.service, self.region, model, operation, params)

    def _try(self, operation: str, params: Mapping[str, object], stalls: int) -> Answer:
        from botocore import xform_name

        method = getattr(self.aws.raw(self.service, self.region, stalls), xform_name(operation))
        answer: Answer = method(**params)
        # Streams are read here, so that their faults count as faults of the call.
        return {key: value.read() if hasattr(value, "read") else value for key, value in answer.items()}
