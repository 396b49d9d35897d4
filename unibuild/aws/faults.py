"""What went wrong in one try of a call: an answer of AWS, or an exception of botocore's or the network's."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unibuild.aws.errors import Kind, explain, explain_local, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unibuild.errors import AwsError

__all__ = ["Fault", "fault", "garbage", "local_errors"]


@dataclass(frozen=True)
class Fault:
    """What went wrong, and the error to raise if it was the last try.

    Attributes:
        kind: what it calls for.
        error: the sentence.
        answered: AWS was there.
        lost: the call may have been done.
        stalled: nothing came for too long.
    """

    kind: Kind
    error: AwsError
    answered: bool = False
    lost: bool = False
    stalled: bool = False


def fault(operation: str, region: str, error: Exception, profile: str = "") -> Fault:
    """Return what an exception of a try means.

    Args:
        operation: what was called.
        region: where.
        error: the exception.
        profile: the profile that the credentials are of; empty: the default one.

    Raises:
        Exception: the same, where it is none of AWS, botocore or the network.
    """
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

    name = type(error).__name__
    if isinstance(error, ClientError):
        said, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
        code, status = str(said.get("Code", "")), int(meta.get("HTTPStatusCode", 0))
        reason = str(error.response.get("Reason", ""))
        kind = kind_of(code, status, reason)
        asked = str(getattr(error, "operation_name", operation))  # of a role's credentials it is AssumeRole
        told = explain(asked, region, code, str(said.get("Message", "")), reason, profile)
        return Fault(kind, told, answered=True, lost=kind is Kind.TRANSIENT)
    told = explain_local(operation, region, name, str(error), profile)
    if isinstance(error, HTTPClientError) or name in ("ResponseStreamingError", "IncompleteReadError"):
        unsent = name in ("EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError", "SSLError")
        kind = Kind.FATAL if name == "SSLError" else Kind.TRANSIENT
        return Fault(kind, told, lost=not unsent, stalled=name == "ReadTimeoutError")
    if isinstance(error, BotoCoreError) and name != "ResponseParserError":
        return Fault(Kind.FATAL, told)
    if name == "ResponseParserError" or isinstance(error, (ValueError, LookupError, TypeError, AttributeError)):
        return garbage(operation, region, "")  # botocore's parsers on damaged bytes
    if isinstance(error, OSError):
        return Fault(Kind.TRANSIENT, told, lost=True)
    raise error


def garbage(operation: str, region: str, why: str) -> Fault:
    """Return the fault of an answer that was damaged on the way."""
    return Fault(Kind.TRANSIENT, explain_local(operation, region, "ResponseParserError", why), lost=True)


@contextlib.contextmanager
def local_errors(operation: str, region: str, profile: str = "") -> Iterator[None]:
    """Turn the errors of making a session or client into sentences."""
    try:
        yield
    except Exception as error:
        raise fault(operation, region, error, profile).error from None
