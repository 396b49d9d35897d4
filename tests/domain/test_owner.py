"""Whose a domain is, and who changes it: markers and tokens in XenStore."""

import os
import random
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.domain import owner
from unibuild.errors import BusyError
from unibuild.host.local import Local

US, THEM = "ann@here:/src/hello", "bob@there:/src/hello"


@pytest.fixture
def host(xen, monkeypatch):
    monkeypatch.setattr(owner, "_PATIENCE", 0.1)
    return Local()


def gone() -> int:
    """Return the number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def token(host, whose: str, *, pid: int = 1, until: float = 1e10) -> None:
    host.run(["xenstore-write", "/unibuild/lock/hello/abc", f"{pid} {until:.0f} {whose}"])


def refused(host, whose: str, sentence: str) -> None:
    with pytest.raises(BusyError, match=sentence), owner.locked(host, "hello", whose, seconds=60):
        pass


def test_a_marker_tells_whose_a_domain_is(host):
    owner.mark(host, "u1", US)
    owner.mark(host, "u2", THEM)
    owner.unmark(host, "u1", "never there")
    assert owner.owners(host) == {"u2": THEM}


def test_a_lock_is_held_for_the_time_of_its_block(host):
    with owner.locked(host, "hello", US, seconds=60):
        refused(host, THEM, f"being changed by {US}")
    with owner.locked(host, "hello", THEM, seconds=60):
        pass


def test_two_domains_can_be_changed_at_once(host):
    with owner.locked(host, "hello", US, seconds=60), owner.locked(host, "other", THEM, seconds=60):
        assert owner.owners(host) == {}


def test_a_lock_that_someone_else_holds_is_broken_by_take_alone(host):
    token(host, THEM)
    refused(host, US, r"hello on local is being changed by bob@there:/src/hello \(process 1\)")
    with owner.locked(host, "hello", US, seconds=60, take=True):
        pass


def test_a_lock_whose_time_is_over_is_nobodys(host):
    token(host, THEM, until=time.time() - 1)
    with owner.locked(host, "hello", US, seconds=60):
        pass


def test_a_lock_of_a_process_of_ours_that_was_killed_is_nobodys(host, tmp_path):
    token(host, owner.whoami(tmp_path), pid=gone())
    with owner.locked(host, "hello", owner.whoami(tmp_path), seconds=60):
        pass


def test_a_lock_of_a_process_of_ours_that_lives_holds(host, tmp_path):
    token(host, owner.whoami(tmp_path), pid=os.getppid())
    with pytest.raises(BusyError), owner.locked(host, "hello", owner.whoami(tmp_path), seconds=60):
        pass


class Slow(Local):
    """A host whose answers take longer than anybody waits."""

    def run(self, argv, **how):
        time.sleep(random.uniform(0.1, 0.3))
        return super().run(argv, **how)


@pytest.mark.parametrize("host", [Local(), Slow()], ids=["local", "slow"])
def test_of_many_at_once_one_holds_the_lock_and_no_two(xen, monkeypatch, host):
    monkeypatch.setattr(owner, "_PATIENCE", 0.1)
    holding, most, told = [], [], []

    def take(number: int) -> None:
        try:
            with owner.locked(host, "hello", f"{US}{number}", seconds=60):
                holding.append(number)
                most.append(len(holding))
                time.sleep(0.2)
                holding.remove(number)
        except BusyError:
            told.append(number)

    threads = [threading.Thread(target=take, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most, default=0) == 1
    assert len(most) + len(told) == 4


@given(st.text())
def test_any_text_can_be_read(text):
    owner.parse(text)


def test_what_the_tool_says_is_read():
    text = (
        '/unibuild/domains = ""   (n0)\n/unibuild/domains/u1 = "a@b:/c d"   (n0)\n'
        '/unibuild/lock/hello/t1 = "12 34 a@b:/c"\n'
    )
    assert owner.parse(text) == ({"u1": "a@b:/c d"}, (owner.Token("/unibuild/lock/hello/t1", 12, 34.0, "a@b:/c"),))
