"""What a series of releases of ``mirage`` does, as one value; ``toolchain.versions`` has the table.

In a path, ``{sub}`` is the folder of the configuration file with a slash, or nothing; ``{name}`` the unikernel's name;
``{out}`` the argument of ``-o``, else the name; ``{main}`` that argument, else ``main``; ``{opam}`` the opam file's
name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from unibuild.errors import MissingError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "END",
    "RELEASES",
    "Names",
    "Release",
    "Version",
    "before",
    "dotted",
    "ocamlify",
    "opamify",
    "parsed",
    "release",
    "series",
    "verbatim",
]

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
        user_may_edit: those that it does not overwrite when ``mark`` is missing: the user took them over.
        mark: what it writes into the head of what it generates.
        made_empty: a file that configure makes, empty, where there is none.
        arguments: the file in which it keeps the arguments of configure; None: in none.
        built_from: what of all that the kernel is built from.
        nondeterministic: those that the build rewrites with other content.
        installs: whether configure itself has opam install what is needed (``--no-opam``: not).
        depend: whether the Makefile has ``depend``.
        depend_reads: pattern of the files besides its own that ``make depend`` reads.
        fetched: what ``make depend`` leaves in the tree.
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
    user_may_edit: tuple[str, ...]
    mark: str
    made_empty: tuple[str, ...]
    arguments: str | None
    built_from: tuple[str, ...]
    nondeterministic: tuple[str, ...]
    installs: bool
    depend: bool
    depend_reads: tuple[str, ...]
    fetched: tuple[str, ...]
    no_sources: tuple[str, ...]
    crunched: tuple[str, ...]
    crunches: Literal["configure", "build"]
    build_configures: bool
    environment: tuple[str, ...]
    needs: tuple[str, ...]

    @property
    def includes_build(self) -> bool:
        """Whether it writes a ``dune`` with a line for ``dune.build`` that the build needs."""
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


END: Version = (4, 12)
"""The first version that is not known."""

_DUNE_3 = ("{sub}dune", "{sub}dune.build", "{sub}dune.config", "{sub}dune-project")
_DUNE_4 = ("dune-project", "dune-workspace", "{sub}dune", "{sub}dune.build", "{sub}dist/dune")

_TABLE = [
    Release(
        since=(1, 0),
        target=("--xen",),
        file="positional",
        from_root=False,
        kernel="{sub}mir-{name}.xen",
        xl="{sub}{name}.xl",
        opam="",
        opam_out="",
        opam_files=(),
        mangle=verbatim,
        opam_mangle=verbatim,
        dated=True,
        generated=("{sub}Makefile", "{sub}main.ml", "{sub}{name}.xl"),
        user_may_edit=(),
        mark="",
        made_empty=(),
        arguments=None,
        built_from=("{sub}Makefile", "{sub}main.ml"),
        nondeterministic=(),
        installs=True,
        depend=False,
        depend_reads=(),
        fetched=(),
        no_sources=(),
        crunched=("{sub}static*.ml", "{sub}static*.mli"),
        crunches="configure",
        build_configures=False,
        environment=(),
        needs=("ocamlbuild",),
    )
]


def _since(*version: int, **changes: Any) -> None:  # noqa: ANN401 (each field has a type of its own)
    """Add the row of the next series: what changed over the one before it."""
    _TABLE.append(replace(_TABLE[-1], since=version, **changes))


_since(1, 2, installs=False, depend=True)
_since(2, 0, installs=True, generated=(*_TABLE[-1].generated, "{sub}{name}.xe", "{sub}{name}_libvirt.xml"))
_since(2, 1, target=("-t", "xen"))
_since(2, 6, 1, generated=(*_TABLE[-1].generated, "{sub}{name}.xl.in"))
_since(
    *(2, 7),
    file="-f",
    generated=(*_TABLE[-1].generated, "{sub}key_gen.ml"),
    built_from=(*_TABLE[-1].built_from, "{sub}key_gen.ml"),
)
_since(
    *(3, 0),
    file=None,
    kernel="{sub}{name}.xen",
    opam="mirage-unikernel-{name}-xen",
    opam_out="mirage-unikernel-{name}-xen",
    opam_files=("{sub}{opam}.opam",),
    mangle=ocamlify,
    generated=(
        *("{sub}Makefile", "{sub}.mirage.config", "{sub}{opam}.opam", "{sub}{main}.ml", "{sub}key_gen.ml"),
        *("{sub}{name}.xl", "{sub}{name}.xl.in", "{sub}{name}.xe", "{sub}{name}_libvirt.xml"),
    ),
    made_empty=("{sub}myocamlbuild.ml",),
    arguments="{sub}.mirage.config",
    built_from=("{sub}Makefile", "{sub}.mirage.config", "{sub}{main}.ml", "{sub}key_gen.ml"),
    installs=False,
    no_sources=("/{sub}mirage-unikernel-*.opam",),
    crunches="build",
    build_configures=True,
)
_since(3, 0, 5, file="-f")
_since(3, 3, 1, depend_reads=("{sub}*.opam",))
_since(
    *(3, 7),
    generated=(*_TABLE[-1].generated, *_DUNE_3),
    user_may_edit=_DUNE_3,
    mark="auto-generated by 'mirage configure",
    needs=("dune",),
)
_since(
    *(3, 9),
    generated=(*(p for p in _TABLE[-1].generated if not p.endswith(".xe")), "{sub}_build/manifest.json"),
    built_from=(*_TABLE[-1].built_from, "{sub}_build/manifest.json"),
)
_since(
    *(4, 0),
    from_root=True,
    kernel="{sub}dist/{out}.xen",
    xl="{sub}mirage/{name}.xl",
    opam="{name}-xen",
    opam_out="{out}",
    opam_files=("{sub}mirage/{opam}-switch.opam", "{sub}mirage/{opam}-monorepo.opam"),
    mangle=verbatim,
    opam_mangle=opamify,
    dated=False,
    generated=(
        *("Makefile", *_DUNE_4, "{sub}dune.config", "{sub}mirage/context", "{sub}mirage/dune-workspace.config"),
        *("{sub}mirage/{opam}-switch.opam", "{sub}mirage/{opam}-monorepo.opam"),
        *("{sub}mirage/{name}.xl", "{sub}mirage/{name}.xl.in", "{sub}mirage/{name}_libvirt.xml"),
        *("{sub}mirage/{main}.ml", "{sub}mirage/manifest.json", "{sub}mirage/manifest.ml", "{sub}mirage/key_gen.ml"),
    ),
    user_may_edit=(
        *("Makefile", *_DUNE_4, "{sub}dune.config", "{sub}mirage/dune-workspace.config"),
        *("{sub}mirage/{opam}-switch.opam", "{sub}mirage/{opam}-monorepo.opam"),
    ),
    mark=" Generated by",
    made_empty=(),
    arguments="{sub}mirage/context",
    built_from=(
        *("Makefile", *_DUNE_4, "{sub}mirage/{main}.ml", "{sub}mirage/manifest.json"),
        *("{sub}mirage/manifest.ml", "{sub}mirage/key_gen.ml"),
    ),
    nondeterministic=("dune-project",),
    depend_reads=(),
    fetched=("{sub}mirage/{opam}-monorepo.opam.locked", "{sub}duniverse/dune"),
    no_sources=("/{sub}mirage/", "/{sub}dist/", "/{sub}duniverse/"),
    crunched=(),
    environment=("MIRAGE_EXTRA_REPOS",),
)


def _one_opam_file(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Return the paths with one opam file instead of the two of 4.0."""
    single = (path.replace("-monorepo", "") for path in paths if "-switch" not in path)
    return tuple(single)


_since(
    *(4, 1),
    opam_files=_one_opam_file(_TABLE[-1].opam_files),
    generated=_one_opam_file(_TABLE[-1].generated),
    user_may_edit=_one_opam_file(_TABLE[-1].user_may_edit),
    fetched=_one_opam_file(_TABLE[-1].fetched),
)
_since(
    *(4, 5),
    generated=tuple(path for path in _TABLE[-1].generated if "key_gen" not in path),
    built_from=tuple(path for path in _TABLE[-1].built_from if "key_gen" not in path),
    nondeterministic=(),
    build_configures=False,
)

RELEASES = tuple(_TABLE)
"""The series that differ, oldest first."""


def release(version: str, program: str) -> Release:
    """Return the row for a version of ``mirage``.

    Args:
        version: as ``mirage --version`` says it, without the ``v``: ``4.11.1``.
        program: the path of the ``mirage`` that said it, for the sentence.

    Raises:
        MissingError: there is no row for it.
    """
    asked = parsed(version)
    if RELEASES[0].since <= asked < END:
        return max((row for row in RELEASES if row.since <= asked), key=lambda row: row.since)
    known = f"{dotted(RELEASES[0].since)} to {dotted(before(END))}"
    raise MissingError(
        f"{program} is mirage {version}, which unibuild cannot drive; it drives {known}",
        hint=f"in a switch of opam with one of these, e.g. `opam install 'mirage<{dotted(END)}' && eval $(opam env)`",
    )


def series(row: Release) -> str:
    """Return which releases a row stands for: ``4.5-4.11``."""
    after = RELEASES.index(row) + 1
    last = before(RELEASES[after].since if after < len(RELEASES) else END)
    alone = row.since[:2] == last  # 4.0, and 2.6.1 with what follows in 2.6
    return dotted(row.since) if alone else f"{dotted(row.since)}-{dotted(last)}"


def before(version: Version) -> Version:
    """Return the last release, or series of releases, before a version: 4.4 before 4.5, 3.0.4 before 3.0.5."""
    if len(version) == 3:
        return (*version[:2], version[2] - 1)
    major, minor = version
    return (major, minor - 1) if minor else (major - 1, _LAST[major - 1])


_LAST = {1: 2, 2: 9, 3: 10}  # the last series of each major version
