"""The ``make`` toolchain: any kernel that a Makefile builds."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from unibuild.errors import BuildError, SettingsError
from unibuild.files import sha256
from unibuild.makefile import NAMES, find, kernels, targets
from unibuild.toolchain import listing
from unibuild.toolchain.base import OURS, Step, behind_door, make_argv, spelled

if TYPE_CHECKING:
    from pathlib import Path

    from unibuild.settings.model import Build

__all__ = ["NEED_MAKE", "Make"]

CONFIGURE_READS = (
    "configure",
    "configure.*",
    "*.ac",
    "*.m4",
    "*.in",
    "CMakeLists.txt",
    "*.cmake",
    "meson.*",
    "Kconfig*",
)
NEED_MAKE = {"make": "on Debian or Ubuntu: apt install make"}


class Make:
    """A project whose Makefile builds the kernel.

    Args:
        root: the project's folder, absolute.
        build: the ``[build]`` settings.

    Raises:
        SettingsError: they do not say where the kernel is.
    """

    name = "make"
    xl: Path | None = None
    xl_in: Path | None = None

    def __init__(self, root: Path, build: Build) -> None:
        if build.kernel is None:
            raise SettingsError(
                f"{root / 'unibuild.toml'} does not say which file the build leaves as the kernel",
                hint=f"add it:\n  [build]\n  kernel = {_proposed(root)}",
            )
        self.root = root
        self.build = build
        self.kernel = root / build.kernel
        self.behind = behind_door(root)

    def steps(self) -> tuple[Step, ...]:
        """Return the steps in their order; without ``build.configure`` and ``build.depend`` only the build."""
        steps = [self._build()]
        if self.build.depend is not None:
            steps.insert(0, self._depend(self.build.depend))
        if self.build.configure:
            steps.insert(0, self._configure())
        return tuple(steps)

    def digest(self, path: Path, step: str) -> str:  # noqa: ARG002 (one digest for all)
        """Return the hash of a file's bytes.

        Raises:
            FileError: the file cannot be read.
        """
        return sha256(path)

    def check(self, step: str) -> None:
        """See that the build left a kernel.

        Raises:
            BuildError: it did not.
        """
        if step == "build" and not self.kernel.is_file():
            raise BuildError(
                f"`{shlex.join(self._build().commands[0])}` succeeded and left no {self.kernel}",
                hint="[build] kernel names the file that make writes, and [build] target the Makefile's target; a file "
                "that was there before the first build does not count, and is put back",
            )

    def _configure(self) -> Step:
        found = listing.find(self.root, CONFIGURE_READS)
        named = (self.root / word for word in self.build.configure)
        return self._step(
            "configure",
            f"run {shlex.join(self.build.configure)}",
            self.build.configure,
            inputs=tuple(sorted({*found.files, *(path for path in named if path.is_file())})),
            folders=found.folders,
        )

    def _depend(self, target: str) -> Step:
        makefiles = self._makefiles()
        return self._step(
            "depend",
            f"fetch what the build needs (make {target})",
            make_argv(self.behind, target),
            made=makefiles if self.build.configure else (),
            inputs=() if self.build.configure else tuple(path for path in makefiles if path.is_file()),
        )

    def _build(self) -> Step:
        makefiles = self._makefiles() if self.build.configure else ()
        passed_over = () if self.behind is None else ("/GNUmakefile",)
        found = listing.find(self.root, self.build.sources, without=(*OURS, *passed_over))
        words = (self.build.target,) if self.build.target else ()
        return self._step(
            "build",
            f"build {self.build.kernel} with make",
            make_argv(self.behind, *words, jobs=self.build.jobs),
            inputs=tuple(path for path in found.files if path != self.kernel and path not in makefiles),
            folders=found.folders,
            made=makefiles,
            targets=(self.kernel,),
        )

    def _makefiles(self) -> tuple[Path, ...]:
        """Return what make may read as the makefile, there or not."""
        return tuple(self.root / name for name in NAMES if self.behind is None or name != "GNUmakefile")

    def _step(self, name: str, doc: str, argv: tuple[str, ...], **more: Any) -> Step:  # noqa: ANN401
        return Step(
            name=name,
            doc=doc,
            commands=(argv,),
            cwd=self.root,
            env=self.build.env,
            fingerprint={"arguments": shlex.join(argv), "environment": spelled(self.build.env)},
            needs={} if name == "configure" else NEED_MAKE,
            **more,
        )


def _proposed(root: Path) -> str:
    """Return a kernel of the project for the settings: one that make names or that is there, else a placeholder."""
    found = find(root)
    named = kernels(targets(found)) if found else ()
    there = sorted(path.name for path in root.glob("*.xen"))
    names = [*named, *there]
    return f'"{names[0]}"' if names else '"..."  # the file that make writes'
