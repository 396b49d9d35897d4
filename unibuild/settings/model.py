"""The settings as one frozen tree; the description of a field is its documentation (docs/reference/settings.md).

A field is a key of ``unibuild.toml``: ``[lab] memory = 2048`` is ``Settings.lab.memory``, the environment's
``UNIBUILD_LAB_MEMORY`` and the command line's ``lab.memory=2048``. None means that the key is not set.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from unibuild.settings.ami import Image, Launch, Publish
from unibuild.settings.types import (
    DISK_KEYS,
    VIF_KEYS,
    Argument,
    CaseName,
    Count,
    Disk,
    DiskKey,
    DomainName,
    HostName,
    Network,
    Pattern,
    Port,
    Scalar,
    Seconds,
    UrlPath,
    Value,
    Variable,
    Vif,
    VifKey,
    XenstoreKey,
    XlKey,
)

__all__ = [
    "DISK_KEYS",
    "VIF_KEYS",
    "Boot",
    "Build",
    "Case",
    "HostTable",
    "Http",
    "Image",
    "Lab",
    "Launch",
    "Mirage",
    "Publish",
    "Ready",
    "Scalar",
    "Settings",
    "Value",
    "Watch",
    "Xl",
]


class Build(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the kernel is built."""

    toolchain: Annotated[
        Literal["auto", "mirage", "make", "prebuilt"],
        Meta(
            description="What builds the kernel. `auto`: `mirage` where there is a `config.ml`, else `make`. "
            "`prebuilt`: nothing; the kernel is there already."
        ),
    ] = "auto"
    kernel: Annotated[
        str | None,
        Meta(
            description="The kernel that the build makes, from the project's folder. `mirage` finds it by itself, and "
            "`prebuilt` a single file `*.xen`."
        ),
    ] = None
    sources: Annotated[
        tuple[str, ...],
        Meta(
            description="The sources of the kernel, as patterns of `.gitignore` (`!` excludes files again). Empty: "
            "every file in the project's folder that the build itself does not write."
        ),
    ] = ()
    ignore: Annotated[
        tuple[str, ...],
        Meta(description="Files and folders that are not sources of the kernel, as such patterns: notes, tests, logs."),
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
        Meta(description="More arguments for `mirage configure` (unibuild adds `-t xen`)."),
    ] = ()


class Xl(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Changes to the `.xl` file before the domain is created; the file itself is never changed."""

    file: Annotated[
        str | None,
        Meta(description="The `.xl` to start from. Not needed: `mirage` makes one, and unibuild can write a new one."),
    ] = None
    memory: Annotated[Count | None, Meta(description="Memory of the domain in MiB.")] = None
    vcpus: Annotated[Count | None, Meta(description="Number of virtual processors.")] = None
    type: Annotated[
        Literal["pv", "pvh"] | None,
        Meta(description="Type of the domain. Not set: the type of the kernel (`pvh` if it is both)."),
    ] = None
    cmdline: Annotated[str | None, Meta(description="The kernel's command line.")] = None
    set: Annotated[
        dict[XlKey, Value],
        Meta(description="Any other key of xl.cfg(5), with its name there."),
    ] = {}
    vif: Annotated[
        dict[Vif, dict[VifKey, Scalar]],
        Meta(
            description='Network devices by number, `[xl.vif.0] bridge = "xenbr0"` changes the first one or adds it, '
            "or by the name that a Mirage unikernel has for them (`[xl.vif.service]`); `remove = true` removes one. "
            "The sub-keys are those of xl-network-configuration(5)."
        ),
    ] = {}
    disk: Annotated[
        dict[Disk, dict[DiskKey, Scalar]],
        Meta(
            description='Disks by `vdev` or number, `[xl.disk.xvdb] target = "data.img"`, or by the name that a Mirage '
            'unikernel has for them (`[xl.disk."disk.img"]`). '
            "The sub-keys are those of xl-disk-configuration(5); `remove = true` removes one."
        ),
    ] = {}


class Lab(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The lab: a real Xen in QEMU on this machine."""

    memory: Annotated[
        int,
        Meta(description="Memory of the lab VM in MiB; dom0 has 256 of them.", ge=512, le=65536),
    ] = 1024
    accel: Annotated[
        Literal["auto", "kvm", "tcg"],
        Meta(description="How QEMU runs the lab VM. `auto`: KVM if a probe shows that it works, else emulation (TCG)."),
    ] = "auto"
    forward: Annotated[
        tuple[str, ...],
        Meta(
            description='Ports of this machine (on 127.0.0.1) that are forwarded to the domain: `"8080:80"`, or '
            '`"8080:10.0.2.51:80"` if its address is not 10.0.2.50, the first one of the lab\'s DHCP server.'
        ),
    ] = ()
    network: Annotated[
        Network,
        Meta(
            description="What dom0 and the domains can reach. `closed`: only each other. `internet`: also public "
            "addresses, but not this machine and its networks. `open`: all that this machine can reach, including what "
            "listens on its 127.0.0.1. `forward` works in all three."
        ),
    ] = "closed"
    image: Annotated[
        str | None,
        Meta(description="A lab image (from `unibuild lab pack`), for machines without Debian or Ubuntu."),
    ] = None


class Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request that the domain must answer."""

    port: Annotated[Port, Meta(description="The domain's port.")] = 80
    path: Annotated[UrlPath, Meta(description="The requested path, with the query, from the first `/` on.")] = "/"
    status: Annotated[int, Meta(ge=100, le=599, description="The status that the answer must have.")] = 200
    body: Annotated[Pattern | None, Meta(description="A pattern that must match in the answer's body.")] = None


class Ready(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When the domain counts as ready: all that is set here must hold. A crash or an exit fails at once."""

    console: Annotated[Pattern | None, Meta(description="A pattern that must match in a line of the console.")] = None
    tcp: Annotated[Port | None, Meta(description="A port of the domain that must accept a connection.")] = None
    http: Annotated[Http | None, Meta(description="A request that the domain must answer.")] = None
    xenstore: Annotated[
        XenstoreKey | None,
        Meta(
            description="A key of XenStore that must exist, relative to the domain's folder: `data/ready`; "
            "`data/ready=yes` also requires that value.",
        ),
    ] = None
    address: Annotated[
        str | None,
        Meta(
            description="The domain's IP address for `tcp` and `http`. Not set: the one in the `.xl`, of the lab's "
            "DHCP server or in the console output. In the lab unibuild forwards a port for it by itself."
        ),
    ] = None
    timeout: Annotated[Seconds, Meta(description="Seconds after which a domain that is not ready has failed.")] = 30.0
    on_failure: Annotated[
        Literal["rollback", "keep", "stop"],
        Meta(
            description="What happens to a domain that is not ready. `rollback`: it is destroyed, and the last good "
            "generation is booted again. `keep`: it continues to run. `stop`: it is destroyed, and no domain runs."
        ),
    ] = "rollback"

    @property
    def is_set(self) -> bool:
        """Whether there is a condition to wait for."""
        return any((self.console, self.tcp, self.http, self.xenstore))


class Boot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the domain is started."""

    args: Annotated[
        tuple[str, ...] | dict[Argument, Value],
        Meta(
            description='Arguments for the unikernel, each as one word, `["--port=80", "--hello=a b"]`, or by name: '
            "`[boot.args] port = 80`. There `true` gives the bare `--name`, `false` nothing, and a list the argument "
            "once for each of its values. They become the kernel's `cmdline`, in quotes if Mirage needs them."
        ),
    ] = ()
    check_args: Annotated[
        Literal["auto", "never"],
        Meta(
            description="`auto`: if the lab is up, unibuild asks a Solo5 kernel once (`--help=plain`) which arguments "
            "it knows, and refuses others in `args` before it boots anything. `never`: it does not ask."
        ),
    ] = "auto"

    console: Annotated[
        Literal["auto", "attach", "print", "none"],
        Meta(
            description="`attach`: the keyboard goes to the console, Ctrl-] leaves it. `print`: its lines are printed. "
            "`none`: neither. `auto`: `attach` on a terminal, else `print`."
        ),
    ] = "auto"
    escapes: Annotated[
        Literal["safe", "all"],
        Meta(
            description="Which control sequences of the console reach the terminal. `safe`: if the keyboard is "
            "attached, all except those that make the terminal answer, report the mouse, set the clipboard or print; "
            "else colours only. `all`: all of them, if the keyboard is attached. The log keeps every byte."
        ),
    ] = "safe"
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
            description="How often the domain may reboot within a minute; then unibuild stops it, because it is in a "
            "loop. 0: a reboot is the same as a shutdown.",
        ),
    ] = 5
    keep: Annotated[Count, Meta(description="How many generations are kept for a rollback.")] = 10
    keep_size: Annotated[
        Count, Meta(description="MiB that their kernels may use together; the last good one is always kept.")
    ] = 512


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One boot of `unibuild test`, and the expected results."""

    console: Annotated[
        tuple[Pattern, ...],
        Meta(
            description="Patterns that must match lines of the console, in this order; other lines may be between them."
        ),
    ] = ()
    http: Annotated[
        tuple[Http, ...],
        Meta(
            description="Requests that it must answer, in this order; each has the keys of `[boot.ready.http]`.",
        ),
    ] = ()
    exit: Annotated[
        int | Literal["poweroff", "reboot", "crash"] | None,
        Meta(
            description="How the domain must end: the exit code that Solo5 prints, or Xen's reason. Not set: it need "
            "not end, and a crash fails the test."
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


class Watch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`unibuild watch`: what a save does, and what is notified."""

    debounce: Annotated[
        Seconds, Meta(description="Seconds without another change after which a save counts as finished.")
    ] = 0.02
    max_wait: Annotated[
        Seconds, Meta(description="Seconds after which a build starts even though files keep changing.")
    ] = 0.5
    poll: Annotated[
        bool,
        Meta(
            description="Only scan the files about once a second, without notifications of the kernel. This is for "
            "file systems without such notifications, such as those of another machine. Without it a scan finds their "
            "changes too."
        ),
    ] = False
    on_save: Annotated[
        Literal["wait", "restart"],
        Meta(
            description="What a save during a build does. `wait`: it is built next. `restart`: the build is stopped, "
            "and the next one begins. The replacement of a domain is always completed."
        ),
    ] = "wait"
    stop_timeout: Annotated[
        Seconds, Meta(description="Seconds after which a build that was asked to stop (TERM) is killed.")
    ] = 5.0
    keep_domain: Annotated[
        bool, Meta(description="Leave the domain running when watch exits; else watch destroys it.")
    ] = False
    bell: Annotated[bool, Meta(description="Ring the terminal's bell on a failure, and on the next success.")] = False
    notify: Annotated[
        Literal["off", "desktop", "terminal"],
        Meta(
            description="How else to report a failure, and the next success. `desktop`: a notification, by "
            "`notify-send`. `terminal`: a notification of the terminal (OSC 9)."
        ),
    ] = "off"
    hyperlink: Annotated[
        str,
        Meta(
            description="What a click on `main.c:12:5` opens: an address with `{host}`, `{path}`, `{line}` and "
            "`{column}`, as `vscode://file{path}:{line}:{column}`. `auto`: the file, if the terminal is known to "
            "support links. `off`: no links."
        ),
    ] = "auto"
    on_ready: Annotated[
        tuple[str, ...],
        Meta(description="A command to run when a new domain is ready, as a list of words."),
    ] = ()
    on_fail: Annotated[
        tuple[str, ...],
        Meta(description="A command to run when a cycle failed or its domain ended badly, as a list of words."),
    ] = ()


class HostTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A named host: `host = "xen1"`, `--host xen1`; `--host all` means all named hosts."""

    address: Annotated[
        str,
        Meta(description="`local`, `lab`, or `ssh://[user@]host[:port]`."),
    ]
    sudo: Annotated[
        Literal["auto", "never"],
        Meta(
            description="`auto`: xl runs through sudo there unless you sign in as root. `never`: your account may use "
            "xl without it."
        ),
    ] = "auto"
    toolstack: Annotated[
        str, Meta(description="What manages the domains there: `xl`, or another toolstack that is registered.")
    ] = "xl"
    xl: Annotated[Xl, Meta(description="Changes of the `.xl` on this host; they take precedence over `[xl]`.")] = Xl()


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings."""

    name: Annotated[
        DomainName | None,
        Meta(description="Name of the domain. Not set: the name in the `.xl`, else that of the project's folder."),
    ] = None
    host: Annotated[
        str,
        Meta(
            description="Where the domain runs: `local`, `lab`, `ssh://[user@]host[:port]`, or the name of a `[hosts]` "
            "table. `auto`: `local` if this machine runs Xen, else `lab`."
        ),
    ] = "auto"
    build: Build = Build()
    mirage: Mirage = Mirage()
    xl: Xl = Xl()
    boot: Boot = Boot()
    watch: Watch = Watch()
    lab: Lab = Lab()
    image: Image = Image()
    publish: Publish = Publish()
    launch: Launch = Launch()
    hosts: Annotated[dict[HostName, HostTable], Meta(description="Hosts by names of your own.")] = {}
    test: Annotated[dict[CaseName, Case], Meta(description="The tests of `unibuild test`, by name.")] = {}
