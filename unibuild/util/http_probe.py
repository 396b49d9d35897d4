"""Send one HTTP GET request over a socket and read the response, as much as arrives in time."""

from __future__ import annotations

import contextlib
import http.client
import string
import time
import urllib.parse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

__all__ = ["get", "read_body"]

_LIMIT = 1 << 20  # bytes of a body that are read


def get(sock: socket.socket, path: str, *, host: str, port: int, timeout: float) -> http.client.HTTPResponse:
    """Send a GET request and return the response without reading its body; use it in a ``with`` block.

    Args:
        sock: a connection to the server.
        path: the path and query; what HTTP does not allow in them is quoted.
        host: the name or address in the header ``Host``.
        port: the port in that header.
        timeout: seconds for each step.

    Raises:
        OSError: no response arrives in time, or the connection breaks.
        HTTPException: the response is not HTTP.
    """
    sock.settimeout(timeout)
    connection = http.client.HTTPConnection(host, port)  # it adds the brackets of IPv6
    connection.sock = sock
    quoted = urllib.parse.quote(path, safe=string.punctuation)
    connection.request("GET", quoted, headers={"Connection": "close"})
    return connection.getresponse()


def read_body(response: http.client.HTTPResponse, timeout: float, *, partial: bool) -> str:
    """Return the body as text, at most 1 MiB of it; bytes that are not UTF-8 are replaced.

    Args:
        response: a response of ``get``.
        timeout: seconds; what has arrived by then counts, because the body may be an endless stream.
        partial: whether what arrived before the connection broke counts too.

    Raises:
        OSError: the connection broke, unless ``partial``.
        HTTPException: the body is shorter than its header says, unless ``partial``.
    """
    body = bytearray()
    deadline = time.monotonic() + timeout
    with contextlib.suppress(*((OSError, http.client.IncompleteRead) if partial else ())):
        while len(body) < _LIMIT and time.monotonic() < deadline:
            piece = response.read1(65536)
            if not piece:
                if response.length and not partial:
                    raise http.client.IncompleteRead(bytes(body), response.length)
                break
            body += piece
    return body.decode(errors="replace")
