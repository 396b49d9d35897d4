"""Check the ext2 file system with e2fsprogs, its reference, and with a loop mount where that is allowed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unibuild.errors import InputError
from unibuild.image.ext2 import UNIT, lay_out

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GROUP = 128 << 20
DEBUGFS = shutil.which("debugfs", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
needs_e2fsprogs = pytest.mark.skipif(DEBUGFS is None, reason="e2fsprogs is not installed")


def write(path: Path, small: Mapping[str, bytes], large: Mapping[str, tuple[bytes, int]]) -> None:
    """Write a file system; its large files begin with some bytes, and zeros fill them up to their size."""
    system = lay_out(small, [(name, size) for name, (_, size) in large.items()])
    starts = [start for start, _ in large.values()]
    with path.open("wb") as file:
        file.truncate(system.units * UNIT)
        for unit, content in system.metadata.items():
            assert len(content) == UNIT
            os.pwrite(file.fileno(), content, unit * UNIT)
        for unit, (number, offset) in system.data.items():
            if piece := starts[number][offset : offset + UNIT]:
                os.pwrite(file.fileno(), piece, unit * UNIT)


def check(path: Path) -> str:
    """Return the output of e2fsck, which must find nothing to repair."""
    done = subprocess.run([DEBUGFS.replace("debugfs", "e2fsck"), "-fn", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def read(path: Path, *names: str) -> list[bytes]:
    """Return the content of files as debugfs reads it."""
    found = []
    for name in names:
        copy = path.with_name("read")
        copy.unlink(missing_ok=True)
        subprocess.run([DEBUGFS, "-R", f'dump "{name}" {copy}', path], capture_output=True, check=True)
        found.append(copy.read_bytes())
    return found


NAMES = st.from_regex(r"(/[a-z0-9_]{1,9}){1,3}", fullmatch=True)


@needs_e2fsprogs
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    small=st.dictionaries(NAMES, st.binary(max_size=9000), max_size=5),
    large=st.dictionaries(NAMES, st.tuples(st.binary(max_size=600), st.integers(600, 9 << 20)), min_size=1, max_size=3),
)
def test_any_files_are_read_back(tmp_path: Path, small: dict[str, bytes], large: dict[str, tuple[bytes, int]]) -> None:
    names = [*small, *large]
    clash = len(names) != len(set(names)) or any(b.startswith(f"{a}/") for a in names for b in names)
    path = tmp_path / "fs"
    if clash:
        with pytest.raises(InputError, match="twice"):
            write(path, small, large)
        return
    write(path, small, large)
    check(path)
    assert read(path, *small, *large) == [
        *small.values(),
        *(start.ljust(size, b"\0") for start, size in large.values()),
    ]


@needs_e2fsprogs
@pytest.mark.parametrize("size", [0, 1, GROUP - UNIT, GROUP - UNIT + 1, 2 * GROUP, 300 << 20, (2 << 30) - 1])
def test_kernel_of_any_size_fits(tmp_path: Path, size: int) -> None:
    path = tmp_path / "fs"
    write(path, {"/boot/grub/menu.lst": b"x"}, {"/kernel": (b"\x7fELF"[:size], size), "/module-1": (b"m", 1)})
    output = check(path)
    assert path.stat().st_blocks * 512 <= UNIT * (2 + output.count("\n") + size // GROUP * 2), "it is sparse"
    where = subprocess.run([DEBUGFS, "-R", "stat /kernel", path], capture_output=True, text=True).stdout
    assert re.search(rf"Size: {size}\b", where)


def test_first_large_file_is_contiguous_from_512_kib_on() -> None:
    assert lay_out({}, [("/kernel", 3 * UNIT + 1)]).data == {unit: (0, (unit - 1) * UNIT) for unit in (1, 2, 3, 4)}


def test_file_of_several_groups_skips_only_their_first_units() -> None:
    system = lay_out({}, [("/kernel", 2 * GROUP)])
    assert list(system.metadata) == [0, 256, 512]
    assert [offset // UNIT for _, offset in system.data.values()] == list(range(512))
    assert set(range(system.units)) == {*system.metadata, *system.data}


@needs_e2fsprogs
def test_a_folder_may_have_many_entries(tmp_path: Path) -> None:
    small = {f"/modules/{'n' * 200}-{number}": str(number).encode() for number in range(40)}
    write(tmp_path / "fs", small, {"/kernel": (b"k", 1)})
    check(tmp_path / "fs")
    assert read(tmp_path / "fs", *small) == list(small.values())


@pytest.mark.parametrize("path", ["kernel", "/", "/a//b", "/a/../b", "/" + "n" * 256, "/a\0"])
def test_wrong_path_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="not the path of a file"):
        lay_out({}, [(path, 1)])


def test_files_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="512 KiB"):
        lay_out({"/a": bytes(UNIT)}, [])
    with pytest.raises(InputError, match="2 GiB"):
        lay_out({}, [("/kernel", 2 << 30)])
    with pytest.raises(InputError, match="16 GiB"):
        lay_out({}, [(f"/{number}", (2 << 30) - 1) for number in range(8)])


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount")
def test_linux_mounts_it(tmp_path: Path) -> None:
    write(tmp_path / "fs", {"/boot/grub/menu.lst": b"menu"}, {"/kernel": (b"kernel", 200 << 20)})
    (tmp_path / "mnt").mkdir()
    argv = ["mount", "-o", "loop,ro", "-t", "ext2", tmp_path / "fs", tmp_path / "mnt"]
    mounted = subprocess.run(argv, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no loop mount here: {mounted.stderr.strip()}")
    try:
        assert (tmp_path / "mnt/boot/grub/menu.lst").read_bytes() == b"menu"
        with (tmp_path / "mnt/kernel").open("rb") as kernel:
            assert kernel.read(7) == b"kernel\0"
            assert kernel.seek(0, os.SEEK_END) == 200 << 20
    finally:
        subprocess.run(["umount", tmp_path / "mnt"], check=True)
