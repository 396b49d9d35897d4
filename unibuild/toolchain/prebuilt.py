"""The ``prebuilt`` toolchain: a kernel that is there already, built elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibuild.errors import BuildError, SettingsError
from unibuild.toolchain.base import Step
from unibuild.util.files import sha256

if TYPE_CHECKING:
    from pathlib import Path

    from unibuild.settings.model import Build

__all__ = ["PrebuiltToolchain", "find_kernel"]


class PrebuiltToolchain:
    """A project with a kernel from elsewhere; an ``.xl`` file of the same name next to it describes the domain.

    Args:
        root: the project's folder, absolute.
        build: the ``[build]`` settings.

    Raises:
        SettingsError: they do not say which file is the kernel, and the folder does not show it.
    """

    name = "prebuilt"
    has_mirage_cmdline = False
    xl_in: Path | None = None

    def __init__(self, root: Path, build: Build) -> None:
        kernel = find_kernel(root, build)
        if kernel is None:
            raise SettingsError(
                f"{root / 'unibuild.toml'} does not say which file is the kernel",
                hint="set [build] kernel; without it there must be one file *.xen",
            )
        self.root = root
        self.kernel = kernel
        described = kernel.with_suffix(".xl")
        self.xl: Path | None = described if described.is_file() else None

    def steps(self) -> tuple[Step, ...]:
        """Return the only step, which runs no command: unibuild copies the kernel after it."""
        return (
            Step(
                name="build",
                doc=f"take {self.kernel.name} as it is",
                commands=(),
                cwd=self.root,
                inputs=(self.kernel,) if self.kernel.is_file() else (),
                folders=(self.kernel.parent,),
            ),
        )

    def digest(self, path: Path, step: str) -> str:  # noqa: ARG002 (one digest for all)
        """Return the hash of a file's bytes.

        Raises:
            FileError: the file cannot be read.
        """
        return sha256(path)

    def question(self, step: str) -> None:  # noqa: ARG002
        """Return None: no tool builds the kernel."""
        return

    def database(self) -> None:
        """Return None: make does not build the kernel."""
        return

    def check(self, step: str) -> None:  # noqa: ARG002
        """See that the kernel is there.

        Raises:
            BuildError: it is not.
        """
        if not self.kernel.is_file():
            raise BuildError(f"there is no kernel {self.kernel}", hint="[build] kernel names the file, built elsewhere")


def find_kernel(root: Path, build: Build) -> Path | None:
    """Return the kernel of a folder without a build: the one that the settings name, else the only ``*.xen`` file."""
    if build.kernel is not None:
        return root / build.kernel
    found = [path for path in root.glob("*.xen") if path.is_file()]
    return found[0] if len(found) == 1 else None
