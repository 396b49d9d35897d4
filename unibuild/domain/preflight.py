"""Check whether a host can take a domain, before anything is stopped there."""

from __future__ import annotations

import dataclasses
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from unibuild.errors import DomainError, KernelError
from unibuild.host.toolstack import Device, HostQueries
from unibuild.xlcfg import devices

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from unibuild.host.base import Host
    from unibuild.host.toolstack import Domain, HostFacts
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
    "queries",
    "requirements",
]

NET = "/sys/class/net"
SCRIPTS = "/etc/xen/scripts"
_BDF = re.compile(r"(?:([0-9a-f]{4}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\b", re.IGNORECASE)
DEFAULT_MEMORY = 32  # libxl_create.c, libxl__domain_build_info_setdefault()
"""MiB of a domain with neither ``memory`` nor ``maxmem`` in its ``.xl``."""
_PVH_EXTRA = 2  # MiB for second-level page tables (LIBXL_HVM_EXTRA_MEMORY, measured too); a PV domain needs no extra


@dataclass(frozen=True)
class Requirements:
    """What a domain's ``.xl`` requires of the host.

    Attributes:
        name: the domain's name.
        kind: ``pv`` or ``pvh``; None: another type.
        shim: whether it is a PV kernel in Xen's own PVH shim.
        memory: the domain's memory in MiB; None: not a number.
        needed: MiB that Xen takes for it in all.
        bridges: bridges by number of the network device.
        scripts: the named hotplug scripts, as absolute paths.
        macs: MAC addresses by number of the network device, in lower case.
        disks: path and whether the domain writes to it, by vdev; only the disks that dom0 opens.
        vcpus: the number of its processors.
        pci: PCI devices that must be assignable, as ``0000:00:1b.0``.
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
    """Return the requirements of an ``.xl``. It never fails: xl itself reports what it refuses."""
    vifs = {n: devices.parse_vif(spec) for n, spec in enumerate(_strings(config.get("vif")))}
    dom0_vifs = {n: vif for n, vif in vifs.items() if vif.get("backend", "0") == "0"}  # not those of a driver domain
    disks = [devices.parse_disk(spec) for spec in _strings(config.get("disk"))]
    disks = [disk for disk in disks if disk.get("backend", "0") == "0"]
    value = config.get("type")
    kind: Type | None = "pv" if value == "pv" else "pvh" if value == "pvh" else None
    key = "maxmem" if config.get("memory") is None else "memory"
    amount = DEFAULT_MEMORY if config.get(key) is None else config.number(key)
    return Requirements(
        name=str(config.get("name")),
        kind=kind,
        shim=kind == "pvh" and bool(config.number("pvshim")),
        memory=amount,
        needed=(amount or 0) + (0 if kind == "pv" else _PVH_EXTRA),
        bridges={n: bridge for n, vif in dom0_vifs.items() if (bridge := _bridge(vif))},
        scripts=tuple(
            dict.fromkeys(_script(found["script"]) for found in (*dom0_vifs.values(), *disks) if "script" in found)
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
    """Return paths on a host; at least one of them exists if the host has the bridge.

    The script vif-bridge uses ``eth0`` for a missing ``xenbr0`` if ``eth0`` is a bridge, as on old hosts.
    """
    number = bridge.removeprefix("xenbr")
    return (f"{NET}/{bridge}", *([] if number == bridge else [f"{NET}/eth{number}/bridge"]))


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _bridge(vif: Mapping[str, str | bool]) -> str | None:
    """Return the device that must exist; Open vSwitch's script takes VLANs after its name (``br0.7:8,9``)."""
    bridge, script = vif.get("bridge"), str(vif.get("script", "vif-bridge")).rpartition("/")[2]
    if not isinstance(bridge, str):
        return None
    if script == "vif-openvswitch":
        return re.split("[.:]", bridge)[0]
    return bridge if script == "vif-bridge" else None


def _script(name: object) -> str:
    return str(name) if str(name).startswith("/") else f"{SCRIPTS}/{name}"


def mac_address(text: str) -> str:
    """Return a MAC address in normal form: lower case, two digits a byte."""
    return ":".join(part.zfill(2) for part in text.lower().split(":"))


def _pci(config: Config) -> Iterator[str]:
    if config.number("pci_seize"):
        return
    for spec in _strings(config.get("pci")):
        found = _BDF.search(spec)
        if found and "seize=1" not in spec:
            yield f"{found[1] or '0000'}:{found[2]}".lower()


_PVH_VCPUS = 128  # HVM_MAX_VCPUS; above it Xen reports only "Invalid argument"
_SHIM = 'build it for PVH, or let Xen\'s shim run it: [xl] type = "pvh" and [xl.set] pvshim = 1'


class PreflightProblem(NamedTuple):
    """A reason why the host cannot take the domain, and the fix."""

    sentence: str
    hint: str


class DiskSource(Protocol):
    """A disk that this machine lacks the file or device of: only the host can have it."""

    vdev: str
    target: Path
    is_path: bool


@dataclass(frozen=True)
class Resources:
    """What a host has for a new domain.

    Attributes:
        host: its name.
        info: facts of the host, as ``Toolstack.info`` returns them.
        domains: its domains.
        replaced: uuids of the domains that the new one replaces.
        free: MiB that a new domain can have now.
        missing: those of the checked paths that do not exist.
        backends: devices of its domains.
        assignable: PCI devices that are assignable to domains.
        devices: its network devices, if a bridge is missing.
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
    """Return all reasons why a host cannot take a domain.

    Args:
        wanted: what the domain requires.
        there: what the host has.
        kernel: the domain's kernel; None: nothing is known of it.
        elsewhere: disks with files or devices that only the host can have.
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
                f"the name {wanted.name} is in use on {there.host}: domain {domain.domid} "
                "does not belong to this project",
                "destroy that domain on the host, or set another name (name = ...)",
            )


def _type(wanted: Requirements, there: Resources, kernel: Kernel | None) -> Iterator[PreflightProblem]:
    """Compare with ``xen_caps`` as Xen's own builder does (tools/libs/guest, xc_dom_guest_type and compat_check)."""
    host, info = there.host, there.info
    if kernel and wanted.kind:
        try:
            kernel.type_for("pv" if wanted.shim else wanted.kind)
        except KernelError as error:
            yield PreflightProblem(error.message, error.hint or "rebuild the kernel")
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
                f"{host} cannot run PVH domains: its processor lacks hardware virtualization, or it is disabled",
                "enable VT-x or AMD-V in the machine's firmware (and nested virtualization, if it is virtual), "
                'or use a PV kernel ([xl] type = "pv")',
            )
        return
    off = version is not None and version >= (4, 13) and "pv" not in info.get("virt_caps", "pv").split()
    if off or not any(cap.startswith("xen-") for cap in caps):
        yield PreflightProblem(
            f"Xen on {host} cannot run PV domains: they were disabled when it was built or started", _SHIM
        )
    elif kernel and kernel.machine == "x86_32" and not any("x86_32" in cap for cap in caps if cap.startswith("xen-")):
        yield PreflightProblem(
            f"Xen on {host} cannot run 32-bit PV kernels, and {wanted.name} is one", "build it for x86_64"
        )


def _memory(wanted: Requirements, there: Resources) -> Iterator[PreflightProblem]:
    if wanted.memory is None:
        return
    free = there.free + sum(domain.memory for domain in there.domains if domain.uuid in there.replaced)
    total = there.info.get("total_memory", "")
    if total.isdigit() and wanted.memory > int(total):
        yield PreflightProblem(
            f"{wanted.name} needs {wanted.memory} MiB of memory, and {there.host} has {total} MiB in all",
            "give it less ([xl] memory = ...), or give the lab more ([lab] memory = ...)",
        )
    elif wanted.needed > free:
        total_need = f", {wanted.needed} MiB with Xen's overhead," if wanted.memory <= free else ""
        yield PreflightProblem(
            f"{wanted.name} needs {wanted.memory} MiB of memory{total_need} and {there.host} has {free} MiB free",
            "give it less ([xl] memory = ...), stop another domain, or give the lab more ([lab] memory = ...)",
        )


def _processors(wanted: Requirements) -> Iterator[PreflightProblem]:
    """Check the limit of a PVH domain; Xen accepts more processors than the host has."""
    if wanted.kind == "pvh" and wanted.vcpus > _PVH_VCPUS:
        yield PreflightProblem(
            f"{wanted.name} needs {wanted.vcpus} processors, and a PVH domain can have at most {_PVH_VCPUS}",
            "give it fewer: [xl] vcpus = ...",
        )


def _networks(wanted: Requirements, there: Resources) -> Iterator[PreflightProblem]:
    for number, bridge in wanted.bridges.items():
        if all(path in there.missing for path in bridge_paths(bridge)):
            others = [name for name in there.devices if name != "lo" and not name.startswith("vif")]
            yield PreflightProblem(
                f"{there.host} has no bridge {bridge} for network device {number} of {wanted.name}",
                f'create it there, or set [xl.vif.{number}] bridge = "..."; it has: {", ".join(others) or "none"}',
            )
    for number, mac in wanted.macs.items():
        for other in _others(there):
            if other.kind == "vif" and mac_address(other.keys.get("mac", "")) == mac:
                yield PreflightProblem(
                    f"{_called(other, there)} on {there.host} has the MAC address {mac} of network device {number} "
                    f"of {wanted.name}",
                    f'stop it, or set another address: [xl.vif.{number}] mac = "..."',
                )


def _disks(wanted: Requirements, there: Resources, elsewhere: Iterable[DiskSource]) -> Iterator[PreflightProblem]:
    for disk in elsewhere:
        if disk.is_path and str(disk.target) in there.missing:
            yield PreflightProblem(
                f"neither {there.host} nor this machine has {disk.target} for the disk {disk.vdev} of {wanted.name}",
                f'create it (`truncate -s 16M FILE`), or set another: [xl.disk.{disk.vdev}] target = "..."',
            )
    for vdev, (path, is_written) in wanted.disks.items():
        for other in _others(there):
            params = re.sub(r"^[a-z0-9]+:", "", other.keys.get("params", ""))  # qdisk: aio:/x, raw:/x
            if params == path and (is_written or other.keys.get("mode", "w").startswith("w")):
                yield PreflightProblem(
                    f"{_called(other, there)} on {there.host} uses {path}, the disk {vdev} of {wanted.name}, "
                    "and one of the two writes to it",
                    f'stop it, let both only read ([xl.disk.{vdev}] access = "ro"), or set another target',
                )


def _scripts(wanted: Requirements, there: Resources) -> Iterator[PreflightProblem]:
    for script in wanted.scripts:
        if script in there.missing and SCRIPTS not in there.missing:
            yield PreflightProblem(
                f"{there.host} lacks the script {script} for a device of {wanted.name}",
                f"install it there, or name one of {SCRIPTS} (`script` of the device)",
            )


def _passed_through(wanted: Requirements, there: Resources) -> Iterator[PreflightProblem]:
    if wanted.pci and "directio" not in there.info.get("virt_caps", "directio"):
        yield PreflightProblem(
            f"{there.host} cannot assign PCI devices to {wanted.name}: it lacks an IOMMU, or it is disabled",
            "enable VT-d or AMD-Vi in its firmware, or remove `pci`",
        )
        return
    for device in wanted.pci:
        if device not in there.assignable:
            yield PreflightProblem(
                f"the PCI device {device} of {wanted.name} is not assignable on {there.host}",
                "make it assignable there, or add seize=1 to it in the list `pci`",
            )


def _others(there: Resources) -> Iterator[Device]:
    """Yield the devices of the domains that stay."""
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
    """The resources of a host that can take a domain.

    Attributes:
        domains: all domains of the host, dom0 included.
        free: MiB that a new domain can have now, while the older domains are still there.
        facts: facts of the host, as ``Toolstack.info`` returns them.
        needed: MiB that Xen will take for the new domain; up to ``free``, it fits alongside the others.
    """

    domains: tuple[Domain, ...]
    free: int
    facts: Mapping[str, str]
    needed: int


def check(
    host: Host,
    config: Config,
    *,
    kernel: Kernel | None,
    disks: Iterable[DiskSource],
    replaced: Collection[str],
    facts: HostFacts | None = None,
) -> HostCapacity:
    """Check that a host can take a domain; query only what its ``.xl`` makes necessary.

    Args:
        host: the host.
        config: the domain's ``.xl``, with paths of the host.
        kernel: the domain's kernel; None: nothing is known of it.
        disks: disks with files or devices that only the host can have.
        replaced: uuids of domains that may be removed first: their name, memory, disks and addresses count as free.
        facts: what is known of the host already; None: ask it.

    Raises:
        DomainError: the host cannot take it; the error has all reasons.
        HostError: the host cannot be reached, or xl cannot talk to Xen there.
    """
    wanted, disks = _requirements(host, config), tuple(disks)
    domains = facts.domains if facts else host.toolstack.list_domains()  # first: it may ask for a password
    paths, files = _paths(wanted), _files(disks)
    found = facts.found if facts else None
    with ThreadPoolExecutor() as pool:
        asked_info = pool.submit(lambda: facts.info if facts else host.toolstack.info(background=True))
        asked_paths = pool.submit(_missing, host, paths, found, root=False)
        asked_files = pool.submit(_missing, host, files, found, root=True)
        asked_backends = pool.submit(_backends, host, wanted, facts)
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
    return DomainError(f"{host} cannot take {name} for {len(problems)} reasons", hint="\n".join(lines))


def queries(host: Host, config: Config, disks: Iterable[DiskSource], folder: str) -> HostQueries:
    """Return what ``check`` will ask of a host, so that it can be asked together with something else.

    Args:
        host: the host.
        config: the domain's ``.xl``; the paths in it may be those of this machine.
        disks: see ``check``.
        folder: see ``HostQueries``.
    """
    wanted = _requirements(host, config)
    paths = (*_paths(wanted), *_files(disks))
    return HostQueries(folder, paths, devices=bool(wanted.disks or config.get("vif")))  # deploy adds the addresses


def _requirements(host: Host, config: Config) -> Requirements:
    wanted = requirements(config)
    if host.address == "lab":
        return dataclasses.replace(wanted, bridges={})  # the lab's own vif-bridge script takes any name
    return wanted


def _paths(wanted: Requirements) -> tuple[str, ...]:
    """Return the paths of bridges and scripts that anyone can see on the host."""
    bridges = (path for bridge in wanted.bridges.values() for path in bridge_paths(bridge))
    return (*bridges, *((SCRIPTS, *wanted.scripts) if wanted.scripts else ()))


def _files(disks: Iterable[DiskSource]) -> tuple[str, ...]:
    return tuple(str(disk.target) for disk in disks if disk.is_path)


def _missing(host: Host, paths: Sequence[str], found: Collection[str] | None, *, root: bool) -> set[str]:
    """Return the paths that do not exist; with ``root``, ask root about those that the user cannot see.

    Args:
        host: the host.
        paths: absolute paths there.
        found: those that the user can see; None: ask.
        root: see above.
    """
    unseen = set(paths).difference(found or ())
    for as_root in (*([] if found is not None else [False]), *([True] if root else [])):
        if unseen:
            output = host.run(["ls", "-d", "--", *sorted(unseen)], check=False, root=as_root, background=True)
            unseen -= set(output.text.splitlines())
    return unseen


def _backends(host: Host, wanted: Requirements, facts: HostFacts | None) -> tuple[Device, ...]:
    if not (wanted.disks or wanted.macs):
        return ()
    if facts and facts.devices is not None:
        return facts.devices
    return host.toolstack.list_devices()


def _assignable(host: Host, wanted: Requirements) -> Collection[str]:
    if not wanted.pci:
        return ()
    return host.toolstack.assignable_pci()
