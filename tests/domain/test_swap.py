"""When two domains cannot live at once, and what is made of a swap that was cut off."""

import dataclasses
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.domain import swap
from unibuild.domain.preflight import HostCapacity
from unibuild.domain.records import BootFiles, DomainRecord, FileIdentity, HostRecord
from unibuild.host import toolstack
from unibuild.host.xl import XlToolstack
from unibuild.xlcfg import parser

ROOM = HostCapacity(domains=(), free=100, facts={}, needed=33)


def instance(uuid: str) -> DomainRecord:
    return DomainRecord(
        uuid, "hello", 1, BootFiles(FileIdentity("", ""), FileIdentity("", "")), "2026-11-23T10:00:00+00:00"
    )


GOOD, NEW = instance("good"), instance("new")


def domain(uuid: str, state: str = "-b----", name: str = "hello") -> toolstack.Domain:
    return toolstack.Domain(
        name, {"good": 1, "new": 2}[uuid], 32, 1, 0.1, uuid, is_paused=state[2] == "p", has_ended=state[3] == "s"
    )


class Host:
    """A host that notes what was done to its domains."""

    name = "there"

    has_ttys = False

    def __init__(self) -> None:
        self.done: list[tuple[str, ...]] = []
        self.toolstack = XlToolstack(self)

    def run(self, argv, **how):
        if argv[0] == "xl":
            self.done.append(tuple(argv[1:]))
        return mock.Mock(returncode=0, text="", stderr=b"")


@pytest.mark.parametrize(
    ("new", "old", "why"),
    [
        ("", "", None),
        ("disk = ['/a,raw,xvda,r']", "disk = ['/a,raw,xvda,r']", None),
        ("disk = ['/a,raw,xvda,w']", "disk = ['/b,raw,xvda,w']", None),
        ("disk = ['/a,raw,xvda,w']", "disk = ['/a,raw,xvdb,r']", "the new domain writes to /a"),
        ("disk = ['/a,raw,xvda,r']", "disk = ['/a,raw,xvdb,w']", "the old domain writes to /a"),
        ("disk = ['/a,raw,xvda,w']", None, "the old domain writes to /a"),
        ("vif = ['vifname=v1']", "vif = ['vifname=v1']", "both name a network device v1"),
        ("vif = ['vifname=v1']", "vif = ['vifname=v2']", None),
        ("pci = ['01:00.0']", "pci = ['02:00.0']", "both have pci"),
        ("uuid = '5'", "", "the .xl gives every domain the same uuid"),
    ],
)
def test_conflicts_between_two_domains(new, old, why):
    result = swap.conflict(parser.parse(new), None if old is None else parser.parse(old), ROOM, "there")
    assert (result or "").startswith(why or "") and bool(result) == bool(why)


def test_overlap_needs_memory_for_both():
    result = swap.conflict(parser.parse(""), None, dataclasses.replace(ROOM, free=32), "there")
    assert result == "there has 32 MiB of memory left, and the new domain needs 33"


@pytest.mark.parametrize(
    ("good", "new", "remaining", "done"),
    [
        ("-b----", None, GOOD, []),
        ("-b----", "--p---", GOOD, [("destroy", "2")]),
        ("---s--", "--p---", GOOD, [("destroy", "2")]),
        ("---s--", "-b----", NEW, [("destroy", "1")]),
        (None, "-b----", NEW, []),
        (None, "--p---", None, [("destroy", "2")]),
        (None, "---s--", NEW, []),
        ("-b----", "-b----", GOOD, [("destroy", "2")]),
        (None, None, None, []),
    ],
)
def test_interrupted_swap_is_recovered(good, new, remaining, done):
    there = tuple(domain(uuid, state) for uuid, state in (("good", good), ("new", new)) if state)
    host = Host()
    assert swap.recover(host, HostRecord("there", GOOD, NEW), there)[0] == remaining
    assert host.done == done


def test_swap_interrupted_after_the_renames_is_recovered():
    host = Host()
    there = (domain("good", name="hello.old-good"), domain("new", "--p---"))
    swap.recover(host, HostRecord("there", GOOD, NEW), there)
    assert host.done == [("destroy", "2"), ("rename", "1", "hello")]


def test_recovery_without_interruption_does_nothing():
    host = Host()
    assert swap.recover(host, HostRecord("there", GOOD), (domain("good"),)) == (GOOD, None)
    assert swap.recover(host, HostRecord("there", GOOD), ()) == (None, None)
    assert host.done == []


states = st.sampled_from([None, "-b----", "--p---", "---s--", "---sc-"])


@given(states, states)
def test_recovery_leaves_at_most_one_domain_running(good, new):
    there = tuple(domain(uuid, state) for uuid, state in (("good", good), ("new", new)) if state)
    host = Host()
    remaining, _ = swap.recover(host, HostRecord("there", GOOD, NEW), there)
    left = {one.uuid for one in there if ("destroy", str(one.domid)) not in host.done}
    assert left <= ({remaining.uuid} if remaining else set())
    if good == "-b----":
        assert left == {"good"}
