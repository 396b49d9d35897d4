"""The settings of the disk image; part of the tree in settings/model.py."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

__all__ = ["Image"]


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The disk image that a boot loader starts the kernel from: what `image` writes and `publish_ami` sends."""

    file: Annotated[
        str | None,
        Meta(description="Where `image` writes it, from the project's folder. Not set: `.unibuild/NAME.img`."),
    ] = None
    path: Annotated[str, Meta(description="The kernel's path in the image.", pattern=r"^/[^ ]+$")] = "/kernel"
    cmdline: Annotated[
        str | None, Meta(description="The kernel's command line in the image. Not set: what the `.xl` says.")
    ] = None
    ramdisks: Annotated[
        tuple[str, ...] | None,
        Meta(
            description="Ramdisks and modules, from the project's folder: one is what `ramdisk` in the `.xl` is, "
            "several are handed over as the modules of a multiboot loader. Not set: the `ramdisk` of the `.xl`."
        ),
    ] = None
    bios: Annotated[
        bool,
        Meta(
            description="Whether GRUB for a BIOS is in it too, for a PVH kernel in a Xen HVM domain. With "
            '`[publish] virtualization = "hvm"` it is in any case.'
        ),
    ] = False
