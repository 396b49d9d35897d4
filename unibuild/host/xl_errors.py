"""Turn xl's messages into an error with a hint.

Sources: Xen 4.17 to 4.21: tools/xl, tools/libs/light (libxl_*.c), tools/libs/guest (xg_dom_*.c), tools/hotplug/Linux,
their real output, and logs in bug reports. The first matching pattern counts. A cause comes before its consequences,
because xl ends every failure with the same few lines. If no pattern matches, the numbers that xl prints are looked up:
libxl's errors (``rc=-9``: libxl_error in libxl_types.idl) and the system's (``errno=12``).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from unibuild.errors import DomainError, HostError, UnibuildError

__all__ = ["CASES", "LIBXL", "ErrorPattern", "explain", "meaning"]

LIBXL = {  # 1 and 3 mean only that it failed
    2: "xl and its library are of different versions",
    4: "this Xen does not support it",
    5: "dom0 is out of memory",
    6: "a value is not valid",
    7: "it failed, and so did the cleanup",
    8: "the domain did not answer in time",
    9: "it took too long",
    10: "the domain has no paravirtual drivers",
    11: "something is not ready yet",
    12: "dom0 could not wait for events",
    13: "a buffer is too small",
    14: "an unknown child of xl exited",
    15: "a lock could not be acquired",
    16: "xl's own record of the domain is empty",
    17: "the device already exists",
    18: "the checkpoint device is of another kind",
    19: "the checkpoint device is not supported",
    20: "the vNUMA settings contradict each other",
    21: "the domain does not exist",
    22: "it was aborted",
    23: "something was not found",
    24: "the domain was destroyed meanwhile",
    25: "this Xen no longer supports it",
    26: "QEMU answered in a way that xl does not know",
    27: "QEMU failed with an error that xl does not know",
    28: "QEMU refused",
    29: "QEMU does not know the command",
    30: "a device of QEMU did not become active",
    31: "QEMU lacks the device",
    32: "QEMU's answer lacks a part",
}
_LIBXL = re.compile(r"(?:\brc[= ]+|(?:make|build) domain: |did not start: )-(\d+)\b")
_ERRNO = re.compile(r"\b(?:errno[= ]+|error )-?(\d+)\b")


def meaning(said: str) -> str | None:
    """Return the meaning of the first number in xl's output that explains more than a failure; None: there is none.

    Args:
        said: the standard error of ``xl``.
    """
    meant = (LIBXL.get(int(number)) for number in _LIBXL.findall(said))
    found = next(filter(None, meant), None)
    number = _ERRNO.search(said)
    if found or not number:
        return found
    text = os.strerror(int(number[1]))
    return None if text.startswith("Unknown error") else text[0].lower() + text[1:]


@dataclass(frozen=True)
class ErrorPattern:
    """A failure of ``xl``: a pattern in its output, and the error for it.

    Attributes:
        pattern: regular expression, searched for in all of xl's output.
        sentence: the message; ``{0}`` is the pattern's first group that matched, besides ``{host}`` and ``{name}``.
        hint: the hint, with the same placeholders.
        quote: whether xl's own message follows as the hint's last lines, because it says more.
        kind: the error's class.
    """

    pattern: str
    sentence: str
    hint: str
    quote: bool = False
    kind: type[UnibuildError] = DomainError


_BRIDGE = 'create it there, or set another one: [xl.vif.0] bridge = "..."'
_TARGET = 'create it, or set another one: [xl.disk.xvda] target = "..."'

_HOST = (
    ErrorPattern(
        r"privileged command interface: Permission denied|must be run as root",
        "xl cannot talk to Xen on {host}: it needs root's rights",
        "run unibuild as root, or as a user who may use sudo",
        kind=HostError,
    ),
    ErrorPattern(
        r"Can't find version (\S+) of xen utils",  # Debian's wrapper of xl
        "{host} runs Xen {0} and lacks the xl of that version: its packages were upgraded without a reboot",
        "reboot it, or install xen-utils-{0} there",
        kind=HostError,
    ),
    ErrorPattern(
        r"rebuild the user-space tool ?set|getting domain info list: Permission denied|"
        r"domain creation fail: Permission denied",
        "Xen on {host} refuses xl's commands: xl is of another version, or Xen's policy forbids them",
        "after an upgrade of Xen's packages reboot the host; `xl info` prints the running version",
        kind=HostError,
    ),
    ErrorPattern(
        r"cannot connect to xenstore|xs_open failed|Is xenstore daemon running",
        "xenstored does not answer on {host}",
        "run `systemctl status xenstored` there; if it was stopped, reboot the host",
        kind=HostError,
    ),
    ErrorPattern(
        r"privileged command interface|cannot open libxc handle|cannot init xl context|hypervisor information in sysfs",
        "Xen is not running on {host}, or this is not its dom0",
        'boot the machine with Xen, or use the lab: host = "lab"',
        kind=HostError,
    ),
    ErrorPattern(
        r"cannot (?:acquire lock|open the lockfile) (\S+)",
        "xl on {host} cannot acquire its lock {0}",
        "check that root can write there, and that no other xl hangs (`ps`)",
        kind=HostError,
    ),
    ErrorPattern(
        r"console tty: (?:startup )?timed out",
        "the console of {name} was not connected: xenconsoled is not running on {host}",
        "run there: systemctl start xenconsoled",
        kind=HostError,
    ),
    ErrorPattern(
        r"cannot (?:write|open|write/rename|rename) (/var/(?:lib|run)/xen/\S+)",
        "xl on {host} cannot write {0}",
        "check that the folder exists and its disk has free space: df /var/lib/xen",
        kind=HostError,
    ),
)
_FILE = (
    ErrorPattern(
        r'Domain with name "([^"]+)" already exists',
        "the name {0} is in use on {host}",
        "destroy that domain (`xl destroy {0}` there), or set another name (name = ...)",
    ),
    ErrorPattern(
        r":(\d+: config parsing error .*)",
        "xl on {host} cannot read the .xl of {name}, line {0}",
        "fix it in the .xl, or in unibuild.toml under [xl]",
    ),
    ErrorPattern(
        r"config parsing error in (.*)",
        "xl on {host} refuses a device in the .xl of {name}: {0}",
        "fix it in the .xl, or under [xl.vif...] or [xl.disk...] in unibuild.toml",
    ),
    ErrorPattern(
        r"(Domain name must be specified|Invalid domain type [^\n]*|Unknown on_\w+ action [^\n]*|maxvcpus < vcpus|"
        r"Failed to parse UUID: [^\n]*|Invalid pcpu range: [^\n]*|unable to parse PCI_SPEC_STRING [^\n]*|"
        r'Contradicting "builder" and "type"[^\n]*|Illegal pool specified: [^\n]*)',
        "xl on {host} refuses a value in the .xl of {name}: {0}",
        "fix it in the .xl, or in unibuild.toml under [xl]",
    ),
)
_NETWORK = (
    ErrorPattern(
        r"Could not find bridge device (\S+)|(Could not find bridge), and none was specified|No valid (bridge) was",
        "{host} lacks the bridge for a network device of {name}: {0}",
        _BRIDGE,
    ),
    ErrorPattern(
        r"Cannot rename interface \S+ An interface with name (\S+) already exists",
        "the network device name {0} of {name} is in use on {host}",
        "destroy the domain that has it, or remove `vifname`",
    ),
    ErrorPattern(
        r"Unable to find (\S+) tool|Unable to find (losetup|multipath)",
        "{host} lacks the program {0}, which the script for a device of {name} runs",
        "install it there (ovs-vsctl: openvswitch-switch; losetup: mount; iscsiadm: open-iscsi)",
    ),
    ErrorPattern(
        r"cannot execute (\S+): No such file",
        "{host} lacks the script {0} for a device of {name}",
        "set an existing one (`script` of the device), or install it",
    ),
)
_DISK = (
    ErrorPattern(
        r"failed to stat: (\S+): No such file|script: (\S+) (?:link )?does not exist",
        "{host} lacks the file {0} for a disk of {name}",
        _TARGET,
    ),
    ErrorPattern(
        r"(?:Device|File) (\S+) is (?:loopback-)?mounted",
        "the disk {0} of {name} is in use on {host}",
        "destroy the domain that has it (`xl block-list`), unmount it there, or let all only read it (access=ro)",
        quote=True,
    ),
    ErrorPattern(r"(\S+) is not a block device", "{0} on {host}, a disk of {name}, is not a block device", _TARGET),
    ErrorPattern(
        r"Failed to find an unused loop device",
        "{host} has no free loop device for a disk of {name}",
        "run `losetup -a` there to list them, and `losetup -d` to free one",
    ),
    ErrorPattern(
        r"no suitable backend for disk (\w+)",
        "{host} cannot serve the disk {0} of {name} in its format",
        "convert it to raw (`qemu-img convert -O raw`), or install QEMU there",
    ),
    ErrorPattern(
        r"Invalid or unsupported virtual disk identifier (\S+)",
        "{name} cannot have a disk called {0}",
        "disks are called xvda, xvdb, ...",
    ),
    ErrorPattern(
        r"device already exists in xenstore",
        "two devices of {name} have the same number or vdev",
        "give each disk its own vdev, and each network device its own devid",
    ),
)
_EARLY = (*_HOST, *_FILE, *_NETWORK, *_DISK)
_LATE = (  # consequences of a cause that xl did not name
    ErrorPattern(
        r"(\S+ failed); error detected",
        "a script of {host} could not connect a device of {name}: {0}",
        "see /var/log/xen/xen-hotplug.log there",
    ),
    ErrorPattern(
        r"[Uu]nable to add device with path (\S+)|Backend (\S+) (?:not ready|does not exist)",
        "dom0 of {host} did not serve a device of {name} in time: {0}",
        "run `modprobe xen-netback xen-blkback` there, and see `dmesg`",
        quote=True,
    ),
    ErrorPattern(
        r"unable to add (\w+) devices|Unable to add (\w+) with id",
        "{host} could not connect a device of {name} ({0})",
        "see `dmesg` and /var/log/xen/xen-hotplug.log there",
        quote=True,
    ),
    ErrorPattern(
        r"transaction (?:commit )?failed",
        "XenStore on {host} could not store what xl wrote for {name}",
        "run again; if it fails again, check the quota of xenstored",
        quote=True,
    ),
    ErrorPattern(
        r"(\S+) is an invalid domain identifier|unable to get domain type for domid=(\d+)|"
        r"Can't rename domain '([^']+)'|\A[^\n]*Domain (\d+):Non-exist[ae]nt domain",
        "there is no domain {0} on {host}",
        "run `xl list` there to list the domains, or `unibuild boot` to create it",
    ),
)


_LESS = "give it less ([xl] memory = ...), stop another domain, or give the lab more ([lab] memory = ...)"
_MORE = "give it more: [xl] memory = ..."
_KERNEL = "rebuild the kernel, and check it with `file` and `readelf -n`"
_DMESG = "`xl dmesg` there prints Xen's reason"

_MEMORY = (
    ErrorPattern(
        r"not enough memory for (?:initial mapping|magic pages)|segment \S+ too large",
        "the memory of {name} is too small for its kernel",
        _MORE,
    ),
    ErrorPattern(
        r"xc_dom_build_image failed: Device or resource busy",  # there is no space for Xen's own pages of a PVH domain
        "the memory of {name} is too small for a PVH domain",
        _MORE,
    ),
    ErrorPattern(
        r"failed to free memory for the domain|can't allocate|Out of memory|Cannot allocate memory",
        "there is too little free memory on {host} for {name}",
        _LESS,
    ),
)
_DEVICE_MODEL = (
    ErrorPattern(
        r"failed to open file '([^']*xen-shim[^']*)'",
        "{host} lacks the PV shim ({0}) that runs {name}",
        'install it with Xen\'s tools there, or remove `pvshim` and set [xl] type = "pv"',
    ),
    ErrorPattern(
        r"failed to open file '([^']*hvmloader[^']*)'",
        "{name} is a domain of type hvm, and {host} lacks what those need ({0})",
        'set [xl] type = "pvh" or "pv": unikernels need no HVM domain',
    ),
    ErrorPattern(
        r"device model \S+ is not executable|device model did not start|failed to spawn device model|"
        r"device model[^\n]*startup timed out|QEMU did not start properly",
        "QEMU did not start on {host}, which {name} needs for one of its devices",
        "install it there (Debian: qemu-system-xen); raw disks, network and console of PV and PVH domains need none",
        quote=True,
    ),
)
_KERNELS = (
    ErrorPattern(
        r"failed to open file '([^']+)': (?:No such file|Permission denied)",
        "{host} cannot open {0} for {name}",
        "boot again: unibuild copies missing files; a path that only the host has must be readable by root",
    ),
    ErrorPattern(r"'([^']+)': zero length file", "{0}, which {name} boots from, is empty", "rebuild the kernel"),
    ErrorPattern(
        r"image not capable of booting inside a HVM container",
        "Xen refused the kernel of {name}: it cannot start in a domain of type pvh",
        'set type = "pv" under [xl] in unibuild.toml, or build the kernel for PVH',
    ),
    ErrorPattern(
        r"guest type (xen-3.0-x86_64) not supported by xen kernel",
        "Xen on {host} was built without PV, and the kernel of {name} needs it",
        'build it for PVH, or let Xen\'s shim run it: [xl] type = "pvh" and [xl.set] pvshim = 1',
    ),
    ErrorPattern(
        r"guest type (\S+) not supported by xen kernel",
        "Xen on {host} cannot run the kernel of {name}, which is of type {0}",
        "build the kernel for a type in xen_caps; `xl info` there lists them",
    ),
    ErrorPattern(
        r"(BZIP2|XZ|LZMA|LZO1x|ZSTD|LZ4) decompress support unavailable|unable to (\w+) decompress kernel",
        "xl on {host} cannot unpack the kernel of {name}: {0}",
        "give it the plain ELF file",
    ),
    ErrorPattern(
        r"corrupted ELF image|tried to map file which is too large|kernel image too large",
        "the kernel of {name} is damaged",
        _KERNEL,
    ),
    ErrorPattern(
        r"does not support unprivileged \(DomU\) operation",
        "the kernel of {name} is for dom0 only",
        "build it for domUs",
    ),
    ErrorPattern(
        r"unsupported feature requested",
        "the kernel of {name} needs a feature that Xen on {host} lacks",
        "build it for that version of Xen, or upgrade Xen there",
    ),
    ErrorPattern(
        r"no loader found|xc_dom_parse_image failed|kernel is not an ELF image",
        "Xen refused the kernel of {name}: it cannot start in a domain of this type",
        "set [xl] type to what the kernel was built for; check with `file` and `readelf -n`",
    ),
)
_PROCESSOR = (
    ErrorPattern(
        r"neither hap nor shadow paging available|domain creation fail: (?:Operation|Function) not",
        "{host} cannot run a PVH domain: its processor or firmware lacks hardware virtualization",
        "enable VT-x or AMD-V in the firmware, or use a PV kernel",
    ),
    ErrorPattern(
        r"passthrough (?:not supported on this platform|disabled)",
        "{host} cannot assign a PCI device to {name}: it lacks an IOMMU, or it is disabled",
        "enable VT-d or AMD-Vi in its firmware, or remove `pci`",
    ),
    ErrorPattern(
        r"PCI device (\S+) is not assignable|(\S+) is not assigned to pciback",
        "the PCI device {0} of {name} is not assignable on {host}",
        "run `xl pci-assignable-add` there",
    ),
    ErrorPattern(
        r"xc_assign_device failed",
        "Xen on {host} did not assign {name} its PCI device",
        "check that no other domain has it (`xl pci-list`), and that the IOMMU is on",
        quote=True,
    ),
    ErrorPattern(
        r"affinity completely outside of domain's cpupool|setting affinity failed",
        "{name} is pinned to processors that {host} or its pool lacks",
        "pin it to others, or to none: [xl.set] cpus = ...",
    ),
    ErrorPattern(
        r"Failed to (?:de)?serialise? CPUID|Failed to (?:update|set) CPUID",
        "Xen on {host} refused the processor features that {name} asks for",
        "remove `cpuid`, or set features that its processor has",
        quote=True,
    ),
    ErrorPattern(
        r"domain creation fail: Invalid argument",
        "Xen on {host} refused to create {name}: it does not support one of its settings",
        f"check vcpus (a PVH domain has 128 at most), `seclabel`, `passthrough` and `nestedhvm`; {_DMESG}",
    ),
)
_BUILDING = (*_MEMORY, *_DEVICE_MODEL, *_KERNELS, *_PROCESSOR)


CASES = (*_EARLY, *_BUILDING, *_LATE)
_NOISE = re.compile(r"^(?:Parsing config from .*|WARNING: .*)$", re.MULTILINE)


def explain(said: str, *, host: str, name: str) -> UnibuildError:
    """Return the error for a message of ``xl``.

    Args:
        said: xl's standard error.
        host: the host's name, for the message.
        name: the domain's name, for the message.

    Returns:
        The first matching case. xl's own message follows in the hint if it says more, or if no case matches.
    """
    said = _NOISE.sub("", said).strip()
    own = f"xl printed: {_last_errors(said)}"
    for case in CASES:
        found = re.search(case.pattern, said)
        if found:
            first = next((group for group in found.groups() if group), "")
            sentence, hint = (text.format(first, host=host, name=name) for text in (case.sentence, case.hint))
            return case.kind(sentence, hint=f"{hint}\n{own}" if case.quote else hint)
    meant = meaning(said)
    return DomainError(f"xl failed for {name} on {host}" + (f": {meant}" if meant else ""), hint=own)


def _last_errors(said: str) -> str:
    """Return the first two lines that name an error, else the last line."""
    lines = [line for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if re.search("error|fail|panic", line, re.IGNORECASE)]
    return "\n".join((errors or lines[-1:])[:2]) or "nothing"
