"""The settings as one frozen tree; the text beside a field is its documentation (docs/reference/settings.md).

A field is a key of ``unibuild.toml``: ``[lab] memory = 2048`` is ``Settings.lab.memory``, the environment's
``UNIBUILD_LAB_MEMORY`` and the command line's ``lab.memory=2048``. None stands for a key that
is not set.
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
            "Empty: every file in the project's folder that the build itself does not write."
        ),
    ] = ()
    ignore: Annotated[
        tuple[str, ...],
        Meta(
            description="Files and folders that the kernel is not built from, in the same language: notes, tests, logs."
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


class Lab(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The lab: a real Xen in QEMU on this machine."""

    memory: Annotated[
        int,
        Meta(description="Memory of the box in MiB; 256 of it are dom0's.", ge=512, le=65536),
    ] = 1024
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
    network: Annotated[
        Network,
        Meta(
            description="What dom0 and the domains reach. `closed`: each other only. `internet`: public addresses too, "
            "not this machine and its networks. `open`: all that this machine reaches, what listens on its 127.0.0.1 "
            "included. `forward` works in all three."
        ),
    ] = "closed"
    image: Annotated[
        str | None,
        Meta(description="A lab image (from `unibuild lab pack`) where this is no Debian or Ubuntu."),
    ] = None


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
    on_failure: Annotated[
        Literal["rollback", "keep", "stop"],
        Meta(
            description="What becomes of a domain that is not ready. `rollback`: it goes, and the last good generation "
            "is booted again. `keep`: it runs on. `stop`: it goes, and none runs."
        ),
    ] = "rollback"

    @property
    def is_set(self) -> bool:
        """Whether anything is waited for."""
        return any((self.console, self.tcp, self.http, self.xenstore))


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
    escapes: Annotated[
        Literal["safe", "all"],
        Meta(
            description="Which control sequences of the console reach the terminal. `safe`: where the keyboard is "
            "attached, none that makes the terminal answer, reports the mouse, sets the clipboard or prints; else "
            "colours only. `all`: all of them, where the keyboard is attached. The log keeps every byte."
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
            description="How often the domain may reboot within a minute; then it is stopped, for it is in a loop. "
            "0: a domain that asks for a reboot just ends.",
        ),
    ] = 5
    keep: Annotated[Count, Meta(description="How many generations are kept, to go back to.")] = 10
    keep_size: Annotated[
        Count, Meta(description="The MiB that their kernels may take together; the last good one is always kept.")
    ] = 512


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One boot of `unibuild test`, and what must come of it."""

    console: Annotated[
        tuple[Pattern, ...],
        Meta(description="What must be found in lines of the console, in this order; other lines may stand between."),
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


class Watch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`unibuild watch`: what a save does, and who hears of it."""

    debounce: Annotated[
        Seconds, Meta(description="Seconds without another change after which a save counts as finished.")
    ] = 0.02
    max_wait: Annotated[
        Seconds, Meta(description="Seconds after which changes that go on and on are built all the same.")
    ] = 0.5
    poll: Annotated[
        bool,
        Meta(
            description="Only look about once a second, and let the kernel report nothing. For a file system whose "
            "changes it does not see, as one of another machine; a change is found without this too, by the same look."
        ),
    ] = False
    on_save: Annotated[
        Literal["wait", "restart"],
        Meta(
            description="What a save during a build does. `wait`: it is built next. `restart`: the build is stopped, "
            "and the next one begins. A swap of domains is finished in any case."
        ),
    ] = "wait"
    stop_timeout: Annotated[
        Seconds, Meta(description="Seconds after which a build that was asked to stop (TERM) is killed.")
    ] = 5.0
    keep_domain: Annotated[
        bool, Meta(description="Let the domain run on when the watch ends; else it is destroyed then.")
    ] = False
    bell: Annotated[bool, Meta(description="Ring the terminal's bell on a failure, and when it is over.")] = False
    notify: Annotated[
        Literal["off", "desktop", "terminal"],
        Meta(
            description="What tells of a failure, and that it is over, besides. `desktop`: a notification, by "
            "`notify-send`. `terminal`: one that the terminal shows (OSC 9)."
        ),
    ] = "off"
    hyperlink: Annotated[
        str,
        Meta(
            description="Where a click on `main.c:12:5` leads: an address with `{host}`, `{path}`, `{line}` and "
            "`{column}`, as `vscode://file{path}:{line}:{column}`. `auto`: the file, where the terminal is known to "
            "have links. `off`: nowhere."
        ),
    ] = "auto"
    on_ready: Annotated[
        tuple[str, ...],
        Meta(description="A command to run when a new domain runs and is good, as a list of words."),
    ] = ()
    on_fail: Annotated[
        tuple[str, ...],
        Meta(description="A command to run when a cycle failed or its domain ended badly, as a list of words."),
    ] = ()


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
    toolstack: Annotated[
        str, Meta(description="What manages the domains there: `xl`, or another toolstack that is registered.")
    ] = "xl"
    xl: Annotated[Xl, Meta(description="What is different in the `.xl` on this host; it goes over `[xl]`.")] = Xl()


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
    watch: Watch = Watch()
    lab: Lab = Lab()
    image: Image = Image()
    publish: Publish = Publish()
    launch: Launch = Launch()
    hosts: Annotated[dict[HostName, HostTable], Meta(description="Hosts by names of your own.")] = {}
    test: Annotated[dict[CaseName, Case], Meta(description="The tests of `unibuild test`, by name.")] = {}
