"""Seeing an image boot before it is sent anywhere: in the lab, from a disk, through a boot loader that reads it there.

The loader is GRUB 2 as a kernel of Xen's: PV-GRUB itself, which EC2 has, is in no distribution any more.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import msgspec

from unibuild import files
from unibuild.aws import multiboot
from unibuild.errors import KernelError, NotReadyError
from unibuild.settings.model import Case
from unibuild.settings.sources import state_dir
from unibuild.tasks import guest, trial, xlfile
from unibuild.tasks import image as images
from unibuild.xl import grammar, patch

if TYPE_CHECKING:
    from pathlib import Path

    from unibuild.aws.image import Image
    from unibuild.tasks.graph import Graph

__all__ = ["verify"]

_LOADING = 60.0  # seconds that the loader may take on a busy machine
_MEMORY = 128  # MiB that the loader has enough of; an instance of EC2 has more
_BOOTING = "Booting `"  # the loader has read its menu
# What the kernel says: neither what GRUB tells of its own screen, nor what it tells where it fails.
_KERNEL_SAYS = r"^(?!\r*(error: |WARNING: no console|Press any key)|.*  Booting `)[^\x1b]*[^\s\x1b]"
_REMEMBERED = 50  # images


def verify(found: Graph, image: Image) -> None:
    """See that an image boots, unless it was seen before: ``[boot.ready]`` holds, or the kernel says something.

    The lab is started where it does not run. What was seen is remembered for the image's digest, what ``[boot.ready]``
    wants and the rest of the domain.

    Args:
        found: the project's graph, up to its ``.xl``.
        image: what ``unibuild.tasks.image.plan`` made of it.

    Raises:
        NotReadyError: it does not boot; with the end of its console.
        KernelError: no loader of the lab can start its kernel.
        HostError: the lab does not start, or went out of reach.
        DomainError: the domain cannot be created.
        FileError: a file cannot be read or written.
    """
    if image.kind == "pvh" and not multiboot.has_header(found.kernel):
        raise KernelError(
            f"{found.toolchain.kernel} has no multiboot header, without which GRUB cannot start a PVH kernel",
            hint="kernels of Solo5 have one; the image can still be started by pygrub, or not be verified",
        )
    path = state_dir(found.project.root) / "verified.json"
    known = _known(path)
    this = _identity(found, image)
    if this in known:
        print("  the image was seen to boot in the lab before")
        return
    result = _boot(found, image)
    if result.outcome != "passed":
        raise NotReadyError(
            f"the image does not boot in the lab: {result.message}",
            hint="\n".join([*result.details, f"the whole console: {result.log}"]),
        )
    print(f"  the image boots in the lab: seen in {result.seconds:.1f} s")
    files.write_whole(path, json.dumps([*known, this][-_REMEMBERED:]).encode())


def _boot(found: Graph, image: Image) -> trial.Result:
    from unibuild.lab import image as box

    ready = found.project.settings.boot.ready
    within = ready.timeout + _LOADING
    case = Case(
        console=(_BOOTING, _KERNEL_SAYS), timeout=within + _LOADING, ready_within=within if ready.is_set else None
    )
    settings = msgspec.structs.replace(found.project.settings, host="lab", hosts={})
    name = guest.fresh_name(xlfile.domain_name(found.project, found.start))
    disk = state_dir(found.project.root) / "test" / f"{name}.img"
    host = guest.open_host(settings)
    loader = box.loader(settings.lab, image.kind)
    try:
        images.write(image, disk)
        with guest.copies(host, found.project, name):
            return trial.attempt(found, host, name, "image", case, lambda text: _from_disk(text, image, disk, loader))
    finally:
        disk.unlink(missing_ok=True)


def _from_disk(text: str, image: Image, disk: Path, loader: Path) -> str:
    """Return the text of an ``.xl`` whose domain starts a loader, with the image on its first free disk."""
    config = grammar.parse(text)
    taken = {one.vdev for one in xlfile.disks(config)}
    vdev = next(f"xvd{letter}" for letter in "abcdefghijklmnopqrstuvwxyz" if f"xvd{letter}" not in taken)
    memory = max(_MEMORY, int(str(config.get("memory") or 0)))
    changes: dict[str, patch.Setting] = {"kernel": str(loader), "type": image.kind, "memory": memory, "cmdline": ""}
    if config.get("ramdisk"):
        changes["ramdisk"] = ""
    disks = {vdev: {"target": str(disk), "format": "raw", "access": "rw"}}
    return patch.apply(text, patch.Changes(changes, disk=disks))


def _identity(found: Graph, image: Image) -> str:
    ready = json.dumps(msgspec.to_builtins(found.project.settings.boot.ready), sort_keys=True)
    told = "\0".join((image.digest, image.kind, ready, found.render()))
    return hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()


def _known(path: Path) -> list[str]:
    try:
        return [str(one) for one in json.loads(path.read_bytes())]
    except (OSError, ValueError, TypeError):
        return []
