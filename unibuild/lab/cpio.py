"""Writes cpio archives of the "newc" kind, which Linux unpacks as its first file system.

Format: the Linux kernel's Documentation/driver-api/early-userspace/buffer-format.rst. A header of 110 ASCII
characters, the name with a closing NUL, the data; name and data are padded to 4 bytes. Archives may follow each other
in one file: the kernel unpacks them in turn, a later file replaces an earlier one. Device nodes need no root here.
"""

from __future__ import annotations

import stat
from pathlib import PurePosixPath
from typing import IO

__all__ = ["Cpio"]


class Cpio:
    """An archive that grows in ``file``; close it with ``end``.

    Everything belongs to root and has the time stamp 0, so the same input gives the same bytes. Folders above a member
    are made when first needed (mode 0755).

    Args:
        file: a binary file, written from its present position, which must be a multiple of 4.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._inode = 0
        self._names: set[str] = set()

    def folder(self, name: str, permissions: int = 0o755) -> None:
        """Add a folder (once: a second call with its name does nothing)."""
        if name not in self._names:
            self._member(name, stat.S_IFDIR | permissions)

    def file(self, name: str, data: bytes, permissions: int = 0o644) -> None:
        """Add a regular file."""
        self._member(name, stat.S_IFREG | permissions, data)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link to ``target``."""
        self._member(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name: str, major: int, minor: int, permissions: int = 0o600) -> None:
        """Add a character device."""
        self._member(name, stat.S_IFCHR | permissions, device=(major, minor))

    def end(self) -> None:
        """Write the closing member and pad to 512 bytes, so that another archive can follow."""
        self._inode = -1
        self._write("TRAILER!!!", 0, b"", (0, 0))
        self._pad(512)

    def _member(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        if name in self._names:
            raise ValueError(f"{name} is in the archive already")
        parent = str(PurePosixPath(name).parent)
        if parent != ".":
            self.folder(parent)
        self._names.add(name)
        self._write(name, mode, data, device)

    def _write(self, name: str, mode: int, data: bytes, device: tuple[int, int]) -> None:
        self._inode += 1
        encoded = name.encode() + b"\0"
        # inode, mode, uid, gid, links, mtime, size, device it is on (major, minor), device it is, name's size, checksum
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        self._file.write(b"070701" + b"".join(b"%08x" % field for field in fields) + encoded)
        self._pad(4)
        self._file.write(data)
        self._pad(4)

    def _pad(self, unit: int) -> None:
        self._file.write(b"\0" * (-self._file.tell() % unit))
