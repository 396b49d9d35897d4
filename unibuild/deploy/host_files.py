"""Copy a domain's files to its host."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild import kernel as kernels
from unibuild.domain import preflight, records
from unibuild.errors import KernelError
from unibuild.graph import xl_file as xlfile
from unibuild.host.toolstack import HostQueries
from unibuild.settings.loader import state_dir
from unibuild.util.files import write_atomic
from unibuild.xlcfg import devices, edit, parser

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from unibuild.domain.generations import Generation
    from unibuild.host.base import Host
    from unibuild.host.toolstack import HostFacts
    from unibuild.settings.loader import Project

__all__ = ["SMALL", "HostFiles", "copy_to_host", "host_folder", "prepare", "queries"]

SMALL = 2 << 20
"""Bytes of a kernel that is copied in the exchange that creates the domain, which Ctrl-C does not interrupt."""


def queries(host: Host, project: Project, name: str, generation: Generation | None) -> HostQueries:
    """Return what to ask the host before a domain is created there.

    Args:
        host: the host.
        project: the project.
        name: the domain's name.
        generation: the generation to boot; None: only recover.

    Raises:
        FileError: its ``.xl`` cannot be read.
        XlSyntaxError: xl would refuse it.
    """
    folder = host_folder(project.root, name)
    if generation is None:
        return HostQueries(folder)
    config = parser.parse(xlfile.read(generation.xl), str(generation.xl))
    return preflight.queries(host, config, _elsewhere(xlfile.disks(config)), folder)


def _elsewhere(disks: Iterable[xlfile.Disk]) -> tuple[xlfile.Disk, ...]:
    """Return the disks that are not files on this machine."""
    return tuple(disk for disk in disks if not (disk.is_path and disk.target.is_file()))


def prepare(
    host: Host,
    project: Project,
    generation: Generation,
    made_from: records.BootFiles,
    leaving: Collection[str],
    facts: HostFacts | None = None,
) -> tuple[HostFiles, preflight.HostCapacity, records.DomainRecord]:
    """Copy a domain's files to its host, and check that the host can take it; create and stop nothing.

    ``Toolstack.launch`` copies the ``.xl``, and a kernel that is small.

    Args:
        host: the host.
        project: the project.
        generation: the generation to boot.
        made_from: identities of the project's files.
        leaving: uuids of the domains that it replaces.
        facts: what is known of the host already; None: ask it.

    Raises:
        DomainError: the host cannot take it.
        HostError: the host cannot be reached.
        FileError: a file cannot be read.
    """
    files = {"kernel": generation.kernel, **({"ramdisk": generation.ramdisk} if generation.ramdisk else {})}
    later = "kernel" if generation.kernel_size <= SMALL else None
    deployed = _copy(host, generation.xl, project.root, state_dir(project.root), files, later=later)
    kernel_facts, disks = _inspect(generation.kernel), deployed.elsewhere
    seen = preflight.check(host, deployed.config, kernel=kernel_facts, disks=disks, replaced=leaving, facts=facts)
    asked = deployed.config.get("uuid")
    instance = records.DomainRecord(
        uuid=asked if isinstance(asked, str) else str(uuid.uuid4()),
        name=deployed.name,
        generation=generation.number,
        files=made_from,
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return deployed, seen, instance


def _inspect(path: Path) -> kernels.Kernel | None:
    try:
        return kernels.inspect(path)
    except KernelError:  # xl decides
        return None


@dataclass(frozen=True)
class HostFiles:
    """A domain's files on the host.

    Attributes:
        source: the ``.xl`` on this machine, with paths of the host.
        folder: of the domain's files there; see ``Host.put``.
        xl: absolute path of the ``.xl`` there.
        config: its content.
        files: paths of all copied files there.
        elsewhere: disks that are not files on this machine.
        upload: a file on this machine that is to be put in the folder.
    """

    source: Path
    folder: str
    xl: str
    config: parser.Config
    files: tuple[str, ...]
    elsewhere: tuple[xlfile.Disk, ...] = ()
    upload: Path | None = None

    @property
    def name(self) -> str:
        """The domain's name."""
        return str(self.config.get("name"))


def host_folder(root: Path, name: str) -> str:
    """Return the name of a domain's folder on its host; it differs for other projects and other machines.

    Args:
        root: the project's folder.
        name: the domain's name.
    """
    owner = hashlib.sha256(f"{os.uname().nodename}:{os.getuid()}:{root}".encode(errors="surrogateescape")).hexdigest()
    return re.sub(r"[^A-Za-z0-9_.+-]", "-", name)[:64] + f"-{owner[:8]}"


def copy_to_host(
    host: Host, xl_file: Path, root: Path, scratch: Path, instead: Mapping[str, Path] | None = None
) -> HostFiles:
    """Copy the kernel, the ramdisk, the disks and the ``.xl`` to the host, except files that only the host has.

    A disk that the domain writes to becomes a working copy there, which the domain keeps from boot to boot until the
    local file changes. A network device without an address gets one that is the same at every boot, so that a DHCP
    server gives it the same lease.

    Args:
        host: the host.
        xl_file: the ``.xl``, with paths of this machine.
        root: the project's folder.
        scratch: local folder for the ``.xl`` with paths of the host.
        instead: files that replace those in the ``.xl``, by key: ``kernel``, ``ramdisk``.

    Raises:
        FileError: a file cannot be read here.
        HostError: it cannot be written there.
    """
    found = _copy(host, xl_file, root, scratch, instead or {}, later=None)
    host.toolstack.put(found.source, folder=found.folder)
    return found


def _copy(
    host: Host, xl_file: Path, root: Path, scratch: Path, instead: Mapping[str, Path], *, later: str | None
) -> HostFiles:
    """Do what ``copy_to_host`` does, but for the ``.xl`` itself, which is only written here.

    The file with the key ``later`` is not copied either.
    """
    text = xlfile.read(xl_file)
    config = parser.parse(text, str(xl_file))
    folder = host_folder(root, str(config.get("name")))
    named = ("kernel", "ramdisk")
    files = {key: Path(str(config.get(key))) for key in named if config.get(key)} | dict(instead)
    copies = {
        key: (host.toolstack.place if key == later else host.toolstack.put)(path, folder=folder)
        for key, path in files.items()
    }
    moved = {}
    disks = xlfile.disks(config)
    for disk in disks:
        if disk.is_path and disk.target.is_file():
            copies[disk.vdev] = host.toolstack.put(
                disk.target, folder=folder, own=disk.vdev if disk.is_written else None
            )
            moved[disk.number] = {"target": copies[disk.vdev]}
    paths: dict[str, edit.Setting] = {key: copies[key] for key in named if key in copies}
    changes = edit.Changes(paths, vif=_addresses(config, host.address), disk=moved)
    there = edit.apply(text, changes, str(xl_file))
    source = xl_file
    if there != text:
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", host.name)  # several hosts may boot at the same time
        source = scratch / f"{xl_file.stem}@{name}.remote.xl"
        write_atomic(source, there.encode(errors="surrogateescape"))
    path = host.toolstack.place(source, folder=folder)
    paths_there, upload = (*copies.values(), path), files.get(later or "")
    return HostFiles(source, folder, path, parser.parse(there, path), paths_there, _elsewhere(disks), upload)


def _addresses(config: parser.Config, host: str) -> dict[str, dict[str, str]]:
    """Return MAC addresses for the network devices that lack one; xl would choose a random one at every boot.

    They begin with Xen's own prefix (xl-network-configuration(5), "mac").
    """
    vifs = config.get("vif")
    found = {}
    for number, spec in enumerate(vifs if isinstance(vifs, list) else []):
        if "mac" not in devices.parse_vif(str(spec)):
            drawn = hashlib.sha256(f"{host} {config.get('name')} {number}".encode()).hexdigest()
            found[str(number)] = {"mac": f"00:16:3e:{drawn[:2]}:{drawn[2:4]}:{drawn[4:6]}"}
    return found
