"""The failures of ``xl`` that people meet: how each is known, its sentence, and what to do about it.

Those of building the domain itself are in libxl_building.py.

Sources: Xen 4.17 to 4.21: tools/xl, tools/libs/light (libxl_*.c), tools/libs/guest (xg_dom_*.c), tools/hotplug/Linux,
their real output, and logs in bug reports. The first case that fits counts: what names a cause stands before what
follows from it, for xl ends every failure with the same few lines.
"""

from __future__ import annotations

from dataclasses import dataclass

from unibuild.errors import DomainError, HostError, UnibuildError

__all__ = ["EARLY", "LATE", "Case"]


@dataclass(frozen=True)
class Case:
    """A failure of ``xl``.

    Attributes:
        pattern: regular expression, searched for in all that xl said.
        sentence: ``{0}`` is the pattern's first group that matched, besides ``{host}`` and ``{name}``.
        mend: what to do, with the same places.
        quote: xl's own words say more: they are the hint's last lines.
        kind: the error's class.
    """

    pattern: str
    sentence: str
    mend: str
    quote: bool = False
    kind: type[UnibuildError] = DomainError


_BRIDGE = 'make it there, or name another one: [xl.vif.0] bridge = "..."'
_TARGET = 'make it, or name another one: [xl.disk.xvda] target = "..."'

_HOST = (
    Case(
        r"privileged command interface: Permission denied|must be run as root",
        "xl may not talk to Xen on {host}: it wants root's rights",
        "run unibuild as root, or as a user that may use sudo",
        kind=HostError,
    ),
    Case(
        r"Can't find version (\S+) of xen utils",  # Debian's wrapper of xl
        "{host} runs Xen {0} and has no xl for that version: its packages were upgraded, and it was not booted since",
        "boot it again, or install xen-utils-{0} there",
        kind=HostError,
    ),
    Case(
        r"rebuild the user-space tool ?set|getting domain info list: Permission denied|"
        r"domain creation fail: Permission denied",
        "Xen on {host} does not take xl's orders: xl is of another version, or Xen's policy forbids it",
        "after an upgrade of Xen's packages boot the host again; `xl info` tells the version that runs",
        kind=HostError,
    ),
    Case(
        r"cannot connect to xenstore|xs_open failed|Is xenstore daemon running",
        "xenstored does not answer on {host}",
        "see `systemctl status xenstored` there; where it was ended, only booting the host again helps",
        kind=HostError,
    ),
    Case(
        r"privileged command interface|cannot open libxc handle|cannot init xl context|hypervisor information in sysfs",
        "Xen is not running on {host}, or this is not its dom0",
        'boot the machine with Xen, or use the lab: host = "lab"',
        kind=HostError,
    ),
    Case(
        r"cannot (?:acquire lock|open the lockfile) (\S+)",
        "xl on {host} cannot have its lock {0}",
        "see that root can write there, and that no other xl hangs (`ps`)",
        kind=HostError,
    ),
    Case(
        r"console tty: (?:startup )?timed out",
        "the console of {name} was not served: xenconsoled does not run on {host}",
        "start it there: systemctl start xenconsoled",
        kind=HostError,
    ),
    Case(
        r"cannot (?:write|open|write/rename|rename) (/var/(?:lib|run)/xen/\S+)",
        "xl on {host} cannot write {0}",
        "see that the folder is there and its disk has room: `df /var/lib/xen`",
        kind=HostError,
    ),
)
_FILE = (
    Case(
        r'Domain with name "([^"]+)" already exists',
        "a domain called {0} is on {host} already",
        "end it (`xl destroy {0}` there), or give ours another name (name = ...)",
    ),
    Case(
        r":(\d+: config parsing error .*)",
        "xl on {host} cannot read the .xl of {name}, line {0}",
        "mend it in the .xl, or in unibuild.toml under [xl]",
    ),
    Case(
        r"config parsing error in (.*)",
        "xl on {host} refuses a device in the .xl of {name}: {0}",
        "mend it in the .xl, or under [xl.vif...] or [xl.disk...] in unibuild.toml",
    ),
    Case(
        r"(Domain name must be specified|Invalid domain type [^\n]*|Unknown on_\w+ action [^\n]*|maxvcpus < vcpus|"
        r"Failed to parse UUID: [^\n]*|Invalid pcpu range: [^\n]*|unable to parse PCI_SPEC_STRING [^\n]*|"
        r'Contradicting "builder" and "type"[^\n]*|Illegal pool specified: [^\n]*)',
        "xl on {host} refuses a value in the .xl of {name}: {0}",
        "mend it in the .xl, or in unibuild.toml under [xl]",
    ),
)
_NETWORK = (
    Case(
        r"Could not find bridge device (\S+)|(Could not find bridge), and none was specified|No valid (bridge) was",
        "{host} has no such bridge for a network device of {name}: {0}",
        _BRIDGE,
    ),
    Case(
        r"Cannot rename interface \S+ An interface with name (\S+) already exists",
        "{host} has a network device {0} already, which {name} wants to call its own",
        "end the domain that has it, or take `vifname` away",
    ),
    Case(
        r"Unable to find (\S+) tool|Unable to find (losetup|multipath)",
        "{host} has no program {0}, which the script for a device of {name} runs",
        "install it there (ovs-vsctl: openvswitch-switch; losetup: mount; iscsiadm: open-iscsi)",
    ),
    Case(
        r"cannot execute (\S+): No such file",
        "{host} has no script {0} for a device of {name}",
        "name one that is there (`script` of the device), or install it",
    ),
)
_DISK = (
    Case(
        r"failed to stat: (\S+): No such file|script: (\S+) (?:link )?does not exist",
        "{host} has no file {0} for a disk of {name}",
        _TARGET,
    ),
    Case(
        r"(?:Device|File) (\S+) is (?:loopback-)?mounted",
        "the disk {0} of {name} is in use on {host}",
        "end the domain that has it (`xl block-list`) or unmount it there; all may have it who only read (access=ro)",
        quote=True,
    ),
    Case(r"(\S+) is not a block device", "{0} on {host}, a disk of {name}, is no block device", _TARGET),
    Case(
        r"Failed to find an unused loop device",
        "{host} has no loop device left for a disk of {name}",
        "`losetup -a` there shows who has them; `losetup -d` frees one",
    ),
    Case(
        r"no suitable backend for disk (\w+)",
        "{host} cannot serve the disk {0} of {name} in its format",
        "make it raw (`qemu-img convert -O raw`), or install QEMU there",
    ),
    Case(
        r"Invalid or unsupported virtual disk identifier (\S+)",
        "{name} cannot have a disk called {0}",
        "disks are called xvda, xvdb, ...",
    ),
    Case(
        r"device already exists in xenstore",
        "two devices of {name} have the same number or vdev",
        "give each disk a vdev, and each network device a devid, of its own",
    ),
)
EARLY = (*_HOST, *_FILE, *_NETWORK, *_DISK)
LATE = (  # what only follows from a cause that xl did not name
    Case(
        r"(\S+ failed); error detected",
        "a script of {host} could not connect a device of {name}: {0}",
        "/var/log/xen/xen-hotplug.log there tells more",
    ),
    Case(
        r"[Uu]nable to add device with path (\S+)|Backend (\S+) (?:not ready|does not exist)",
        "dom0 of {host} did not serve a device of {name} in time: {0}",
        "see that its kernel has the backend (modprobe xen-netback xen-blkback), and `dmesg` there",
        quote=True,
    ),
    Case(
        r"unable to add (\w+) devices|Unable to add (\w+) with id",
        "{host} could not connect a device of {name} ({0})",
        "`dmesg` and /var/log/xen/xen-hotplug.log there tell more",
        quote=True,
    ),
    Case(
        r"transaction (?:commit )?failed",
        "XenStore on {host} could not keep what xl wrote for {name}",
        "run again; where it stays so, see the quota of xenstored",
        quote=True,
    ),
    Case(
        r"(\S+) is an invalid domain identifier|unable to get domain type for domid=(\d+)|"
        r"Can't rename domain '([^']+)'|\A[^\n]*Domain (\d+):Non-exist[ae]nt domain",
        "there is no domain {0} on {host}",
        "`xl list` there shows those that there are; `unibuild boot` makes ours",
    ),
)
