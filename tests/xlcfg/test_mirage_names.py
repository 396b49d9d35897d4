"""The names of a unikernel's devices, from the .xl.in next to its .xl."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.errors import SettingsError
from unibuild.xlcfg.devices import parse_vif
from unibuild.xlcfg.mirage_names import Named, by_number, missing, ordered, read, removed
from unibuild.xlcfg.parser import parse

MIRAGE_4 = """name = '@NAME@'
kernel = '@KERNEL@'
type = 'pvh'
memory = @MEMORY@
on_crash = 'preserve'

disk = [ 'format=raw, vdev=xvdc, access=rw, target=@BLOCK:a,b.img@', 'format=raw, vdev=xvdb, target=@BLOCK:disk.img@' ]

# if your system uses openvswitch ...
vif = [ 'bridge=@NETWORK:1@', 'bridge=@NETWORK:0@' ]
"""


def named(*networks: str | None) -> Named:
    return Named(networks, {})


def test_names_in_a_mirage_file() -> None:
    found = read(MIRAGE_4, "hello.xl.in")
    assert found == Named(("1", "0"), {"xvdc": "a,b.img", "xvdb": "disk.img"})
    assert found.disks == {"a,b.img": "xvdc", "disk.img": "xvdb"}
    assert found.vifs == {"0": 0, "1": 1}


@pytest.mark.parametrize(
    ("vifs", "networks"),
    [
        ("", ()),
        ("'bridge=@NETWORK:net_tap0@'", ("tap0",)),  # 2.6
        (
            "'bridge=@NETWORK:service@', 'mac=0:0:0:0:0:1,bridge=@NETWORK:0@,script=x', 'bridge=br0'",
            ("service", "0", None),
        ),
    ],
)
def test_networks(vifs: str, networks: tuple[str | None, ...]) -> None:
    assert read(f"# x\nmemory = @MEMORY@\nvif = [ {vifs} ]\n", "hello.xl.in").networks == networks


@pytest.mark.parametrize(
    ("networks", "expected"),
    [  # of the devices a, b, c in the file: what xl shall read
        (["1", "0"], ["b", "a"]),
        (["0"], ["a"]),
        (["service"], ["a"]),
        (["back", "front"], ["b", "a"]),
        (["2", "1", "0"], ["c", "b", "a"]),
        (["0", "1"], ["a", "b"]),
        (["1"], ["a, devid=1"]),
        (["3", "service", "0"], ["c", "b", "a, devid=3"]),
        (["0", "0"], ["a", "b"]),  # the same name twice is one device of the unikernel
        (["1", None], ["b", "a"]),
    ],
)
def test_the_order_of_the_unikernel(networks: list[str], expected: list[str]) -> None:
    specs = [f"bridge={name}" for name in "abc"[: len(networks)]]
    assert ordered(specs, named(*networks)) == [f"bridge={spec}" for spec in expected]


@given(networks=st.lists(st.sampled_from(["0", "1", "2", "7", "tap0", "service", None]), max_size=5))
def test_a_number_is_the_number_that_xl_gives(networks: list[str | None]) -> None:
    devices = named(*networks)
    specs = ordered([f"bridge=b{at}" for at in range(len(networks))], devices)
    assert sorted(str(parse_vif(spec)["bridge"]) for spec in specs) == sorted(f"b{at}" for at in range(len(networks)))
    xl = {int(parse_vif(spec).get("devid", at)): parse_vif(spec)["bridge"] for at, spec in enumerate(specs)}
    assert len(xl) == len(networks)
    for name in {name for name in networks if name and name.isdecimal()}:
        assert xl[int(name)] == f"b{networks.index(name)}"
    for name, at in devices.vifs.items():
        assert parse_vif(specs[at])["bridge"] == f"b{networks.index(name)}"


def test_foreign_list_is_unchanged() -> None:
    assert ordered(["bridge=a"], named("1", "0")) == ["bridge=a"]


def test_names_and_numbers_of_one_device_come_together() -> None:
    changes = {"service": {"bridge": "b"}, "0": {"mac": "m"}, "5": {"mtu": 9}}
    assert by_number("vif", changes, {"service": 0}) == {"0": {"bridge": "b", "mac": "m"}, "5": {"mtu": 9}}


@pytest.mark.parametrize(
    ("kind", "changes", "numbers", "sentence"),
    [
        (
            "vif",
            {"servce": {}},
            {"service": 0},
            "xl.vif.servce: the unikernel lacks a vif of that name\n  its devices are service",
        ),
        ("vif", {"a": {}}, {}, "xl.vif.a: the unikernel lacks a vif of that name\n  a number will do, from 0"),
        (
            "disk",
            {"a.img": {}},
            {"b.img": "xvdb"},
            "xl.disk.a.img: the unikernel lacks a disk of that name\n  its devices are b.img",
        ),
        (
            "vif",
            {"0": {"bridge": "a"}, "service": {"bridge": "b"}},
            {"service": 0},
            "xl.vif.service: `bridge` is b here and a under another name of the device\n"
            "  set it once: service is vif 0",
        ),
    ],
)
def test_unknown_names_are_refused(kind: str, changes: dict, numbers: dict, sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        by_number(kind, changes, numbers)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("xl", "lacks"),
    [
        ("vif = [ '', '' ]\ndisk = [ '/a,raw,xvdb', '/b,raw,xvdc' ]", None),
        ("vif = [ 'devid=1', 'devid=0' ]\ndisk = [ '/a,raw,xvdb', '/b,raw,xvdc' ]", None),
        ("vif = [ '' ]\ndisk = [ '/a,raw,xvdb', '/b,raw,xvdc' ]", "the network device 1 (number 1 of the list `vif`)"),
        ("vif = [ '', '' ]\ndisk = [ '/a,raw,xvda', '/b,raw,xvdc' ]", "the disk disk.img (vdev=xvdb)"),
        ("", "the network device 0 (number 0 of the list `vif`)"),
    ],
)
def test_missing_devices(xl: str, lacks: str | None) -> None:
    assert missing(read(MIRAGE_4, "hello.xl.in"), parse(f"{xl}\n")) == lacks


def test_networks_after_a_removed_one_keep_their_numbers() -> None:
    changes = {"0": {"remove": True}, "1": {"bridge": "b"}}
    assert removed(changes, named("2", "1", "0")) == {"0": {"remove": True}, "1": {"devid": 1}, "2": {"devid": 2}}
    assert removed({"1": {"bridge": "b"}}, named("1", "0")) == {}
