"""What a domain is asked, against real servers of this machine and stand-ins of Xen."""

import contextlib
import http.server
import socket
import threading
import uuid

import pytest

from unibuild.domain import probes
from unibuild.errors import HostError
from unibuild.host.local import Local
from unibuild.host.ssh import Ssh
from unibuild.settings.model import Http

PAGES = {"/": (200, b"all is well"), "/broken": (500, b""), "/moved": (302, b""), "/a%20b?c=%C3%BC": (200, b"quoted")}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = PAGES.get(self.path, (404, self.headers["Host"].encode()))
        self.send_response(status)
        self.send_header("Location", "/")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextlib.contextmanager
def answering(data: bytes, *, stays: bool = False):
    """A server that takes one connection, says this, and then closes it unless it stays; its port."""

    def serve():
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(data)
                if stays:
                    connection.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def page(port: int, **request) -> probes.HttpProbe:
    return probes.HttpProbe(Http(port=8000, **request), "10.0.2.50", ("127.0.0.1", port))


@pytest.mark.parametrize(
    ("request_", "got"),
    [
        ({}, None),
        ({"body": "is w"}, None),
        ({"body": "^well"}, 'nothing in the response matches "^well"'),
        ({"path": "/broken"}, "status 500, not 200"),
        ({"path": "/broken", "status": 500}, None),
        ({"path": "/moved"}, "status 302, not 200"),
        ({"path": "/a b?c=ü", "body": "quoted"}, None),
        ({"path": "/host", "status": 404, "body": "^10.0.2.50:8000$"}, None),
    ],
)
def test_http_response(server, request_, got):
    assert page(server, **request_).attempt() == got


def test_name_of_an_http_probe(server):
    assert page(server, path="/x").what == "GET /x on port 8000 of 10.0.2.50"


def test_closed_port(closed_port):
    assert page(closed_port).attempt() == "connection refused"
    assert probes.TcpProbe("127.0.0.1", closed_port).attempt() == "connection refused"


def test_open_port(server):
    assert probes.TcpProbe("127.0.0.1", server).attempt() is None


def test_request_waits_for_the_open_port(server, closed_port):
    asked = probes.HttpProbe(Http(), "x", ("127.0.0.1", server), first=probes.TcpProbe("127.0.0.1", closed_port))
    assert asked.attempt() == "connection refused"


@pytest.mark.parametrize(
    ("data", "got"),
    [(b"", "the connection was closed without a response"), (b"SSH-2.0-x\r\n", "the response is not HTTP")],
)
def test_invalid_responses(data, got):
    with answering(data) as port:
        assert page(port).attempt() == got


def test_server_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(probes, "_ANSWER", 0.2)
    with answering(b"", stays=True) as port:
        assert page(port).attempt() == "no answer within 0.2 s"


@pytest.mark.parametrize("length", [b"Content-Length: 99\r\n", b"Transfer-Encoding: chunked\r\n", b""])
@pytest.mark.parametrize("stays", [True, False])
def test_endless_body_is_read_as_far_as_it_arrived(monkeypatch, length, stays):
    monkeypatch.setattr(probes, "_ANSWER", 0.3)
    body = b"6\r\nso far\r\n" if b"chunked" in length else b"so far"
    with answering(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n" + body, stays=stays) as port:
        assert page(port, body="so far").attempt() is None


def test_attempt_can_be_cancelled():
    with answering(b"", stays=True) as port:
        asked = page(port)
        thread = threading.Thread(target=asked.attempt)
        thread.start()
        while thread.is_alive():
            asked.cancel()
            thread.join(0.01)


@pytest.fixture(params=[Local(uid=0), Local(uid=1000), Ssh("there")], ids=["local", "sudo", "ssh"])
def key(request, xen):
    path = xen.xl_file(xen.kernel("store data/ready yes", "stay"))
    request.param.toolstack.create_paused(str(path), name="hello", uuid=str(uuid.uuid4()))
    domain = request.param.toolstack.find(name="hello")

    def make(asked: str) -> probes.XenStoreProbe:
        return probes.XenStoreProbe(request.param, domain.domid, asked)

    make.run = lambda: request.param.toolstack.unpause(domain)
    return make


def until_there(check: probes.XenStoreProbe) -> str | None:
    while (got := check.attempt()) == "absent":
        pass
    return got


def test_xenstore_key_that_appears(key):
    assert key("data/ready").attempt() == "absent"
    key.run()
    assert until_there(key("data/ready")) is None
    assert key("data/ready=yes").attempt() is None
    assert key("data/ready=no").attempt() == '"yes", not "no"'
    assert key("data/ready=no").what == "data/ready in XenStore"


def test_absolute_xenstore_key(key):
    assert key("/local/domain").attempt() is None
    assert key("/nowhere").attempt() == "absent"


def test_a_host_that_refuses_is_an_error(xen):
    xen.refuse("sudo", "sudo: a password is required")
    with pytest.raises(HostError, match="it wants a password"):
        probes.XenStoreProbe(Local(uid=1000), 1, "data/ready").attempt()


def test_a_connection_that_breaks_is_tried_again(xen):
    xen.refuse("ssh", "client_loop: send disconnect: Broken pipe")
    assert probes.XenStoreProbe(Ssh("there"), 1, "data/ready").attempt() == "the connection to ssh://there broke"


@pytest.mark.parametrize(
    ("script", "got"),
    [
        ("exit 0", None),
        ('echo "nc: can\'t connect to remote host (10.0.2.50): Connection refused" >&2; exit 1', "connection refused"),
        ("echo 'nc: timed out' >&2; exit 1", "no answer within 1 s"),
    ],
)
def test_port_probed_from_the_host(xen, script, got):
    program = xen.world / "bin" / "nc"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    assert probes.TcpProbeFromHost(Ssh("there"), "10.0.2.50", 80).attempt() == got
