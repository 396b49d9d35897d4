"""Reads Debian packages: dpkg-deb takes the shell off, Python's tarfile the rest. Nothing is written to disk."""

from __future__ import annotations

import gzip
import lzma
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from unibuild.errors import CommandError, LabError
from unibuild.util import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ZSTD", "Member", "decompress", "members"]

ZSTD = b"\x28\xb5\x2f\xfd"
MERGED = ("bin", "sbin", "lib", "lib64")  # folders that Debian 13 and Ubuntu have as links into /usr


@dataclass(frozen=True)
class Member:
    """A file of a package: its bytes, or the target of a symbolic link."""

    data: bytes = b""
    link: str | None = None


def members(package: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Member]]:
    """Yield the files and links of a package whose name is ``wanted``.

    Names are as on a merged system: "usr/bin/busybox" for what the package may call "./bin/busybox".

    Raises:
        LabError: the package is damaged.
    """
    argv = ["dpkg-deb", "--fsys-tarfile", str(package)]
    with process.start(argv, stderr=subprocess.DEVNULL) as child:
        try:
            with tarfile.open(fileobj=child.stdout, mode="r|") as tar:
                for entry in tar:
                    name = _merged(entry.name)
                    if not wanted(name):
                        continue
                    if entry.issym():
                        yield name, Member(link=entry.linkname)
                    elif entry.islnk():
                        yield name, Member(link="/" + _merged(entry.linkname))
                    elif entry.isreg():
                        file = tar.extractfile(entry)
                        yield name, Member(data=file.read() if file else b"")
        except tarfile.TarError as error:
            raise LabError(
                f"the package {package.name} is damaged: {error}", hint="run `unibuild lab reset`"
            ) from error


def decompress(data: bytes) -> bytes:
    """Unpack gzip, xz or zstd by its magic number; anything else is returned as it is.

    Bytes after the end of an xz stream are left out (Linux stores the unpacked size there).
    """
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data)
    if data[:6] == b"\xfd7zXZ\0":
        return lzma.LZMADecompressor().decompress(data)
    if data[:4] == ZSTD:
        return _unzstd(data)
    return data


def _merged(name: str) -> str:
    path = PurePosixPath(name.removeprefix("./").lstrip("/"))
    return str("usr" / path) if path.parts and path.parts[0] in MERGED else str(path)


def _unzstd(data: bytes) -> bytes:
    """Unpack zstd, which Python has only from 3.14 on, with the zstd inside dpkg-deb.

    We dress the data as a package: an ar archive (deb(5)) whose last member is "data.tar.zst"; ``--fsys-tarfile``
    unpacks that and does not look inside.
    """

    def part(name: str, content: bytes) -> bytes:
        return (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
            + content
            + b"\n"[: len(content) % 2]
        )

    with tempfile.TemporaryDirectory(prefix="unibuild-") as folder:
        package = Path(folder) / "payload.deb"
        package.write_bytes(
            b"!<arch>\n"
            + part("debian-binary", b"2.0\n")
            + part("control.tar.gz", gzip.compress(bytes(10240)))
            + part("data.tar.zst", data)
        )
        try:
            return process.run(["dpkg-deb", "--fsys-tarfile", str(package)]).stdout
        except CommandError as error:
            raise LabError(f"this dpkg-deb cannot unpack zstd: {error.output.strip()}") from error
