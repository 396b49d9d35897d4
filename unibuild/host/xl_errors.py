"""Turn what ``xl`` prints when it fails into an error with a hint.

Sources: Xen 4.17 to 4.21: tools/xl, tools/libs/light (libxl_*.c), tools/libs/guest (xg_dom_*.c), tools/hotplug/Linux,
their real output, and logs in bug reports. The first case that fits counts: a cause comes before what follows from it,
for xl ends every failure with the same few lines. Where no case fits, the numbers that xl prints are looked up: libxl's
errors (``rc=-9``: libxl_error in libxl_types.idl) and the system's (``errno=12``).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from unibuild.errors import DomainError, HostError, UnibuildError

__all__ = ["CASES", "LIBXL", "ErrorPattern", "explain", "meaning"]

LIBXL = {  # 1 and 3 say only that it failed
    2: "xl and its library are of different versions",
    4: "this Xen cannot do it",
    5: "dom0 is out of memory",
    6: "a value is not valid",
    7: "it failed, and so did clearing up after it",
    8: "the domain did not answer in time",
    9: "it took too long",
    10: "the domain has no paravirtual drivers",
    11: "something is not ready yet",
    12: "dom0 could not wait for events",
    13: "a buffer is too small",
    14: "a child of xl ended that it does not know",
    15: "a lock could not be had",
    16: "xl's own record of the domain is empty",
    17: "there is such a device already",
    18: "the checkpoint device is of another kind",
    19: "the checkpoint device is not supported",
    20: "the vNUMA settings contradict each other",
    21: "there is no such domain",
    22: "it was broken off",
    23: "something was not found",
    24: "the domain ended meanwhile",
    25: "this Xen cannot do it any more",
    26: "QEMU answered in a way that xl does not know",
    27: "QEMU failed with an error that xl does not know",
    28: "QEMU refused",
    29: "QEMU does not know the command",
    30: "a device of QEMU did not become active",
    31: "QEMU does not have the device",
    32: "QEMU's answer lacks a part",
}
_LIBXL = re.compile(r"(?:\brc[= ]+|(?:make|build) domain: |did not start: )-(\d+)\b")
_ERRNO = re.compile(r"\b(?:errno[= ]+|error )-?(\d+)\b")


def meaning(said: str) -> str | None:
    """Return what the first number means that xl printed and that says more than that it failed; None: there is none.

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
    """A failure of ``xl``.

    Attributes:
        pattern: regular expression, searched for in all that xl said.
        sentence: ``{0}`` is the pattern's first group that matched, besides ``{host}`` and ``{name}``.
        hint: what to do, with the same places.
        quote: xl's own words say more: they are the hint's last lines.
        kind: the error's class.
    """

    pattern: str
    sentence: str
    hint: str
    quote: bool = False
    kind: type[UnibuildError] = DomainError


_BRIDGE = 'make it there, or name another one: [xl.vif.0] bridge = "..."'
_TARGET = 'make it, or name another one: [xl.disk.xvda] target = "..."'

_HOST = (
    ErrorPattern(
        r"privileged command interface: Permission denied|must be run as root",
        "xl may not talk to Xen on {host}: it wants root's rights",
        "run unibuild as root, or as a user that may use sudo",
        kind=HostError,
    ),
    ErrorPattern(
        r"Can't find version (\S+) of xen utils",  # Debian's wrapper of xl
        "{host} runs Xen {0} and has no xl for that version: its packages were upgraded, and it was not booted since",
        "boot it again, or install xen-utils-{0} there",
        kind=HostError,
    ),
    ErrorPattern(
        r"rebuild the user-space tool ?set|getting domain info list: Permission denied|"
        r"domain creation fail: Permission denied",
        "Xen on {host} does not take xl's orders: xl is of another version, or Xen's policy forbids it",
        "after an upgrade of Xen's packages boot the host again; `xl info` tells the version that runs",
        kind=HostError,
    ),
    ErrorPattern(
        r"cannot connect to xenstore|xs_open failed|Is xenstore daemon running",
        "xenstored does not answer on {host}",
        "see `systemctl status xenstored` there; where it was ended, only booting the host again helps",
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
        "xl on {host} cannot have its lock {0}",
        "see that root can write there, and that no other xl hangs (`ps`)",
        kind=HostError,
    ),
    ErrorPattern(
        r"console tty: (?:startup )?timed out",
        "the console of {name} was not served: xenconsoled does not run on {host}",
        "start it there: systemctl start xenconsoled",
        kind=HostError,
    ),
    ErrorPattern(
        r"cannot (?:write|open|write/rename|rename) (/var/(?:lib|run)/xen/\S+)",
        "xl on {host} cannot write {0}",
        "see that the folder is there and its disk has room: `df /var/lib/xen`",
        kind=HostError,
    ),
)
_FILE = (
    ErrorPattern(
        r'Domain with name "([^"]+)" already exists',
        "a domain called {0} is on {host} already",
        "end it (`xl destroy {0}` there), or give ours another name (name = ...)",
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
        "{host} has no such bridge for a network device of {name}: {0}",
        _BRIDGE,
    ),
    ErrorPattern(
        r"Cannot rename interface \S+ An interface with name (\S+) already exists",
        "{host} has a network device {0} already, which {name} wants to call its own",
        "end the domain that has it, or take `vifname` away",
    ),
    ErrorPattern(
        r"Unable to find (\S+) tool|Unable to find (losetup|multipath)",
        "{host} has no program {0}, which the script for a device of {name} runs",
        "install it there (ovs-vsctl: openvswitch-switch; losetup: mount; iscsiadm: open-iscsi)",
    ),
    ErrorPattern(
        r"cannot execute (\S+): No such file",
        "{host} lacks the script {0} for a device of {name}",
        "name one that is there (`script` of the device), or install it",
    ),
)
_DISK = (
    ErrorPattern(
        r"failed to stat: (\S+): No such file|script: (\S+) (?:link )?does not exist",
        "{host} has no file {0} for a disk of {name}",
        _TARGET,
    ),
    ErrorPattern(
        r"(?:Device|File) (\S+) is (?:loopback-)?mounted",
        "the disk {0} of {name} is in use on {host}",
        "end the domain that has it (`xl block-list`) or unmount it there; all may have it who only read (access=ro)",
        quote=True,
    ),
    ErrorPattern(r"(\S+) is not a block device", "{0} on {host}, a disk of {name}, is no block device", _TARGET),
    ErrorPattern(
        r"Failed to find an unused loop device",
        "{host} has no loop device left for a disk of {name}",
        "`losetup -a` there shows who has them; `losetup -d` frees one",
    ),
    ErrorPattern(
        r"no suitable backend for disk (\w+)",
        "{host} cannot serve the disk {0} of {name} in its format",
        "make it raw (`qemu-img convert -O raw`), or install QEMU there",
    ),
    ErrorPattern(
        r"Invalid or unsupported virtual disk identifier (\S+)",
        "{name} cannot have a disk called {0}",
        "disks are called xvda, xvdb, ...",
    ),
    ErrorPattern(
        r"device already exists in xenstore",
        "two devices of {name} have the same number or vdev",
        "give each disk a vdev, and each network device a devid, of its own",
    ),
)
_EARLY = (*_HOST, *_FILE, *_NETWORK, *_DISK)
_LATE = (  # what only follows from a cause that xl did not name
    ErrorPattern(
        r"(\S+ failed); error detected",
        "a script of {host} could not connect a device of {name}: {0}",
        "/var/log/xen/xen-hotplug.log there tells more",
    ),
    ErrorPattern(
        r"[Uu]nable to add device with path (\S+)|Backend (\S+) (?:not ready|does not exist)",
        "dom0 of {host} did not serve a device of {name} in time: {0}",
        "see that its kernel has the backend (modprobe xen-netback xen-blkback), and `dmesg` there",
        quote=True,
    ),
    ErrorPattern(
        r"unable to add (\w+) devices|Unable to add (\w+) with id",
        "{host} could not connect a device of {name} ({0})",
        "`dmesg` and /var/log/xen/xen-hotplug.log there tell more",
        quote=True,
    ),
    ErrorPattern(
        r"transaction (?:commit )?failed",
        "XenStore on {host} could not keep what xl wrote for {name}",
        "run again; where it stays so, see the quota of xenstored",
        quote=True,
    ),
    ErrorPattern(
        r"(\S+) is an invalid domain identifier|unable to get domain type for domid=(\d+)|"
        r"Can't rename domain '([^']+)'|\A[^\n]*Domain (\d+):Non-exist[ae]nt domain",
        "there is no domain {0} on {host}",
        "`xl list` there shows those that there are; `unibuild boot` makes ours",
    ),
)


_LESS = "give it less ([xl] memory = ...), end another domain, or give the lab more ([lab] memory = ...)"
_MORE = "give it more: [xl] memory = ..."
_KERNEL = "rebuild the kernel, and see what `file` and `readelf -n` say of it"
_DMESG = "`xl dmesg` there tells what Xen has against it"

_MEMORY = (
    ErrorPattern(
        r"not enough memory for (?:initial mapping|magic pages)|segment \S+ too large",
        "the memory of {name} is too small for its kernel",
        _MORE,
    ),
    ErrorPattern(
        r"xc_dom_build_image failed: Device or resource busy",  # Xen's own pages for a PVH domain have no room in it
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
        "{host} has no PV shim ({0}) to run {name} in",
        'install it with Xen\'s tools there, or do without: take `pvshim` away and set [xl] type = "pv"',
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
        "boot again: what is missing there is copied; a path that only the host has must be readable by root",
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
        "Xen on {host} cannot run kernels of the kind of that of {name} ({0})",
        "`xl info` there lists what it can, as xen_caps; build the kernel for one of these",
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
        "the kernel of {name} is one for dom0 only",
        "build it for domUs",
    ),
    ErrorPattern(
        r"unsupported feature requested",
        "the kernel of {name} wants a feature that Xen on {host} does not have",
        "build it for the Xen that runs there, or upgrade that",
    ),
    ErrorPattern(
        r"no loader found|xc_dom_parse_image failed|kernel is not an ELF image",
        "Xen refused the kernel of {name}: it cannot start in a domain of this type",
        "set [xl] type to what the kernel was built for; `file` and `readelf -n` tell what it is",
    ),
)
_PROCESSOR = (
    ErrorPattern(
        r"neither hap nor shadow paging available|domain creation fail: (?:Operation|Function) not",
        "{host} cannot run a PVH domain: its processor or firmware lacks hardware virtualization",
        "switch VT-x or AMD-V on in the firmware; a PV kernel needs none",
    ),
    ErrorPattern(
        r"passthrough (?:not supported on this platform|disabled)",
        "{host} cannot hand a PCI device to {name}: it has no IOMMU, or it is switched off",
        "switch VT-d or AMD-Vi on in its firmware, or take `pci` away",
    ),
    ErrorPattern(
        r"PCI device (\S+) is not assignable|(\S+) is not assigned to pciback",
        "the PCI device {0} of {name} is not assignable on {host}",
        "`xl pci-assignable-add` there",
    ),
    ErrorPattern(
        r"xc_assign_device failed",
        "Xen on {host} did not give {name} its PCI device",
        "see that no other domain has it (`xl pci-list`), and that the IOMMU is on",
        quote=True,
    ),
    ErrorPattern(
        r"affinity completely outside of domain's cpupool|setting affinity failed",
        "{name} is pinned to processors that {host} does not have, or not in its pool",
        "pin it to others, or to none: [xl.set] cpus = ...",
    ),
    ErrorPattern(
        r"Failed to (?:de)?serialise? CPUID|Failed to (?:update|set) CPUID",
        "Xen on {host} refused the processor features that {name} asks for",
        "take `cpuid` away, or name features that its processor has",
        quote=True,
    ),
    ErrorPattern(
        r"domain creation fail: Invalid argument",
        "Xen on {host} refused to make {name}: it does not support one of its settings",
        f"look at vcpus (a PVH domain has 128 at most), `seclabel`, `passthrough` and `nestedhvm`; {_DMESG}",
    ),
)
_BUILDING = (*_MEMORY, *_DEVICE_MODEL, *_KERNELS, *_PROCESSOR)


CASES = (*_EARLY, *_BUILDING, *_LATE)
_NOISE = re.compile(r"^(?:Parsing config from .*|WARNING: .*)$", re.MULTILINE)


def explain(said: str, *, host: str, name: str) -> UnibuildError:
    """Return the error that tells in a sentence what ``xl`` said.

    Args:
        said: its standard error.
        host: the host's name, for the sentence.
        name: the domain's name, for the sentence.

    Returns:
        The nearest known case; with its own words as the hint's last lines where they say more, or where none is known.
    """
    said = _NOISE.sub("", said).strip()
    own = f"xl said: {_last_errors(said)}"
    for case in CASES:
        found = re.search(case.pattern, said)
        if found:
            first = next((group for group in found.groups() if group), "")
            sentence, hint = (text.format(first, host=host, name=name) for text in (case.sentence, case.hint))
            return case.kind(sentence, hint=f"{hint}\n{own}" if case.quote else hint)
    meant = meaning(said)
    return DomainError(f"xl failed for {name} on {host}" + (f": {meant}" if meant else ""), hint=own)


def _last_errors(said: str) -> str:
    """Return the first two of its lines that name an error, else its last one."""
    lines = [line for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if re.search("error|fail|panic", line, re.IGNORECASE)]
    return "\n".join((errors or lines[-1:])[:2]) or "nothing"
