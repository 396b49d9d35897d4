"""util/http_probe.py: one GET request, and a body that is short, endless or binary."""

import contextlib
import http.client
import socket
import threading

import pytest

from unibuild.util import http_probe

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def ask():
    """Answer one request with these bytes; return the request and the response's body."""
    sockets = []

    def ask(answer, path="/", *, partial=False, timeout=10.0, host="10.0.0.2", stays=False):
        own, server = socket.socketpair()
        sockets.extend((own, server))
        asked = []

        def serve():
            with contextlib.suppress(OSError):  # the one who asked has given up
                asked.append(server.recv(65536))
                server.sendall(answer)
                if not stays:
                    server.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with http_probe.get(own, path, host=host, port=8080, timeout=timeout) as response:
            body = http_probe.read_body(response, timeout, partial=partial)
        thread.join()
        return asked[0], body

    yield ask
    for each in sockets:
        each.close()


def test_request_quotes_the_path_and_names_the_host(ask):
    asked, body = ask(HEAD + b"Content-Length: 3\r\n\r\nyes", "/a b?c=%20", host="fe80::1")
    assert asked.startswith(b"GET /a%20b?c=%20 HTTP/1.1\r\nHost: [fe80::1]:8080\r\n")
    assert body == "yes"


def test_body_is_text_whatever_its_bytes_are(ask):
    assert ask(HEAD + b"\r\n\xff\xc3\xa9")[1] == "\N{REPLACEMENT CHARACTER}é"


def test_body_that_breaks_off_counts_only_if_asked_for(ask):
    short = HEAD + b"Content-Length: 9\r\n\r\nhalf"
    assert ask(short, partial=True)[1] == "half"
    with pytest.raises(http.client.IncompleteRead):
        ask(short)


def test_endless_body_counts_as_far_as_it_arrives(ask):
    assert ask(HEAD + b"\r\nline", partial=True, timeout=0.2, stays=True)[1] == "line"


def test_answer_that_is_not_http(ask):
    with pytest.raises(http.client.HTTPException):
        ask(b"SSH-2.0\r\n")
