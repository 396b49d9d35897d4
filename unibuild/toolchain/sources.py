"""Finds the source files of a project: what its patterns name and its ``.gitignore`` files do not."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.errors import FileError
from unibuild.toolchain.ignore import Patterns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["PATTERNS", "PRUNED", "Found", "find"]

PATTERNS = (
    *("*.ml", "*.mli", "*.mll", "*.mly", "*.mld", "*.eliom", "*.opam", "*.opam.template"),
    *("dune", "dune-project", "dune-workspace", "dune.inc", "META", "_tags", "*.mllib", "*.mlpack", "*.clib"),
    *("*.c", "*.h", "*.cc", "*.cpp", "*.cxx", "*.hh", "*.hpp", "*.hxx", "*.inc", "*.def"),
    *("*.S", "*.s", "*.asm", "*.ld", "*.lds", "*.x"),
    *("*.rs", "Cargo.toml", "Cargo.lock", "rust-toolchain", "rust-toolchain.toml", "*.zig", "*.go", "go.mod", "go.sum"),
    *("*.hs", "*.cabal", "*.ads", "*.adb", "*.gpr", "*.py", "*.sh", "*.awk", "*.pl"),
    *("Makefile", "makefile", "GNUmakefile", "Makefile.*", "*.mk", "*.mak", "Kconfig*", "Config.in"),
    *("configure", "configure.ac", "*.m4", "*.in", "CMakeLists.txt", "*.cmake", "meson.build", "meson.options"),
)
"""The usual names of sources, in the pattern language of ``.gitignore``."""

PRUNED = (".git", ".hg", ".svn", ".unibuild", "_build", "_opam", "__pycache__")
"""Folders that hold no sources, at any depth."""


@dataclass(frozen=True)
class Found:
    """What a walk found.

    Attributes:
        files: the sources, absolute and sorted.
        folders: what decided that, absolute and sorted: the folders listed and the ``.gitignore`` files read. While
            none of their stamps moves, another walk finds the same.
    """

    files: tuple[Path, ...]
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class _Ignore:
    """A ``.gitignore`` that is in force, and the length of its folder's path with the slash."""

    patterns: Patterns
    skip: int


def find(root: Path, patterns: Sequence[str] = (), *, without: Iterable[str] = ()) -> Found:
    """Find the sources below ``root``.

    A symbolic link to a folder is followed after everything else, where it leads to one not seen yet that does not
    hold ``root``. A folder that may not be read holds no sources.

    Args:
        root: absolute folder.
        patterns: what sources are called, in the pattern language of ``.gitignore``, ``!`` taking out again; empty
            means ``PATTERNS``.
        without: patterns, relative to ``root``, of what is never a source, whatever ``patterns`` say.

    Raises:
        FileError: ``root`` cannot be read.
    """
    try:
        os.listdir(root)  # noqa: PTH208 (strings are enough)
    except OSError as error:
        raise FileError(f"cannot read the folder {root}: {error.strerror}") from error
    walk = _Walk(root, Patterns(patterns or PATTERNS), Patterns((*(f"{name}/" for name in PRUNED), *without)))
    walk.folder(str(root), included=False, ignores=walk.above())
    while walk.links:
        walk.link(*walk.links.pop(0))
    return Found(tuple(map(Path, sorted(walk.files))), tuple(map(Path, sorted(walk.folders))))


class _Walk:
    """One walk; paths are strings, because a Path for each entry would double its time."""

    def __init__(self, root: Path, sources: Patterns, without: Patterns) -> None:
        self.root = root
        self.sources = sources
        self.without = without
        self.skip = len(str(root).rstrip("/")) + 1
        self.files: list[str] = []
        self.folders: list[str] = []
        self.links: list[tuple[str, bool, tuple[_Ignore, ...]]] = []
        self.seen: set[tuple[int, int]] = set()

    def above(self) -> tuple[_Ignore, ...]:
        """Return what ``.gitignore`` files above ``root`` say, up to the top of its git work tree."""
        if (self.root / ".git").exists():
            return ()
        tops = [folder for folder in self.root.parents if (folder / ".git").exists()]
        if not tops:
            return ()
        between = self.root.parents[: self.root.parents.index(tops[0]) + 1]
        return tuple(found for folder in reversed(between) if (found := self.ignore(str(folder))))

    def ignore(self, folder: str) -> _Ignore | None:
        """Read the ``.gitignore`` of a folder; None where there is none."""
        path = f"{folder.rstrip('/')}/.gitignore"
        try:
            with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:  # noqa: PTH123
                lines = file.readlines()
        except OSError:
            return None
        self.folders.append(path)
        return _Ignore(Patterns(lines), len(path) - len(".gitignore"))

    def link(self, path: str, included: bool, ignores: tuple[_Ignore, ...]) -> None:
        """Walk the folder that a symbolic link leads to, unless ``root`` lies in it."""
        if not self.root.resolve().is_relative_to(Path(path).resolve()):
            self.folder(path, included, ignores)

    def folder(self, path: str, included: bool, ignores: tuple[_Ignore, ...]) -> None:
        """Take what is in a folder; ``included`` says that a pattern names the folder itself or one above it."""
        with contextlib.suppress(OSError):  # it may not be read, or went away meanwhile
            status = os.stat(path)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in self.seen:
                return
            self.seen.add((status.st_dev, status.st_ino))
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
            self.folders.append(path)
            if any(entry.name == ".gitignore" for entry in entries) and (own := self.ignore(path)):
                ignores = (*ignores, own)
            for entry in entries:
                self.entry(entry, included, ignores)

    def entry(self, entry: os.DirEntry[str], included: bool, ignores: tuple[_Ignore, ...]) -> None:
        """Take or leave one entry of a folder."""
        path = entry.path
        below = path[self.skip :]
        real_folder = entry.is_dir(follow_symlinks=False)
        said = self.sources.match(below, folder=real_folder)
        wanted = included if said is None else said
        if not (real_folder or wanted or entry.is_symlink()):
            return  # by far the most common end, and cheap
        if self.without.match(below, folder=real_folder) or _ignored(path, real_folder, ignores):
            return
        if real_folder:
            self.folder(path, wanted, ignores)
        elif entry.is_symlink() and entry.is_dir():
            self.links.append((path, wanted, ignores))
        elif wanted and entry.is_file():
            self.files.append(path)


def _ignored(path: str, folder: bool, ignores: tuple[_Ignore, ...]) -> bool:
    for ignore in reversed(ignores):
        said = ignore.patterns.match(path[ignore.skip :], folder=folder)
        if said is not None:
            return said
    return False
