"""Verify in the lab, before publishing it, that a disk image boots through a boot loader.

The loader is GRUB 2 built as a Xen kernel, because no distribution still has PV-GRUB, which EC2 uses. An image with
BIOS boot code is booted by that, in an HVM domain; its device model is copied to the lab VM for it.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from typing import TYPE_CHECKING

import msgspec

from unibuild.deploy import host_files
from unibuild.errors import KernelError, NotReadyError
from unibuild.graph import disk_image as images
from unibuild.graph import xl_file
from unibuild.kernel import has_multiboot_header
from unibuild.settings.loader import state_dir
from unibuild.settings.model import Case
from unibuild.testing import runner, scratch_domain
from unibuild.util import files
from unibuild.xlcfg import edit, parser

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Literal

    from unibuild.graph.graph import Graph
    from unibuild.host.base import Host
    from unibuild.image.disk import DiskImage
    from unibuild.xlcfg.devices import Device

__all__ = ["bring_device_model", "from_bios", "from_loader", "verify"]

_MEMORY = 128  # MiB, enough for the loader; an EC2 instance has more


def from_loader(loader: Path, kind: Literal["pv", "pvh"], disk: str) -> Callable[[str], str]:
    """Return a function that changes an ``.xl`` to start a loader, with the image on the first free disk.

    Args:
        loader: the loader's local file.
        kind: the type of the domain.
        disk: the image on the host.
    """

    def change(text: str) -> str:
        config = parser.parse(text)
        changes: dict[str, edit.Setting] = {
            "kernel": str(loader),
            "type": kind,
            "memory": _memory(config),
            "cmdline": "",
        }
        if config.get("ramdisk"):
            changes["ramdisk"] = ""
        return edit.apply(text, edit.Changes(changes, disk=_disk(config, disk)))

    return change


def from_bios(device_model: str, disk: str) -> Callable[[str], str]:
    """Return a function that changes an ``.xl`` to that of an HVM domain, with the image on the first free disk.

    Args:
        device_model: its folder on the host.
        disk: the image on the host.
    """
    from unibuild.lab.device_model import BIOS, LOADER, PROGRAM

    def change(text: str) -> str:
        config = parser.parse(text)
        kept = {key: config.get(key) for key in ("name", "vcpus", *xl_file.ENDS)}
        changes: dict[str, edit.Setting] = {key: str(value) for key, value in kept.items() if value is not None}
        for key in ("vif", "disk"):
            devices = config.get(key)
            changes[key] = [str(each) for each in devices] if isinstance(devices, list) else []
        changes |= {"type": "hvm", "memory": _memory(config), "serial": "pty", "vga": "none", "vnc": 0, "usb": 0}
        changes |= {"bios": "seabios", "device_model_version": "qemu-xen"}
        paths = {"device_model_override": PROGRAM, "firmware_override": LOADER, "bios_path_override": BIOS}
        changes |= {key: posixpath.join(device_model, name) for key, name in paths.items()}
        vifs = config.get("vif")
        none_emulated: dict[str, Device] = {
            str(number): {"type": "vif"} for number in range(len(vifs) if isinstance(vifs, list) else 0)
        }
        return edit.apply("", edit.Changes(changes, vif=none_emulated, disk=_disk(config, disk)))

    return change


def bring_device_model(host: Host, found: Graph, name: str) -> str:
    """Unpack the device model among the domain's files, which are removed with it; return its folder on the host."""
    from unibuild.lab import device_model
    from unibuild.util.progress import shown

    with shown() as progress:
        archive = device_model.find(found.project.settings.lab, progress)
    there = host.toolstack.put(archive, folder=host_files.host_folder(found.project.root, name))
    folder = f"{there}.unpacked"
    host.run(["mkdir", "-p", folder], root=False)
    host.run(["tar", "-xzf", there, "-C", folder], root=False)
    host.run(["rm", "-f", there], root=False)  # the file is in dom0's memory, which is small
    return folder


def _memory(config: parser.Config) -> int:
    return max(_MEMORY, config.number("memory") or 0)


def _disk(config: parser.Config, disk: str) -> dict[str, Device]:
    taken = {one.vdev for one in xl_file.disks(config)}
    vdev = next(f"xvd{letter}" for letter in "abcdefghijklmnopqrstuvwxyz" if f"xvd{letter}" not in taken)
    return {vdev: {"target": disk, "format": "raw", "access": "rw"}}


_LOADING = 60.0  # seconds for the loader on a busy machine
_BIOS_LOADING = 120.0  # additional seconds for an emulated PC
_BOOTING = "Booting `"  # the loader has read its menu
# The kernel's output: neither GRUB's messages about its screen, nor its error messages.
_KERNEL_SAYS = r"^(?!\r*(error: |WARNING: no console|Press any key)|.*  Booting `)[^\x1b]*[^\s\x1b]"
_REMEMBERED = 50  # images


def verify(found: Graph, image: DiskImage) -> None:
    """Verify that an image boots, unless that is known: ``[boot.ready]`` holds, or the kernel prints something.

    The lab is started if it is down. The result is recorded by the image's digest, ``[boot.ready]`` and the domain's
    other settings.

    Args:
        found: the project's graph, up to its ``.xl``.
        image: the image from ``unibuild.graph.disk_image.plan``.

    Raises:
        NotReadyError: it does not boot; the error has the end of its console.
        KernelError: no loader of the lab can start its kernel.
        HostError: the lab does not start, or went out of reach.
        DomainError: the domain cannot be created.
        FileError: a file cannot be read or written.
    """
    if image.kind == "pvh" and not has_multiboot_header(found.kernel):
        raise KernelError(
            f"{found.toolchain.kernel} lacks a multiboot header, which GRUB needs to start a PVH kernel",
            hint="Solo5 kernels have one; without it, only pygrub can start the image: set [publish] verify",
        )
    path = state_dir(found.project.root) / "verified.json"
    known = _known(path)
    this = _identity(found, image)
    if this in known:
        print("  the image booted in the lab before")
        return
    result = _boot(found, image)
    if result.outcome != "passed":
        raise NotReadyError(
            f"the image does not boot in the lab: {result.message}",
            hint="\n".join([*result.details, f"the whole console: {result.log}"]),
        )
    print(f"  the image boots in the lab, verified in {result.seconds:.1f} s")
    files.write_atomic(path, json.dumps([*known, this][-_REMEMBERED:]).encode())


def _boot(found: Graph, image: DiskImage) -> runner.CaseResult:
    """Boot the image in the lab, in an HVM domain if it has BIOS boot code, else in one of its kernel's type."""
    from unibuild.lab import image as lab_image
    from unibuild.lab.devices import plugged

    ready = found.project.settings.boot.ready
    loading = _LOADING + (_BIOS_LOADING if image.has_bios else 0)
    within = ready.timeout + loading
    # An HVM domain's loader prints to the serial port; only the kernel prints to the console that is read.
    console = (r"\S",) if image.has_bios else (_BOOTING, _KERNEL_SAYS)
    case = Case(console=console, timeout=within + loading, ready_within=within if ready.is_set else None)
    lab = found.project.settings.lab
    name = scratch_domain.fresh_name(xl_file.domain_name(found.project, found.start))
    disk = state_dir(found.project.root) / "test" / f"{name}.img"
    host = scratch_domain.open_host(msgspec.structs.replace(found.project.settings, host="lab", hosts={}))
    try:
        images.write(image, disk)
        loader = lab_image.loader(lab, image.kind)
        with scratch_domain.copies(host, found.project.root, name), plugged(host, disk) as device:
            if image.has_bios:
                change = from_bios(bring_device_model(host, found, name), device)
            else:
                change = from_loader(loader, image.kind, device)
            return runner.run_case(found, host, name, "image", case, change)
    finally:
        disk.unlink(missing_ok=True)


def _identity(found: Graph, image: DiskImage) -> str:
    ready = json.dumps(msgspec.to_builtins(found.project.settings.boot.ready), sort_keys=True)
    text = "\0".join((image.digest, image.kind, ready, found.render()))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _known(path: Path) -> list[str]:
    try:
        return [str(one) for one in json.loads(path.read_bytes())]
    except (OSError, ValueError, TypeError):
        return []
