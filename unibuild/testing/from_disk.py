"""How a domain of the lab boots an image from a disk: what has to be different in its ``.xl``."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from unibuild.deploy import copy_files
from unibuild.graph import xl_file
from unibuild.xlcfg import edit, grammar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Literal

    from unibuild.graph.graph import Graph
    from unibuild.host.base import Host
    from unibuild.xlcfg.devices import Device

__all__ = ["bring_device_model", "from_bios", "from_loader"]

_MEMORY = 128  # MiB that the loader has enough of; an instance of EC2 has more


def from_loader(loader: Path, kind: Literal["pv", "pvh"], disk: str) -> Callable[[str], str]:
    """Return what makes an ``.xl`` one whose domain starts a loader, with the image on its first free disk.

    Args:
        loader: its file here.
        kind: the type of the domain.
        disk: the image on the host.
    """

    def change(text: str) -> str:
        config = grammar.parse(text)
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
    """Return what makes an ``.xl`` that of an HVM domain, with the image on its first free disk.

    Args:
        device_model: the folder on the host where it is.
        disk: the image on the host.
    """
    from unibuild.lab.device_model import BIOS, LOADER, PROGRAM

    def change(text: str) -> str:
        config = grammar.parse(text)
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
    """Unpack the device model among the domain's files, with which it goes; return its folder on the host."""
    from unibuild.lab import device_model
    from unibuild.util.progress import shown

    with shown() as progress:
        archive = device_model.find(found.project.settings.lab, progress)
    there = host.put(archive, folder=copy_files.folder(found.project.root, name))
    folder = f"{there}.unpacked"
    host.run(["mkdir", "-p", folder], root=False)
    host.run(["tar", "-xzf", there, "-C", folder], root=False)
    host.run(["rm", "-f", there], root=False)  # dom0 has little memory, and this is in it
    return folder


def _memory(config: grammar.Config) -> int:
    return max(_MEMORY, config.number("memory") or 0)


def _disk(config: grammar.Config, disk: str) -> dict[str, Device]:
    taken = {one.vdev for one in xl_file.disks(config)}
    vdev = next(f"xvd{letter}" for letter in "abcdefghijklmnopqrstuvwxyz" if f"xvd{letter}" not in taken)
    return {vdev: {"target": disk, "format": "raw", "access": "rw"}}
