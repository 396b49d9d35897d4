"""The failures of ``xl`` in building a domain: memory, kernel, processor; as libxl_cases.py has the others."""

from __future__ import annotations

from unibuild.host.libxl_cases import Case

__all__ = ["CASES"]

_LESS = "give it less ([xl] memory = ...), end another domain, or give the lab more ([lab] memory = ...)"
_MORE = "give it more: [xl] memory = ..."
_KERNEL = "build it again, and see what `file` and `readelf -n` say of it"
_DMESG = "`xl dmesg` there tells what Xen has against it"

_MEMORY = (
    Case(
        r"not enough memory for (?:initial mapping|magic pages)|segment \S+ too large",
        "the memory of {name} is too small for its kernel",
        _MORE,
    ),
    Case(
        r"xc_dom_build_image failed: Device or resource busy",  # Xen's own pages for a PVH domain have no room in it
        "the memory of {name} is too small for a PVH domain",
        _MORE,
    ),
    Case(
        r"failed to free memory for the domain|can't allocate|Out of memory|Cannot allocate memory",
        "there is too little free memory on {host} for {name}",
        _LESS,
    ),
)
_DEVICE_MODEL = (
    Case(
        r"failed to open file '([^']*xen-shim[^']*)'",
        "{host} has no PV shim ({0}) to run {name} in",
        'install it with Xen\'s tools there, or do without: take `pvshim` away and set [xl] type = "pv"',
    ),
    Case(
        r"failed to open file '([^']*hvmloader[^']*)'",
        "{name} is a domain of type hvm, and {host} lacks what those need ({0})",
        'set [xl] type = "pvh" or "pv": unikernels need no HVM domain',
    ),
    Case(
        r"device model \S+ is not executable|device model did not start|failed to spawn device model|"
        r"device model[^\n]*startup timed out|QEMU did not start properly",
        "QEMU did not start on {host}, which {name} needs for one of its devices",
        "install it there (Debian: qemu-system-xen); raw disks, network and console of PV and PVH domains need none",
        quote=True,
    ),
)
_KERNELS = (
    Case(
        r"failed to open file '([^']+)': (?:No such file|Permission denied)",
        "{host} cannot open {0} for {name}",
        "boot again: what is missing there is copied; a path that only the host has must be readable by root",
    ),
    Case(r"'([^']+)': zero length file", "{0}, which {name} boots from, is empty", "build it again"),
    Case(
        r"image not capable of booting inside a HVM container",
        "Xen refused the kernel of {name}: it cannot start in a domain of type pvh",
        'set type = "pv" under [xl] in unibuild.toml, or build the kernel for PVH',
    ),
    Case(
        r"guest type (xen-3.0-x86_64) not supported by xen kernel",
        "Xen on {host} was built without PV, and the kernel of {name} needs it",
        'build it for PVH, or let Xen\'s shim run it: [xl] type = "pvh" and [xl.set] pvshim = 1',
    ),
    Case(
        r"guest type (\S+) not supported by xen kernel",
        "Xen on {host} cannot run kernels of the kind of that of {name} ({0})",
        "`xl info` there lists what it can, as xen_caps; build the kernel for one of these",
    ),
    Case(
        r"(BZIP2|XZ|LZMA|LZO1x|ZSTD|LZ4) decompress support unavailable|unable to (\w+) decompress kernel",
        "xl on {host} cannot unpack the kernel of {name}: {0}",
        "give it the plain ELF file",
    ),
    Case(
        r"corrupted ELF image|tried to map file which is too large|kernel image too large",
        "the kernel of {name} is damaged",
        _KERNEL,
    ),
    Case(
        r"does not support unprivileged \(DomU\) operation",
        "the kernel of {name} is one for dom0 only",
        "build it for domUs",
    ),
    Case(
        r"unsupported feature requested",
        "the kernel of {name} wants a feature that Xen on {host} does not have",
        "build it for the Xen that runs there, or upgrade that",
    ),
    Case(
        r"no loader found|xc_dom_parse_image failed|kernel is not an ELF image",
        "Xen refused the kernel of {name}: it cannot start in a domain of this type",
        "set [xl] type to what the kernel was built for; `file` and `readelf -n` tell what it is",
    ),
)
_PROCESSOR = (
    Case(
        r"neither hap nor shadow paging available|domain creation fail: (?:Operation|Function) not",
        "{host} cannot run a PVH domain: its processor or firmware has no hardware virtualization",
        "switch VT-x or AMD-V on in the firmware; a PV kernel needs none",
    ),
    Case(
        r"passthrough (?:not supported on this platform|disabled)",
        "{host} cannot hand a PCI device to {name}: it has no IOMMU, or it is switched off",
        "switch VT-d or AMD-Vi on in its firmware, or take `pci` away",
    ),
    Case(
        r"PCI device (\S+) is not assignable|(\S+) is not assigned to pciback",
        "the PCI device {0} of {name} is not set aside for domains on {host}",
        "`xl pci-assignable-add` there",
    ),
    Case(
        r"xc_assign_device failed",
        "Xen on {host} did not give {name} its PCI device",
        "see that no other domain has it (`xl pci-list`), and that the IOMMU is on",
        quote=True,
    ),
    Case(
        r"affinity completely outside of domain's cpupool|setting affinity failed",
        "{name} is pinned to processors that {host} does not have, or not in its pool",
        "pin it to others, or to none: [xl.set] cpus = ...",
    ),
    Case(
        r"Failed to (?:de)?serialise? CPUID|Failed to (?:update|set) CPUID",
        "Xen on {host} refused the processor features that {name} asks for",
        "take `cpuid` away, or name features that its processor has",
        quote=True,
    ),
    Case(
        r"domain creation fail: Invalid argument",
        "Xen on {host} refused to make {name}: it does not support one of its settings",
        f"look at vcpus (a PVH domain has 128 at most), `seclabel`, `passthrough` and `nestedhvm`; {_DMESG}",
    ),
)
CASES = (*_MEMORY, *_DEVICE_MODEL, *_KERNELS, *_PROCESSOR)
