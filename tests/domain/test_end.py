"""An old domain's end: it is asked first, and destroyed where it does not hear, or has not ended in time."""

import subprocess
import time
import uuid

import pytest

from unibuild.domain import swap
from unibuild.errors import LostError
from unibuild.host import toolstack
from unibuild.host.exchange import Call
from unibuild.host.frame import Frame
from unibuild.host.local import Local
from unibuild.host.ssh import Ssh

HEARS = "control/feature-poweroff"


@pytest.fixture(params=[Local, lambda: Ssh("there")], ids=["local", "ssh"])
def host(request, xen):
    return request.param()


@pytest.fixture
def running(xen, host):
    """Start a domain that does what the lines of a script say."""

    def start(*script: str) -> toolstack.Domain:
        path, known_as = xen.xl_file(xen.kernel(*script)), str(uuid.uuid4())
        host.toolstack.create_paused(str(path), name="hello", uuid=known_as)
        host.toolstack.unpause(host.toolstack.find(uuid=known_as))
        deadline = time.monotonic() + 60
        while script[-1] != "stay" and xen.store("/local/domain/1").get(f"/local/domain/1/{HEARS}") != "1":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return host.toolstack.find(uuid=known_as)

    return start


def asked(xen) -> bool:
    return ["shutdown", "-w", "1"] in xen.calls("xl")


def test_domain_that_shuts_down_is_preserved(running, host, xen):
    swap.end(host, running("obey"), 30.0)
    assert xen.domains()["1"]["reason"] == 0


def test_domain_that_ignores_shutdown_is_destroyed_after_grace(running, host, xen):
    swap.end(host, running("stubborn"), 0.3)
    assert (asked(xen), xen.domains()) == (True, {})


def test_domain_without_shutdown_support_is_destroyed_at_once(running, host, xen):
    swap.end(host, running("stay"), 60.0)
    assert (asked(xen), xen.domains()) == (False, {})


def test_domain_is_destroyed_at_once_without_grace(running, host, xen):
    swap.end(host, running("obey"), 0.0)
    assert (asked(xen), xen.domains()) == (False, {})


def test_domain_that_xl_cannot_shut_down_is_destroyed(running, host, xen):
    domain = running("obey")
    xen.refuse("xl-shutdown", "shutdown failed (rc=-9)")
    swap.end(host, domain, 60.0)
    assert xen.domains() == {}


@pytest.fixture
def cut(xen, monkeypatch):
    """A host with a connection that breaks before or after `xl shutdown`, once or for good."""
    host = Ssh("there")

    def make(*, is_asked: bool = False, for_good: bool = False) -> Ssh:
        def start(argv):
            if is_asked:
                host.run(argv)
            if for_good:
                xen.refuse("ssh", "Connection to there closed by remote host.")
            return host._start(Call(["sh", "-c", "exit 255"], argv, Frame()), subprocess.DEVNULL, subprocess.PIPE)

        monkeypatch.setattr(host, "start", start)
        return host

    return make


def test_connection_breaks_after_the_shutdown_request(running, cut, xen):
    domain = running("obey")
    swap.end(cut(is_asked=True), domain, 60.0)
    assert xen.domains()["1"]["reason"] == 0


def test_connection_breaks_before_the_shutdown_request(running, cut, xen):
    domain = running("obey")
    swap.end(cut(), domain, 0.5)
    assert xen.domains() == {}


def test_connection_that_stays_broken_is_an_error(running, cut, xen):
    domain = running("obey")
    with pytest.raises(LostError):
        swap.end(cut(for_good=True), domain, 60.0)
    assert len(xen.domains()) == 1
