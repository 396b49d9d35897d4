"""The tries of one call: how long to wait before the next one, and when to give up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibuild.aws.errors import Kind
from unibuild.errors import AwsLostError

if TYPE_CHECKING:
    from unibuild.aws.client import Aws
    from unibuild.aws.faults import Fault

__all__ = ["Tries"]

_QUIET = 3.0  # seconds of tries before the user is informed
_DOUBTS = 3  # tries of a call that the endpoint seems not to implement


class Tries:
    """The tries of one call.

    Args:
        aws: the account, whose patience and clock count.
        operation: what is called.
        idempotent: see ``Client.call``.
        appears: see ``Client.call``.

    Attributes:
        stalls: how many of them stalled.
    """

    def __init__(self, aws: Aws, operation: str, *, idempotent: bool, appears: float) -> None:
        self.stalls = 0
        self._aws, self._operation = aws, operation
        self._idempotent, self._appears = idempotent, appears
        self._count = self._doubts = 0
        self._since: float | None = None

    def another(self, fault: Fault) -> float:
        """Return the seconds to wait before the next try; inform the user where the call takes long.

        Raises:
            AwsError: there shall be none.
        """
        patience, now = self._aws.patience, self._aws.clock.now()
        self._count += 1
        self._since = now if self._since is None else self._since
        self.stalls += fault.stalled
        self._aws.answered |= fault.answered
        spent = now - self._since
        if fault.kind is Kind.FATAL or (fault.kind is Kind.ABSENT and spent >= self._appears):
            raise fault.error
        if not self._idempotent and fault.lost:
            raise AwsLostError(
                f"{fault.error.message}; it may have been done",
                hint=fault.error.hint,
                code=fault.error.code,
                passing=True,
            )
        fault.error.passing = True
        if not self._aws.answered and spent >= patience.first:
            raise fault.error
        self._doubts += fault.doubtful
        if self._doubts >= _DOUBTS:
            fault.error.add("AWS_ENDPOINT_URL: the endpoint may not implement this operation")
            raise fault.error
        if spent >= patience.budget and self._count >= patience.tries:
            fault.error.add(f"{self._operation} was tried {self._count} times in {spent:.0f} s")
            raise fault.error
        if spent >= _QUIET:
            told = (
                f"{fault.error.message}; trying again (try {self._count + 1}, {spent:.0f} of {patience.budget:.0f} s)"
            )
            self._aws.inform(self._operation, told)
        return self._aws.clock.jitter(min(patience.cap, patience.base * 2 ** min(self._count, 16)))
