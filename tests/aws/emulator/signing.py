"""Check Signature Version 4 of requests.

Source: "Create a signed AWS API request" of the IAM user guide. This code is independent of botocore's signer, so that
it would find an error there.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import urllib.parse
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .request import Request

MAX_SKEW = 300.0
"""Seconds by which a client's clock may be wrong."""
UNSIGNED = "UNSIGNED-PAYLOAD"
CREDENTIAL = re.compile(r"Credential=([^/, ]+)/(\d{8})/([^/, ]+)/([^/, ]+)/aws4_request")

# The error codes of each service, as observed; "" is any other service. EC2 has one code for all errors.
REFUSALS: dict[str, dict[str, tuple[str, int]]] = {
    "unsigned": {"ec2": ("AuthFailure", 401), "s3": ("AccessDenied", 403), "": ("MissingAuthenticationToken", 403)},
    "unknown": {
        "ec2": ("AuthFailure", 401),
        "s3": ("InvalidAccessKeyId", 403),
        "ebs": ("UnrecognizedClientException", 403),
        "": ("InvalidClientTokenId", 403),
    },
    "wrong": {
        "ec2": ("AuthFailure", 401),
        "ebs": ("InvalidSignatureException", 403),
        "": ("SignatureDoesNotMatch", 403),
    },
    "skewed": {
        "ec2": ("RequestExpired", 400),
        "s3": ("RequestTimeTooSkewed", 403),
        "ebs": ("InvalidSignatureException", 403),
        "": ("SignatureDoesNotMatch", 403),
    },
    "expired": {
        "ec2": ("RequestExpired", 400),
        "s3": ("ExpiredToken", 400),
        "ebs": ("ExpiredTokenException", 403),
        "": ("ExpiredToken", 403),
    },
}
SENTENCES = {
    "unsigned": "Request is missing Authentication Token",
    "unknown": "The security token included in the request is invalid",
    "wrong": "The request signature we calculated does not match the signature you provided.",
    "skewed": "Signature expired or not yet current: the clocks differ too much",
    "expired": "The security token included in the request is expired",
}


@dataclass
class Principal:
    """A caller: its keys and its policy (None: everything is allowed)."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expires: float | None = None
    policy: dict[str, Any] | None = None
    arn: str = "arn:aws:iam::123456789012:user/tester"


@dataclass(frozen=True)
class Scope:
    """The credential scope of a request: access key, region, service."""

    access_key: str
    date: str
    region: str
    service: str


def refusal(kind: str, service: str) -> AwsError:
    names = REFUSALS[kind]
    code, status = names.get(service, names[""])
    sentence = (
        "AWS was not able to validate the provided access credentials" if code == "AuthFailure" else SENTENCES[kind]
    )
    return AwsError(code, sentence, status)


def scope_of(request: Request) -> Scope | None:
    """Return the fields of an Authorization header, unchecked."""
    found = CREDENTIAL.search(request.headers.get("authorization", ""))
    return Scope(*found.groups()) if found else None


def verify(
    request: Request, principals: Mapping[str, Principal], *, now: float, unsigned_body: bool = False
) -> Principal:
    """Return the principal that signed a request.

    Args:
        request: The request with its raw path, query and body.
        principals: The known callers, by access key.
        now: The checker's time, in seconds since the epoch.
        unsigned_body: Whether the signature may omit the body of this operation.

    Raises:
        AwsError: with the service's own code: it is unsigned, wrong, too old, or the caller is unknown.
    """
    scope = scope_of(request)
    signed = re.search(r"SignedHeaders=([^, ]+), *Signature=([0-9a-f]{64})", request.headers.get("authorization", ""))
    date = request.headers.get("x-amz-date", "")
    if scope is None or signed is None or not re.fullmatch(r"\d{8}T\d{6}Z", date):
        raise refusal("unsigned", scope.service if scope else "ec2")
    principal = principals.get(scope.access_key)
    if principal is None or request.headers.get("x-amz-security-token") != principal.session_token:
        raise refusal("unknown", scope.service)
    names = signed[1].split(";")
    if "host" not in names or any(name.startswith("x-amz-") and name not in names for name in request.headers):
        raise refusal("wrong", scope.service)
    text = canonical(request, names, scope.service, unsigned_body=unsigned_body)
    if not hmac.compare_digest(signature(principal.secret_key, scope, date, text), signed[2]):
        raise refusal("wrong", scope.service)
    when = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    if abs(now - when) > MAX_SKEW or not date.startswith(scope.date):
        raise refusal("skewed", scope.service)
    if principal.expires is not None and now > principal.expires:
        raise refusal("expired", scope.service)
    return principal


def canonical(request: Request, names: list[str], service: str, *, unsigned_body: bool) -> str:
    """Return the canonical request. S3 uses the path as sent, the other services encode it once more."""
    path = request.path if service == "s3" else urllib.parse.quote(request.path, safe="/~-._")
    query = "&".join(f"{quoted(key)}={quoted(value)}" for key, value in sorted(request.query))
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in names)
    digest = hashlib.sha256(request.body).hexdigest()
    claimed = request.headers.get("x-amz-content-sha256", digest)
    if claimed != digest and not (claimed == UNSIGNED and (unsigned_body or service == "s3")):
        raise refusal("wrong", service)
    return "\n".join((request.method, path or "/", query, headers, ";".join(names), claimed))


def quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="~-._")


def signature(secret: str, scope: Scope, date: str, text: str) -> str:
    where = f"{scope.date}/{scope.region}/{scope.service}/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{date}\n{where}\n{hashlib.sha256(text.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in (scope.date, scope.region, scope.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, to_sign.encode(), "sha256").hexdigest()
