"""The disk image of a project: its kernel, the command line of its ``.xl``, and what ``[image]`` says."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from unibuild import kernel
from unibuild.errors import KernelError, SettingsError
from unibuild.image import disk as images
from unibuild.image.grub_config import CommandLine
from unibuild.util import files
from unibuild.xlcfg import cmdline, parser

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    from unibuild.graph.graph import Graph
    from unibuild.image.bios_boot import BiosLoader
    from unibuild.image.disk import DiskImage

__all__ = ["plan", "warnings", "write"]

_HOLE = 4096  # bytes of zeros that no file system here keeps


def plan(found: Graph) -> DiskImage:
    """Return the image of a project that has a kernel; write nothing.

    Raises:
        KernelError: it is not a Xen kernel, or not one of the type that is asked for.
        InputError: the ``.xl``, a template or a setting is wrong, or the boot loaders cannot keep the command line.
        FileError: a file cannot be read.
    """
    settings = found.project.settings.image
    config = parser.parse(found.render(), str(found.xl))
    about = kernel.inspect(found.kernel)
    kind: Literal["pv", "pvh"] = "pv" if not about.pvh or config.get("type") == "pv" else "pvh"
    text = cmdline.effective(config) if settings.cmdline is None else settings.cmdline
    is_mirage = found.toolchain.has_mirage_cmdline or about.solo5_abi is not None
    is_old = kind == "pv" or re.match(r"3\.|4\.[0-3]\.", getattr(found.toolchain, "version", "")) is not None
    line = CommandLine(text, cmdline.split(text, old=is_old) if is_mirage else None)
    ramdisk = config.get("ramdisk")
    named = settings.ramdisks if settings.ramdisks is not None else [str(ramdisk)] if ramdisk else []
    modules = [found.project.root / name for name in named]
    bios = _bios(kind) if settings.bios or found.project.settings.publish.virtualization == "hvm" else None
    if bios and not line.is_exact and line.words is None:
        raise SettingsError(
            "GRUB for a BIOS cannot hand over a command line with quotes or backslashes",
            hint="write it without them, in [xl] cmdline or [image] cmdline",
        )
    return images.make(
        found.kernel, line, kind, project=found.project.root, modules=modules, path=settings.path, bios=bios
    )


def warnings(found: Graph, image: DiskImage) -> list[str]:
    """Return what not every boot loader can do with an image, in sentences.

    Raises:
        FileError: the kernel cannot be read.
    """
    said = []
    if image.kind == "pvh" and not kernel.has_multiboot_header(found.kernel):
        said.append("GRUB 2 cannot start it: its kernel has no multiboot header; pygrub can")
    if not image.line.is_exact and image.line.words is None:
        said.append("GRUB 2 will hand the command line over with a backslash before each of its quotes and backslashes")
    return said


def write(image: DiskImage, path: Path) -> None:
    """Write an image to a file, in which zeros are holes.

    Raises:
        FileError: a file cannot be read, or the disk is full.
    """
    with files.writing(path) as beside, beside.open("r+b", buffering=0) as file:
        file.truncate(image.size)
        for index, content in enumerate(image.blocks()):
            for at in range(0, images.BLOCK, _HOLE):
                if any(piece := content[at : at + _HOLE]):
                    os.pwrite(file.fileno(), piece, index * images.BLOCK + at)


def _bios(kind: Literal["pv", "pvh"]) -> BiosLoader:
    from unibuild.lab import grub_bios as bios
    from unibuild.util.progress import shown

    if kind == "pv":
        raise KernelError(
            "a PV kernel cannot start in an HVM domain, and GRUB for a BIOS is of no use to it",
            hint='build it for PVH, or take out [image] bios and [publish] virtualization = "hvm"',
        )
    with shown() as progress:
        return bios.find(progress)
