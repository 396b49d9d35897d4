"""What a domain's ``.xl`` demands of its host, and what a host lacks of that; nothing here asks the host."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from unibuild.errors import KernelError
from unibuild.xl import devices

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from unibuild.domain.xl import Domain
    from unibuild.kernel import Kernel, Type
    from unibuild.xl.grammar import Config

__all__ = [
    "NET",
    "SCRIPTS",
    "Backend",
    "Demands",
    "Disk",
    "Problem",
    "Resources",
    "bridge_paths",
    "lacks",
    "parse_backends",
    "read",
]

NET = "/sys/class/net"
SCRIPTS = "/etc/xen/scripts"
_BACKEND = re.compile(r'/local/domain/0/backend/([^/]+)/(\d+)/([^/]+)/(params|mode|mac) = "(.*)"')
_BDF = re.compile(r"(?:([0-9a-f]{4}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\b", re.IGNORECASE)
_CPUS = re.compile(r"\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*")
_DEFAULT_MEMORY = 128  # MiB; libxl_create.c, libxl__domain_build_info_setdefault()
_SHIM = 'build it for PVH, or let Xen\'s shim run it: [xl] type = "pvh" and [xl.set] pvshim = 1'


class Problem(NamedTuple):
    """Something that is in a domain's way: a sentence, and what to do about it."""

    sentence: str
    mend: str


class Disk(Protocol):
    """A disk whose data only the host can have."""

    vdev: str
    target: Path
    is_path: bool


class Backend(NamedTuple):
    """A device of a running domain, as dom0 serves it: keys and values of ``/local/domain/0/backend/KIND/DOMID/NR``."""

    kind: str
    domid: int
    keys: Mapping[str, str]


@dataclass(frozen=True)
class Demands:
    """What an ``.xl`` wants.

    Attributes:
        name: the domain's name.
        kind: ``pv`` or ``pvh``; None: another type.
        shim: whether it is a PV kernel in Xen's own PVH shim.
        memory: of the domain, in MiB; None: not plainly a number.
        needed: what Xen takes for it in all, in MiB.
        bridges: by number of the network device.
        scripts: hotplug scripts that are named, as absolute paths.
        macs: by number of the network device, in lower case.
        disks: path and whether it is written to, by vdev; those that dom0 opens.
        cpus: the lowest processor that it is pinned to; 0: any.
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
    cpus: int
    pci: tuple[str, ...]


@dataclass(frozen=True)
class Resources:
    """What a host has.

    Attributes:
        host: its name.
        info: what ``xl info`` says.
        domains: those that run there.
        going: the uuids of those that give way to the new one.
        free: memory that a new domain can have now, in MiB.
        missing: those of the paths that were asked for which are not there.
        backends: devices of its domains.
        assignable: PCI devices that are set aside for domains.
        devices: its network devices, where a bridge is missing.
    """

    host: str
    info: Mapping[str, str]
    domains: tuple[Domain, ...]
    going: Collection[str]
    free: int
    missing: Collection[str] = ()
    backends: tuple[Backend, ...] = ()
    assignable: Collection[str] = ()
    devices: tuple[str, ...] = field(default=())


def read(config: Config) -> Demands:
    """Return what an ``.xl`` wants. It never fails: what xl would refuse, it will refuse itself."""
    vifs = {n: devices.parse_vif(spec) for n, spec in enumerate(_strings(config.get("vif")))}
    ours = {n: vif for n, vif in vifs.items() if vif.get("backend", "0") == "0"}  # not those of a driver domain
    disks = [devices.parse_disk(spec) for spec in _strings(config.get("disk"))]
    disks = [disk for disk in disks if disk.get("backend", "0") == "0"]
    said = config.get("type")
    kind: Type | None = "pv" if said == "pv" else "pvh" if said == "pvh" else None
    memory, vcpus = config.get("memory"), config.get("vcpus")
    amount = _DEFAULT_MEMORY if memory is None else memory if isinstance(memory, int) else None
    return Demands(
        name=str(config.get("name")),
        kind=kind,
        shim=kind == "pvh" and str(config.get("pvshim") or "0") != "0",
        memory=amount,
        needed=_needed(kind, amount or 0, vcpus if isinstance(vcpus, int) else 1),
        bridges={n: bridge for n, vif in ours.items() if (bridge := _bridge(vif))},
        scripts=tuple(
            dict.fromkeys(_script(found["script"]) for found in (*ours.values(), *disks) if "script" in found)
        ),
        macs={n: _mac(str(vif["mac"])) for n, vif in vifs.items() if "mac" in vif},
        disks={
            str(disk["vdev"]): (str(disk.get("target", "")), disk.get("access") not in ("r", "ro"))
            for disk in disks
            if "script" not in disk and str(disk.get("target", "")).startswith("/")
        },
        cpus=_lowest(config.get("cpus")),
        pci=tuple(_pci(config)),
    )


def parse_backends(text: str) -> tuple[Backend, ...]:
    """Read the output of ``xenstore-ls -f /local/domain/0/backend``: of disks ``params`` and ``mode``, and ``mac``."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in map(_BACKEND.fullmatch, text.splitlines()):
        if row:
            found.setdefault((row[1], row[2], row[3]), {})[row[4]] = row[5]
    return tuple(Backend(kind, int(domid), keys) for (kind, domid, _), keys in found.items())


def bridge_paths(bridge: str) -> tuple[str, ...]:
    """Return the paths on a host, one of which is there where it has the bridge.

    The script vif-bridge takes ``eth0`` for a missing ``xenbr0`` where that is a bridge, as it was with old hosts.
    """
    number = bridge.removeprefix("xenbr")
    return (f"{NET}/{bridge}", *([] if number == bridge else [f"{NET}/eth{number}/bridge"]))


def lacks(wanted: Demands, there: Resources, kernel: Kernel | None, elsewhere: Iterable[Disk]) -> list[Problem]:
    """Return all that is in a domain's way on a host.

    Args:
        wanted: what it wants.
        there: what the host has.
        kernel: the domain's; None: nothing is known of it.
        elsewhere: the disks that only the host can have.
    """
    return [
        *_name(wanted, there),
        *_type(wanted, there, kernel),
        *_memory(wanted, there),
        *_processors(wanted, there),
        *_networks(wanted, there),
        *_disks(wanted, there, elsewhere),
        *_scripts(wanted, there),
        *_passed_through(wanted, there),
    ]


def _name(wanted: Demands, there: Resources) -> Iterator[Problem]:
    for domain in there.domains:
        if domain.name == wanted.name and domain.uuid not in there.going:
            yield Problem(
                f"a domain called {wanted.name} is on {there.host} already, and it is not ours (domain {domain.domid})",
                f"end it there yourself (xl destroy {domain.domid}), or give ours another name (name = ...)",
            )


def _type(wanted: Demands, there: Resources, kernel: Kernel | None) -> Iterator[Problem]:
    """Compare with ``xen_caps`` as Xen's own builder does (tools/libs/guest, xc_dom_guest_type and compat_check)."""
    host, info = there.host, there.info
    if kernel and wanted.kind:
        try:
            kernel.type_for("pv" if wanted.shim else wanted.kind)
        except KernelError as error:
            yield Problem(error.message, error.hint or "build it again")
    version = _version(info)
    if wanted.kind == "pvh" and version and version < (4, 10):
        yield Problem(
            f"{host} has Xen {version[0]}.{version[1]}, and PVH domains need 4.10",
            "upgrade Xen there, or use a PV kernel",
        )
        return
    caps = info.get("xen_caps", "").split()
    if not caps or wanted.kind is None:
        return
    if wanted.kind == "pvh":
        if not any(cap.startswith("hvm-") for cap in caps):
            yield Problem(
                f"{host} cannot run PVH domains: its processor has no hardware virtualization, or it is switched off",
                "switch VT-x or AMD-V on in the machine's firmware (and, where that machine is a virtual one, "
                'nested virtualization); or use a PV kernel ([xl] type = "pv")',
            )
        return
    off = version is not None and version >= (4, 13) and "pv" not in info.get("virt_caps", "pv").split()
    if off or not any(cap.startswith("xen-") for cap in caps):
        yield Problem(f"Xen on {host} runs no PV domains: it was built or started without them", _SHIM)
    elif kernel and kernel.machine == "x86_32" and not any("x86_32" in cap for cap in caps if cap.startswith("xen-")):
        yield Problem(
            f"Xen on {host} runs no PV kernels of 32 bits, and that of {wanted.name} is one", "build it for x86_64"
        )


def _memory(wanted: Demands, there: Resources) -> Iterator[Problem]:
    if wanted.memory is None:
        return
    free = there.free + sum(domain.memory for domain in there.domains if domain.uuid in there.going)
    total = there.info.get("total_memory", "")
    if total.isdigit() and wanted.memory > int(total):
        yield Problem(
            f"{wanted.name} wants {wanted.memory} MiB of memory and {there.host} has {total} in all",
            "give it less ([xl] memory = ...), or give the lab more ([lab] memory = ...)",
        )
    elif wanted.needed > free:
        over = f", {wanted.needed} with what Xen needs for it," if wanted.memory <= free else ""
        yield Problem(
            f"{wanted.name} wants {wanted.memory} MiB of memory{over} and {there.host} has {free}",
            "give it less ([xl] memory = ...), end another domain, or give the lab more ([lab] memory = ...)",
        )


def _processors(wanted: Demands, there: Resources) -> Iterator[Problem]:
    last = there.info.get("max_cpu_id", "")
    if last.isdigit() and wanted.cpus > int(last):
        yield Problem(
            f"{wanted.name} may run on processor {wanted.cpus} and higher only, and the last of {there.host} is {last}",
            "pin it to others, or to none: [xl.set] cpus = ...",
        )


def _networks(wanted: Demands, there: Resources) -> Iterator[Problem]:
    for number, bridge in wanted.bridges.items():
        if all(path in there.missing for path in bridge_paths(bridge)):
            others = [name for name in there.devices if name != "lo" and not name.startswith("vif")]
            yield Problem(
                f"{there.host} has no bridge {bridge} for network device {number} of {wanted.name}",
                f'make it there, or set [xl.vif.{number}] bridge = "..."; it has: {", ".join(others) or "none"}',
            )
    for number, mac in wanted.macs.items():
        for other in _others(there):
            if other.kind == "vif" and _mac(other.keys.get("mac", "")) == mac:
                yield Problem(
                    f"{_called(other, there)} on {there.host} has the address {mac} of network device {number} "
                    f"of {wanted.name}",
                    f'end it, or give ours another one: [xl.vif.{number}] mac = "..."',
                )


def _disks(wanted: Demands, there: Resources, elsewhere: Iterable[Disk]) -> Iterator[Problem]:
    for disk in elsewhere:
        if disk.is_path and str(disk.target) in there.missing:
            yield Problem(
                f"neither {there.host} nor this machine has {disk.target} for the disk {disk.vdev} of {wanted.name}",
                f'make it (`truncate -s 16M FILE`), or name another: [xl.disk.{disk.vdev}] target = "..."',
            )
    for vdev, (path, is_written) in wanted.disks.items():
        for other in _others(there):
            params = re.sub(r"^[a-z0-9]+:", "", other.keys.get("params", ""))  # qdisk: aio:/x, raw:/x
            if params == path and (is_written or other.keys.get("mode", "w").startswith("w")):
                yield Problem(
                    f"{_called(other, there)} on {there.host} uses {path}, the disk {vdev} of {wanted.name}, "
                    "and one of the two writes to it",
                    f'end it, let both only read ([xl.disk.{vdev}] access = "ro"), or give ours another target',
                )


def _scripts(wanted: Demands, there: Resources) -> Iterator[Problem]:
    for script in wanted.scripts:
        if script in there.missing and SCRIPTS not in there.missing:
            yield Problem(
                f"{there.host} has no script {script} for a device of {wanted.name}",
                f"install it there, or name one of {SCRIPTS} (`script` of the device)",
            )


def _passed_through(wanted: Demands, there: Resources) -> Iterator[Problem]:
    for device in wanted.pci:
        if device not in there.assignable:
            yield Problem(
                f"the PCI device {device} of {wanted.name} is not set aside for domains on {there.host}",
                f"`xl pci-assignable-add {device}` there, or let xl do so: seize=1 behind it in the list `pci`",
            )


def _others(there: Resources) -> Iterator[Backend]:
    """Yield the devices of domains that stay."""
    going = {domain.domid for domain in there.domains if domain.uuid in there.going}
    yield from (backend for backend in there.backends if backend.domid not in going)


def _called(device: Backend, there: Resources) -> str:
    names = {domain.domid: domain.name for domain in there.domains}
    return names.get(device.domid, f"domain {device.domid}")


def _version(info: Mapping[str, str]) -> tuple[int, int] | None:
    major, minor = info.get("xen_major", ""), info.get("xen_minor", "")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None


def _needed(kind: Type | None, memory: int, vcpus: int) -> int:
    """Return memory with what Xen keeps for the domain: for PVH the pages of its second-level page tables.

    Source: libxl_get_required_shadow_memory(): 256 pages for each processor, 2 for each MiB; and LIBXL_MAXMEM_CONSTANT.
    """
    return memory + 1 + (0 if kind == "pv" else vcpus + -(-memory * 8 // 1024))


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


def _mac(said: str) -> str:
    return ":".join(part.zfill(2) for part in said.lower().split(":"))


def _lowest(cpus: object) -> int:
    """Return the lowest processor of a plain list of numbers and ranges, else 0."""
    words = [str(cpu) for cpu in cpus] if isinstance(cpus, list) else [str(cpus)]
    if not all(map(_CPUS.fullmatch, words)):
        return 0
    return min((int(number) for number in re.findall(r"\d+", ",".join(words))), default=0)


def _pci(config: Config) -> Iterator[str]:
    if str(config.get("pci_seize") or "0") != "0":
        return
    for spec in _strings(config.get("pci")):
        found = _BDF.search(spec)
        if found and "seize=1" not in spec:
            yield f"{found[1] or '0000'}:{found[2]}".lower()
