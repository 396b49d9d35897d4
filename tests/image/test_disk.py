from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from unibuild.errors import FileError
from unibuild.image.bios_boot import BiosLoader
from unibuild.image.disk import BLOCK, DiskImage, make
from unibuild.image.grub_config import CommandLine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "k.xen"
    path.write_bytes(b"".join(bytes([number]) * BLOCK for number in (1, 2, 0, 3)) + b"end")
    return path


def image(kernel: Path, line: str = "hello", **kwargs: object) -> DiskImage:
    return make(kernel, CommandLine(line), "pvh", project=kernel.parent, **kwargs)


def test_block_is_a_piece_of_the_kernel(kernel: Path) -> None:
    made = image(kernel)
    assert (made.size, made.volume_gib, made.indices) == (6 * BLOCK, 1, (0, 1, 2, 4, 5))
    assert made.read(2) == b"\2" * BLOCK
    assert made.read(5) == b"end".ljust(BLOCK, b"\0")
    assert made.read(3) == made.read(6) == made.read(2047) == bytes(BLOCK)


def test_checksums_match_the_blocks(kernel: Path) -> None:
    made = image(kernel)
    assert made.checksums == {index: hashlib.sha256(made.read(index)).digest() for index in made.indices}
    assert made.digest == hashlib.sha256(b"".join(made.blocks())).hexdigest()


def test_same_kernel_gives_same_image_in_another_process(kernel: Path) -> None:
    code = (
        "import sys, pathlib; from unibuild.image import disk as image, grub_config as menu;"
        "kernel = pathlib.Path(sys.argv[1]);"
        "print(image.make(kernel, menu.CommandLine('hello'), 'pvh', project=kernel.parent).digest)"
    )
    output = subprocess.run([sys.executable, "-c", code, kernel], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == image(kernel).digest


def test_command_line_changes_only_the_first_block(kernel: Path) -> None:
    one, other = image(kernel).checksums, image(kernel, "bye").checksums
    assert [index for index in one if one[index] != other[index]] == [0]


def test_module_begins_at_a_block(kernel: Path, tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(b"module")
    assert image(kernel, modules=[tmp_path / "disk.img"]).read(6) == b"module".ljust(BLOCK, b"\0")


@pytest.mark.parametrize("change", [b"", b"other", None])
def test_kernel_that_changes_meanwhile_is_refused(kernel: Path, change: bytes | None) -> None:
    made = image(kernel)
    made.read(1)
    kernel.unlink()
    if change is not None:
        kernel.write_bytes(change)
    with pytest.raises(FileError, match=r"changed while|no file"):
        made.read(1)


def test_image_is_never_entirely_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.xen"
    with path.open("wb") as file:
        file.truncate(900 << 20)
    tracemalloc.start()
    try:
        made = image(path)
        with ThreadPoolExecutor(8) as pool:
            assert sum(map(len, pool.map(made.read, range(0, 1800, 40)))) == 45 * BLOCK
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50 << 20


def test_boot_code_leads_from_sector_to_sector(kernel: Path) -> None:
    bios = BiosLoader(boot=b"\xeb" * 440 + b"\xff" * 72, core=b"\xc0" * 1300)
    start = image(kernel, bios=bios).read(0)
    plain = image(kernel).read(0)
    assert start[440:512] == plain[440:512], "the partition is still there"
    (sector,) = struct.unpack_from("<Q", start, 0x5C)
    core = start[sector * 512 : (sector + 3) * 512]
    assert struct.unpack_from("<QHH", core, 500) == (sector + 1, 2, 0x820)
    assert core[:500] + core[512:1300] == b"\xc0" * 1288
    assert start[0x64:0x68] == b"\xff\xeb\x90\x90"
