from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xl_files import DISKS
from xl_oracle import Refused

from unibuild.errors import InputError, SettingsError
from unibuild.xlcfg.devices import change_disk, change_vif, parse_disk, parse_vif

if TYPE_CHECKING:
    from xl_oracle import Oracle

many = settings(max_examples=300, deadline=None)

WORDS = [
    *("format=raw", "format=qcow2", "format=", "format=x", "vdev=xvda", "vdev=", "vdev=hdc", "access=r", "access=w"),
    *("access=", "devtype=cdrom", "devtype=disk", "devtype=x", "cdrom", "target=/x,y", "target=", "target=/a,"),
    *("discard", "no-discard", "direct-io-safe", "backend=d", "backendtype=phy", "backendtype=tap", "script=s"),
    *("colo", "no-colo", "colo-host=h", "colo-port=3", "colo-port=x", "active-disk=a", "hidden-disk=h"),
    *("file:/x", "phy:/dev/x", "raw:", "tap:", "aio:", "iscsi:q", "nbd:", "foo:", "foo:bar", "xvda:cdrom", "hdc:z"),
    *("/x", "/y", "xvda", "xvdb", "r", "w", "raw", "", "", "foo=b", "foo=bar", "Foo=b", "=", "a=", "\t"),
]
specs = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from([",", ",", ", ", ""])).map("".join), max_size=6)
paths = st.text("/ab,=: .é", min_size=1, max_size=8)
JSON_NAMES = {"target": "pdev_path", "backend": "backend_domname", "backendtype": "backend"}
JSON_NAMES |= {key: key.replace("-", "_") for key in ("vdev", "script", "colo-host", "active-disk", "hidden-disk")}


def as_libxl(disk: dict[str, Any]) -> dict[str, Any]:
    """What libxl prints of a disk with these sub-keys."""
    found = {JSON_NAMES[key]: value for key, value in disk.items() if key in JSON_NAMES}
    found["format"] = disk.get("format", "raw")
    if disk.get("devtype") == "cdrom":
        found |= {"is_cdrom": 1, "removable": 1}
        found["format"] = found["format"] if disk.get("target") else "empty"
    elif disk.get("access") not in ("r", "ro"):
        found["readwrite"] = 1
    found |= {f"{key}_enable": str(disk[key]) for key in ("discard", "colo") if key in disk}
    found |= {"direct_io_safe": 1} if disk.get("direct-io-safe") else {}
    found |= {"colo_port": 3} if "colo-port" in disk else {}  # the only number that is asked for here
    return found


@settings(max_examples=1000, deadline=None)
@given(spec=specs.map("".join))
def test_disk_is_parsed_like_xl(oracle: Oracle, spec: str) -> None:
    found = oracle.disk(spec)
    if isinstance(found, Refused):
        with pytest.raises(InputError):
            parse_disk(spec)
    else:
        assert as_libxl(parse_disk(spec)) == found


@many
@given(spec=st.sampled_from(DISKS), target=paths, access=st.sampled_from(["r", "rw"]))
def test_changed_disk_is_read_by_xl_as_intended(oracle: Oracle, spec: str, target: str, access: str) -> None:
    old = spec.format("xvdb")
    changes = {"target": target, "access": access, "vdev": "xvdc"}
    new = change_disk(old, changes)
    assert oracle.disk(new) == as_libxl({**parse_disk(old), **changes})
    assert change_disk(new, changes) == new


@many
@given(text=st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    parse_vif(text)
    try:
        parse_disk(text)
    except InputError as error:
        assert error.message


@pytest.mark.parametrize(
    ("old", "changes", "new"),
    [
        ("bridge=br0", {"bridge": "xenbr0"}, "bridge=xenbr0"),
        ("mac=c0:ff:ee:c0:ff:ee,bridge=br0", {"script": "vif-x"}, "mac=c0:ff:ee:c0:ff:ee,bridge=br0,script=vif-x"),
        ("mac=c0:ff:ee:c0:ff:ee, bridge=br0", {"mtu": 1400}, "mac=c0:ff:ee:c0:ff:ee, bridge=br0, mtu=1400"),
        ("bridge=br0 ,, later=1", {"bridge": "br0 "}, "bridge=br0 ,, later=1"),
        ("bridge=br0,untrusted", {"trusted": True}, "bridge=br0,trusted"),
        ("", {"bridge": "br1", "ip": "10.0.0.2 10.0.0.3"}, "bridge=br1, ip=10.0.0.2 10.0.0.3"),
    ],
)
def test_changing_a_vif(old: str, changes: dict[str, Any], new: str) -> None:
    assert change_vif(old, changes) == new


@pytest.mark.parametrize(
    ("old", "changes", "new"),
    [
        ("file:/x,xvda,w", {"target": "/y"}, "vdev=xvda,access=w,target=/y"),
        ("/dev/loop0,,xvda", {"access": "r"}, "format=raw,vdev=xvda,access=r,target=/dev/loop0"),
        ("/dev/loop0,,xvda", {"vdev": "xvda"}, "/dev/loop0,,xvda"),
        (",hdc:cdrom,r", {"format": "raw", "target": "/cd"}, "vdev=hdc,devtype=cdrom,format=raw,access=r,target=/cd"),
        ("vdev=xvda, target=/x", {"format": "qcow2"}, "vdev=xvda, format=qcow2, target=/x"),
        ("vdev=xvda, target=/x", {"target": "/a, b=c,"}, "vdev=xvda, target=/a, b=c,,"),
        ("vdev=xvda,discard,target=/x", {"discard": False}, "vdev=xvda,no-discard,target=/x"),
        ("vdev=xvda,direct-io-safe,target=/x", {"direct-io-safe": False}, "vdev=xvda,target=/x"),
        ("vdev=xvda,target=/x", {"cdrom": True}, "vdev=xvda,devtype=cdrom,target=/x"),
    ],
)
def test_changing_a_disk(old: str, changes: dict[str, Any], new: str) -> None:
    assert change_disk(old, changes) == new


@pytest.mark.parametrize(
    ("change", "changes", "words"),
    [
        (change_vif, {"brigde": "br0"}, "did you mean `bridge`?"),
        (change_vif, {"bridge": "a,b"}, "comma"),
        (change_vif, {"mac": "c0:ff:ee"}, "not a MAC address"),
        (change_vif, {"trusted": "yes"}, "must be true or false"),
        (change_disk, {"vdev": "xvda"}, "lacks `target`"),
        (change_disk, {"target": "/x"}, "lacks `vdev`"),
        (change_disk, {"vdev": "a,b", "target": "/x"}, "set twice: b, /x"),
        (change_disk, {"vdev": "xvda", "target": "/x\n"}, "would read"),
        (change_disk, {"vdev": "xvda", "target": "/x", "fromat": "raw"}, "did you mean `format`?"),
        (change_disk, {"vdev": "xvda", "target": "/x", "format": "rwa"}, "did you mean `raw`?"),
        (change_disk, {"vdev": "xvda", "target": "/x", "access": "x"}, "invalid `access`"),
    ],
)
def test_invalid_change_is_refused(change: Any, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as error:
        change("", changes)
    assert words in str(error.value)
