"""Finds the source files of a project: what its patterns name and its ``.gitignore`` files do not."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild import stamps
from unibuild.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from unibuild.toolchain.gitignore import Patterns

__all__ = ["PATTERNS", "PRUNED", "Found", "Look", "above", "find", "leads_to", "look"]

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
class Look:
    """What a walk found, and all that decided it: while none of it moves, another walk finds the same.

    Attributes:
        found: what it found.
        stamps: the stamps of the folders listed and of the ``.gitignore`` files in force, there or not, each taken
            before its content was read.
        links: the symbolic links met, and what each led to (see ``leads_to``).
        whole: whether all could be read; the stamps of the rest would not tell when it can be.
    """

    found: Found
    stamps: Mapping[str, str]
    links: Mapping[str, str]
    whole: bool


@dataclass(frozen=True)
class _Ignore:
    """A ``.gitignore`` that is in force, and the length of its folder's path with the slash."""

    patterns: Patterns
    skip: int


def find(root: Path, patterns: Sequence[str] = (), *, without: Iterable[str] = ()) -> Found:
    """Find the sources below ``root``.

    A symbolic link to a folder is followed after everything else, where it leads to one not seen yet that does not
    hold ``root``. A folder that may not be read holds no sources. Where a ``.gitignore`` above ``root`` names
    ``root`` itself, those above do not count.

    Args:
        root: absolute folder.
        patterns: what sources are called, in the pattern language of ``.gitignore``, ``!`` taking out again; empty
            means ``PATTERNS``.
        without: patterns, relative to ``root``, of what is never a source, whatever ``patterns`` say.

    Raises:
        FileError: ``root`` cannot be read.
    """
    return look(root, patterns, without=without).found


def look(root: Path, patterns: Sequence[str] = (), *, without: Iterable[str] = ()) -> Look:
    """Find the sources as ``find`` does, and tell what decided that.

    Raises:
        FileError: ``root`` cannot be read.
    """
    from unibuild.toolchain.gitignore import Patterns

    try:
        os.listdir(root)  # noqa: PTH208 (strings are enough)
    except OSError as error:
        raise FileError(f"cannot read the folder {root}: {error.strerror}") from error
    walk = _Walk(root, Patterns(patterns or PATTERNS), Patterns((*(f"{name}/" for name in PRUNED), *without)))
    walk.folder(str(root), included=False, ignores=walk.above())
    while walk.links:
        walk.link(*walk.links.pop(0))
    folders = sorted(path for path, stamp in walk.stamps.items() if stamp != stamps.ABSENT)
    found = Found(tuple(map(Path, sorted(walk.files))), tuple(map(Path, folders)))
    return Look(found, walk.stamps, walk.leads, walk.whole)


def above(root: Path) -> tuple[Path, ...]:
    """Return the folders above ``root`` whose ``.gitignore`` counts, if there is one: those in its git tree.

    The top of the tree comes first; outside of a git tree there are none.
    """
    between: list[Path] = []
    for folder in (root, *root.parents):
        if (folder / ".git").exists():
            return tuple(reversed(between))
        between.append(folder.parent)
    return ()


def leads_to(link: str) -> str:
    """Return what tells one end of a symbolic link from another, as far as a walk cares; empty: it leads nowhere."""
    try:
        status = os.stat(link)  # noqa: PTH116
    except OSError:
        return ""
    if stat.S_ISDIR(status.st_mode):
        return f"{status.st_dev}:{status.st_ino}"
    return "file" if stat.S_ISREG(status.st_mode) else "other"


class _Walk:
    """One walk; paths are strings, because a Path for each entry would double its time."""

    def __init__(self, root: Path, sources: Patterns, without: Patterns) -> None:
        self.root = root
        self.sources = sources
        self.without = without
        self.skip = len(str(root).rstrip("/")) + 1
        self.files: list[str] = []
        self.stamps: dict[str, str] = {}
        self.leads: dict[str, str] = {}
        self.links: list[tuple[str, bool, tuple[_Ignore, ...]]] = []
        self.seen: set[tuple[int, int]] = set()
        self.whole = True

    def above(self) -> tuple[_Ignore, ...]:
        """Return what ``.gitignore`` files above ``root`` say; nothing, where they name a folder on the way to it."""
        folders = above(self.root)
        ignores: tuple[_Ignore, ...] = ()
        for folder, below in zip(folders, (*folders[1:], self.root), strict=False):  # none above: none
            if own := self.ignore(str(folder)):
                ignores = (*ignores, own)
            if _ignored(str(below), True, ignores):
                return ()
        return ignores

    def ignore(self, folder: str) -> _Ignore | None:
        """Read the ``.gitignore`` of a folder; None where there is none."""
        from unibuild.toolchain.gitignore import Patterns

        path = f"{folder.rstrip('/')}/.gitignore"
        self.stamps[path] = stamps.take(path)
        try:
            with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:  # noqa: PTH123
                lines = file.read().split("\n")
        except FileNotFoundError:
            return None
        except OSError:
            self.whole = False
            return None
        return _Ignore(Patterns(line.removesuffix("\r") for line in lines), len(path) - len(".gitignore"))

    def link(self, path: str, included: bool, ignores: tuple[_Ignore, ...]) -> None:
        """Walk the folder that a symbolic link leads to, unless ``root`` lies in it."""
        if not self.root.resolve().is_relative_to(Path(path).resolve()):
            self.folder(path, included, ignores)

    def folder(self, path: str, included: bool, ignores: tuple[_Ignore, ...]) -> None:
        """Take what is in a folder; ``included`` says that a pattern names the folder itself or one above it."""
        try:
            status = os.stat(path)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in self.seen:
                return
            self.seen.add((status.st_dev, status.st_ino))
            stamp = stamps.take(path)
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:  # it may not be read, or went away meanwhile
            self.whole = False
            return
        self.stamps[path] = stamp
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
        if entry.is_symlink():
            self.leads[path] = leads_to(path)
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
