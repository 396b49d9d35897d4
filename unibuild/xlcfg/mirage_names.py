"""Read the device names from the ``.xl.in`` that Mirage 2.6 and later write next to the ``.xl``.

    disk = [ 'format=raw, vdev=xvdb, access=rw, target=@BLOCK:disk.img@' ]
    vif = [ 'bridge=@NETWORK:1@', 'bridge=@NETWORK:0@' ]

A block device's name is the name of its file, and its ``vdev`` is what the unikernel opens. A network's name is what
the unikernel opens: it uses a number as xl's ``devid``, which counts a list from 0; for a name that is not a number,
older drivers use the first device. Every Mirage from 2.6.1 to 4.11.1 writes the networks in reverse, the last one
first. That file gives the unikernel the wrong devices, and ``ordered`` corrects it.

Sources: Substitutions and configure_main_xl in mirage's lib/devices/target.ml (4.x), lib/mirage.ml (2.x, 3.0);
connect in mirage-net-xen's lib/netif.ml, lib/frontend.ml.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unibuild.errors import SettingsError
from unibuild.xlcfg.devices import change_vif, parse_disk, parse_vif
from unibuild.xlcfg.parser import parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unibuild.xlcfg.devices import Device
    from unibuild.xlcfg.parser import Config

__all__ = ["Named", "by_number", "missing", "ordered", "read", "removed"]

_NETWORK = re.compile(r"@NETWORK:(?:net_)?(.*?)@(?=,|$)")  # 2.6 has `net_` before the name
_BLOCK = re.compile(r"@BLOCK:(.*)@")
_PLACE = {"vif": re.compile("[0-9]+"), "disk": re.compile("[a-z0-9]+")}  # how the .xl itself names a device


@dataclass(frozen=True)
class Named:
    """The names of a unikernel's devices.

    Attributes:
        networks: the names, in the file's order; None for a device without one.
        blocks: the names, by ``vdev``.
    """

    networks: tuple[str | None, ...]
    blocks: Mapping[str, str]

    @property
    def devids(self) -> dict[int, int]:
        """The number of each network in the unikernel, by its number in the file.

        A name that is a number has that number, the first time; the others get the free ones, the file's last one
        first.
        """
        found: dict[int, int] = {}
        for at, name in enumerate(self.networks):
            if name and name.isdecimal() and int(name) not in found.values():
                found[at] = int(name)
        free = (number for number in range(len(self.networks)) if number not in found.values())
        others = [at for at in range(len(self.networks)) if at not in found]
        return found | dict(zip(reversed(others), free, strict=False))

    @property
    def vifs(self) -> dict[str, int]:
        """The number of each named network in the ``vif`` list of an ordered ``.xl``."""
        order = self.order
        return {name: order.index(at) for at, name in reversed([*enumerate(self.networks)]) if name}

    @property
    def disks(self) -> dict[str, str]:
        """The ``vdev`` of each disk, by its name."""
        return {name: vdev for vdev, name in self.blocks.items()}

    @property
    def order(self) -> list[int]:
        """The numbers of the networks in the file, in the unikernel's order."""
        devids = self.devids
        return sorted(devids, key=lambda at: devids[at])


def read(text: str, path: str) -> Named:
    """Parse an ``.xl.in``.

    Args:
        text: its text, decoded as for `parser.parse`.
        path: the file's name, for messages.

    Raises:
        XlSyntaxError: it is not an ``.xl.in``.
    """
    config = parse(text.replace("@MEMORY@", "0"), path)
    vifs, disks = config.get("vif"), config.get("disk")
    blocks = {}
    for spec in disks if isinstance(disks, list) else []:
        disk = parse_disk(str(spec))
        if name := _BLOCK.fullmatch(str(disk.get("target"))):
            blocks[str(disk["vdev"])] = name[1]
    networks = [_NETWORK.search(str(spec)) for spec in (vifs if isinstance(vifs, list) else [])]
    return Named(tuple(found and found[1] for found in networks), blocks)


def ordered(specs: list[str], named: Named) -> list[str]:
    """Return the strings of a generated ``vif`` list in the unikernel's order of the devices.

    If the numbers have a gap, the device after it gets its own number (`devid=`).
    """
    if len(specs) != len(named.networks):
        return specs
    devids = named.devids
    found = [(devids[at], specs[at]) for at in named.order]
    return [spec if devid == at else change_vif(spec, {"devid": devid}) for at, (devid, spec) in enumerate(found)]


def by_number(kind: str, wanted: Mapping[str, Device], numbers: Mapping[str, object]) -> dict[str, Device]:
    """Return changes of devices with the unikernel's names replaced by those in the ``.xl``.

    Args:
        kind: "vif" or "disk".
        wanted: the changes by name, number or ``vdev``.
        numbers: the numbers or ``vdev``s by name.

    Raises:
        SettingsError: the unikernel lacks a device of that name, or two names of one device have different values.
    """
    found: dict[str, Device] = {}
    for key, changes in wanted.items():
        if key not in numbers and not _PLACE[kind].fullmatch(key):
            hint = "its devices are " + ", ".join(map(str, numbers)) if numbers else "a number will do, from 0"
            raise SettingsError(f"xl.{kind}.{key}: the unikernel lacks a {kind} of that name", hint=hint)
        target = str(numbers.get(key, key))
        before = found.get(target, {})
        for sub, value in changes.items():
            if before.get(sub, value) != value:
                raise SettingsError(
                    f"xl.{kind}.{key}: `{sub}` is {value} here and {before[sub]} under another name of the device",
                    hint=f"set it once: {key} is {kind} {target}",
                )
        found[target] = {**before, **changes}
    return found


def removed(changes: Mapping[str, Device], named: Named | None = None) -> dict[str, Device]:
    """Return the changes that remove a device, and those that keep the numbers of the networks after it."""
    gone = {key: device for key, device in changes.items() if device.get("remove")}
    if not gone or named is None:
        return gone
    devids = [named.devids[at] for at in named.order]
    return {**{str(at): {"devid": devid} for at, devid in enumerate(devids)}, **gone}


def missing(named: Named, config: Config) -> str | None:
    """Return in words which device the unikernel needs and an ``.xl`` lacks; None: it lacks none."""
    vifs, disks = config.get("vif"), config.get("disk")
    devids = set()
    for at, spec in enumerate(vifs if isinstance(vifs, list) else []):
        value = str(parse_vif(str(spec)).get("devid", at))
        devids.add(int(value) if value.isdecimal() else at)
    for name, at in named.vifs.items():
        devid = named.devids[named.order[at]]
        if devid not in devids:
            return f"the network device {name} (number {devid} of the list `vif`)"
    vdevs = {str(parse_disk(str(spec))["vdev"]) for spec in (disks if isinstance(disks, list) else [])}
    for name, vdev in named.disks.items():
        if vdev not in vdevs:
            return f"the disk {name} (vdev={vdev})"
    return None
