"""The settings as one frozen tree; the text beside a field is its documentation (docs/reference/settings.md).

A field is a key of ``unibuild.toml``: ``[lab] memory = 768`` is ``Settings.lab.memory``, the environment's
``UNIBUILD_LAB_MEMORY`` and the command line's ``lab.memory=768``. None stands for a key that
is not set.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

__all__ = [
    "DISK_KEYS",
    "VIF_KEYS",
    "Boot",
    "Build",
    "Case",
    "Device",
    "HostTable",
    "Http",
    "Lab",
    "Mirage",
    "Ready",
    "Scalar",
    "Settings",
    "Value",
    "Xl",
]

# The description of a type completes the sentence "... must be"; the title of a key stands for it in the reference.
Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]
Port = Annotated[int, Meta(ge=1, le=65535, description="a port, from 1 to 65535")]
Pattern = Annotated[str, Meta(min_length=1, description="a regular expression, as Python's `re` reads it")]
DomainName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$",
        description="a name of letters, digits and `_ . + -` that starts with none of the last three",
    ),
]
Scalar = str | int | bool
Value = Scalar | list[str]

# "case" kept: the environment spells the key as it is, not in capitals.
Variable = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        title="NAME",
        description="the name of an environment variable",
        extra={"case": "kept"},
    ),
]
XlKey = Annotated[
    str,
    Meta(pattern=r"^[a-z][a-z0-9_]*$", title="KEY", description="a key of xl.cfg(5), which has no capitals"),
]
# xl-network-configuration(5) and xl-disk-configuration(5); xl itself passes over a vif's sub-key that it does not know.
VIF_KEYS = (
    *("accel", "backend", "bridge", "devid", "forwarddev", "gatewaydev", "ip", "mac", "model", "mtu", "netdev"),
    *("rate", "script", "trusted", "type", "vifname", "vlan"),
)
DISK_KEYS = (
    *("access", "active-disk", "backend", "backendtype", "colo", "colo-export", "colo-host", "colo-port", "devtype"),
    *("direct-io-safe", "discard", "format", "grant_usage", "hidden-disk", "script", "specification", "target"),
    *("trusted", "vdev"),
)
VifKey = Annotated[
    str,
    Meta(
        pattern=rf"^({'|'.join(VIF_KEYS)}|remove|colo_\w+)$",
        title="KEY",
        description="a sub-key of a vif",
        extra={"words": (*VIF_KEYS, "remove")},
    ),
]
DiskKey = Annotated[
    str,
    Meta(
        pattern=f"^({'|'.join(DISK_KEYS)}|remove)$",
        title="KEY",
        description="a sub-key of a disk",
        extra={"words": (*DISK_KEYS, "remove")},
    ),
]
Vif = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x20,@]+$",
        title="VIF",
        description="the device's number, from 0, or the name that the unikernel has for it",
    ),
]
Disk = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f]+$",
        title="DISK",
        description="the disk's `vdev` (as `xvda`), its number, from 0, or the name that the unikernel has for it",
    ),
]
Device = dict[str, Scalar]
Argument = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        title="NAME",
        description="the name of an argument, without the dashes before it",
    ),
]


XenstoreKey = Annotated[
    str,
    Meta(pattern=r"^[^\s=]+(=.*)?$", description="a key of XenStore, or `KEY=VALUE`"),
]
UrlPath = Annotated[str, Meta(pattern=r"^/", description="a path that starts with `/`")]
HostName = Annotated[
    str,
    Meta(
        pattern=r"^(?!(?:auto|all)$)[A-Za-z0-9_][A-Za-z0-9_.-]*$",
        title="HOST",
        description="a name for a host: letters, digits and `_ . -`, and neither `auto` nor `all`",
    ),
]
CaseName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
        title="CASE",
        description="a name for a test: letters, digits and `_ . -`",
    ),
]


class Build(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the kernel is built."""

    toolchain: Annotated[
        Literal["auto", "mirage", "make"],
        Meta(description="What builds the kernel. `auto`: `mirage` where there is a `config.ml`, else `make`."),
    ] = "auto"
    kernel: Annotated[
        str | None,
        Meta(description="The kernel that the build leaves, from the project's folder. `mirage` knows it by itself."),
    ] = None
    sources: Annotated[
        tuple[str, ...],
        Meta(
            description="What the kernel is built from, in the pattern language of `.gitignore` (`!` takes out again). "
            "Empty: the usual names of sources (`*.ml`, `*.c`, `*.S`, `Makefile`, `dune` ...), and with `mirage` all "
            "that is in the data folders that `config.ml` names. Files that `.gitignore` names are never sources."
        ),
    ] = ()
    configure: Annotated[
        tuple[str, ...],
        Meta(description="`make` toolchain: the command that configures the tree, as a list. Empty: none is needed."),
    ] = ()
    depend: Annotated[
        str | None,
        Meta(description="`make` toolchain: the Makefile's target that fetches dependencies."),
    ] = None
    target: Annotated[
        str | None,
        Meta(description="`make` toolchain: the Makefile's target that builds the kernel. Not set: its default goal."),
    ] = None
    jobs: Annotated[
        Count | None,
        Meta(description="Run `make -jN`. Not set: one job, or those of the make that called unibuild."),
    ] = None
    env: Annotated[
        dict[Variable, str],
        Meta(description="Environment variables for configure, depend and build, on top of yours."),
    ] = {}


class Mirage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `mirage` toolchain."""

    config: Annotated[str, Meta(description="The configuration file, from the project's folder.")] = "config.ml"
    args: Annotated[
        tuple[str, ...],
        Meta(description="More arguments for `mirage configure` (`-t xen` is ours)."),
    ] = ()


class Xl(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is changed in the `.xl` file before the domain is created; the file itself is never touched."""

    file: Annotated[
        str | None,
        Meta(description="The `.xl` to start from. `mirage` makes one; else none is needed."),
    ] = None
    memory: Annotated[Count | None, Meta(description="Memory of the domain in MiB.")] = None
    vcpus: Annotated[Count | None, Meta(description="Number of virtual processors.")] = None
    type: Annotated[
        Literal["pv", "pvh"] | None,
        Meta(description="Type of the domain. Not set: what the kernel is (`pvh` where it is both)."),
    ] = None
    cmdline: Annotated[str | None, Meta(description="The kernel's command line, as it shall read there.")] = None
    set: Annotated[
        dict[XlKey, Value],
        Meta(description="Any other key of xl.cfg(5), as it is written there."),
    ] = {}
    vif: Annotated[
        dict[Vif, dict[VifKey, Scalar]],
        Meta(
            description='Network devices by number, `[xl.vif.0] bridge = "xenbr0"` changes the first one or adds it, '
            "or by the name that a Mirage unikernel has for them (`[xl.vif.service]`); `remove = true` takes one away. "
            "The sub-keys are those of xl-network-configuration(5)."
        ),
    ] = {}
    disk: Annotated[
        dict[Disk, dict[DiskKey, Scalar]],
        Meta(
            description='Disks by `vdev` or number, `[xl.disk.xvdb] target = "data.img"`, or by the name that a Mirage '
            'unikernel has for them (`[xl.disk."disk.img"]`). '
            "The sub-keys are those of xl-disk-configuration(5); `remove = true` takes one away."
        ),
    ] = {}


class Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request that the domain shall answer."""

    port: Annotated[Port, Meta(description="The domain's port.")] = 80
    path: Annotated[UrlPath, Meta(description="What is asked for, with the query, from the first `/` on.")] = "/"
    status: Annotated[int, Meta(ge=100, le=599, description="The status that the answer must have.")] = 200
    body: Annotated[Pattern | None, Meta(description="What must be found in the answer's body.")] = None


class Ready(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When the domain counts as good: all that is set here must hold. A crash or an end fails at once."""

    console: Annotated[Pattern | None, Meta(description="What must be found in a line of the console.")] = None
    tcp: Annotated[Port | None, Meta(description="A port of the domain that must take a connection.")] = None
    http: Annotated[Http | None, Meta(description="A request that the domain must answer.")] = None
    xenstore: Annotated[
        XenstoreKey | None,
        Meta(
            description="A key of XenStore that must be there, from the domain's own folder: `data/ready`; "
            "`data/ready=yes` wants that value too.",
        ),
    ] = None
    address: Annotated[
        str | None,
        Meta(
            description="The domain's IP address for `tcp` and `http`. Not set: what the `.xl`, the lab's DHCP server "
            "or the console tells of it. In the lab the way there is a forwarded port, which need not be set up."
        ),
    ] = None
    timeout: Annotated[Seconds, Meta(description="Seconds after which a domain that is not ready has failed.")] = 30.0
    otherwise: Annotated[
        Literal["rollback", "keep", "stop"],
        Meta(
            description="What becomes of a domain that is not ready. `rollback`: it goes, and the last good generation "
            "is booted again. `keep`: it runs on. `stop`: it goes, and none runs."
        ),
    ] = "rollback"


class Boot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the domain is started."""

    args: Annotated[
        tuple[str, ...] | dict[Argument, Value],
        Meta(
            description='Arguments for the unikernel, each as one word, `["--port=80", "--hello=a b"]`, or by name: '
            "`[boot.args] port = 80`. There `true` gives the bare `--name`, `false` nothing, and a list the argument "
            "once for each of its values. They become the kernel's `cmdline`, in quotes where Mirage wants some."
        ),
    ] = ()
    check_args: Annotated[
        Literal["auto", "never"],
        Meta(
            description="`auto`: where the lab is up, a Solo5 kernel is asked once (`--help=plain`) which arguments it "
            "knows, and `args` with another one are refused before anything is booted. `never`: no kernel is asked."
        ),
    ] = "auto"

    console: Annotated[
        Literal["auto", "attach", "print", "none"],
        Meta(
            description="`attach`: the keyboard goes to the console, Ctrl-] leaves it. `print`: its lines are printed. "
            "`none`: neither. `auto`: `attach` on a terminal, else `print`."
        ),
    ] = "auto"
    wait: Annotated[
        Seconds | None,
        Meta(description="With `print`: seconds after which to leave the console. Not set: until the domain ends."),
    ] = None
    ready: Ready = Ready()
    grace: Annotated[
        Seconds,
        Meta(description="Seconds that an older domain has to shut down, once asked, before it is destroyed."),
    ] = 10.0
    restarts: Annotated[
        int,
        Meta(
            ge=0,
            description="How often the domain may reboot within a minute; then it is stopped, for it is in a loop. "
            "0: a domain that asks for a reboot just ends.",
        ),
    ] = 5
    keep: Annotated[Count, Meta(description="How many generations are kept, to go back to.")] = 10
    keep_size: Annotated[
        Count, Meta(description="The MiB that their kernels may take together; the last good one is always kept.")
    ] = 512


class Lab(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The lab: a real Xen in QEMU on this machine."""

    memory: Annotated[
        int,
        Meta(description="Memory of the box in MiB; 256 of it are dom0's.", ge=512, le=65536),
    ] = 768
    accel: Annotated[
        Literal["auto", "kvm", "tcg"],
        Meta(
            description="How QEMU runs the box. `auto`: KVM where a probe proves that it works, else emulation (TCG)."
        ),
    ] = "auto"
    forward: Annotated[
        tuple[str, ...],
        Meta(
            description='Ports of this machine (on 127.0.0.1) that lead to the domain: `"8080:80"`, or '
            '`"8080:10.0.2.51:80"` where it has not the first address of the lab\'s DHCP server, 10.0.2.50.'
        ),
    ] = ()
    box: Annotated[
        str | None,
        Meta(description="A ready-made box file (from `unibuild lab pack`) where this is no Debian or Ubuntu."),
    ] = None


class HostTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A host with a name of its own: `host = "xen1"`, `--host xen1`; `--host all` means every one of these."""

    address: Annotated[
        str,
        Meta(description="`local`, `lab`, or `ssh://[user@]host[:port]`."),
    ]
    sudo: Annotated[
        Literal["auto", "never"],
        Meta(
            description="`auto`: xl runs through sudo there unless you sign in as root. `never`: your account may use "
            "xl as it is."
        ),
    ] = "auto"
    xl: Annotated[Xl, Meta(description="What is different in the `.xl` on this host; it goes over `[xl]`.")] = Xl()


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One boot of `unibuild test`, and what must come of it."""

    console: Annotated[
        tuple[Pattern, ...],
        Meta(description="What must be found in lines of the console, in this order; other lines may stand between."),
    ] = ()
    http: Annotated[tuple[Http, ...], Meta(description="Requests that it must answer, in this order.")] = ()
    exit: Annotated[
        int | Literal["poweroff", "reboot", "crash"] | None,
        Meta(
            description="How it must end: the exit code that Solo5 prints, or how Xen sees it. Not set: it need not "
            "end, and a crash fails."
        ),
    ] = None
    args: Annotated[
        tuple[str, ...] | dict[Argument, Value] | None,
        Meta(description="Arguments for the unikernel in this test. Not set: those of `[boot]`."),
    ] = None
    ready_within: Annotated[
        Seconds | None,
        Meta(
            description="Seconds from its start within which `[boot.ready]` must hold. Not set: `[boot.ready] timeout`."
        ),
    ] = None
    timeout: Annotated[Seconds, Meta(description="Seconds that the whole test may take.")] = 60.0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that can be set."""

    name: Annotated[
        DomainName | None,
        Meta(description="Name of the domain. Not set: what the `.xl` says, else the project's folder."),
    ] = None
    host: Annotated[
        str,
        Meta(
            description="Where the domain runs: `local`, `lab`, `ssh://[user@]host[:port]`, or the name of a `[hosts]` "
            "table. `auto`: `local` where this machine runs Xen, else `lab`."
        ),
    ] = "auto"
    build: Build = Build()
    mirage: Mirage = Mirage()
    xl: Xl = Xl()
    boot: Boot = Boot()
    lab: Lab = Lab()
    hosts: Annotated[dict[HostName, HostTable], Meta(description="Hosts by names of your own.")] = {}
    test: Annotated[dict[CaseName, Case], Meta(description="The tests of `unibuild test`, by name.")] = {}
