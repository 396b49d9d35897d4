"""HTTP connections: read requests, write answers, and cut connections for injected faults."""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from .request import Answer, Request

if TYPE_CHECKING:
    from .server import Emulator


class CutError(Exception):
    """The connection ends before or during the answer; ``sent`` are the bytes that were sent."""

    def __init__(self, sent: bytes = b"") -> None:
        super().__init__()
        self.sent = sent


def wire(answer: Answer) -> bytes:
    """Return the bytes of an answer on the wire."""
    headers = {"Content-Type": answer.type, "Content-Length": str(len(answer.body)), **answer.headers}
    lines = [f"HTTP/1.1 {answer.status} -", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + answer.body


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def handle_any(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        size = int(headers.get("content-length", 0))
        head = Request.read(self.command, self.path, headers)
        if size and self.server.emulator.interrupts(head):
            self.rfile.read(size // 2)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            self.close_connection = True
            return
        request = replace(head, body=self.rfile.read(size))
        try:
            answer = wire(self.server.emulator.handle(request))
            self.wfile.write(answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if self.command == "HEAD" else answer)
        except CutError as cut:
            self.wfile.write(cut.sent)
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the client closed the connection
            super().handle()


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], emulator: Emulator) -> None:
        super().__init__(address, Handler)
        self.emulator = emulator
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        """Close the clients' open connections, so that none of the server's threads is left."""
        for one in list(self._open):
            with contextlib.suppress(OSError):  # already closed
                one.shutdown(socket.SHUT_RDWR)
