"""The toolchains that unibuild knows, and the choice of one for a project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from unibuild.errors import SettingsError
from unibuild.toolchain import makefile

if TYPE_CHECKING:
    from collections.abc import Callable

    from unibuild.settings.loader import Project
    from unibuild.toolchain.base import Toolchain

__all__ = ["TOOLCHAINS", "Registration", "choose"]


@dataclass(frozen=True)
class Registration:
    """One toolchain, as ``choose`` finds it.

    Attributes:
        matches: returns whether ``toolchain = "auto"`` takes it for a project.
        create: returns the toolchain of a project; raises SettingsError, MissingError or FileError.
    """

    matches: Callable[[Project], bool]
    create: Callable[[Project], Toolchain]


def choose(project: Project) -> Toolchain:
    """Return the toolchain that the settings name; for ``auto`` the first with a ``matches`` that accepts the project.

    Raises:
        SettingsError: the name is unknown, no toolchain matches, or the settings lack what the toolchain needs.
        MissingError: there is no ``mirage``, or none that unibuild can drive.
        FileError: the configuration file cannot be read.
    """
    name = project.settings.build.toolchain
    if name != "auto":
        if name not in TOOLCHAINS:
            raise SettingsError(f"[build] toolchain: unknown: {name}", hint=f"known: auto, {', '.join(TOOLCHAINS)}")
        return TOOLCHAINS[name].create(project)
    for registration in TOOLCHAINS.values():
        if registration.matches(project):
            return registration.create(project)
    raise SettingsError(
        f"nothing to build in {project.root}: no {project.settings.mirage.config} and no Makefile",
        hint="go to the unikernel's folder, or start from one of the examples; for a kernel that is there already, set "
        '[build] toolchain = "prebuilt"',
    )


def _has_config(project: Project) -> bool:
    return (project.root / project.settings.mirage.config).is_file()


def _mirage(project: Project) -> Toolchain:
    from unibuild.toolchain.mirage.installation import mirage_version
    from unibuild.toolchain.mirage.toolchain import MirageToolchain

    root, settings = project.root, project.settings
    return MirageToolchain(root, settings, *mirage_version(root, settings.build.env))


def _has_makefile(project: Project) -> bool:
    return makefile.find(project.root) is not None or bool(project.settings.build.configure)


def _make(project: Project) -> Toolchain:
    from unibuild.toolchain.make import MakeToolchain

    return MakeToolchain(project.root, project.settings.build)


def _never(_: Project) -> bool:
    """Return False: a project that lacks its Makefile for a moment must not boot the kernel of an earlier build."""
    return False


def _prebuilt(project: Project) -> Toolchain:
    from unibuild.toolchain.prebuilt import PrebuiltToolchain

    return PrebuiltToolchain(project.root, project.settings.build)


TOOLCHAINS: dict[str, Registration] = {
    "mirage": Registration(_has_config, _mirage),
    "make": Registration(_has_makefile, _make),
    "prebuilt": Registration(_never, _prebuilt),
}
"""Toolchains by their name in ``[build] toolchain``, in the order in which ``auto`` tries them."""
