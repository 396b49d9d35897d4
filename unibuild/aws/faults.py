"""What went wrong in one try of a call: an answer of AWS, or an exception of botocore's or the network's."""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unibuild.aws.errors import UNREADABLE, Kind, explain, explain_local, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unibuild.errors import AwsError

__all__ = ["Fault", "fault", "garbage", "local_errors", "remember_answers"]

_WORDS = 100  # characters of an answer's body in a message
_last = threading.local()  # the status and the body of this thread's last answer


@dataclass(frozen=True)
class Fault:
    """What went wrong, and the error to raise if it was the last try.

    Attributes:
        kind: what it calls for.
        error: the sentence.
        answered: AWS was there.
        lost: the call may have been done.
        stalled: nothing came for too long.
        doubtful: the endpoint answers with a web page and status 500, as servers do that lack an operation.
    """

    kind: Kind
    error: AwsError
    answered: bool = False
    lost: bool = False
    stalled: bool = False
    doubtful: bool = False


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
        kind, body = kind_of(code, status, reason), getattr(_last, "body", b"")
        asked = str(getattr(error, "operation_name", operation))  # of a role's credentials it is AssumeRole
        told = explain(asked, region, code, str(said.get("Message", "")), reason, profile, status)
        doubtful = status == 500 and code == "500" and _is_page(body)
        return Fault(kind, told, answered=True, lost=kind is Kind.TRANSIENT, doubtful=doubtful)
    told = explain_local(operation, region, name, str(error), profile)
    if isinstance(error, HTTPClientError) or name in ("ResponseStreamingError", "IncompleteReadError"):
        unsent = name in ("EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError", "SSLError")
        kind = Kind.FATAL if name == "SSLError" else Kind.TRANSIENT
        return Fault(kind, told, lost=not unsent, stalled=name == "ReadTimeoutError")
    if isinstance(error, BotoCoreError) and name != UNREADABLE:
        return Fault(Kind.FATAL, told)
    if name == UNREADABLE or isinstance(error, (ValueError, LookupError, TypeError, AttributeError)):
        return garbage(operation, region, "")  # botocore's parsers on damaged bytes
    if isinstance(error, OSError):
        return Fault(Kind.TRANSIENT, told, lost=True)
    raise error


def garbage(operation: str, region: str, why: str) -> Fault:
    """Return the fault of an answer that was damaged on the way; the error gives its status and first words."""
    status, body = getattr(_last, "status", 0), getattr(_last, "body", b"")
    told = [f"HTTP {status}"] if status else []
    # a good answer may hold credentials (AssumeRole), a refusal does not
    told += [f'"{words}"'] if status >= 300 and (words := _words(body)) else [f"{len(body)} bytes"] if status else []
    error = explain_local(operation, region, UNREADABLE, ", ".join(filter(None, (why, *told))))
    return Fault(Kind.TRANSIENT, error, lost=True, doubtful=status == 500 and _is_page(body))


def remember_answers(client: Any) -> None:  # noqa: ANN401 (boto3 has no types)
    """Keep the status and body of each answer that a client gets, for ``fault`` and ``garbage`` in the same thread."""
    client.meta.events.register("before-parse.*.*", _remember, unique_id="unibuild")


def _remember(response_dict: dict[str, Any], **_: object) -> None:
    body = response_dict.get("body", b"")
    _last.status, _last.body = int(response_dict["status_code"]), body if isinstance(body, bytes) else b""


def _is_page(body: bytes) -> bool:
    return bool(re.match(rb"\s*<(!doctype\s+html|html)\b", body, re.IGNORECASE))


def _words(body: bytes) -> str:
    """Return the beginning of an answer's text without its markup and what a terminal would obey."""
    text = re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", " ", body[:4096].decode(errors="replace"), flags=re.DOTALL)
    text = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return text if len(text) <= _WORDS else text[: _WORDS - 3] + "..."


@contextlib.contextmanager
def local_errors(operation: str, region: str, profile: str = "") -> Iterator[None]:
    """Turn the errors of making a session or client into sentences."""
    try:
        yield
    except Exception as error:
        raise fault(operation, region, error, profile).error from None
