"""Finds the files that a project may be built from: all that are in its folder, or those that patterns name."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild import fingerprint
from unibuild.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from unibuild.toolchain.gitignore import Patterns

__all__ = ["DROPPINGS", "PRUNED", "FoundFiles", "Look", "find", "git_state", "is_pruned", "leads_to", "look", "outside"]

PRUNED = (".git", ".hg", ".svn", ".bzr", "_darcs", ".jj", "CVS", ".unibuild")
"""Folders that hold no sources, at any depth: those of version control, and unibuild's own."""

DROPPINGS = re.compile(
    r"4913|.*~|\..*\.sw[a-z]|.*\.swp|\.#.*|#.*#|\.goutputstream.*|.*___jb_(?:tmp|old|bak)___|.*\.kate-swp"
    r"|\.nfs[0-9a-f]{8,}|\.fuse_hidden.*|\.DS_Store",
    re.DOTALL,
)
"""Names of files that editors, file managers and file systems leave next to the files of a project."""

_IN_A_FOLDER = 500  # files of a folder outside of the project that count, at most
_TOOLS = {"_build": (".lock", "log", "_log", ".db"), "_opam": (".opam-switch",)}


@dataclass(frozen=True)
class FoundFiles:
    """What a walk found.

    Attributes:
        files: the files, absolute and sorted.
        folders: the folders listed, absolute and sorted. Another walk finds the same while their fingerprints stay the
            same.
    """

    files: tuple[Path, ...]
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class Look:
    """What a walk found, and all that decided it: while none of it moves, another walk finds the same.

    Attributes:
        found: what it found.
        fingerprints: the fingerprints of the folders listed, each taken before its content was read.
        links: the symbolic links met, and what each led to (see ``leads_to``).
        whole: whether all could be read; fingerprints do not show when the rest becomes readable.
    """

    found: FoundFiles
    fingerprints: Mapping[str, str]
    links: Mapping[str, str]
    whole: bool


def find(root: Path, patterns: Sequence[str] = (), *, without: Iterable[str] = ()) -> FoundFiles:
    """Find the files below ``root`` that a project may be built from.

    A symbolic link to a folder is followed after everything else, where it leads to one not seen yet that does not
    hold ``root``. A folder that may not be read holds no files. ``.gitignore`` has no say: a build reads what git
    ignores.

    Args:
        root: absolute folder.
        patterns: what sources are called, in the pattern language of ``.gitignore``, ``!`` taking out again; empty
            means every file.
        without: patterns, relative to ``root``, of what is never a source, whatever ``patterns`` say.

    Raises:
        FileError: ``root`` cannot be read.
    """
    return look(root, patterns, without=without).found


def look(root: Path, patterns: Sequence[str] = (), *, without: Iterable[str] = ()) -> Look:
    """Find the files as ``find`` does, with the fingerprints that decided the result.

    Raises:
        FileError: ``root`` cannot be read.
    """
    from unibuild.toolchain.gitignore import Patterns

    try:
        os.listdir(root)  # noqa: PTH208 (strings are enough)
    except OSError as error:
        raise FileError(f"cannot read the folder {root}: {error.strerror}") from error
    without = tuple(without)
    walk = _Walk(root, Patterns(patterns) if patterns else None, Patterns(without) if without else None)
    walk.folder(str(root), included=not patterns)
    while walk.links:
        walk.link(*walk.links.pop(0))
    folders = sorted(path for path, stamp in walk.fingerprints.items() if stamp != fingerprint.ABSENT)
    found = FoundFiles(tuple(map(Path, sorted(walk.files))), tuple(map(Path, folders)))
    return Look(found, walk.fingerprints, walk.leads, walk.whole)


def is_pruned(path: str) -> bool:
    """Say whether a folder is one that no walk enters: version control's, unibuild's, or dune's, ocamlbuild's, opam's.

    A ``_build`` or ``_opam`` that none of these tools wrote is a folder like any other.
    """
    name = path.rpartition("/")[2]
    return name in PRUNED or any(os.path.lexists(f"{path}/{mark}") for mark in _TOOLS.get(name, ()))


def git_state(root: Path, *, index: bool) -> FoundFiles:
    """Return the files that say which revision is checked out, and the folders in which others can appear.

    Format: gitrepository-layout(5). Nothing outside of a git tree.

    Args:
        root: absolute folder.
        index: whether the index counts too, which says what is changed.
    """
    top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), None)
    if top is None:
        return FoundFiles((), ())
    own = top / ".git"
    if own.is_file():  # a worktree or a submodule
        with contextlib.suppress(OSError):
            own = (top / own.read_text().partition("gitdir:")[2].strip()).resolve()
    common = own
    with contextlib.suppress(OSError):
        common = (own / (own / "commondir").read_text().strip()).resolve()
    folders = [folder for name in ("heads", "tags") for folder in _below(common / "refs" / name)]
    refs = [path for folder in folders for path in folder.iterdir() if path.is_file()]
    named = [own / "HEAD", common / "packed-refs", *([own / "index"] if index else [])]
    return FoundFiles(tuple(sorted({*refs, *(path for path in named if path.is_file())})), (common, *folders))


def outside(paths: Iterable[str]) -> FoundFiles:
    """Return the files that paths outside of a project stand for, and the folders in which more can appear.

    Args:
        paths: absolute paths of files and folders, there or not, and patterns of ``glob``. A folder stands for the
            first 500 files in it.
    """
    files: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        folder, _, name = path.rpartition("/")
        if glob.has_magic(name) and not os.path.lexists(path):
            files.update(filter(os.path.isfile, glob.iglob(f"{glob.escape(folder)}/{name}")))  # noqa: PTH207
            folders.add(_nearest(folder))
        elif os.path.isdir(path):  # noqa: PTH112
            with contextlib.suppress(OSError):
                names = sorted(name for name in os.listdir(path) if not DROPPINGS.fullmatch(name))  # noqa: PTH208
                files.update(filter(os.path.isfile, (f"{path}/{name}" for name in names[:_IN_A_FOLDER])))
            folders.add(path)
        else:
            files.update(filter(os.path.isfile, (path,)))
            folders.add(_nearest(folder))
    return FoundFiles(tuple(map(Path, sorted(files))), tuple(map(Path, sorted(folders - {"/"}))))


def _nearest(folder: str) -> str:
    """Return a folder, or the nearest one above it that is there."""
    while folder and not os.path.isdir(folder):  # noqa: PTH112
        folder = folder.rpartition("/")[0]
    return folder or "/"


def _below(folder: Path) -> list[Path]:
    """Return a folder and all folders in it."""
    return [Path(path) for path, _, _ in os.walk(folder)]


def leads_to(link: str) -> str:
    """Return what identifies the target of a symbolic link for a walk; empty: the target does not exist."""
    try:
        status = os.stat(link)  # noqa: PTH116
    except OSError:
        return ""
    if stat.S_ISDIR(status.st_mode):
        return f"{status.st_dev}:{status.st_ino}"
    return "file" if stat.S_ISREG(status.st_mode) else "other"


class _Walk:
    """One walk; paths are strings, because a Path for each entry would double its time."""

    def __init__(self, root: Path, sources: Patterns | None, without: Patterns | None) -> None:
        self.root = root
        self.sources = sources
        self.without = without
        self.skip = len(str(root).rstrip("/")) + 1
        self.files: list[str] = []
        self.fingerprints: dict[str, str] = {}
        self.leads: dict[str, str] = {}
        self.links: list[tuple[str, bool]] = []
        self.seen: set[tuple[int, int]] = set()
        self.whole = True

    def link(self, path: str, included: bool) -> None:
        """Walk the folder that a symbolic link leads to, unless ``root`` lies in it."""
        target = Path(path).resolve()
        if not (self.root.resolve().is_relative_to(target) or any(map(is_pruned, map(str, (target, *target.parents))))):
            self.folder(path, included)

    def folder(self, path: str, included: bool) -> None:
        """Take what is in a folder; ``included`` says that a pattern names the folder itself or one above it."""
        try:
            status = os.stat(path)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in self.seen:
                return
            self.seen.add((status.st_dev, status.st_ino))
            stamp = fingerprint.take(path)
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:  # it may not be read, or was removed during the walk
            self.whole = False
            return
        self.fingerprints[path] = stamp
        for entry in entries:
            with contextlib.suppress(OSError):  # a symbolic link that leads to itself
                self.entry(entry, included)

    def entry(self, entry: os.DirEntry[str], included: bool) -> None:
        """Take or leave one entry of a folder."""
        path = entry.path
        below = path[self.skip :]
        real_folder = entry.is_dir(follow_symlinks=False)
        matched = None if self.sources is None else self.sources.match(below, folder=real_folder)
        wanted = included if matched is None else matched
        if not (real_folder or wanted or entry.is_symlink()):
            return  # by far the most common end where there are patterns, and cheap
        if entry.name in PRUNED or (not real_folder and DROPPINGS.fullmatch(entry.name)):
            return
        if self.without is not None and self.without.match(below, folder=real_folder):
            return
        if entry.is_symlink():
            self.leads[path] = leads_to(path)
        if real_folder:
            if not is_pruned(path):
                self.folder(path, wanted)
        elif entry.is_symlink() and entry.is_dir():
            self.links.append((path, wanted))
        elif wanted and entry.is_file() and not (entry.is_symlink() and _is_built(path)):
            self.files.append(path)


def _is_built(link: str) -> bool:
    """Say whether a symbolic link leads into a folder that no walk enters, as ocamlbuild's links do."""
    return any(is_pruned(str(folder)) for folder in Path(link).resolve().parents)
