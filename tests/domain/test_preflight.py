"""Preflight checks of a host, before anything is stopped there; one error has all problems."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.domain import preflight
from unibuild.errors import DomainError
from unibuild.host import toolstack
from unibuild.host.local import Local
from unibuild.host.xl import parse_devices
from unibuild.kernel import Kernel
from unibuild.xlcfg import parser

UUID = "11111111-2222-3333-4444-555555555555"
INFO = {  # `xl info` of Debian 12's Xen 4.17
    "virt_caps": "pv hvm hap gnttab-v1 gnttab-v2",
    "total_memory": "767",
    "free_memory": "500",
    "xen_major": "4",
    "xen_minor": "17",
    "xen_caps": "xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64",
}
OLD = {  # of Debian 9's 4.8, on a machine without hardware virtualization
    "virt_caps": "",
    "total_memory": "2047",
    "xen_major": "4",
    "xen_minor": "8",
    "xen_caps": "xen-3.0-x86_64 xen-3.0-x86_32p",
}
BACKENDS = """\
/local/domain/0/backend = ""
/local/domain/0/backend/vbd/7/51712/params = "/data/db.img"
/local/domain/0/backend/vbd/7/51712/mode = "w"
/local/domain/0/backend/vbd/7/51728/params = "/data/iso.img"
/local/domain/0/backend/vbd/7/51728/mode = "r"
/local/domain/0/backend/qdisk/7/51744/params = "aio:/data/q.img"
/local/domain/0/backend/qdisk/7/51744/mode = "w"
/local/domain/0/backend/vif/7/0/mac = "00:16:3E:00:00:01"
"""


def domain(name="other", uuid=UUID, memory=64):
    return toolstack.Domain(name, 7, memory, 1, 0.1, uuid)


def kernel(kind, machine="x86_64"):
    return Kernel(Path("/k"), kind == "pv", kind == "pvh", 64, machine, None, None, True, 1)


def lacks(text, info=INFO, about=None, free=500, **there):
    wanted = preflight.requirements(parser.parse(f"name = 'hello'\n{text}\n"))
    has = {"domains": (domain(),), "replaced": (), "backends": parse_devices(BACKENDS), **there}
    found = preflight.find_problems(wanted, preflight.Resources(host="xen1", info=info, free=free, **has), about, ())
    assert all(problem.hint for problem in found)
    return [problem.sentence for problem in found]


@pytest.mark.parametrize(
    "text",
    [
        "type = 'pv'\nmemory = 500",
        "type = 'pvh'\nmemory = 498",
        "type = 'pvh'\npvshim = 1",
        "type = 'hvm'\nbuilder = 'hvm'",
        "disk = ['/data/iso.img,raw,xvda,r', '/data/db.img,raw,xvdb,w,backend=storage']",
        "disk = ['script=block-nbd, vdev=xvda, target=/data/db.img']",
        "vif = ['bridge=xenbr0', 'mac=00:16:3e:00:00:02']",
        "vif = [[1]]\ndisk = 3\npci = 'x'\nmemory = '0x10'\nvcpus = 'many'",
    ],
)
def test_suitable_host_has_no_problems(text):
    assert lacks(text) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name = 'other'", "the name other is in use on xen1: domain 7 does not belong to this project"),
        ("memory = 800", "hello needs 800 MiB of memory, and xen1 has 767 MiB in all"),
        ("memory = 600", "hello needs 600 MiB of memory and xen1 has 500 MiB free"),
        (
            "type = 'pvh'\nmemory = 499",
            "hello needs 499 MiB of memory, 501 MiB with Xen's overhead, and xen1 has 500 MiB free",
        ),
        ("type = 'pvh'\nvcpus = 200", "hello needs 200 processors, and a PVH domain can have at most 128"),
        (
            "vif = ['mac=0:16:3e:0:0:1']",
            "other on xen1 has the MAC address 00:16:3e:00:00:01 of network device 0 of hello",
        ),
        (
            "disk = ['/data/db.img,raw,xvda,r']",
            "other on xen1 uses /data/db.img, the disk xvda of hello, and one of the two writes to it",
        ),
        (
            "disk = ['/data/iso.img,raw,xvda,w']",
            "other on xen1 uses /data/iso.img, the disk xvda of hello, and one of the two writes to it",
        ),
        (
            "disk = ['/data/q.img,raw,xvda,w']",
            "other on xen1 uses /data/q.img, the disk xvda of hello, and one of the two writes to it",
        ),
        ("pci = ['00:1b.0']", "xen1 cannot assign PCI devices to hello: it lacks an IOMMU, or it is disabled"),
    ],
)
def test_each_problem_is_reported(text, sentence):
    assert lacks(text) == [sentence]


@pytest.mark.parametrize("text", ["name = 'other'", "memory = 550", "disk = ['/data/db.img,raw,xvda,w']"])
def test_resources_of_a_replaced_domain_count_as_free(text):
    assert len(lacks(text)) == 1
    assert lacks(text, replaced=(UUID,)) == []


def test_assignable_pci_devices():
    info = INFO | {"virt_caps": "pv hvm hvm_directio"}
    text = "pci = ['00:1b.0', '0001:02:00.1,permissive=1', '00:03.0,seize=1']"
    assert lacks(text, info, assignable=["0000:00:1b.0"]) == [
        "the PCI device 0001:02:00.1 of hello is not assignable on xen1"
    ]
    assert lacks(f"{text}\npci_seize = 1", info) == []


@pytest.mark.parametrize(
    ("info", "about", "text", "sentence"),
    [
        (OLD, kernel("pvh"), "type = 'pvh'", "xen1 has Xen 4.8, and PVH domains need 4.10"),
        (
            OLD | {"xen_minor": "14"},
            kernel("pvh"),
            "type = 'pvh'",
            "xen1 cannot run PVH domains: its processor lacks hardware virtualization, or it is disabled",
        ),
        (
            INFO | {"virt_caps": "hvm hap"},
            kernel("pv"),
            "type = 'pv'",
            "Xen on xen1 cannot run PV domains: they were disabled when it was built or started",
        ),
        (
            INFO | {"xen_caps": "hvm-3.0-x86_32 hvm-3.0-x86_64"},
            None,
            "type = 'pv'",
            "Xen on xen1 cannot run PV domains: they were disabled when it was built or started",
        ),
        (
            INFO,
            kernel("pv", "x86_32"),
            "type = 'pv'",
            "Xen on xen1 cannot run 32-bit PV kernels, and hello is one",
        ),
        (INFO, kernel("pv"), "type = 'pvh'", '/k is a PV kernel and cannot start in a domain of type "pvh"'),
    ],
)
def test_the_kind_of_domain(info, about, text, sentence):
    assert lacks(text, info, about) == [sentence]


@pytest.mark.parametrize(
    ("info", "about", "text"),
    [
        (OLD, kernel("pv", "x86_32"), "type = 'pv'"),
        (INFO, kernel("pv"), "type = 'pvh'\npvshim = 1"),
        ({}, kernel("pvh"), "type = 'pvh'"),
    ],
)
def test_supported_kind_has_no_problem(info, about, text):
    assert lacks(text, info, about) == []


@pytest.mark.parametrize(
    ("vif", "bridge"),
    [
        ("bridge=br0", "br0"),
        ("bridge=ovs0.7:8,script=vif-openvswitch", "ovs0"),
        ("bridge=br0,script=vif-route", None),
        ("bridge=br0,backend=netvm", None),
        ("mac=00:16:3e:00:00:02", None),
    ],
)
def test_required_bridge(vif, bridge):
    assert dict(preflight.requirements(parser.parse(f"vif = ['{vif}']")).bridges) == ({0: bridge} if bridge else {})


def test_an_old_hosts_bridge_called_eth0():
    assert lacks("vif = ['bridge=xenbr0']", missing=[f"{preflight.NET}/xenbr0"]) == []
    assert len(lacks("vif = ['bridge=xenbr0']", missing=preflight.bridge_paths("xenbr0"))) == 1


@given(st.integers(0, 4000), st.integers(0, 1000), st.integers(0, 1000))
def test_memory_is_refused_exactly_if_insufficient(wanted, free, theirs):
    info = INFO | {"total_memory": "4000"}
    there = {"domains": (domain(memory=theirs),), "replaced": (UUID,)}
    assert bool(lacks(f"type = 'pv'\nmemory = {wanted}", info, free=free, **there)) == (wanted > free + theirs)


@given(st.text())
def test_any_device_listing_is_accepted(text):
    assert parse_devices(text) == ()


def look(*lines, replaced=()):
    config = parser.parse("\n".join(("name = 'hello'", "memory = 32", *lines)))
    return preflight.check(Local(), config, kernel=None, disks=(), replaced=replaced)


def test_check_returns_the_hosts_capacity(xen):
    seen = look("type = 'pv'", "vif = ['bridge=lo']")
    assert (seen.free, seen.needed, seen.domains[0].name) == (512, 32, "Domain-0")
    assert seen.facts["free_memory"] == "512"


def test_all_problems_are_in_one_error(xen):
    with pytest.raises(DomainError, match=r"^local cannot take hello for 2 reasons") as error:
        look("memory = 600", "vif = ['bridge=nosuch']")
    assert error.value.hint.splitlines()[0] == "- hello needs 600 MiB of memory and local has 512 MiB free"
    assert error.value.hint.splitlines()[2] == "- local has no bridge nosuch for network device 0 of hello"


def test_the_lab_takes_any_bridge(xen):
    host = Local()
    host.address = "lab"
    config = parser.parse("name = 'hello'\nmemory = 32\nvif = ['bridge=nosuch']")
    assert preflight.check(host, config, kernel=None, disks=(), replaced=()).needed == 34


def test_only_needed_queries_are_made(xen):
    look()
    assert [call[0] for call in xen.calls("xl")] == ["list", "info"]


@pytest.mark.parametrize("number", ["3000", "'3000'", '"0xbb8"', "05670"])
def test_numbers_count_as_in_xl(number):
    wanted = preflight.requirements(parser.parse(f"name = 'a'\ntype = 'pv'\nmemory = {number}\nvcpus = {number}\n"))
    assert (wanted.memory, wanted.needed, wanted.vcpus) == (3000, 3000, 3000)
