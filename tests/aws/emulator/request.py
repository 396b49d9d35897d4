"""An HTTP request and an HTTP answer."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass, field
from typing import Any

Params = dict[str, Any]
"""The parameters of an operation, with the names and types of botocore's model."""


@dataclass(frozen=True)
class Request:
    """A client's request. The names of ``headers`` are in lower case; ``path`` is still encoded."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes = field(default=b"", repr=False)

    @classmethod
    def read(cls, method: str, target: str, headers: dict[str, str], body: bytes = b"") -> Request:
        path, _, query = target.partition("?")
        return cls(method, path, urllib.parse.parse_qsl(query, keep_blank_values=True), headers, body)


@dataclass
class Answer:
    """The server's answer."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    type: str = "text/xml;charset=UTF-8"
