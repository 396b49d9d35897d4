"""Write the reference page of Mirage's releases from their table: ``python tools/docs_mirage.py [FILE]``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.toolchain.mirage.flags import FLAGS
from unibuild.toolchain.mirage.releases import RELEASES, Names, series
from unibuild.util.files import PUBLIC, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from unibuild.toolchain.mirage.releases import Release

__all__ = ["main", "markdown"]

_HEAD = """\
# Mirage, release by release

<!-- Written by `tools/docs_mirage.py` from unibuild/toolchain/mirage/releases.py and flags.py. -->

The same `unibuild.toml` works with every release. unibuild asks each installed `mirage` for its version once. Where the
first line of `config.ml` asks for other releases (`(* mirage >= 4.9.0 & < 4.12.0 *)`), unibuild runs nothing.

## Commands and the files that they make

For a unikernel `register "my-app.v2"`:

"""
_STEPS = """
`configure` is out of date when the content of one of these changed: `config.ml`, a module that it opens, the arguments,
the installed `mirage`, or a file that configure generated. The date and the command line that releases before 4.0 write
into line 1 do not count. The variable `MODE` is set to `xen` for every step. Where configure fails, unibuild restores
the files that it wrote.

`depend` is out of date when the packages to install changed (in an opam file: `depends`, `pin-depends`,
`x-mirage-extra-repo`; before 3.0 the Makefile's `PKGS`), or the opam switch, or the compiler. `unibuild -a depend` runs
it, and `configure` before it, in any case; `unibuild depend --force` runs `depend` alone. Where configure installs the
packages, there is a `depend` only with `args = ["--no-opam"]`.

`build` is always `make build`, which never solves dependencies again. unibuild moves the kernel of the last build away
while the build runs, so that it notices a build that did nothing. Where another dune has locked the tree, the step
waits.

A tree that was configured by another release or for another target is configured again, and unibuild prints the reason.
It removes files that the other release generated and that are in the way.

## Arguments of `mirage configure`

These are not in every release. unibuild refuses them where they are missing, before it runs mirage. An argument that
`config.ml` names in a string belongs to the unikernel.

"""


def markdown() -> str:
    """Return the reference page."""
    rows = [
        (
            series(row),
            f"`mirage configure {' '.join(row.target)}`",
            _code(row, row.kernel),
            _code(row, row.xl) + (" (and `.in`)" if row.xl_in else ""),
            "configure" if row.installs else "`make depend`",
            f"by {row.crunches}",
        )
        for row in RELEASES
    ]
    flags = [(", ".join(f"`{name}`" for name in flag.names), flag.releases()) for flag in FLAGS]
    head = ("Releases", "Configure", "Kernel", "`.xl`", "Packages are installed by", "Data folders are read")
    return _HEAD + _table(head, rows) + _STEPS + _table(("Argument", "Releases that have it"), flags)


def main(argv: list[str]) -> int:
    """Write the page to the file that ``argv`` names, by default docs/reference/mirage.md; return the exit code."""
    write_atomic(Path(argv[0] if argv else "docs/reference/mirage.md"), markdown().encode(), mode=PUBLIC)
    return 0


def _code(row: Release, template: str) -> str:
    return f"`{row.path(template, Names('', row.mangle('my-app.v2')))}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
