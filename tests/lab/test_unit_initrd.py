from __future__ import annotations

import io
import shutil
import stat
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.lab.initrd import Cpio


def read(data: bytes) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
    """Read newc archives that follow each other, as the kernel does: name -> (mode, data, device)."""
    found, at = {}, 0
    while at < len(data):
        if data[at] == 0:  # padding between archives
            at += 1
            continue
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, major, minor, length = fields[1], fields[6], fields[9], fields[10], fields[11]
        name = data[at + 110 : at + 110 + length - 1].decode()
        at += (110 + length + 3) & ~3
        if name != "TRAILER!!!":
            found[name] = (mode, data[at : at + size], (major, minor))
        at += (size + 3) & ~3
    return found


def archive(**files: bytes) -> bytes:
    file = io.BytesIO()
    cpio = Cpio(file)
    for name, data in files.items():
        cpio.file(name, data)
    cpio.end()
    return file.getvalue()


@given(st.dictionaries(st.from_regex(r"[a-z]{1,9}", fullmatch=True), st.binary(max_size=50), max_size=5))
def test_written_archive_is_readable(files):
    assert {name: data for name, (_, data, _) in read(archive(**files)).items()} == files


def test_folders_links_and_devices():
    file = io.BytesIO()
    cpio = Cpio(file)
    cpio.file("usr/bin/tool", b"elf", 0o755)
    cpio.link("bin", "usr/bin")
    cpio.device("dev/null", 1, 3, 0o666)
    cpio.end()
    assert read(file.getvalue()) == {
        "usr": (stat.S_IFDIR | 0o755, b"", (0, 0)),
        "usr/bin": (stat.S_IFDIR | 0o755, b"", (0, 0)),
        "usr/bin/tool": (stat.S_IFREG | 0o755, b"elf", (0, 0)),
        "bin": (stat.S_IFLNK | 0o777, b"usr/bin", (0, 0)),
        "dev": (stat.S_IFDIR | 0o755, b"", (0, 0)),
        "dev/null": (stat.S_IFCHR | 0o666, b"", (1, 3)),
    }


def test_archives_can_follow_each_other():
    assert set(read(archive(a=b"1") + archive(b=b"2"))) == {"a", "b"}


def test_duplicate_name_is_a_programming_error():
    with pytest.raises(ValueError, match="a is already in the archive"):
        file = io.BytesIO()
        cpio = Cpio(file)
        cpio.file("a", b"")
        cpio.file("a", b"")


@pytest.mark.skipif(shutil.which("cpio") is None, reason="GNU cpio is not installed")
def test_gnu_cpio_reads_it():
    said = subprocess.run(["cpio", "-t"], input=archive(a=b"1", b=b"22222"), capture_output=True, check=True)
    assert said.stdout.split() == [b"a", b"b"]
