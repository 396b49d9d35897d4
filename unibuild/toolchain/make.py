"""The ``make`` toolchain: any kernel that a Makefile builds."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from unibuild.errors import BuildError, SettingsError
from unibuild.fingerprint import key, path_of
from unibuild.toolchain import listing, text_references
from unibuild.toolchain.base import (
    PROJECT_FILES,
    Step,
    env_fingerprint,
    make_argv,
    program_fingerprint,
    real_makefile,
    variable_hashes,
)
from unibuild.toolchain.build_knowledge import Learned, Prepared
from unibuild.toolchain.makefile import NAMES, find, kernels, targets
from unibuild.toolchain.sources import FoundFiles, git_state, outside
from unibuild.util.files import sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from unibuild.settings.model import Build

__all__ = ["NEED_MAKE", "MakeToolchain"]

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


class MakeToolchain:
    """A project with a Makefile that builds the kernel.

    Args:
        root: the project's folder, absolute.
        build: the ``[build]`` settings.

    Raises:
        SettingsError: they do not say where the kernel is.
    """

    name = "make"
    has_mirage_cmdline = False
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
        self.behind = real_makefile(root)

    def steps(self) -> tuple[Step, ...]:
        """Return the steps in their order; without ``build.configure`` and ``build.depend`` only the build."""
        learned, found = Learned.load(self.root), self._files()
        steps = [self._build(learned, found)]
        if self.build.depend is not None:
            steps.insert(0, self._depend(self.build.depend))
        if self.build.configure:
            steps.insert(0, self._configure(learned, found))
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
                f"`{shlex.join(self._command(jobs=self.build.jobs))}` succeeded and left no {self.kernel}",
                hint="[build] kernel names the file that make writes, and [build] target the Makefile's target; a file "
                "that was there before the first build counts only where make calls it up to date",
            )

    def _files(self) -> FoundFiles:
        """Find the files that the project may be built from."""
        passed_over = () if self.behind is None else ("/GNUmakefile",)
        return listing.find(self.root, self.build.sources, without=(*PROJECT_FILES, *passed_over, *self.build.ignore))

    def _configure(self, learned: Learned, files: FoundFiles) -> Step:
        found = listing.find(self.root, CONFIGURE_READS)
        named = (self.root / word for word in self.build.configure)
        prepared = learned.prepared.get("configure", Prepared())
        shown, gone = self._shown(learned, files) if "configure" in learned.prepared else ([], [])
        variables = (
            self._names([*text_references.BUILT_IN, *prepared.variables]) if "configure" in learned.prepared else ()
        )
        return self._step(
            "configure",
            f"run {shlex.join(self.build.configure)}",
            self.build.configure,
            inputs=tuple(sorted({*found.files, *shown, *(path for path in named if path.is_file())})),
            folders=tuple(dict.fromkeys((*found.folders, *(path.parent for path in shown)))),
            gone=tuple(gone),
            learns=True,
            variables=variables,
            programs=tuple(prepared.programs),
            more=self._around(variables, prepared.programs),
        )

    def _shown(self, learned: Learned, files: FoundFiles) -> tuple[list[Path], list[Path]]:
        """Return what ``configure`` reads as far as its runs showed it, and what it misses.

        A file that came or went since its last run concerns it where its scripts name or list such files.
        """
        prepared, root = learned.prepared["configure"], str(self.root)
        now = {key(root, str(path)): path for path in files.files}
        own = {*learned.outputs, *prepared.made, key(root, str(self.kernel))}
        read = now.keys() - own if prepared.read is None else {*prepared.read}
        new, gone = now.keys() - own - {*prepared.there}, {*prepared.there} - now.keys() - own
        texts = [text_references.text_of(path_of(root, name)) for name in read] if new or gone else []
        scripts = [text for name, text in zip(read, texts, strict=False) if not text_references.is_code(name)]
        concern = {name for name in new | gone if text_references.is_looked_up(name, read, scripts, texts)}
        missing = [path for name in prepared.made if not (path := Path(path_of(root, name))).is_file()]
        inputs = [Path(path_of(root, name)) for name in sorted(read | (concern & new))]
        missing += [Path(path_of(root, name)) for name in sorted(concern & gone - read)]
        return [path for path in inputs if path.is_file()], missing

    def _around(self, variables: Iterable[str], programs: Iterable[str]) -> dict[str, str]:
        """Return what identifies variables and programs."""
        return {
            **variable_hashes(variables, self.build.env),
            **{name: program_fingerprint(name, self.build.env) for name in programs},
        }

    def _depend(self, target: str) -> Step:
        makefiles = self._makefiles()
        return self._step(
            "depend",
            f"fetch what the build needs (make {target})",
            make_argv(self.behind, target),
            made=makefiles if self.build.configure else (),
            inputs=() if self.build.configure else tuple(path for path in makefiles if path.is_file()),
        )

    def _build(self, learned: Learned, found: FoundFiles) -> Step:
        makefiles = self._makefiles() if self.build.configure else ()
        outputs = {path_of(str(self.root), name) for name in learned.outputs}
        left_out = {*outputs, *map(str, (self.kernel, *makefiles))}
        inputs = [path for path in found.files if str(path) not in left_out]
        beyond = outside(path_of(str(self.root), name) for name in (*learned.outside, *learned.named))
        git = git_state(self.root, index=learned.git == "changes") if learned.git else FoundFiles((), ())
        others = [path for path in (*beyond.files, *git.files) if str(path) not in outputs]
        variables = self._variables(learned)
        return self._step(
            "build",
            f"build {self.build.kernel} with make",
            self._command(jobs=self.build.jobs),
            inputs=tuple(dict.fromkeys((*inputs, *others))),
            folders=tuple(dict.fromkeys((*found.folders, *git.folders, *beyond.folders))),
            made=makefiles,
            targets=(self.kernel,),
            outputs=tuple(map(Path, sorted(outputs - {str(self.kernel)}))),
            variables=variables,
            programs=tuple(learned.programs),
            more=self._around(variables, learned.programs),
            judge=True,
        )

    def _command(self, jobs: int | None = None) -> tuple[str, ...]:
        return make_argv(self.behind, *((self.build.target,) if self.build.target else ()), jobs=jobs)

    def _variables(self, learned: Learned) -> tuple[str, ...]:
        """Return the names of the environment variables that the build reads, as far as they are known."""
        makefiles = [path_of(str(self.root), name) for name in learned.makefiles]
        texts = map(text_references.text_of, makefiles or map(str, self._makefiles()))
        found = {*text_references.BUILT_IN, *text_references.variables(texts), *learned.variables}
        return self._names(found)

    def _names(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the names of the variables that count."""
        return tuple(sorted({*names} - text_references.IGNORED - self.build.env.keys()))

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
            fingerprint={"arguments": shlex.join(argv), "environment": env_fingerprint(self.build.env), **more},
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
