"""What every toolchain tells: the steps that make the kernel, as plain values, and where the kernel then is.

A plan starts no child but to ask for a version, and writes no file but what spares asking and looking again (in
``.unibuild``); the steps are carried out by ``unibuild.graph``.
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
    "OURS",
    "Step",
    "Toolchain",
    "behind_door",
    "environment",
    "identity",
    "installed",
    "make_argv",
    "spelled",
    "values",
]

OURS = ("/dodo.py", "/unibuild.mk", "/unibuild.toml", "/dodo_templates/")
"""Files of a project that only unibuild and doit read, as patterns: the kernel is not built from them."""


@dataclass(frozen=True)
class Step:
    """One step of a build, as a value: what to run, what decides whether it is stale, what it leaves.

    Attributes:
        name: ``configure``, ``depend`` or ``build``.
        doc: what it does, for ``doit list``.
        commands: argument lists, to run in this order in ``cwd``; the first that fails ends the step.
        cwd: absolute folder.
        env: variables to set on top of ours.
        inputs: absolute paths of existing files that people write: their stamps decide.
        folders: absolute paths whose stamps decided the rest of this value: folders listed for ``inputs``, the
            ``.gitignore`` files read, and programs and files looked at for the fingerprint.
        made: absolute paths of inputs that an earlier step writes: where the stamp moved, the content
            (``Toolchain.digest``) decides. They need not be there yet, or at all.
        targets: absolute paths of files that must be there afterwards. A tool that rewrites one of them in a later
            step leaves the same digest.
        fingerprint: everything else that matters, by a name to report: ``{"arguments": ..., "mirage": ...}``.
        variables: names of environment variables whose values are in the fingerprint, set or not.
        needs: programs that must be on PATH when the step runs, each with what to do where it is not.
        left_over: files in its way that another release of the tool generated; they are gone where it succeeds. While
            there is one the step is stale.
        why: what the toolchain knows of why it is stale, if it is; it is told instead of the first difference.
        anew: whether its targets are out of the way while it runs, because its tool can succeed and do nothing: what
            is there afterwards is then the tool's work.
        undone: whether its targets are put back as they were where it fails.
        outputs: other files that it is known to have written.
        programs: programs whose identity is in the fingerprint.
        judge: whether the tool goes by dates, so that unibuild must find out what it would miss (``tasks.judging``).
        gone: files that an earlier run wrote or looked for, and that are not there any more.
        learns: whether its inputs are what it was seen to read (``tasks.preparing``).
        lock: a file that its tool keeps locked (``flock``) while it runs, and fails where another one has it.
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
    anew: bool = False
    undone: bool = False
    lock: Path | None = None
    outputs: tuple[Path, ...] = ()
    programs: tuple[str, ...] = ()
    judge: bool = False
    gone: tuple[Path, ...] = ()
    learns: bool = False

    def require(self) -> None:
        """See that the programs which the step needs are there.

        Raises:
            MissingError: one is not; the hint says how to get it.
        """
        for program, mend in self.needs.items():
            if installed(program, self.env) is None:
                raise MissingError(f"the program {program} is not on PATH, and {self.name} needs it", hint=mend)


class Toolchain(Protocol):
    """What builds the kernel of one project."""

    @property
    def name(self) -> str:
        """What it is called in the settings."""

    @property
    def kernel(self) -> Path:
        """The kernel that the build leaves, as an absolute path."""

    @property
    def xl(self) -> Path | None:
        """The ``.xl`` file that configure writes, as an absolute path; None where none is written."""

    @property
    def xl_in(self) -> Path | None:
        """The template of ``xl`` with the devices' names, which configure writes; None where none is written."""

    def steps(self) -> tuple[Step, ...]:
        """Return the steps in their order: of configure, depend and build those that have something to do."""

    def digest(self, path: Path, step: str) -> str:
        """Return a hash of what a file means to a step, without what has no meaning (a generated file's date).

        Raises:
            FileError: the file cannot be read.
        """

    def question(self, step: str) -> tuple[str, ...] | None:
        """Return a command that ends with 0 where a step has nothing to do; None: its tool has no such command."""

    def database(self) -> tuple[str, ...] | None:
        """Return a command that prints what make knows of the build; None: it is not built with make."""

    def check(self, step: str) -> None:
        """See that a step which ended with success did its work.

        Raises:
            BuildError: it left no proper result.
        """


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that a step's commands see: ours with ``env`` on top."""
    return {**os.environ, **env}


def spelled(env: Mapping[str, str]) -> str:
    """Return variables as one string for a fingerprint; their order in the settings has no meaning."""
    return shlex.join(f"{key}={value}" for key, value in sorted(env.items()))


def values(names: Iterable[str], env: Mapping[str, str]) -> dict[str, str]:
    """Return those of the variables that are set, as a fingerprint: hashes, because a value may be a secret."""
    found = environment(env)
    return {name: hashlib.sha256(os.fsencode(found[name])).hexdigest()[:16] for name in names if name in found}


def identity(program: str, env: Mapping[str, str]) -> str:
    """Return what tells one installed program from another: its path behind links, time stamp (ns), size and inode.

    Cheaper than asking for its version, and moves too when the same version is built anew. Empty: it is not on PATH.
    """
    found = installed(program, env)
    if found is None:
        return ""
    path = found.resolve()
    status = path.stat()
    return f"{path} {status.st_mtime_ns} {status.st_size} {status.st_ino}"


def installed(program: str, env: Mapping[str, str]) -> Path | None:
    """Return where a step with the variables ``env`` finds a program on PATH; None: nowhere."""
    found = shutil.which(program, path=environment(env).get("PATH"))
    return None if found is None else Path(found)


def make_argv(behind: str | None, *words: str, jobs: int | None = None) -> tuple[str, ...]:
    """Return the argument list of a make; ``behind`` is what ``behind_door`` says."""
    return ("make", *(("-f", behind) if behind else ()), *((f"-j{jobs}",) if jobs else ()), *words)


def behind_door(folder: Path, *, generated: str | None = None) -> str | None:
    """Return the makefile that make has to be told, because it would prefer a ``GNUmakefile`` that calls us.

    Args:
        folder: where make runs.
        generated: the makefile that an earlier step writes there; it need not be there yet.

    Returns:
        Its name; None: make finds the right one.
    """
    front = folder / "GNUmakefile"
    if generated is None:
        found = makefile.find(folder)
        return found.name if found is not None and found != front and front.is_file() else None
    if not front.is_file():
        return None
    with reading(front):
        return generated if "unibuild.mk" in front.read_text(errors="replace") else None
