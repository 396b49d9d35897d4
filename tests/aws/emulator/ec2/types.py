"""Instance types: what each can run, and where it is offered.

Source: DescribeInstanceTypes and the tables of the EC2 instance type guide. This is a selection that includes all types
for paravirtual AMIs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emulator.errors import AwsError
from emulator.kernels import NEWEST

from . import EC2
from .choose import filtered, page

if TYPE_CHECKING:
    from emulator.request import Params
    from emulator.world import Region

# Name, virtual CPUs, MiB, virtualization types. Types without a number of CPUs in the guide's tables are omitted.
_TABLE = """
t1.micro 1 627 pv       m1.small 1 1740 pv      m1.medium 1 3788 pv     m1.large 2 7680 pv      m1.xlarge 4 15360 pv
c1.medium 2 1740 pv     c1.xlarge 8 7168 pv     m2.xlarge 2 17510 pv    m2.2xlarge 4 35020 pv   m2.4xlarge 8 70041 pv
m3.medium 1 3840 both   m3.large 2 7680 both    m3.xlarge 4 15360 both  m3.2xlarge 8 30720 both
c3.large 2 3840 both    c3.xlarge 4 7680 both   c3.2xlarge 8 15360 both c3.4xlarge 16 30720 both
hs1.8xlarge 16 119808 both
t2.nano 1 512 xen       t2.micro 1 1024 xen     t2.small 1 2048 xen     t2.medium 2 4096 xen    t2.large 2 8192 xen
m4.large 2 8192 xen     c4.large 2 3840 xen     r4.large 2 15616 xen    i3.large 2 15616 xen
t3.nano 2 512 nitro     t3.micro 2 1024 nitro   t3.small 2 2048 nitro   m5.large 2 8192 nitro   c5.large 2 4096 nitro
t4g.nano 2 512 arm      t4g.micro 2 1024 arm    m6g.medium 1 4096 arm   m5.metal 96 393216 metal
"""


@dataclass(frozen=True)
class Type:
    """An instance type. ``hypervisor`` is "xen", "nitro" or None (bare metal); memory in MiB."""

    name: str
    cpus: int
    memory: int
    virtualization: tuple[str, ...]
    hypervisor: str | None
    architectures: tuple[str, ...]
    current: bool

    def view(self) -> Params:
        nitro = self.hypervisor != "xen"
        return {
            "InstanceType": self.name,
            "CurrentGeneration": self.current,
            "FreeTierEligible": self.name in ("t1.micro", "t2.micro", "t3.micro"),
            "SupportedUsageClasses": ["on-demand", "spot"],
            "SupportedRootDeviceTypes": ["ebs"]
            if self.name == "t1.micro" or self.current
            else ["ebs", "instance-store"],
            "SupportedVirtualizationTypes": list(self.virtualization),
            "BareMetal": self.hypervisor is None,
            "Hypervisor": self.hypervisor,
            "ProcessorInfo": {"SupportedArchitectures": list(self.architectures)},
            "VCpuInfo": {"DefaultVCpus": self.cpus},
            "MemoryInfo": {"SizeInMiB": self.memory},
            "EbsInfo": {"NvmeSupport": "required" if nitro else "unsupported"},
            "NetworkInfo": {"EnaSupport": "required" if nitro else "unsupported"},
            "SupportedBootModes": _boot_modes(self),
            "BurstablePerformanceSupported": self.name.startswith("t"),
        }


def _boot_modes(one: Type) -> list[str]:
    if one.hypervisor == "xen":
        return ["legacy-bios"]
    return ["legacy-bios", "uefi"] if "x86_64" in one.architectures else ["uefi"]


def _types() -> dict[str, Type]:
    virtualization = {"pv": ("paravirtual",), "both": ("hvm", "paravirtual")}
    found = {}
    for name, cpus, memory, kind in re.findall(r"(\S+) (\d+) (\d+) (\w+)", _TABLE):
        hypervisor = {"nitro": "nitro", "arm": "nitro", "metal": None}.get(kind, "xen")
        small = name in ("t1.micro", "m1.small", "m1.medium", "c1.medium") or name.startswith("t2.")
        architectures = ("arm64",) if kind == "arm" else ("i386", "x86_64") if small else ("x86_64",)
        current = name[:2] not in ("t1", "m1", "c1", "m2", "m3", "c3", "hs")
        found[name] = Type(
            name, int(cpus), int(memory), virtualization.get(kind, ("hvm",)), hypervisor, architectures, current
        )
    return found


TYPES = _types()
TYPE_FILTERS = {
    "bare-metal": "BareMetal",
    "burstable-performance-supported": "BurstablePerformanceSupported",
    "current-generation": "CurrentGeneration",
    "free-tier-eligible": "FreeTierEligible",
    "hypervisor": "Hypervisor",
    "instance-type": "InstanceType",
    "memory-info.size-in-mib": lambda view: view["MemoryInfo"]["SizeInMiB"],
    "processor-info.supported-architecture": lambda view: view["ProcessorInfo"]["SupportedArchitectures"],
    "supported-root-device-type": "SupportedRootDeviceTypes",
    "supported-virtualization-type": "SupportedVirtualizationTypes",
    "vcpu-info.default-vcpus": lambda view: view["VCpuInfo"]["DefaultVCpus"],
}


def offered(region: Region) -> dict[str, Type]:
    """Return the types of a region; only regions with PV-GRUB have those for paravirtual AMIs."""
    old = region.name in NEWEST
    return {name: one for name, one in TYPES.items() if old or "paravirtual" not in one.virtualization}


def type_of(region: Region, name: str) -> Type:
    if name not in TYPES:
        raise AwsError("InvalidParameterValue", f"Invalid value '{name}' for InstanceType.")
    if name not in offered(region):
        raise AwsError(
            "Unsupported",
            "The requested configuration is currently not supported. "
            "Please check the documentation for supported configurations.",
        )
    return TYPES[name]


@EC2.operation
def describe_instance_types(region: Region, params: Params) -> Params:
    names, there = params.get("InstanceTypes"), offered(region)
    missing = [name for name in names or [] if name not in there]
    if missing:
        raise AwsError(
            "InvalidInstanceType", f"The following supplied instance types do not exist: [{', '.join(missing)}]"
        )
    views = [one.view() for name, one in there.items() if not names or name in names]
    found, more = page(filtered(views, params.get("Filters"), TYPE_FILTERS), params, "InstanceTypes", high=100)
    return {"InstanceTypes": found, **more}


@EC2.operation
def describe_instance_type_offerings(region: Region, params: Params) -> Params:
    """List where types are offered. The last zone lacks the old types, as in the older regions."""
    kind = params.get("LocationType", "region")
    places = [region.name] if kind == "region" else region.zones
    listed = [
        {"InstanceType": name, "LocationType": kind, "Location": place}
        for name, one in offered(region).items()
        for place in places
        if one.current or place != region.zones[-1]
    ]
    fields = {"instance-type": "InstanceType", "location": "Location"}
    found, more = page(filtered(listed, params.get("Filters"), fields), params, "")
    return {"InstanceTypeOfferings": found, **more}
