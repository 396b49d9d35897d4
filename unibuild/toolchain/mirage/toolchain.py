"""The ``mirage`` toolchain: a MirageOS unikernel, configured from its ``config.ml``.

Between configure and build no ``mirage query``, ``describe`` or ``help`` is ever run: mirage 4 then rewrites ``dune``,
and the next build does nothing and says that it did.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.errors import BuildError, SettingsError
from unibuild.fingerprint import path_of
from unibuild.toolchain import listing, sources
from unibuild.toolchain.base import Step, env_fingerprint, environment, make_argv, real_makefile, variable_hashes
from unibuild.toolchain.build_knowledge import Learned
from unibuild.toolchain.make import NEED_MAKE
from unibuild.toolchain.mirage import config_ml, files, flags, installation, opam
from unibuild.toolchain.mirage.files import UnikernelTree
from unibuild.toolchain.mirage.installation import GET_MIRAGE
from unibuild.toolchain.mirage.releases import Names, release
from unibuild.util.files import reading, sha256

if TYPE_CHECKING:
    from unibuild.settings.model import Settings

__all__ = ["MirageToolchain"]

NEEDS = {
    **NEED_MAKE,
    "mirage": GET_MIRAGE,
    "opam": "on Debian or Ubuntu: apt install opam, then opam init",
    "dune": "install it with opam, then bring it onto PATH: opam install dune && eval $(opam env)",
    "ocamlbuild": "install it with opam, then bring it onto PATH: opam install ocamlbuild && eval $(opam env)",
}
_WRITTEN = ("_build/", "_opam/")  # by dune or ocamlbuild, and by opam
BRIDGES = ("xenbr0", "br0", "virbr0")  # configure writes the first one that this machine has into the .xl


class MirageToolchain:
    """A unikernel that ``mirage`` configures and builds.

    Args:
        root: the project's folder, absolute.
        settings: all the settings.
        version: of the installed ``mirage``, as ``4.11.1``.
        program: its path.

    Raises:
        MissingError: that release cannot be driven, or it is not one that the configuration file asks for.
        SettingsError: there is no configuration file, the arguments are not for this release, or the name is not
            known.
        FileError: the configuration file cannot be read.
    """

    name = "mirage"
    has_mirage_cmdline = True

    def __init__(self, root: Path, settings: Settings, version: str, program: str) -> None:
        self.root = root
        self.settings = settings
        self.version = version
        self.release = release(version, program)
        self.config = Path(os.path.normpath(root / settings.mirage.config))
        if not self.config.is_relative_to(root):
            raise SettingsError(f"[mirage] config: {self.config} is not in the project's folder {root}")
        if not self.config.is_file():
            raise SettingsError(
                f"there is no configuration file {self.config}",
                hint='[mirage] config = "..." in unibuild.toml names it',
            )
        with reading(self.config):
            self.text = self.config.read_text(errors="replace")
        config_ml.check_required_release(self.text, version, program, self.config)
        flags.refuse(settings.mirage.args, version, self.text)
        relative = os.path.relpath(self.config.parent, root)
        sub = "" if relative == "." else f"{relative}/"
        self.names = Names(sub, self._name(sub), flags.output_name(settings.mirage.args))
        self.env = {**settings.build.env, "MODE": "xen"}  # another target would win where mirage forgets it
        self.tree = UnikernelTree(root, self.config, self.text, self.release, self.names)
        self.cwd = root if self.release.from_root else self.config.parent
        self.kernel = root / (settings.build.kernel or self.release.path(self.release.kernel, self.names))
        self.behind = real_makefile(self.cwd, generated="Makefile")
        self.tools = installation.find_tools(root, self.cwd, self.env, ("mirage", "ocamlc", *self.release.needs))
        self.xl: Path | None = self.tree.path(self.release.xl)
        self.xl_in = None if self.release.xl_in is None else self.tree.path(self.release.xl_in)

    def steps(self) -> tuple[Step, ...]:
        """Return configure, depend and build; without depend where configure has opam install what is needed."""
        depend = self.release.depend and (not self.release.installs or "--no-opam" in self.settings.mirage.args)
        return (self._configure(), *((self._depend(),) if depend else ()), self._build())

    def digest(self, path: Path, step: str) -> str:
        """Return the hash of a file's content.

        Of the opam file only the dependencies count; of an older mirage's Makefile only ``PKGS`` matters to depend. The
        head of an older mirage's files, with date and command line, is left out. A file that the build rewrites counts
        only by its existence.

        Raises:
            FileError: the file cannot be read.
        """
        if path in self.tree.paths(*self.release.nondeterministic):
            return ""
        if path in self.tree.paths(*self.release.opam_files):
            with reading(path):
                return opam.dependency_digest(path.read_text(errors="replace"))
        if self.release.dated and path in self.tree.generated():
            with reading(path):
                content = path.read_bytes()
            lines = _PACKAGES.findall(content) if step == "depend" else _undated(content)
            return hashlib.sha256(b"".join(lines)).hexdigest()
        return sha256(path)

    def question(self, step: str) -> None:
        """Return None: dune and ocamlbuild compare contents, so running the build is the question."""

    def database(self) -> None:
        """Return None: this Makefile only calls other tools."""

    def check(self, step: str) -> None:
        """Check the result of a step that exited with 0.

        Raises:
            BuildError: configure made another unikernel than expected; ``dune`` does not include the build; there is no
                kernel.
        """
        if step == "configure":
            self._check_names()
        if step in ("configure", "build") and self.release.includes_build:
            self._check_dune()
        if step == "build" and not self.kernel.is_file():
            raise BuildError(f"`make build` succeeded and left no {self.kernel}")

    # Steps

    def _configure(self) -> Step:
        argv = ("mirage", "configure", *self.release.target, *self._config_argument(), *self.settings.mirage.args)
        env = environment(self.env)
        read = {name: env.get(name, "") for name in self.release.environment}
        variables = tuple(sorted({*self.tree.variables()} - {*self.env, *read}))
        data = self.tree.data() if self.release.crunches == "configure" else sources.FoundFiles((), ())
        return Step(
            name="configure",
            doc=f"configure the unikernel for Xen (mirage {self.version})",
            commands=(argv,),
            cwd=self.cwd,
            env=self.env,
            inputs=tuple(sorted({*self.tree.config_modules(), *data.files})),
            folders=data.folders,
            targets=tuple(path for path in self.tree.generated() if path not in self.tree.taken_over()),
            fingerprint={
                "arguments": shlex.join(argv),
                "environment": env_fingerprint({**self.env, **read}),
                **variable_hashes(variables, self.env),
                "mirage": self.tools.identities["mirage"],
                "bridge of this machine": next((name for name in BRIDGES if Path("/sys/class/net", name).exists()), ""),
                **({"opam switch": self.tools.switch} if self.release.installs else {}),
            },
            variables=variables,
            needs={
                name: NEEDS[name]
                for name in ("mirage", *self.release.needs, *(("opam",) if self.release.installs else ()))
            },
            left_over=self.tree.left_over,
            why=files.configure_reason(self.release, self.version, self.root, self.cwd, self.names),
            restore_targets_on_failure=True,
            lock=self._lock(),
        )

    def _depend(self) -> Step:
        argv = make_argv(self.behind, "depend")
        return Step(
            name="depend",
            doc="fetch the unikernel's dependencies (make depend)",
            commands=(argv,),
            cwd=self.cwd,
            env=self.env,
            inputs=self.tree.other_opam_files(),
            folders=self.tools.folders(),
            made=self.tree.paths(*(self.release.opam_files or ("{sub}Makefile",))),
            targets=self.tree.paths(*self.release.fetched),
            fingerprint={
                "arguments": shlex.join(argv),
                "environment": env_fingerprint(self.env),
                "opam switch": self.tools.switch,
                "compiler": self.tools.identities["ocamlc"],
            },
            needs={name: NEEDS[name] for name in ("make", "opam", *self.release.needs)},
        )

    def _build(self) -> Step:
        argv = make_argv(self.behind, "build", jobs=self.settings.build.jobs)
        config = self.tree.config_modules()
        front = () if self.behind is None else (f"/{(self.cwd / 'GNUmakefile').relative_to(self.root)}",)
        build = self.settings.build
        without = (*self.tree.no_sources(), *front, *_WRITTEN, *build.ignore)
        found = listing.find(self.root, build.sources, without=without)
        outputs = {path_of(str(self.root), name) for name in Learned.load(self.root).outputs}
        left_out = {*outputs, *(str(path) for path in (*config, *self.tree.left_over, self.kernel))}
        inputs = [path for path in found.files if str(path) not in left_out]
        seen = set(map(str, inputs))  # of Paths it would be slow
        made = [p for p in self.tree.paths(*self.release.built_from, *self.release.fetched) if str(p) not in seen]
        if self.release.build_configures:
            made += config  # no inputs: a new date, where make needs one, would call for a configure
        if self.tools.switch_state is not None:
            made.append(Path(self.tools.switch_state))
        return Step(
            name="build",
            doc=f"build {self.kernel.name} (make build)",
            commands=(argv,),
            cwd=self.cwd,
            env=self.env,
            inputs=tuple(inputs),
            folders=found.folders,
            made=tuple(made),
            targets=(self.kernel,),
            fingerprint={
                "arguments": shlex.join(argv),
                "environment": env_fingerprint(self.env),
                **{name: self.tools.identities[name] for name in self.release.needs},
                **({"mirage": self.tools.identities["mirage"]} if self.release.build_configures else {}),
            },
            needs={
                name: NEEDS[name]
                for name in ("make", *(("mirage",) if self.release.build_configures else ()), *self.release.needs)
            },
            remove_targets_first=True,
            lock=self._lock(),
        )

    def _config_argument(self) -> tuple[str, ...]:
        """Return the arguments that pass configure a configuration file other than ``config.ml``."""
        config = str(self.config.relative_to(self.cwd))
        if config == "config.ml":
            return ()
        if self.release.file is None:
            raise SettingsError(
                f"[mirage] config: `mirage configure` of {self.version} can only take a config.ml, not {config}",
                hint=f"rename {self.config} to config.ml; the folder may be any",
            )
        return ("-f", config) if self.release.file == "-f" else (config,)

    def _lock(self) -> Path | None:
        """Return the file that dune keeps locked while it runs in this tree."""
        return self.cwd / "_build" / ".lock" if "dune" in self.release.needs else None

    # Names

    def _name(self, sub: str) -> str:
        """Return the unikernel's name: from config.ml, else from the last configure, else from the settings."""
        registered = config_ml.name(self.text)
        if registered is not None:
            return self.release.mangle(registered)
        generated = files.last_generated(self.release, self._written_in(sub))
        if generated is not None:
            return generated[1]
        if self.settings.build.kernel is not None:
            return self._name_of(self.settings.build.kernel, sub)
        kernel = self.release.path(self.release.kernel, Names(sub, "NAME"))
        raise SettingsError(
            f'{self.config} does not say the unikernel\'s name in plain text (`register "hello" ...`)',
            hint=f'say which kernel it makes:\n  [build]\n  kernel = "{kernel}"',
        )

    def _name_of(self, kernel: str, sub: str) -> str:
        """Return the unikernel's name from its kernel's: before 3.0 that has ``mir-`` in front."""
        before, _, after = self.release.path(self.release.kernel, Names(sub, "\0")).partition("\0")
        if kernel.startswith(before) and kernel.endswith(after) and len(kernel) > len(before + after):
            return kernel[len(before) : len(kernel) - len(after)]
        return Path(kernel).stem

    def _written_in(self, sub: str) -> Path:
        """Return the folder of the files that are named after the unikernel."""
        return (self.root / self.release.path(self.release.xl, Names(sub, "NAME"))).parent

    def _check_names(self) -> None:
        generated = files.last_generated(self.release, self._written_in(self.names.sub))
        if generated is None:
            return
        made = self.release.path(self.release.kernel, Names(self.names.sub, generated[0]))
        of_own = self.settings.build.kernel is not None  # a rule in Makefile.user may make another file of it
        if generated[1] != self.names.name or not (of_own or self.root / made == self.kernel):
            raise BuildError(
                f"mirage configured the unikernel {generated[1]} with the kernel {made}, not "
                f"{self.names.name} with {self.kernel.relative_to(self.root)}",
                hint="run again: its name is now known"
                if config_ml.name(self.text) is None and not of_own
                else f'say which it is:\n  [build]\n  kernel = "{made}"',
            )

    def _check_dune(self) -> None:
        dune = self.config.parent / "dune"
        text = ""
        if dune.is_file():
            with reading(dune):
                text = dune.read_text(errors="replace")
        if not files.INCLUDES_BUILD.search(text):
            raise BuildError(
                f"{dune} does not include dune.build, so that nothing would be built",
                hint="`mirage describe`, `query` or `help` did that, or it is your own: in the first case run again; "
                "in the second add the line (include dune.build) to it",
            )


_PACKAGES = re.compile(rb"^PKGS\s*=.*", re.MULTILINE)


def _undated(content: bytes) -> list[bytes]:
    """Return the lines of a generated file without the date and command line in its head."""
    lines = content.splitlines(keepends=True)
    return [line for line in lines[:3] if b"Generated by" not in line and b"Creation date" not in line] + lines[3:]
