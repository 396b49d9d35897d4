"""Seeing an image boot before it is sent anywhere: in the lab, from a disk, through a boot loader that reads it there.

The loader is GRUB 2 as a kernel of Xen's: PV-GRUB itself, which EC2 has, is in no distribution any more. An image with
boot code for a BIOS is booted by that, in an HVM domain whose device model is brought into the box for it.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import msgspec

from unibuild.aws import multiboot
from unibuild.errors import KernelError, NotReadyError
from unibuild.graph import disk_image as images
from unibuild.graph import xl_file
from unibuild.settings.loader import state_dir
from unibuild.settings.model import Case
from unibuild.testing import from_disk, runner, scratch_domain
from unibuild.util import files

if TYPE_CHECKING:
    from pathlib import Path

    from unibuild.graph.graph import Graph
    from unibuild.image.disk import Image

__all__ = ["verify"]

_LOADING = 60.0  # seconds that the loader may take on a busy machine
_BIOS_LOADING = 120.0  # more of them, with a whole PC emulated around it
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
        image: what ``unibuild.graph.disk_image.plan`` made of it.

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


def _boot(found: Graph, image: Image) -> runner.Result:
    """Boot the image in the lab; a domain with a BIOS where it has boot code for one, else what its kernel is for."""
    from unibuild.lab import image as box
    from unibuild.lab.devices import plugged

    ready = found.project.settings.boot.ready
    loading = _LOADING + (_BIOS_LOADING if image.has_bios else 0)
    within = ready.timeout + loading
    # An HVM domain's loader speaks on the serial port, and its kernel alone on the console that we read.
    said = (r"\S",) if image.has_bios else (_BOOTING, _KERNEL_SAYS)
    case = Case(console=said, timeout=within + loading, ready_within=within if ready.is_set else None)
    lab = found.project.settings.lab
    name = scratch_domain.fresh_name(xl_file.domain_name(found.project, found.start))
    disk = state_dir(found.project.root) / "test" / f"{name}.img"
    host = scratch_domain.open_host(msgspec.structs.replace(found.project.settings, host="lab", hosts={}))
    try:
        images.write(image, disk)
        loader = box.loader(lab, image.kind)
        with scratch_domain.copies(host, found.project, name), plugged(host, disk) as device:
            if image.has_bios:
                change = from_disk.from_bios(from_disk.bring_device_model(host, found, name), device)
            else:
                change = from_disk.from_loader(loader, image.kind, device)
            return runner.attempt(found, host, name, "image", case, change)
    finally:
        disk.unlink(missing_ok=True)


def _identity(found: Graph, image: Image) -> str:
    ready = json.dumps(msgspec.to_builtins(found.project.settings.boot.ready), sort_keys=True)
    told = "\0".join((image.digest, image.kind, ready, found.render()))
    return hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()


def _known(path: Path) -> list[str]:
    try:
        return [str(one) for one in json.loads(path.read_bytes())]
    except (OSError, ValueError, TypeError):
        return []
