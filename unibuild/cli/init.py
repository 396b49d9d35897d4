"""The command `unibuild init`: write ``unibuild.toml`` and, on request, ``dodo.py`` and the Make companion.

A file of the user is never replaced without ``--force``, and never without showing the change.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from unibuild.errors import InputError, XlSyntaxError
from unibuild.graph.xl_file import to_domain_name
from unibuild.settings.loader import FILE
from unibuild.settings.model import Build
from unibuild.toolchain import makefile
from unibuild.toolchain.prebuilt import find_kernel
from unibuild.util.files import PUBLIC, reading, write_atomic
from unibuild.util.templates import render
from unibuild.xlcfg import parser

__all__ = ["Draft", "Tree", "drafts", "look", "main"]

GOALS = ("boot", "watch", "console", "destroy", "lab-up", "lab-down")  # the goals of unibuild.mk


@dataclass(frozen=True)
class Tree:
    """How a project's kernel is built, as far as its folder shows it.

    Attributes:
        xl: name of the file in the folder that describes the kernel's domain for xl; None: there is none.
    """

    root: Path
    toolchain: str
    name: str
    kernel: str | None = None
    configure: tuple[str, ...] = ()
    makefile: str | None = None
    targets: tuple[str, ...] = ()
    xl: str | None = None


@dataclass(frozen=True)
class Draft:
    """A file to write.

    ``enough`` is a regular expression: an existing file that matches it is kept, whatever else it contains. None: any
    other content is a conflict.
    """

    path: Path
    text: str
    enough: str | None = None


def main(argv: list[str]) -> int:
    """Write the files; return 0, or 1 if an existing file was in the way."""
    parser = argparse.ArgumentParser(
        prog="unibuild init",
        description="Write unibuild.toml for the project in this folder.",
        epilog="Existing files are kept, unless --force is given.",
    )
    parser.add_argument("--dodo", action="store_true", help="also write dodo.py, for `doit boot` and your own tasks")
    parser.add_argument("--make", action="store_true", help="also write the files for `make boot`")
    parser.add_argument("--force", action="store_true", help="change existing files, and show the changes")
    options = parser.parse_args(argv)
    tree = look(Path.cwd())
    wanted = drafts(tree, dodo=options.dodo, make=options.make, force=options.force)
    done = [_write(draft, force=options.force) for draft in wanted]
    _advise(tree, make=options.make)
    return 0 if all(done) else 1


def look(root: Path) -> Tree:
    """Return how a folder's kernel is built, judging by its files. Nothing is run.

    Raises:
        InputError: the files do not show it.
        FileError: a file cannot be read.
    """
    found = makefile.find(root)
    names = makefile.targets(found) if found else ()
    if (root / "config.ml").is_file():
        with reading(root / "config.ml"):
            text = (root / "config.ml").read_text(errors="replace")
        registered = re.search(r'\bregister\s+"([^"]+)"', text)
        name = registered[1] if registered else root.name
        return Tree(root, "mirage", to_domain_name(name), makefile=found.name if found else None, targets=names)
    configure = ("./configure",) if (root / "configure").is_file() and not found else ()
    if not found and not configure:
        prebuilt = find_kernel(root, Build())
        if prebuilt is not None:
            neighbor = prebuilt.with_suffix(".xl")
            described = neighbor.name if neighbor.is_file() else None
            return Tree(root, "prebuilt", to_domain_name(prebuilt.stem), prebuilt.name, xl=described)
        raise InputError(
            f"{root} has neither a config.ml (Mirage), nor a Makefile, nor one kernel (*.xen)",
            hint=_elsewhere(root),
        )
    domains = _kernels_of_domains(root)
    kernel = next(iter(makefile.kernels(names)), None) or next(iter(domains.values()), None)
    own = (name for name in domains if name.endswith(".xl") and name not in names)  # the Makefile writes none
    xl = next((name for name in own if domains[name] == kernel), None)
    front = found.name if found else "Makefile"
    return Tree(root, "make", to_domain_name(root.name), kernel, configure, front, names, xl)


def _elsewhere(root: Path) -> str:
    """Return the hint for a folder without a project: the folders below it that have one."""
    below = sorted(folder.name for folder in root.iterdir() if _has_project(folder))
    if not below:
        return "change to the unikernel's folder, or copy one of the examples"
    named = ", ".join(below[:5]) + (" ..." if len(below) > 5 else "")
    return f"change to the unikernel's folder; these look like one: {named}"


def _has_project(folder: Path) -> bool:
    return folder.is_dir() and any((folder / name).is_file() for name in ("config.ml", *makefile.NAMES))


def _kernels_of_domains(root: Path) -> dict[str, str]:
    """Return the kernels in this folder that the xl files next to the Makefile boot, by the names of those files."""
    found = {}
    for path in (root / "domain_config", *sorted(root.glob("*.xl"))):
        with contextlib.suppress(OSError, XlSyntaxError):
            kernel = parser.parse(path.read_bytes().decode(errors="surrogateescape"), str(path)).get("kernel")
            if isinstance(kernel, str) and re.fullmatch(r"(\./)?[\w+-][\w.+-]*(/[\w+-][\w.+-]*)*", kernel, re.ASCII):
                found[path.name] = kernel.removeprefix("./")
    return found


def drafts(tree: Tree, *, dodo: bool, make: bool, force: bool) -> list[Draft]:
    """Return the files to write.

    An existing ``unibuild.toml`` is kept, unless ``force`` is given and no other file is requested.
    """
    values = {"name": tree.name, "toolchain": tree.toolchain, "kernel": tree.kernel, "configure": tree.configure}
    values["xl"] = tree.xl
    keep = None if force and not (dodo or make) else ""
    found = [Draft(tree.root / FILE, render("unibuild.toml.j2", tree.root, **values), keep)]
    if dodo:
        text = render("dodo.py.j2", tree.root)
        found.append(Draft(tree.root / "dodo.py", text, r"(?m)^\w+\s*=\s*(\w+\.)?unikernel\("))
    if make:
        front = "Makefile.user" if tree.toolchain == "mirage" else "GNUmakefile"
        free = [goal for goal in GOALS if goal not in tree.targets]
        goals = free if len(free) < len(GOALS) else []
        found.append(Draft(tree.root / "unibuild.mk", render("unibuild.mk", tree.root)))
        found.append(_front(tree.root / front, render(f"{front}.j2", tree.root, makefile=tree.makefile, goals=goals)))
    return found


def _front(path: Path, text: str) -> Draft:
    """Return the file that includes unibuild.mk; the missing lines are appended to an existing file."""
    if path.is_file():
        with reading(path):
            before = path.read_text(errors="surrogateescape")  # keeps bytes that are not UTF-8
        lines = [line for line in text.splitlines() if re.match(r"UNIBUILD_GOALS|include unibuild\.mk", line)]
        text = "\n".join([before.rstrip("\n"), *lines, ""])
    return Draft(path, text, r"(?m)^-?include .*\bunibuild\.mk\b")


def _write(draft: Draft, *, force: bool) -> bool:
    """Write one file unless another one is in the way, and print the result; return whether the file is usable now."""
    name = draft.path.name
    if not draft.path.exists():
        write_atomic(draft.path, draft.text.encode(), mode=PUBLIC)
        print(f"wrote {name}")
        return True
    with reading(draft.path):
        before = draft.path.read_text(errors="surrogateescape")
    if before == draft.text or (draft.enough is not None and re.search(draft.enough, before)):
        print(f"kept {name}")
        return True
    change = difflib.unified_diff(before.splitlines(), draft.text.splitlines(), name, f"{name} (new)", lineterm="")
    print("\n".join(change).encode(errors="replace").decode())
    if force:
        write_atomic(draft.path, draft.text.encode(errors="surrogateescape"), mode=PUBLIC)
        print(f"changed {name}")
        return True
    print(
        f"warning: {name} was there and was kept\nhint: make the change above yourself, or run again with --force",
        file=sys.stderr,
    )
    return False


def _advise(tree: Tree, *, make: bool) -> None:
    taken = [goal for goal in GOALS if goal in tree.targets]
    if tree.toolchain == "make" and tree.kernel is None:
        print(f"Next: name the kernel that the build leaves, in {FILE}: [build] kernel")
    else:
        command = "make boot" if tree.makefile else "make -f Makefile.user boot"  # Mirage has not generated its own yet
        print("Next: unibuild boot" + (f" (or {command})" if make and "boot" not in taken else ""))
    if make and taken:
        print(f"{tree.makefile} has its own {', '.join(taken)}, which stays: run `unibuild` for these goals")
