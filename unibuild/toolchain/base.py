"""The ``Toolchain`` protocol: the steps that build a kernel, as plain values, and the path of the kernel.

Planning starts a child only to ask for a version, and writes only caches in ``.unibuild``; ``unibuild.graph`` runs the
steps.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from unibuild.errors import MissingError
from unibuild.toolchain import makefile
from unibuild.util.files import reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "PROJECT_FILES",
    "Step",
    "Toolchain",
    "env_fingerprint",
    "environment",
    "installed",
    "make_argv",
    "program_fingerprint",
    "real_makefile",
    "variable_hashes",
]

PROJECT_FILES = ("/dodo.py", "/unibuild.mk", "/unibuild.toml", "/dodo_templates/")
"""Patterns of project files that only unibuild and doit read; they are not inputs of the kernel."""


@dataclass(frozen=True)
class Step:
    """One step of a build, as a value: its commands, inputs and outputs.

    Attributes:
        name: ``configure``, ``depend`` or ``build``.
        doc: what it does, for ``doit list``.
        commands: argument lists, run in this order in ``cwd``; the step ends with the first that fails.
        cwd: absolute folder.
        env: variables set on top of unibuild's environment.
        inputs: absolute paths of existing files that the user writes; their fingerprints decide.
        folders: absolute paths that the rest of this value depends on: folders listed for ``inputs``, ``.gitignore``
            files, and programs and files read for the fingerprint.
        made: absolute paths of inputs that an earlier step writes; when the fingerprint changed, the content
            (``Toolchain.digest``) decides. They may be missing.
        targets: absolute paths of files that must exist afterwards. A later step that rewrites one leaves the same
            digest.
        fingerprint: everything else that matters, by the name to report: ``{"arguments": ..., "mirage": ...}``.
        variables: names of the environment variables that are in the fingerprint by their values, set or not.
        needs: programs that must be on PATH when the step runs, each with a hint for when it is missing.
        left_over: files that another release of the tool generated and that are in the way; a successful run removes
            them. The step is stale while one exists.
        why: the reason that the toolchain knows for a stale step; reported instead of the first difference.
        remove_targets_first: whether its targets are moved away while it runs, because its tool can succeed without
            doing anything; a target that exists afterwards is then the tool's work.
        restore_targets_on_failure: whether its targets are restored when it fails.
        outputs: other files that it is known to write.
        programs: programs that the fingerprint covers.
        judge: whether the tool compares dates, so that unibuild must find out what it would miss.
        gone: files that an earlier run wrote or read and that no longer exist.
        learns: whether its inputs are the files that it was seen to read.
        lock: a file that its tool locks (``flock``) while it runs; the tool fails when another process holds it.
    """

    name: str
    doc: str
    commands: tuple[tuple[str, ...], ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    made: tuple[Path, ...] = ()
    targets: tuple[Path, ...] = ()
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    variables: tuple[str, ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)
    left_over: tuple[Path, ...] = ()
    why: str | None = None
    remove_targets_first: bool = False
    restore_targets_on_failure: bool = False
    lock: Path | None = None
    outputs: tuple[Path, ...] = ()
    programs: tuple[str, ...] = ()
    judge: bool = False
    gone: tuple[Path, ...] = ()
    learns: bool = False

    def require(self) -> None:
        """Check that the programs that the step needs are on PATH.

        Raises:
            MissingError: one is missing; the hint says how to install it.
        """
        for program, hint in self.needs.items():
            if installed(program, self.env) is None:
                raise MissingError(f"the {self.name} step needs a program that is not on PATH: {program}", hint=hint)


class Toolchain(Protocol):
    """Builds the kernel of one project.

    ``registry`` creates it; ``tests/toolchain/test_contract.py`` holds what every implementation must do.
    """

    @property
    def name(self) -> str:
        """The name in ``[build] toolchain``."""

    @property
    def kernel(self) -> Path:
        """The absolute path of the kernel that the build writes."""

    @property
    def has_mirage_cmdline(self) -> bool:
        """Whether its kernels split their command line into words as Mirage's do."""

    @property
    def xl(self) -> Path | None:
        """The absolute path of the ``.xl`` file that configure writes; None if it writes none."""

    @property
    def xl_in(self) -> Path | None:
        """The template of ``xl`` with the devices' names that configure writes; None if it writes none."""

    def steps(self) -> tuple[Step, ...]:
        """Return those of the steps configure, depend and build that the project has, in this order."""

    def digest(self, path: Path, step: str) -> str:
        """Return a hash of the parts of a file that matter to a step (not the date in a generated file).

        Raises:
            FileError: the file cannot be read.
        """

    def question(self, step: str) -> tuple[str, ...] | None:
        """Return a command that exits with 0 when a step has nothing to do; None if its tool has none."""

    def database(self) -> tuple[str, ...] | None:
        """Return a command that prints make's database of the build; None if make does not build it."""

    def check(self, step: str) -> None:
        """Check the result of a step that exited with 0.

        Raises:
            BuildError: the result is missing or wrong.
        """


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a step's commands: unibuild's with ``env`` on top."""
    return {**os.environ, **env}


def env_fingerprint(env: Mapping[str, str]) -> str:
    """Return variables as one string for a fingerprint, sorted by name."""
    return shlex.join(f"{key}={value}" for key, value in sorted(env.items()))


def variable_hashes(names: Iterable[str], env: Mapping[str, str]) -> dict[str, str]:
    """Return a hash of each variable that is set, for a fingerprint; the values may be secrets."""
    found = environment(env)
    return {name: hashlib.sha256(os.fsencode(found[name])).hexdigest()[:16] for name in names if name in found}


def program_fingerprint(program: str, env: Mapping[str, str]) -> str:
    """Return the resolved path, mtime (ns), size and inode of an installed program; empty if it is not on PATH.

    Cheaper than asking for the version, and also changes when the same version is installed again.
    """
    found = installed(program, env)
    if found is None:
        return ""
    path = found.resolve()
    status = path.stat()
    return f"{path} {status.st_mtime_ns} {status.st_size} {status.st_ino}"


def installed(program: str, env: Mapping[str, str]) -> Path | None:
    """Return the path of a program on the PATH of a step with the variables ``env``; None if there is none."""
    found = shutil.which(program, path=environment(env).get("PATH"))
    return None if found is None else Path(found)


def make_argv(behind: str | None, *words: str, jobs: int | None = None) -> tuple[str, ...]:
    """Return the argument list of a make; ``behind`` is the result of ``real_makefile``."""
    return ("make", *(("-f", behind) if behind else ()), *((f"-j{jobs}",) if jobs else ()), *words)


def real_makefile(folder: Path, *, generated: str | None = None) -> str | None:
    """Return the makefile to pass with ``-f``, because make would prefer a ``GNUmakefile`` that calls unibuild.

    Args:
        folder: where make runs.
        generated: the makefile that an earlier step writes there; it may not exist yet.

    Returns:
        Its name; None if make finds the right one by itself.
    """
    front = folder / "GNUmakefile"
    if generated is None:
        found = makefile.find(folder)
        return found.name if found is not None and found != front and front.is_file() else None
    if not front.is_file():
        return None
    with reading(front):
        return generated if "unibuild.mk" in front.read_text(errors="replace") else None
