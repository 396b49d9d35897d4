"""The settings as one frozen tree; the text beside a field is its documentation (docs/reference/settings.md).

A field is a key of ``unibuild.toml``: ``[lab] memory = 2048`` is ``Settings.lab.memory``, the environment's
``UNIBUILD_LAB_MEMORY`` and the command line's ``lab.memory=2048``. None stands for a key that
is not set.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from unibuild.settings.image import Image
from unibuild.settings.life import Boot, Case, Http, Ready
from unibuild.settings.publish import Launch, Publish
from unibuild.settings.types import (
    DISK_KEYS,
    VIF_KEYS,
    CaseName,
    Count,
    Disk,
    DiskKey,
    DomainName,
    HostName,
    Network,
    Scalar,
    Value,
    Variable,
    Vif,
    VifKey,
    XlKey,
)
from unibuild.settings.watching import Watch

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
