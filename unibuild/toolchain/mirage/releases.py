"""What a series of releases of ``mirage`` does, as one value; ``toolchain.versions`` has the table.

In a path, ``{sub}`` is the folder of the configuration file with a slash, or nothing; ``{name}`` the unikernel's name;
``{out}`` the argument of ``-o``, else the name; ``{main}`` that argument, else ``main``; ``{opam}`` the opam file's
name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Names", "Release", "Version", "dotted", "ocamlify", "opamify", "parsed", "verbatim"]

Version = tuple[int, ...]


@dataclass(frozen=True)
class Names:
    """What a unikernel's files are named after.

    Attributes:
        sub: folder of its configuration file, from the project's, with a slash at the end; empty: the project's.
        name: the name in its files, already in the form that the release gives it.
        output: the argument of ``-o``; None: not given.
    """

    sub: str
    name: str
    output: str | None = None


@dataclass(frozen=True)
class Release:
    """One series of releases.

    Attributes:
        since: its first release.
        target: the arguments that ask for Xen.
        file: how configure takes a configuration file of another name than ``config.ml``; None: not at all.
        from_root: whether it runs in the project's folder and takes ``-f sub/config.ml``; else it runs in ``sub``.
        kernel: the kernel that the build leaves.
        xl: the ``.xl`` file that configure writes.
        opam: the opam files' name, without ``.opam``.
        opam_out: the same where ``-o`` is given.
        opam_files: their paths; none: the Makefile's ``PKGS`` says what is needed.
        mangle: makes the name in the files from the one that ``register`` got.
        opam_mangle: makes the opam file's name from ``opam`` or ``opam_out``.
        dated: whether configure writes the date and its arguments into the head of what it generates.
        generated: what configure writes.
        yielded: those of them that it leaves as they are where ``mark`` is not in them: the person took them over.
        mark: see there.
        made_empty: a file that configure makes, empty, where there is none.
        arguments: the file in which it keeps the arguments of configure; None: in none.
        built_from: what of all that the kernel is built from.
        unsteady: those that the build writes anew, with another content.
        installs: whether configure itself has opam install what is needed (``--no-opam``: not).
        depend: whether the Makefile has ``depend``.
        depend_reads: pattern of the files beside its own that ``make depend`` reads.
        pulled: what ``make depend`` leaves in the tree.
        no_sources: patterns of further files that the tools write.
        crunched: pattern of modules that are made from data folders; their head names ocaml-crunch.
        crunches: the step that makes them.
        build_configures: whether the build evaluates the configuration file again.
        environment: the variables that configure reads.
        needs: the programs that configure and build call.
    """

    since: Version
    target: tuple[str, ...]
    file: Literal["-f", "positional"] | None
    from_root: bool
    kernel: str
    xl: str
    opam: str
    opam_out: str
    opam_files: tuple[str, ...]
    mangle: Callable[[str], str]
    opam_mangle: Callable[[str], str]
    dated: bool
    generated: tuple[str, ...]
    yielded: tuple[str, ...]
    mark: str
    made_empty: tuple[str, ...]
    arguments: str | None
    built_from: tuple[str, ...]
    unsteady: tuple[str, ...]
    installs: bool
    depend: bool
    depend_reads: tuple[str, ...]
    pulled: tuple[str, ...]
    no_sources: tuple[str, ...]
    crunched: tuple[str, ...]
    crunches: Literal["configure", "build"]
    build_configures: bool
    environment: tuple[str, ...]
    needs: tuple[str, ...]

    @property
    def includes_build(self) -> bool:
        """Whether it writes a ``dune`` without whose line for ``dune.build`` nothing is built."""
        return "{sub}dune" in self.generated

    @property
    def xl_in(self) -> str | None:
        """The template of the ``.xl`` file with the devices' names; None: configure writes none."""
        return f"{self.xl}.in" if f"{self.xl}.in" in self.generated else None

    def path(self, template: str, names: Names) -> str:
        """Return the path, from the project's folder, that one of the row's templates is for a unikernel."""
        opam = self.opam_mangle(
            (self.opam_out if names.output else self.opam).format(name=names.name, out=names.output)
        )
        main = names.output or "main"
        return template.format(sub=names.sub, name=names.name, out=names.output or names.name, main=main, opam=opam)


def parsed(version: str) -> Version:
    """Return the numbers of a version."""
    return tuple(map(int, version.split(".")))


def dotted(version: Version) -> str:
    """Return a version as text."""
    return ".".join(map(str, version))


def verbatim(name: str) -> str:
    """Return the name as it is."""
    return name


def ocamlify(name: str) -> str:
    """As ``Functoria_app.Name.ocamlify`` of functoria 3: ``my-app.v2`` is ``my_appv2``."""
    return re.sub(r"[^A-Za-z0-9_]", "", name.replace("-", "_"))


def opamify(name: str) -> str:
    """As ``Misc.Name.opamify`` of mirage 4: ``my-app.v2`` is ``my-app_v2``."""
    return re.sub(r"[^A-Za-z0-9_-]", "", name.replace(".", "_"))
