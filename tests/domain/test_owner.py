"""Owners and locks of domains in XenStore."""

import contextlib
import dataclasses
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.domain import ownership
from unibuild.errors import BusyError
from unibuild.host import xenstore
from unibuild.host.local import Local
from unibuild.host.ssh import Ssh
from unibuild.util import process_identity

US, THEM = "ann@here:/src/hello", "bob@there:/src/hello"


@pytest.fixture
def host(xen, monkeypatch):
    monkeypatch.setattr(ownership, "_LOCK_TIMEOUT", 0.1)
    return Local()


def gone() -> int:
    """Return the number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def token(host, owner: str, *, pid: int = 1, until: float = 1e10) -> None:
    """Write a lock as unibuild 0.1 did."""
    written(host, f"{pid} {until:.0f} {owner}")


def written(host, value: str) -> None:
    host.run(["xenstore-write", "/unibuild/lock/hello/abc", value])


def held(host, **process: object) -> None:
    """Write a lock of a process like this one."""
    written(host, f"2 {dataclasses.replace(process_identity.here(), **process)} 9999999999 {US}")


def refused(host, owner: str, sentence: str) -> None:
    with pytest.raises(BusyError, match=sentence), ownership.locked(host, "hello", owner, seconds=60):
        pass


def test_owner_of_a_domain_is_recorded(host):
    ownership.set_owner(host, "u1", US)
    ownership.set_owner(host, "u2", THEM)
    ownership.clear_owner(host, "u1", "never there")
    assert ownership.owners(host) == {"u2": THEM}


def test_a_lock_is_held_for_the_time_of_its_block(host):
    with ownership.locked(host, "hello", US, seconds=60):
        refused(host, THEM, f"being changed by {US}")
    with ownership.locked(host, "hello", THEM, seconds=60):
        pass


def test_two_domains_can_be_changed_at_once(host):
    with ownership.locked(host, "hello", US, seconds=60), ownership.locked(host, "other", THEM, seconds=60):
        assert ownership.owners(host) == {}


def test_foreign_lock_is_broken_only_by_take_over(host):
    token(host, THEM)
    refused(host, US, r"hello on local is being changed by bob@there:/src/hello \(process 1\)")
    with ownership.locked(host, "hello", US, seconds=60, take_over=True):
        pass


def test_expired_lock_does_not_count(host):
    token(host, THEM, until=time.time() - 1)
    with ownership.locked(host, "hello", US, seconds=60):
        pass


def test_lock_of_a_killed_process_does_not_count(host):
    held(host, pid=gone())
    with ownership.locked(host, "hello", US, seconds=60):
        pass


def test_lock_of_a_killed_process_with_a_reused_pid_does_not_count(host):
    held(host, start=process_identity.here().start - 1)
    with ownership.locked(host, "hello", US, seconds=60):
        pass


def test_lock_of_a_live_process_holds(host):
    held(host)
    refused(host, US, f"being changed by {US}")


def test_a_lock_of_another_machine_with_the_same_user_and_name_holds(host):
    held(host, boot="f" * 12, hardware="0" * 12, pid=gone())
    refused(host, US, f"being changed by {US}")


def test_a_lock_of_unibuild_0_1_holds_until_its_time_whatever_its_process_is(host, tmp_path):
    token(host, f"{process_identity.user_and_host()}:{tmp_path}", pid=gone())
    refused(host, US, f"being changed by {process_identity.user_and_host()}:{tmp_path}")


@pytest.mark.parametrize("value", ["", "v3 4711 1795427141.5 ann@laptop:/src", "3 0.0.1.1 99 x", "\\x"])
def test_a_lock_in_an_unknown_format_holds(host, value):
    written(host, value)
    refused(host, US, "another version")
    with ownership.locked(host, "hello", US, seconds=60, take_over=True):
        pass


@pytest.fixture(params=["root", "ann"])
def far(request, xen, monkeypatch):
    """A host behind SSH with a clock that is ten minutes late."""
    monkeypatch.setattr(ownership, "_LOCK_TIMEOUT", 0.1)
    (xen.world / "ssh-config").write_text(f"user {request.param}\nhostname there\n")
    program = xen.world / "bin" / "date"
    program.write_text('#!/bin/sh\necho $(($(/bin/date "$@") - 600))\n')
    program.chmod(0o755)
    return Ssh("there")


def test_lock_expires_by_the_hosts_clock(far):
    written(far, f"1 {time.time() - 500:.0f} {THEM}")
    refused(far, US, f"being changed by {THEM}")
    written(far, f"1 {time.time() - 700:.0f} {THEM}")
    with ownership.locked(far, "hello", US, seconds=60):
        (found,) = ownership.parse(far.toolstack.store.list("/unibuild").entries)[1]
        assert abs(found.until - (time.time() - 600 + 60)) < 30


def test_a_lock_behind_ssh_takes_two_exchanges(far, xen):
    far.run(["true"])
    before = len(xen.calls("ssh"))
    with ownership.locked(far, "hello", US, seconds=60):
        pass
    assert len(xen.calls("ssh")) == before + 2


NAMES = ["hello", "Ubuntu 18LTS", "www.example.org", "x" * 300]


def test_every_name_has_its_own_lock(host):
    with contextlib.ExitStack() as locks:
        for name in NAMES:
            locks.enter_context(ownership.locked(host, name, US, seconds=60))
        refused(host, THEM, "hello on local is being changed")


@pytest.mark.parametrize("name", ["../x", "caf\udce9", "\n", "@releaseDomain", "a/b", "é" * 90])
def test_odd_names_become_valid_xenstore_names(host, name):
    path = f"/unibuild/lock/{ownership.node(name)}"
    host.run(["xenstore-write", path, "x"])
    assert host.run(["xenstore-list", "/unibuild/lock"]).text.split() == [ownership.node(name)]


@given(st.text(), st.text())
def test_different_names_have_different_nodes(one, other):
    assert (ownership.node(one) == ownership.node(other)) == (one == other)


def test_owner_id_identifies_the_project(tmp_path):
    assert ownership.is_owned_by(ownership.owner_id(tmp_path), tmp_path)
    assert ownership.is_owned_by(f"{process_identity.user_and_host()}:{tmp_path}", tmp_path)  # of unibuild 0.1
    assert not ownership.is_owned_by(f"{'0' * 12}:{process_identity.user_and_host()}:{tmp_path}", tmp_path)
    assert not ownership.is_owned_by(None, tmp_path)


@pytest.mark.parametrize(
    "folder", ['a"b', "caf\udce9", "caf\u00e9", "a\\b", "x" * 3000, "x" * 3001, "a\nb", "a%b", "a%22b"]
)
def test_owner_id_survives_xenstore(host, folder):
    marker = ownership.owner_id(Path("/src") / folder)
    ownership.set_owner(host, "u1", marker)
    assert ownership.owners(host) == {"u1": marker}
    assert marker != ownership.owner_id(Path("/src") / f"{folder}2")


class Slow(Local):
    """A host that answers later than any timeout."""

    def run(self, argv, **how):
        time.sleep(random.uniform(0.1, 0.3))
        return super().run(argv, **how)


@pytest.mark.parametrize("host", [Local(), Slow()], ids=["local", "slow"])
def test_only_one_of_many_holds_the_lock(xen, monkeypatch, host):
    monkeypatch.setattr(ownership, "_LOCK_TIMEOUT", 0.1)
    holding, most, result = [], [], []

    def take(number: int) -> None:
        try:
            with ownership.locked(host, "hello", f"{US}{number}", seconds=60):
                holding.append(number)
                most.append(len(holding))
                time.sleep(0.2)
                holding.remove(number)
        except BusyError:
            result.append(number)

    threads = [threading.Thread(target=take, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most, default=0) == 1
    assert len(most) + len(result) == 4


@given(st.text())
def test_any_xenstore_output_is_accepted(text):
    ownership.parse(xenstore.parse(text))


def test_output_of_xenstore_ls_is_parsed():
    text = (
        '/unibuild/domains = ""   (n0)\n/unibuild/domains/u1 = "a@b:/c d"   (n0)\n'
        '/unibuild/lock/hello/t1 = "12 34 a@b:/c"\n'
    )
    assert ownership.parse(xenstore.parse(text)) == (
        {"u1": "a@b:/c d"},
        (ownership.LockToken("/unibuild/lock/hello/t1", None, 12, 34.0, "a@b:/c"),),
    )
