"""Waiting for a domain to be ready, against stand-ins: what holds, what does not, and what is left behind."""

import contextlib
import os
import signal
import threading
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.domain import console, probes, readiness
from unibuild.domain.console_log import Log
from unibuild.errors import HostError
from unibuild.host.local import Local

UUID = str(uuid.uuid4())  # readers are found by it on the whole machine


class Fake:
    """A check that holds once it was tried often enough; None: never."""

    what = "it"

    def __init__(self, tries: int | None) -> None:
        self.tries = tries

    def attempt(self) -> str | None:
        if self.tries is None or self.tries:
            self.tries = self.tries and self.tries - 1
            return "no"
        return None

    def cancel(self) -> None:
        pass


@pytest.fixture
def wait(xen, tmp_path, monkeypatch):
    """Boot a kernel of these lines and wait until it is ready."""
    monkeypatch.setattr(probes, "AGAIN", 0.02)
    host = Local(uid=0)

    def wait(*script: str, console_=None, checks=(), network=None, address=None, likely=None, timeout=60.0):
        host.toolstack.create_paused(str(xen.xl_file(xen.kernel(*script))), name="hello", uuid=UUID)
        domain = host.toolstack.find(uuid=UUID)
        wanted = readiness.Criteria(console_, checks, network, address, likely, timeout)
        with console.Reader(host, domain, Log(tmp_path / "log"), lambda _: None) as reader:
            host.toolstack.unpause(domain)
            return readiness.wait(reader, wanted)

    yield wait
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("unibuild asks")]


def asked_at(*rights: str, seen: list[str] | None = None):
    """Checks that hold at these addresses only."""

    @contextlib.contextmanager
    def network(address: str):
        if seen is not None:
            seen.append(address)
        yield [Fake(0 if address in rights else None)]

    return network


def test_a_line_of_the_console(wait):
    verdict = wait("say starting", "sleep 0.3", "say listening on 80", "stay", console_="^listening on [0-9]+$")
    assert (verdict.ready, verdict.end) == (True, None)
    assert verdict.why == f"was ready after {verdict.seconds:.1f} s"


def test_pattern_matches_within_one_line(wait):
    verdict = wait("say one", "say two", "stay", console_="one.*two", timeout=1.0)
    assert verdict.why == 'was not ready within 1 s: no line of its console matches "one.*two"'


def test_all_criteria_must_be_met(wait):
    verdict = wait("stay", checks=[Fake(0), Fake(None)], timeout=1.0)
    assert verdict.why == "was not ready within 1 s: it: no"
    assert not verdict.ready


def test_criterion_met_once_stays_met(wait):
    assert wait("say up", "stay", console_="up", checks=[Fake(3), Fake(0)]).ready


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (["say a", "poweroff"], "powered off before it was ready"),
        (["say Solo5: solo5_exit(2) called", "poweroff"], "powered off with exit code 2 before it was ready"),
        (["crash"], "crashed before it was ready"),
        (["say Solo5: trap: type=#PF ec=0x2 rip=0x1 rsp=0x2 rflags=0x3", "crash"], "crashed before it was ready"),
    ],
)
def test_end_of_the_domain_fails_at_once(wait, script, why, monkeypatch):
    monkeypatch.setattr(console, "SILENT", 0.3)
    verdict = wait(*script, console_="never")
    assert (verdict.ready, verdict.why) == (False, why)
    assert verdict.end is not None


def test_a_crash_that_hangs_fails_at_once(wait, monkeypatch):
    monkeypatch.setattr(readiness, "_CRASH", 0.2)
    verdict = wait("say Solo5: ABORT: cpu_x86_64.c:182: Fatal trap", "stay", console_="never")
    assert verdict == readiness.Readiness(False, "crashed before it was ready", verdict.seconds, None)


@pytest.mark.parametrize(
    ("last", "is_ready", "why"),
    [
        (["say Solo5: solo5_exit(0) called", "poweroff"], True, "was ready after"),
        (["say Solo5: solo5_exit(2) called", "poweroff"], False, "powered off with exit code 2 before it was ready"),
        (["crash"], False, "crashed before it was ready"),
    ],
)
def test_stopped_domain_is_judged_by_its_whole_output(xen, tmp_path, last, is_ready, why):
    host = Local(uid=0)
    host.toolstack.create_paused(str(xen.xl_file(xen.kernel("say done", *last))), name="hello", uuid=UUID)
    domain = host.toolstack.find(uuid=UUID)
    with console.Reader(host, domain, Log(tmp_path / "log"), lambda _: None) as reader:
        host.toolstack.unpause(domain)
        assert reader.pump()
        verdict = readiness.wait(reader, readiness.Criteria("done", (), None, None, None, 60.0))
    assert (verdict.ready, verdict.end) == (is_ready, reader.end)
    assert verdict.why.startswith(why)


LEASE = "say [dhcp_client_lwt] Lease obtained! IP: 10.0.2.50, routers: 10.0.2.2"


def test_the_address_comes_from_the_console(wait):
    seen = []
    assert wait("sleep 0.3", LEASE, "stay", network=asked_at("10.0.2.50", seen=seen)).ready
    assert seen == ["10.0.2.50"]


def test_address_on_the_console_overrides_the_lease(wait):
    seen = []
    assert wait("sleep 0.3", LEASE, "stay", network=asked_at("10.0.2.50", seen=seen), likely="10.0.2.60").ready
    assert seen == ["10.0.2.60", "10.0.2.50"]


def test_configured_address_is_kept(wait):
    seen = []
    verdict = wait(LEASE, "stay", network=asked_at(seen=seen), address="10.0.2.9", timeout=1.0)
    assert (verdict.ready, seen) == (False, ["10.0.2.9"])


def test_unknown_address_is_reported(wait):
    verdict = wait("stay", network=asked_at(), timeout=1.0)
    assert verdict.why == "was not ready within 1 s: its address is not known: set [boot.ready] address"


def test_unreachable_address_is_reported(wait):
    @contextlib.contextmanager
    def network(address: str):
        raise HostError(f"no way to {address}")
        yield

    verdict = wait("stay", network=network, address="1.2.3.4", timeout=0.5)
    assert verdict.why == "was not ready within 0.5 s: no way to 1.2.3.4"


def test_ctrl_c_leaves_nothing_behind(wait):
    timer = threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        wait("stay", checks=[Fake(None)], network=asked_at(), address="10.0.2.9")
    timer.join()


@pytest.mark.parametrize(
    ("line", "address"),
    [
        (b"2026-11-23T06:40:00-00:00: [INFO] [dhcp_client_lwt] Lease obtained! IP: 10.0.2.50, routers: 1", "10.0.2.50"),
        (b"[tcpip-stack-direct] Dual TCP/IP stack assembled: mac=00:16:3e:0:0:1,ip=10.0.2.51/24, x", "10.0.2.51"),
        (b"a request from ip=1.2.3.4", None),
        (b"zip=10.0.2.50/24", None),
        (b"", None),
    ],
)
def test_reported_address(line, address):
    assert readiness.reported_address(line) == address


@given(st.binary())
def test_reported_address_accepts_any_line(line):
    assert readiness.reported_address(line) is None or b"." in line
