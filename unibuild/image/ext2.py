"""Lay out an ext2 file system: the content of its metadata blocks, and the position of each file's data.

It is ext2 revision 0 without features, which every GRUB since 0.97 (including PV-GRUB) and pygrub can read. It depends
on neither time nor chance. Large files start at a *unit* of 512 KiB, the block size of an EBS snapshot, and stay
aligned to units, so that a unit holds either metadata or a piece of one file:

    unit 0          boot sector, superblock, descriptors, bitmaps, inodes, folders, small files, block tables
    unit 1 ...      the first large file, then the second from the next unit on ...
    unit 256, ...   starts a block group of 128 MiB: copies of superblock and descriptors, bitmaps; files skip it

The structures are those of e2fsprogs' lib/ext2fs/ext2_fs.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from unibuild.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["FS_BLOCK", "UNIT", "FileSystem", "Node", "lay_out", "tree"]

FS_BLOCK = 4096
"""Bytes of a block."""

_ROOT, _LOST, _FIRST = 2, 11, 12  # inode numbers: /, /lost+found, the first of this image
_FOLDER, _FILE = 0o40755, 0o100644


@dataclass
class Node:
    """A file or folder.

    Attributes:
        number: its inode number, from 1.
        mode: its type and permissions (inode(7)).
        path: its path.
        size: the size of its content in bytes.
        data: its content; None: a large file, with content elsewhere.
        blocks: the numbers of the blocks with its content.
        entries: a folder's entries by name; a file has none.
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
        """The number of directory entries for it; for a folder, also its own "." and the ".." of each folder in it."""
        return 2 + sum(node.is_folder for node in self.entries.values()) if self.is_folder else 1


def tree(small: Mapping[str, bytes], large: Sequence[tuple[str, int]]) -> list[Node]:
    """Return all nodes in the order of their numbers: /, /lost+found, folders, small files, large files.

    Args:
        small: contents of files by their absolute path.
        large: absolute path and size in bytes of the files with content elsewhere.

    Raises:
        InputError: a path is not valid, or is there twice.
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
        raise InputError(f'not the path of a file in the image: "{path}"', hint='write it like "/boot/kernel"')
    if any(other.startswith(f"{path}/") for other in paths):
        raise _twice(path)


def _twice(path: str) -> InputError:
    return InputError(f'"{path}" would be in the image twice')


def _content(folder: Node, parent: Node) -> bytes:
    """Return a folder's entries; none crosses the end of a block, and the last one of each block extends to its end."""
    blocks: list[list[bytes]] = [[]]
    for name, node in {".": folder, "..": parent, **folder.entries}.items():
        coded = name.encode()
        # In this revision the name's length has 16 bits; later ones store the file type in the upper half.
        head = struct.pack("<IHH", node.number, 8 + -(-len(coded) // 4) * 4, len(coded))
        entry = (head + coded).ljust(struct.unpack_from("<H", head, 4)[0], b"\0")
        if sum(map(len, blocks[-1])) + len(entry) > FS_BLOCK:
            blocks.append([])
        blocks[-1].append(entry)
    return b"".join(map(_block, blocks))


def _block(entries: list[bytes]) -> bytes:
    last = entries[-1]
    rest = FS_BLOCK - sum(map(len, entries[:-1]))
    return b"".join([*entries[:-1], last[:4], struct.pack("<H", rest), last[6:]]).ljust(FS_BLOCK, b"\0")


UNIT = 512 << 10
"""Bytes of a unit."""

_PER_UNIT = UNIT // FS_BLOCK
_PER_GROUP = 8 * FS_BLOCK  # blocks of a group: one block has a bit for each
_GROUPS = FS_BLOCK // 32  # as many as one block of descriptors describes: 16 GiB
_POINTERS = FS_BLOCK // 4  # of a block table
_DIRECT = 12  # blocks that an inode itself points to
_INODE = 128  # bytes
_INODES = FS_BLOCK // _INODE  # in a block
_FIXED = 4  # blocks of a group before its inodes: superblock, descriptors, bitmap of blocks, bitmap of inodes
_LARGEST = (2 << 30) - 1  # bytes of a file; larger ones need later revisions


@dataclass(frozen=True)
class FileSystem:
    """The layout of a file system.

    Attributes:
        units: the number of units.
        metadata: the units with metadata, by number, each of 512 KiB.
        data: for every unit with a piece of a large file, the file's number and the piece's offset in it.
        offsets: the start of each small file's content, in bytes from the start of the image; it is contiguous.
    """

    units: int
    metadata: Mapping[int, bytes]
    data: Mapping[int, tuple[int, int]]
    offsets: Mapping[str, int]


def lay_out(small: Mapping[str, bytes], large: Sequence[tuple[str, int]]) -> FileSystem:
    """Lay out a file system.

    Args:
        small: contents of files by their absolute path; they go into the first unit, with the metadata.
        large: absolute path and size in bytes of each file that starts at its own unit, in their order.

    Raises:
        InputError: a path is not valid or is there twice, or the files are too large.
    """
    for path, size in large:
        if size > _LARGEST:
            raise InputError(f"{path} is too large for the image: {size} bytes, and a file must be smaller than 2 GiB")
    writer = _Writer(tree(small, large), list(_units_of([size for _, size in large])))
    return writer.write()


def _units_of(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Yield the units of each large file."""
    unit = 1
    for size in sizes:
        own = []
        for _ in range(0, size, UNIT):
            unit += unit * _PER_UNIT % _PER_GROUP == 0
            own.append(unit)
            unit += 1
        yield own


class _Writer:
    """Write the metadata.

    Args:
        nodes: files and folders in the order of their numbers, the large files last.
        places: the units of each large file.
    """

    def __init__(self, nodes: Sequence[Node], places: Sequence[Sequence[int]]) -> None:
        self.nodes, self.places = nodes, places
        self.large = nodes[len(nodes) - len(places) :]
        self.units = max((unit for own in places for unit in own), default=0) + 1
        self.groups = range(-(-self.units * _PER_UNIT // _PER_GROUP))
        if len(self.groups) > _GROUPS:
            raise InputError("the files of the image are larger than 16 GiB in all")
        self.inode_blocks = -(-nodes[-1].number // _INODES)
        self.fixed = _FIXED + self.inode_blocks
        if self.fixed > _PER_UNIT:
            raise _full()
        self.metadata = {group * _PER_GROUP // _PER_UNIT: bytearray(UNIT) for group in self.groups}
        self.ends = {group: group * _PER_GROUP + self.fixed for group in self.groups}  # the end of the allocated blocks
        self.bits = bytearray(len(self.groups) * FS_BLOCK)  # one for each block

    def write(self) -> FileSystem:
        """Allocate and write everything."""
        for node in self.nodes:
            if node.data is not None:
                node.blocks = self._allocate(-(-node.size // FS_BLOCK), self.groups[:1])
                for number, block in enumerate(node.blocks):
                    self._put(block, node.data[number * FS_BLOCK : (number + 1) * FS_BLOCK])
        data: dict[int, tuple[int, int]] = {}
        for number, (node, own) in enumerate(zip(self.large, self.places, strict=True)):
            blocks = [block for unit in own for block in range(unit * _PER_UNIT, (unit + 1) * _PER_UNIT)]
            node.blocks = blocks[: -(-node.size // FS_BLOCK)]
            data |= {unit: (number, at * UNIT) for at, unit in enumerate(own)}
        for node in self.nodes:
            self._inode(node)
        self._write_tables()
        offsets = {node.path: node.blocks[0] * FS_BLOCK for node in self.nodes if node.data}
        return FileSystem(self.units, {unit: bytes(held) for unit, held in self.metadata.items()}, data, offsets)

    def _put(self, block: int, content: bytes, offset: int = 0) -> None:
        start = block % _PER_UNIT * FS_BLOCK + offset
        self.metadata[block // _PER_UNIT][start : start + len(content)] = content

    def _allocate(self, count: int, groups: Iterable[int]) -> list[int]:
        """Return free blocks of the units with metadata: the first ones of these groups."""
        found: list[int] = []
        for group in groups:
            end = self.ends[group]
            self.ends[group] = min(end + count - len(found), group * _PER_GROUP + _PER_UNIT)
            found += range(end, self.ends[group])
        if len(found) < count:
            raise _full()
        return found

    def _table(self, blocks: Sequence[int]) -> int:
        (block,) = self._allocate(1, self.groups)
        self._put(block, struct.pack(f"<{len(blocks)}I", *blocks))
        return block

    def _inode(self, node: Node) -> None:
        direct, rest = node.blocks[:_DIRECT], node.blocks[_DIRECT:]
        once = self._table(rest[:_POINTERS]) if rest else 0
        tables = [self._table(rest[at : at + _POINTERS]) for at in range(_POINTERS, len(rest), _POINTERS)]
        twice = self._table(tables) if tables else 0
        count = len(node.blocks) + len(tables) + bool(once) + bool(twice)
        content = struct.pack(
            "<2H5I2H18I",
            *(node.mode, 0, node.size, 0, 0, 0, 0),  # owner; times
            *(0, node.links, count * (FS_BLOCK // 512), 0, 0),  # group; flags
            *(*direct, *[0] * (_DIRECT - len(direct)), once, twice, 0),
        )
        table, at = divmod((node.number - 1) * _INODE, FS_BLOCK)
        self._put(_FIXED + table, content, at)

    def _write_tables(self) -> None:
        """Write bitmaps, descriptors and superblocks; each group has complete copies of the latter two."""
        for group, end in self.ends.items():
            self._take(range(group * _PER_GROUP, end))
        for node in self.large:
            self._take(node.blocks)
        total = self.units * _PER_UNIT
        self._take(range(total, len(self.bits) * 8))
        inodes, taken = self.inode_blocks * _INODES, self.nodes[-1].number
        descriptors, free_blocks = b"", 0
        for group in self.groups:
            first = group * _PER_GROUP
            bits = self.bits[group * FS_BLOCK : (group + 1) * FS_BLOCK]
            free = FS_BLOCK * 8 - int.from_bytes(bits, "little").bit_count()
            free_blocks += free
            own = taken if group == 0 else 0
            folders = sum(node.is_folder for node in self.nodes) if group == 0 else 0
            descriptors += struct.pack("<3I4H12x", first + 2, first + 3, first + 4, free, inodes - own, folders, 0)
            self._put(first + 2, bytes(bits))
            self._put(first + 3, ((1 << FS_BLOCK * 8) - (1 << inodes) + (1 << own) - 1).to_bytes(FS_BLOCK, "little"))
        free_inodes = inodes * len(self.groups) - taken
        superblock = struct.pack(
            "<13I6H4I2H",
            *(inodes * len(self.groups), total, 0, free_blocks, free_inodes),
            *(0, 2, 2, _PER_GROUP, _PER_GROUP, inodes),  # first block; the two 2 mean 4096: 1024 << 2
            *(0, 0, 0, 0xFFFF, 0xEF53, 1, 1, 0),  # times; mounts and when to check: never; magic; clean; go on; minor
            *(0, 0, 0, 0, 0, 0),  # when checked, how often; creator; revision; reserved for user, group
        )
        for group in self.groups:
            first = group * _PER_GROUP
            self._put(first, superblock, 0 if group else 1024)
            self._put(first + 1, descriptors)

    def _take(self, blocks: Iterable[int]) -> None:
        for block in blocks:
            self.bits[block >> 3] |= 1 << (block & 7)


def _full() -> InputError:
    return InputError("the small files of the image do not fit into its first 512 KiB")
