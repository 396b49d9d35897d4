"""The files and folders of an ext2 file system, numbered, and what is in the folders."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from unibuild.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["BLOCK", "Node", "tree"]

BLOCK = 4096
"""Bytes of a block."""

_ROOT, _LOST, _FIRST = 2, 11, 12  # inode numbers: /, /lost+found, the first of ours
_FOLDER, _FILE = 0o40755, 0o100644


@dataclass
class Node:
    """A file or folder.

    Attributes:
        number: of its inode, from 1.
        mode: its type and permissions (inode(7)).
        path: where it is.
        size: of its content in bytes.
        data: its content; None: it is a large file, whose content is elsewhere.
        blocks: the numbers of the blocks that hold its content.
        entries: what is in it, by name; a file's are none.
    """

    number: int
    mode: int
    path: str
    size: int = 0
    data: bytes | None = None
    blocks: Sequence[int] = ()
    entries: dict[str, Node] = field(default_factory=dict)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.mode == _FOLDER

    @property
    def links(self) -> int:
        """How many entries of folders lead to it: to a folder also its own "." and the ".." of each one in it."""
        return 2 + sum(node.is_folder for node in self.entries.values()) if self.is_folder else 1


def tree(small: Mapping[str, bytes], large: Sequence[tuple[str, int]]) -> list[Node]:
    """Return all nodes in the order of their numbers: /, /lost+found, folders, small files, large files.

    Args:
        small: contents of files by their absolute path.
        large: absolute path and size in bytes of the files whose content is elsewhere.

    Raises:
        InputError: a path is none, or is there twice.
    """
    folders = {"": Node(_ROOT, _FOLDER, "/")}
    numbers = iter(range(_FIRST, 1 << 31))

    def folder(path: str) -> Node:
        if path not in folders:
            above, _, name = path.rpartition("/")
            parent = folder(above)  # its number comes first
            folders[path] = parent.entries[name] = Node(next(numbers), _FOLDER, path)
        return folders[path]

    folders["/lost+found"] = folders[""].entries["lost+found"] = Node(_LOST, _FOLDER, "/lost+found")
    paths = [*small, *(path for path, _ in large)]
    for path in paths:
        _check(path, paths)
        folder(path.rpartition("/")[0])
    files = [Node(next(numbers), _FILE, path, len(data), data) for path, data in small.items()]
    files += [Node(next(numbers), _FILE, path, size) for path, size in large]
    for node in files:
        above, _, name = node.path.rpartition("/")
        if name in folders[above].entries:
            raise _twice(node.path)
        folders[above].entries[name] = node
    for path, node in folders.items():
        node.data = _content(node, folders[path.rpartition("/")[0]])
        node.size = len(node.data)
    return [*folders.values(), *files]


def _check(path: str, paths: Sequence[str]) -> None:
    names = path.split("/")
    if names[0] or any(name in ("", ".", "..") or "\0" in name or len(name.encode()) > 255 for name in names[1:]):
        raise InputError(f'"{path}" is no path of a file in the image', hint='write it like "/boot/kernel"')
    if any(other.startswith(f"{path}/") for other in paths):
        raise _twice(path)


def _twice(path: str) -> InputError:
    return InputError(f'"{path}" would be in the image twice')


def _content(folder: Node, parent: Node) -> bytes:
    """Return a folder's entries; none crosses the end of a block, and the last of each reaches to it."""
    blocks: list[list[bytes]] = [[]]
    for name, node in {".": folder, "..": parent, **folder.entries}.items():
        coded = name.encode()
        # In this revision the length of the name has 16 bits; later ones keep the type of the file in the upper half.
        head = struct.pack("<IHH", node.number, 8 + -(-len(coded) // 4) * 4, len(coded))
        entry = (head + coded).ljust(struct.unpack_from("<H", head, 4)[0], b"\0")
        if sum(map(len, blocks[-1])) + len(entry) > BLOCK:
            blocks.append([])
        blocks[-1].append(entry)
    return b"".join(map(_block, blocks))


def _block(entries: list[bytes]) -> bytes:
    last = entries[-1]
    rest = BLOCK - sum(map(len, entries[:-1]))
    return b"".join([*entries[:-1], last[:4], struct.pack("<H", rest), last[6:]]).ljust(BLOCK, b"\0")
