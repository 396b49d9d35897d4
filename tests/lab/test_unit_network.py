"""The packet filter of `[lab] network = "internet"`: which addresses it refuses."""

import ipaddress
import re

import pytest

from unibuild.lab import network

TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 203.0.113.0/24 2 0 1
        |-- 203.0.113.7
           /32 host LOCAL
        |-- 203.0.113.255
           /32 link BROADCAST
"""
ROUTE = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t017100CB\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t007100CB\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""


def refused(local=()):
    listed = re.search(r"daddr \{ (.*) \} reject", network.rules(local))[1]
    return [ipaddress.IPv4Network(one) for one in listed.split(", ")]


def is_refused(address, local=()):
    return any(ipaddress.IPv4Address(address) in one for one in refused(local))


@pytest.mark.parametrize(
    "address",
    [
        "10.0.2.2",
        "10.1.2.3",
        "127.0.0.1",
        "169.254.169.254",
        "172.31.0.1",
        "192.168.1.1",
        "100.100.100.200",
        "224.0.0.251",
    ],
)
def test_addresses_that_are_not_public_are_refused(address):
    assert is_refused(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "172.32.0.1", "192.169.0.1", "203.0.113.7", "223.255.255.255"])
def test_public_addresses_are_not(address):
    assert not is_refused(address)


def test_the_networks_of_this_machines_interfaces_are_refused(tmp_path):
    (tmp_path / "fib_trie").write_text(TRIE)
    (tmp_path / "route").write_text(ROUTE)
    local = network.local_networks(tmp_path)
    assert local == ["203.0.113.7", "203.0.113.0/255.255.255.0"]
    assert is_refused("203.0.113.9", local)
    assert not is_refused("203.0.114.1", local)


def test_a_machine_without_proc_has_no_known_networks(tmp_path):
    assert network.local_networks(tmp_path) == []
