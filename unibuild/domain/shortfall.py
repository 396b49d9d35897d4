"""What a host lacks that a domain demands: facts in, all problems out; nothing here asks the host."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from unibuild.domain.demands import SCRIPTS, bridge_paths, mac_address
from unibuild.errors import KernelError
from unibuild.host.toolstack import Device

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from unibuild.domain.demands import Demands
    from unibuild.host.toolstack import Domain
    from unibuild.kernel import Kernel

__all__ = ["Device", "DiskSource", "PreflightProblem", "Resources", "lacks"]

_PVH_VCPUS = 128  # HVM_MAX_VCPUS; at more Xen says only "Invalid argument"
_SHIM = 'build it for PVH, or let Xen\'s shim run it: [xl] type = "pvh" and [xl.set] pvshim = 1'


class PreflightProblem(NamedTuple):
    """Something that is in a domain's way: a sentence, and what to do about it."""

    sentence: str
    mend: str


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
    backends: tuple[Device, ...] = ()
    assignable: Collection[str] = ()
    devices: tuple[str, ...] = ()


def lacks(
    wanted: Demands, there: Resources, kernel: Kernel | None, elsewhere: Iterable[DiskSource]
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


def _name(wanted: Demands, there: Resources) -> Iterator[PreflightProblem]:
    for domain in there.domains:
        if domain.name == wanted.name and domain.uuid not in there.going:
            yield PreflightProblem(
                f"a domain called {wanted.name} is on {there.host} already, and it is not ours (domain {domain.domid})",
                "destroy it on the host yourself, or set another name (name = ...)",
            )


def _type(wanted: Demands, there: Resources, kernel: Kernel | None) -> Iterator[PreflightProblem]:
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


def _memory(wanted: Demands, there: Resources) -> Iterator[PreflightProblem]:
    if wanted.memory is None:
        return
    free = there.free + sum(domain.memory for domain in there.domains if domain.uuid in there.going)
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


def _processors(wanted: Demands) -> Iterator[PreflightProblem]:
    """Xen takes more processors than the host has, and pins to those that are there; a PVH domain has a limit."""
    if wanted.kind == "pvh" and wanted.vcpus > _PVH_VCPUS:
        yield PreflightProblem(
            f"{wanted.name} wants {wanted.vcpus} processors, and a PVH domain has {_PVH_VCPUS} at most",
            "give it fewer: [xl] vcpus = ...",
        )


def _networks(wanted: Demands, there: Resources) -> Iterator[PreflightProblem]:
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


def _disks(wanted: Demands, there: Resources, elsewhere: Iterable[DiskSource]) -> Iterator[PreflightProblem]:
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


def _scripts(wanted: Demands, there: Resources) -> Iterator[PreflightProblem]:
    for script in wanted.scripts:
        if script in there.missing and SCRIPTS not in there.missing:
            yield PreflightProblem(
                f"{there.host} has no script {script} for a device of {wanted.name}",
                f"install it there, or name one of {SCRIPTS} (`script` of the device)",
            )


def _passed_through(wanted: Demands, there: Resources) -> Iterator[PreflightProblem]:
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
    going = {domain.domid for domain in there.domains if domain.uuid in there.going}
    yield from (backend for backend in there.backends if backend.domid not in going)


def _called(device: Device, there: Resources) -> str:
    names = {domain.domid: domain.name for domain in there.domains}
    return names.get(device.domid, f"domain {device.domid}")


def _version(info: Mapping[str, str]) -> tuple[int, int] | None:
    major, minor = info.get("xen_major", ""), info.get("xen_minor", "")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
