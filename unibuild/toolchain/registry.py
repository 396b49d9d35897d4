"""Chooses what builds a project's kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibuild.errors import SettingsError
from unibuild.toolchain import makefile

if TYPE_CHECKING:
    from unibuild.settings.loader import Project
    from unibuild.toolchain.base import Toolchain

__all__ = ["choose"]


def choose(project: Project) -> Toolchain:
    """Return the toolchain that the settings ask for, or with ``auto`` the one that the tree looks like.

    Raises:
        SettingsError: the tree looks like none, or the settings lack what the toolchain needs.
        MissingError: there is no ``mirage``, or not one that unibuild can drive.
        FileError: the configuration file cannot be read.
    """
    root, settings = project.root, project.settings
    kind = settings.build.toolchain
    if kind == "auto":
        kind = "mirage" if (root / settings.mirage.config).is_file() else "make"
        if kind == "make" and makefile.find(root) is None and not settings.build.configure:
            raise SettingsError(
                f"nothing to build in {root}: it has neither a {settings.mirage.config} nor a Makefile",
                hint="go to the unikernel's folder, or start from one of the examples",
            )
    if kind == "make":
        from unibuild.toolchain.make import Make

        return Make(root, settings.build)
    from unibuild.toolchain.mirage.mirage_version import mirage_version
    from unibuild.toolchain.mirage.toolchain import Mirage

    return Mirage(root, settings, *mirage_version(root, settings.build.env))
