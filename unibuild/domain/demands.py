"""What a domain's ``.xl`` demands of its host."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unibuild.xlcfg import devices

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from unibuild.kernel import Type
    from unibuild.xlcfg.parser import Config

__all__ = ["DEFAULT_MEMORY", "NET", "SCRIPTS", "Demands", "bridge_paths", "mac_address", "read"]

NET = "/sys/class/net"
SCRIPTS = "/etc/xen/scripts"
_BDF = re.compile(r"(?:([0-9a-f]{4}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\b", re.IGNORECASE)
DEFAULT_MEMORY = 128  # libxl_create.c, libxl__domain_build_info_setdefault()
"""MiB of a domain whose ``.xl`` says neither ``memory`` nor ``maxmem``."""
_PVH_EXTRA = 2  # MiB for second-level page tables; LIBXL_HVM_EXTRA_MEMORY, and so it is; a PV domain has all within


@dataclass(frozen=True)
class Demands:
    """What an ``.xl`` wants.

    Attributes:
        name: the domain's name.
        kind: ``pv`` or ``pvh``; None: another type.
        shim: whether it is a PV kernel in Xen's own PVH shim.
        memory: of the domain, in MiB; None: not a number.
        needed: what Xen takes for it in all, in MiB.
        bridges: by number of the network device.
        scripts: hotplug scripts that are named, as absolute paths.
        macs: by number of the network device, in lower case.
        disks: path and whether it is written to, by vdev; those that dom0 opens.
        vcpus: how many processors it sees.
        pci: devices that must be set aside for it, as ``0000:00:1b.0``.
    """

    name: str
    kind: Type | None
    shim: bool
    memory: int | None
    needed: int
    bridges: Mapping[int, str]
    scripts: tuple[str, ...]
    macs: Mapping[int, str]
    disks: Mapping[str, tuple[str, bool]]
    vcpus: int
    pci: tuple[str, ...]


def read(config: Config) -> Demands:
    """Return what an ``.xl`` wants. It never fails: what xl would refuse, it will refuse itself."""
    vifs = {n: devices.parse_vif(spec) for n, spec in enumerate(_strings(config.get("vif")))}
    ours = {n: vif for n, vif in vifs.items() if vif.get("backend", "0") == "0"}  # not those of a driver domain
    disks = [devices.parse_disk(spec) for spec in _strings(config.get("disk"))]
    disks = [disk for disk in disks if disk.get("backend", "0") == "0"]
    said = config.get("type")
    kind: Type | None = "pv" if said == "pv" else "pvh" if said == "pvh" else None
    key = "maxmem" if config.get("memory") is None else "memory"
    amount = DEFAULT_MEMORY if config.get(key) is None else config.number(key)
    return Demands(
        name=str(config.get("name")),
        kind=kind,
        shim=kind == "pvh" and bool(config.number("pvshim")),
        memory=amount,
        needed=(amount or 0) + (0 if kind == "pv" else _PVH_EXTRA),
        bridges={n: bridge for n, vif in ours.items() if (bridge := _bridge(vif))},
        scripts=tuple(
            dict.fromkeys(_script(found["script"]) for found in (*ours.values(), *disks) if "script" in found)
        ),
        macs={n: mac_address(str(vif["mac"])) for n, vif in vifs.items() if "mac" in vif},
        disks={
            str(disk["vdev"]): (str(disk.get("target", "")), disk.get("access") not in ("r", "ro"))
            for disk in disks
            if "script" not in disk and str(disk.get("target", "")).startswith("/")
        },
        vcpus=config.number("vcpus") or 1,
        pci=tuple(_pci(config)),
    )


def bridge_paths(bridge: str) -> tuple[str, ...]:
    """Return the paths on a host, one of which is there where it has the bridge.

    The script vif-bridge takes ``eth0`` for a missing ``xenbr0`` where that is a bridge, as it was with old hosts.
    """
    number = bridge.removeprefix("xenbr")
    return (f"{NET}/{bridge}", *([] if number == bridge else [f"{NET}/eth{number}/bridge"]))


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _bridge(vif: Mapping[str, str | bool]) -> str | None:
    """Return the device that must be there; Open vSwitch's script takes VLANs behind its name (``br0.7:8,9``)."""
    bridge, script = vif.get("bridge"), str(vif.get("script", "vif-bridge")).rpartition("/")[2]
    if not isinstance(bridge, str):
        return None
    if script == "vif-openvswitch":
        return re.split("[.:]", bridge)[0]
    return bridge if script == "vif-bridge" else None


def _script(name: object) -> str:
    return str(name) if str(name).startswith("/") else f"{SCRIPTS}/{name}"


def mac_address(said: str) -> str:
    """Return a MAC address in the one form that compares."""
    return ":".join(part.zfill(2) for part in said.lower().split(":"))


def _pci(config: Config) -> Iterator[str]:
    if config.number("pci_seize"):
        return
    for spec in _strings(config.get("pci")):
        found = _BDF.search(spec)
        if found and "seize=1" not in spec:
            yield f"{found[1] or '0000'}:{found[2]}".lower()
