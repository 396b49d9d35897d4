"""Bringing a domain's files to its host, and looking whether the host can take it, before anything is ended there."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.domain import xl
from unibuild.errors import DomainError
from unibuild.files import write_whole
from unibuild.tasks import xlfile
from unibuild.xl import devices, grammar, patch

if TYPE_CHECKING:
    from unibuild.host.base import Host

__all__ = ["Deployed", "bring", "check_bridges", "check_disks", "check_memory", "check_name", "folder"]


@dataclass(frozen=True)
class Deployed:
    """A domain's files on the host.

    Attributes:
        xl: absolute path of the ``.xl`` there.
        config: what it says.
        files: paths there of all that was put there.
        elsewhere: the disks that are no files here.
    """

    xl: str
    config: grammar.Config
    files: tuple[str, ...]
    elsewhere: tuple[xlfile.Disk, ...] = ()

    @property
    def name(self) -> str:
        """The domain's name."""
        return str(self.config.get("name"))


def folder(root: Path, name: str) -> str:
    """Return the name of a domain's folder on its host: no other project's, and no other machine's.

    Args:
        root: the project's folder.
        name: what the domain is called.
    """
    whose = hashlib.sha256(f"{os.uname().nodename}:{os.getuid()}:{root}".encode(errors="surrogateescape")).hexdigest()
    return re.sub(r"[^A-Za-z0-9_.+-]", "-", name)[:64] + f"-{whose[:8]}"


def bring(host: Host, xl_file: Path, root: Path, scratch: Path) -> Deployed:
    """Put the kernel, the ramdisk, the disks and the ``.xl`` on the host; files that only it has are its own affair.

    A disk that the domain writes to becomes a working copy there, which the domain keeps from boot to boot until the
    file here changes. A network device without an address gets one that is the same at every boot, so that a DHCP
    server gives it the same lease.

    Args:
        host: where to.
        xl_file: the ``.xl``, with paths of this machine.
        root: the project's folder.
        scratch: folder of this machine for the ``.xl`` with paths of the host.

    Raises:
        FileError: a file cannot be read here.
        HostError: it cannot be written there.
    """
    text = xlfile.read(xl_file)
    config = grammar.parse(text, str(xl_file))
    place = folder(root, str(config.get("name")))
    named = ("kernel", "ramdisk")
    copies = {key: host.put(Path(str(config.get(key))), folder=place) for key in named if config.get(key)}
    moved = {}
    disks = xlfile.disks(config)
    for disk in disks:
        if disk.target.is_file():
            copies[disk.vdev] = host.put(disk.target, folder=place, own=disk.vdev if disk.is_written else None)
            moved[disk.number] = {"target": copies[disk.vdev]}
    files: dict[str, patch.Setting] = {key: copies[key] for key in named if key in copies}
    changes = patch.Changes(files, vif=_addresses(config, host.name), disk=moved)
    there = patch.apply(text, changes, str(xl_file))
    if there == text:
        path = host.put(xl_file, folder=place)
    else:
        beside = scratch / f"{xl_file.stem}.remote.xl"
        write_whole(beside, there.encode(errors="surrogateescape"))
        path = host.put(beside, folder=place)
    elsewhere = tuple(disk for disk in disks if disk.number not in moved)
    return Deployed(path, grammar.parse(there, path), (*copies.values(), path), elsewhere)


def _addresses(config: grammar.Config, host: str) -> dict[str, dict[str, str]]:
    """Return MAC addresses for the network devices that have none; xl would draw one by lot at every boot.

    The first half is that which Xen owns (xl-network-configuration(5), "mac").
    """
    vifs = config.get("vif")
    found = {}
    for number, spec in enumerate(vifs if isinstance(vifs, list) else []):
        if "mac" not in devices.parse_vif(str(spec)):
            drawn = hashlib.sha256(f"{host} {config.get('name')} {number}".encode()).hexdigest()
            found[str(number)] = {"mac": f"00:16:3e:{drawn[:2]}:{drawn[2:4]}:{drawn[4:6]}"}
    return found


def check_name(host: Host, name: str, ours: str | None, domains: tuple[xl.Domain, ...]) -> xl.Domain | None:
    """Return our older domain among those of the host, or None.

    Args:
        host: the host.
        name: what the new domain shall be called.
        ours: the uuid of the one that we made last.
        domains: all of the host.

    Raises:
        DomainError: one of that name is not ours.
    """
    for domain in domains:
        if domain.name == name and domain.uuid != ours:
            raise DomainError(
                f"a domain called {name} is on {host.name} already, and it is not ours (domain {domain.domid})",
                hint=f"end it there yourself (xl destroy {domain.domid}), or give ours another name (name = ...)",
            )
    return next((domain for domain in domains if domain.uuid == ours), None)


def check_bridges(host: Host, config: grammar.Config) -> None:
    """Look whether the host has the bridges of the domain's network devices.

    Raises:
        DomainError: it lacks one.
    """
    vifs = config.get("vif")
    wanted = {}
    for number, spec in enumerate(vifs if isinstance(vifs, list) else []):
        vif = devices.parse_vif(str(spec))
        if isinstance(vif.get("bridge"), str) and "vif-bridge" in str(vif.get("script", "vif-bridge")):
            wanted[number] = str(vif["bridge"])
    if not wanted:
        return
    there = host.run(["ls", "/sys/class/net"], root=False).text.split()
    for number, bridge in wanted.items():
        if bridge not in there:
            others = [name for name in there if name != "lo" and not name.startswith("vif")]
            raise DomainError(
                f"{host.name} has no bridge {bridge} for network device {number} of {config.get('name')}",
                hint=f'make it there, or set [xl.vif.{number}] bridge = "..."; it has: {", ".join(others) or "none"}',
            )


def check_disks(host: Host, deployed: Deployed) -> None:
    """Look whether the host has the disks that are no files here.

    Raises:
        DomainError: it lacks one.
    """
    wanted = [disk for disk in deployed.elsewhere if disk.is_path]
    if not wanted:
        return
    there = host.run(["ls", "-d", *(str(disk.target) for disk in wanted)], check=False).text.splitlines()
    for disk in wanted:
        if str(disk.target) not in there:
            raise DomainError(
                f"neither {host.name} nor this machine has {disk.target} for the disk {disk.vdev} of {deployed.name}",
                hint=f'make it (`truncate -s 16M FILE`), or name another: [xl.disk.{disk.vdev}] target = "..."',
            )


def check_memory(host: Host, config: grammar.Config, domains: tuple[xl.Domain, ...], old: xl.Domain | None) -> None:
    """Look whether the host can have the domain's memory once our older domain has given back its own.

    Args:
        host: the host.
        config: what the ``.xl`` says.
        domains: all of the host.
        old: the one that will be ended.

    Raises:
        DomainError: it cannot.
    """
    wanted = config.get("memory")
    free = xl.available_memory(host, domains) + (old.memory if old else 0)
    if isinstance(wanted, int) and wanted > free:
        raise DomainError(
            f"{config.get('name')} wants {wanted} MiB of memory and {host.name} has {free}",
            hint="give it less ([xl] memory = ...), end another domain, or give the lab more ([lab] memory = ...)",
        )
