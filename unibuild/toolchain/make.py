"""The ``make`` toolchain: any kernel that a Makefile builds."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from unibuild.errors import BuildError, SettingsError
from unibuild.files import sha256
from unibuild.makefile import NAMES, find, kernels, targets
from unibuild.stamps import path_of
from unibuild.toolchain import listing, mentions
from unibuild.toolchain.base import OURS, Step, behind_door, identity, make_argv, spelled, values
from unibuild.toolchain.learned import Learned
from unibuild.toolchain.sources import Found, git_state

if TYPE_CHECKING:
    from collections.abc import Mapping

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

    def question(self, step: str) -> tuple[str, ...] | None:
        """Return the command that ends with 0 where the build has nothing to do."""
        return (*self._command(), "-q") if step == "build" else None

    def database(self) -> tuple[str, ...]:
        """Return the command that prints make's database of the build, and runs no recipe."""
        return (*self._command(), "-pn")

    def check(self, step: str) -> None:
        """See that the build left a kernel.

        Raises:
            BuildError: it did not.
        """
        if step == "build" and not self.kernel.is_file():
            raise BuildError(
                f"`{shlex.join(self._build().commands[0])}` succeeded and left no {self.kernel}",
                hint="[build] kernel names the file that make writes, and [build] target the Makefile's target; a file "
                "that was there before the first build counts only where make calls it up to date",
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
        learned = Learned.load(self.root)
        makefiles = self._makefiles() if self.build.configure else ()
        passed_over = () if self.behind is None else ("/GNUmakefile",)
        found = listing.find(self.root, self.build.sources, without=(*OURS, *passed_over, *self.build.ignore))
        outputs = {path_of(str(self.root), name) for name in learned.outputs}
        left_out = {*outputs, *map(str, (self.kernel, *makefiles))}
        inputs = [path for path in found.files if str(path) not in left_out]
        outside = [Path(path_of(str(self.root), name)) for name in learned.outside]
        git = git_state(self.root, index=learned.git == "changes") if learned.git else Found((), ())
        outside = [*(path for path in outside if path.is_file()), *git.files]
        variables = self._variables(learned)
        return self._step(
            "build",
            f"build {self.build.kernel} with make",
            self._command(jobs=self.build.jobs),
            inputs=tuple(dict.fromkeys((*inputs, *outside))),
            folders=tuple(dict.fromkeys((*found.folders, *git.folders, *(path.parent for path in outside)))),
            made=makefiles,
            targets=(self.kernel,),
            outputs=tuple(map(Path, sorted(outputs - {str(self.kernel)}))),
            variables=variables,
            programs=tuple(learned.programs),
            more={
                **values(variables, self.build.env),
                **{name: identity(name, self.build.env) for name in learned.programs},
            },
            judge=True,
        )

    def _command(self, jobs: int | None = None) -> tuple[str, ...]:
        return make_argv(self.behind, *((self.build.target,) if self.build.target else ()), jobs=jobs)

    def _variables(self, learned: Learned) -> tuple[str, ...]:
        """Return the names of the environment variables that the build reads, as far as they are known."""
        makefiles = [path_of(str(self.root), name) for name in learned.makefiles]
        texts = map(mentions.text_of, makefiles or map(str, self._makefiles()))
        found = {*mentions.BUILT_IN, *mentions.variables(texts), *learned.variables}
        return tuple(sorted(found - mentions.IGNORED - self.build.env.keys()))

    def _makefiles(self) -> tuple[Path, ...]:
        """Return what make may read as the makefile, there or not."""
        return tuple(self.root / name for name in NAMES if self.behind is None or name != "GNUmakefile")

    def _step(
        self,
        name: str,
        doc: str,
        argv: tuple[str, ...],
        *,
        more: Mapping[str, str] = MappingProxyType({}),
        **others: Any,  # noqa: ANN401
    ) -> Step:
        return Step(
            name=name,
            doc=doc,
            commands=(argv,),
            cwd=self.root,
            env=self.build.env,
            fingerprint={"arguments": shlex.join(argv), "environment": spelled(self.build.env), **more},
            needs={} if name == "configure" else NEED_MAKE,
            **others,
        )


def _proposed(root: Path) -> str:
    """Return a kernel of the project for the settings: one that make names or that is there, else a placeholder."""
    found = find(root)
    named = kernels(targets(found)) if found else ()
    there = sorted(path.name for path in root.glob("*.xen"))
    names = [*named, *there]
    return f'"{names[0]}"' if names else '"..."  # the file that make writes'
