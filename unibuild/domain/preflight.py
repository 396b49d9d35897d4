"""Check whether a host can take a domain, before anything is stopped there."""

from __future__ import annotations

import dataclasses
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from unibuild.errors import DomainError, KernelError
from unibuild.host.toolstack import Device
from unibuild.xlcfg import devices

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from unibuild.host.base import Host
    from unibuild.host.toolstack import Domain
    from unibuild.kernel import Kernel, Type
    from unibuild.xlcfg.parser import Config

__all__ = [
    "DEFAULT_MEMORY",
    "NET",
    "SCRIPTS",
    "Device",
    "DiskSource",
    "HostCapacity",
    "PreflightProblem",
    "Requirements",
    "Resources",
    "bridge_paths",
    "check",
    "find_problems",
    "mac_address",
    "requirements",
]

NET = "/sys/class/net"
SCRIPTS = "/etc/xen/scripts"
_BDF = re.compile(r"(?:([0-9a-f]{4}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\b", re.IGNORECASE)
DEFAULT_MEMORY = 128  # libxl_create.c, libxl__domain_build_info_setdefault()
"""MiB of a domain whose ``.xl`` says neither ``memory`` nor ``maxmem``."""
_PVH_EXTRA = 2  # MiB for second-level page tables; LIBXL_HVM_EXTRA_MEMORY, and so it is; a PV domain has all within


@dataclass(frozen=True)
class Requirements:
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


def requirements(config: Config) -> Requirements:
    """Return what an ``.xl`` wants. It never fails: what xl would refuse, it will refuse itself."""
    vifs = {n: devices.parse_vif(spec) for n, spec in enumerate(_strings(config.get("vif")))}
    ours = {n: vif for n, vif in vifs.items() if vif.get("backend", "0") == "0"}  # not those of a driver domain
    disks = [devices.parse_disk(spec) for spec in _strings(config.get("disk"))]
    disks = [disk for disk in disks if disk.get("backend", "0") == "0"]
    said = config.get("type")
    kind: Type | None = "pv" if said == "pv" else "pvh" if said == "pvh" else None
    key = "maxmem" if config.get("memory") is None else "memory"
    amount = DEFAULT_MEMORY if config.get(key) is None else config.number(key)
    return Requirements(
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


_PVH_VCPUS = 128  # HVM_MAX_VCPUS; at more Xen says only "Invalid argument"
_SHIM = 'build it for PVH, or let Xen\'s shim run it: [xl] type = "pvh" and [xl.set] pvshim = 1'


class PreflightProblem(NamedTuple):
    """Something that is in a domain's way: a sentence, and what to do about it."""

    sentence: str
    hint: str


class DiskSource(Protocol):
    """A disk whose data only the host can have."""

    vdev: str
    target: Path
    is_path: bool


@dataclass(frozen=True)
class Resources:
    """What a host has.

    Attributes:
        host: its name.
        info: facts of the host, as ``Toolstack.info`` returns them.
        domains: those that run there.
        replaced: the uuids of those that give way to the new one.
        free: memory that a new domain can have now, in MiB.
        missing: those of the paths that were asked for which are not there.
        backends: devices of its domains.
        assignable: PCI devices that are set aside for domains.
        devices: its network devices, where a bridge is missing.
    """

    host: str
    info: Mapping[str, str]
    domains: tuple[Domain, ...]
    replaced: Collection[str]
    free: int
    missing: Collection[str] = ()
    backends: tuple[Device, ...] = ()
    assignable: Collection[str] = ()
    devices: tuple[str, ...] = ()


def find_problems(
    wanted: Requirements, there: Resources, kernel: Kernel | None, elsewhere: Iterable[DiskSource]
) -> list[PreflightProblem]:
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
        *_processors(wanted),
        *_networks(wanted, there),
        *_disks(wanted, there, elsewhere),
        *_scripts(wanted, there),
        *_passed_through(wanted, there),
    ]


def _name(wanted: Requirements, there: Resources) -> Iterator[PreflightProblem]:
    for domain in there.domains:
        if domain.name == wanted.name and domain.uuid not in there.replaced:
            yield PreflightProblem(
                f"a domain called {wanted.name} is on {there.host} already, and it is not ours (domain {domain.domid})",
                "destroy it on the host yourself, or set another name (name = ...)",
            )


def _type(wanted: Requirements, there: Resources, kernel: Kernel | None) -> Iterator[PreflightProblem]:
    """Compare with ``xen_caps`` as Xen's own builder does (tools/libs/guest, xc_dom_guest_type and compat_check)."""
    host, info = there.host, there.info
    if kernel and wanted.kind:
        try:
            kernel.type_for("pv" if wanted.shim else wanted.kind)
        except KernelError as error:
            yield PreflightProblem(error.message, error.hint or "build it again")
    version = _version(info)
    if wanted.kind == "pvh" and version and version < (4, 10):
        yield PreflightProblem(
            f"{host} has Xen {version[0]}.{version[1]}, and PVH domains need 4.10",
            "upgrade Xen there, or use a PV kernel",
        )
        return
    caps = info.get("xen_caps", "").split()
    if not caps or wanted.kind is None:
        return
    if wanted.kind == "pvh":
        if not any(cap.startswith("hvm-") for cap in caps):
            yield PreflightProblem(
                f"{host} cannot run PVH domains: its processor has no hardware virtualization, or it is switched off",
                "switch VT-x or AMD-V on in the machine's firmware (and, where that machine is a virtual one, "
                'nested virtualization); or use a PV kernel ([xl] type = "pv")',
            )
        return
    off = version is not None and version >= (4, 13) and "pv" not in info.get("virt_caps", "pv").split()
    if off or not any(cap.startswith("xen-") for cap in caps):
        yield PreflightProblem(f"Xen on {host} runs no PV domains: it was built or started without them", _SHIM)
    elif kernel and kernel.machine == "x86_32" and not any("x86_32" in cap for cap in caps if cap.startswith("xen-")):
        yield PreflightProblem(
            f"Xen on {host} runs no PV kernels of 32 bits, and that of {wanted.name} is one", "build it for x86_64"
        )


def _memory(wanted: Requirements, there: Resources) -> Iterator[PreflightProblem]:
    if wanted.memory is None:
        return
    free = there.free + sum(domain.memory for domain in there.domains if domain.uuid in there.replaced)
    total = there.info.get("total_memory", "")
    if total.isdigit() and wanted.memory > int(total):
        yield PreflightProblem(
            f"{wanted.name} wants {wanted.memory} MiB of memory and {there.host} has {total} in all",
            "give it less ([xl] memory = ...), or give the lab more ([lab] memory = ...)",
        )
    elif wanted.needed > free:
        over = f", {wanted.needed} with what Xen needs for it," if wanted.memory <= free else ""
        yield PreflightProblem(
            f"{wanted.name} wants {wanted.memory} MiB of memory{over} and {there.host} has {free}",
            "give it less ([xl] memory = ...), end another domain, or give the lab more ([lab] memory = ...)",
        )


def _processors(wanted: Requirements) -> Iterator[PreflightProblem]:
    """Xen takes more processors than the host has, and pins to those that are there; a PVH domain has a limit."""
    if wanted.kind == "pvh" and wanted.vcpus > _PVH_VCPUS:
        yield PreflightProblem(
            f"{wanted.name} wants {wanted.vcpus} processors, and a PVH domain has {_PVH_VCPUS} at most",
            "give it fewer: [xl] vcpus = ...",
        )


def _networks(wanted: Requirements, there: Resources) -> Iterator[PreflightProblem]:
    for number, bridge in wanted.bridges.items():
        if all(path in there.missing for path in bridge_paths(bridge)):
            others = [name for name in there.devices if name != "lo" and not name.startswith("vif")]
            yield PreflightProblem(
                f"{there.host} has no bridge {bridge} for network device {number} of {wanted.name}",
                f'make it there, or set [xl.vif.{number}] bridge = "..."; it has: {", ".join(others) or "none"}',
            )
    for number, mac in wanted.macs.items():
        for other in _others(there):
            if other.kind == "vif" and mac_address(other.keys.get("mac", "")) == mac:
                yield PreflightProblem(
                    f"{_called(other, there)} on {there.host} has the address {mac} of network device {number} "
                    f"of {wanted.name}",
                    f'end it, or give ours another one: [xl.vif.{number}] mac = "..."',
                )


def _disks(wanted: Requirements, there: Resources, elsewhere: Iterable[DiskSource]) -> Iterator[PreflightProblem]:
    for disk in elsewhere:
        if disk.is_path and str(disk.target) in there.missing:
            yield PreflightProblem(
                f"neither {there.host} nor this machine has {disk.target} for the disk {disk.vdev} of {wanted.name}",
                f'make it (`truncate -s 16M FILE`), or name another: [xl.disk.{disk.vdev}] target = "..."',
            )
    for vdev, (path, is_written) in wanted.disks.items():
        for other in _others(there):
            params = re.sub(r"^[a-z0-9]+:", "", other.keys.get("params", ""))  # qdisk: aio:/x, raw:/x
            if params == path and (is_written or other.keys.get("mode", "w").startswith("w")):
                yield PreflightProblem(
                    f"{_called(other, there)} on {there.host} uses {path}, the disk {vdev} of {wanted.name}, "
                    "and one of the two writes to it",
                    f'end it, let both only read ([xl.disk.{vdev}] access = "ro"), or give ours another target',
                )


def _scripts(wanted: Requirements, there: Resources) -> Iterator[PreflightProblem]:
    for script in wanted.scripts:
        if script in there.missing and SCRIPTS not in there.missing:
            yield PreflightProblem(
                f"{there.host} has no script {script} for a device of {wanted.name}",
                f"install it there, or name one of {SCRIPTS} (`script` of the device)",
            )


def _passed_through(wanted: Requirements, there: Resources) -> Iterator[PreflightProblem]:
    if wanted.pci and "directio" not in there.info.get("virt_caps", "directio"):
        yield PreflightProblem(
            f"{there.host} cannot hand PCI devices to {wanted.name}: it has no IOMMU, or it is switched off",
            "switch VT-d or AMD-Vi on in its firmware, or take `pci` away",
        )
        return
    for device in wanted.pci:
        if device not in there.assignable:
            yield PreflightProblem(
                f"the PCI device {device} of {wanted.name} is not set aside for domains on {there.host}",
                "make it assignable there, or add seize=1 to it in the list `pci`",
            )


def _others(there: Resources) -> Iterator[Device]:
    """Yield the devices of domains that stay."""
    replaced = {domain.domid for domain in there.domains if domain.uuid in there.replaced}
    yield from (backend for backend in there.backends if backend.domid not in replaced)


def _called(device: Device, there: Resources) -> str:
    names = {domain.domid: domain.name for domain in there.domains}
    return names.get(device.domid, f"domain {device.domid}")


def _version(info: Mapping[str, str]) -> tuple[int, int] | None:
    major, minor = info.get("xen_major", ""), info.get("xen_minor", "")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None


@dataclass(frozen=True)
class HostCapacity:
    """What a host that can take a domain has.

    Attributes:
        domains: all of the host, dom0 included.
        free: memory that a new domain can have now, while the older ones are still there, in MiB.
        facts: facts of the host, as ``Toolstack.info`` returns them.
        needed: memory that Xen will take for the new domain, in MiB; the domain fits beside the others up to ``free``.
    """

    domains: tuple[Domain, ...]
    free: int
    facts: Mapping[str, str]
    needed: int


def check(
    host: Host, config: Config, *, kernel: Kernel | None, disks: Iterable[DiskSource], replaced: Collection[str]
) -> HostCapacity:
    """See that a host can take a domain; only that is asked which its ``.xl`` makes necessary.

    Args:
        host: the host.
        config: the domain's ``.xl``, with paths of the host.
        kernel: the domain's kernel; None: nothing is known of it.
        disks: those of its disks that only the host can have.
        replaced: uuids of domains that may go first: their name, memory, disks and addresses are free.

    Raises:
        DomainError: the host cannot take it; all reasons are told at once.
        HostError: the host cannot be reached, or xl cannot talk to Xen there.
    """
    wanted, disks = requirements(config), tuple(disks)
    if host.address == "lab":
        wanted = dataclasses.replace(wanted, bridges={})  # its script vif-bridge takes any name
    domains = host.toolstack.list_domains()  # first and alone: it may ask for a password, or open the connection
    paths = [path for bridge in wanted.bridges.values() for path in bridge_paths(bridge)]
    if wanted.scripts:
        paths += [SCRIPTS, *wanted.scripts]
    files = [str(disk.target) for disk in disks if disk.is_path]
    with ThreadPoolExecutor() as pool:
        asked_info = pool.submit(host.toolstack.info, background=True)
        asked_paths = pool.submit(_missing, host, paths, root=False)
        asked_files = pool.submit(_missing, host, files, root=True)
        asked_backends = pool.submit(_backends, host, wanted)
        asked_pci = pool.submit(_assignable, host, wanted)
        missing = asked_paths.result()
        lost = any(path.startswith(NET) for path in missing)
        there = Resources(
            host=host.name,
            info=asked_info.result(),
            domains=domains,
            replaced=replaced,
            free=host.toolstack.free_memory(asked_info.result(), domains),
            missing=missing | asked_files.result(),
            backends=asked_backends.result(),
            assignable=asked_pci.result(),
            devices=tuple(host.run(["ls", NET], root=False, background=True).text.split()) if lost else (),
        )
    problems = find_problems(wanted, there, kernel, disks)
    if problems:
        raise _refusal(problems, host.name, wanted.name)
    return HostCapacity(domains, there.free, there.info, wanted.needed)


def _refusal(problems: Sequence[PreflightProblem], host: str, name: str) -> DomainError:
    if len(problems) == 1:
        return DomainError(problems[0].sentence, hint=problems[0].hint)
    lines = [f"- {problem.sentence}\n    {problem.hint}" for problem in problems]
    return DomainError(f"{host} cannot take {name}, for {len(problems)} reasons", hint="\n".join(lines))


def _missing(host: Host, paths: Sequence[str], *, root: bool) -> set[str]:
    """Return those of the paths that are not there; with ``root``, root is asked about those that we do not see."""
    unseen = set(paths)
    for as_root in (False, True) if root else (False,):
        if unseen:
            said = host.run(["ls", "-d", "--", *sorted(unseen)], check=False, root=as_root, background=True)
            unseen -= set(said.text.splitlines())
    return unseen


def _backends(host: Host, wanted: Requirements) -> tuple[Device, ...]:
    if not (wanted.disks or wanted.macs):
        return ()
    return host.toolstack.list_devices()


def _assignable(host: Host, wanted: Requirements) -> Collection[str]:
    if not wanted.pci:
        return ()
    return host.toolstack.assignable_pci()
