"""Images are read by the real boot loaders: pygrub, GRUB 0.97's shell, GRUB 2's parser.

PV-GRUB's version of GRUB 0.97 accepts an ext2 file system on a whole disk; other versions accept it only on a whole
floppy disk. So here (fd0) stands for PV-GRUB's (hd0); the difference is stubdom/grub.patches/50fs_fulldisk.diff of
Xen 4.14.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from unibuild.graph.disk_image import write
from unibuild.image.disk import make
from unibuild.image.grub_config import CommandLine

sys.path.insert(0, str(Path(__file__).parent))
import boot_loaders

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAMS = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
LINES = [
    "",
    "hello",
    'a  b="c d" $x #e \\f \'g',
    "it's x ' ${z}",
    'x="$HOME" y',
    "'a' 'b' c",
    "{ } ; | & < > ( ) [ ] if",
]


def program(name: str) -> str:
    return shutil.which(name, path=PROGRAMS) or pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="session")
def loaders(pytestconfig: pytest.Config) -> boot_loaders.Loaders:
    return boot_loaders.fetch(pytestconfig.cache.mkdir("loaders"))


@pytest.fixture
def image(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the image of a kernel with a ramdisk."""

    def build(line: str, kind: str = "pv", size: int = 0) -> Path:
        (tmp_path / "kernel").write_bytes(b"\x7fELF the kernel".ljust(size, b"k"))
        (tmp_path / "disk").write_bytes(b"the ramdisk")
        made = make(tmp_path / "kernel", CommandLine(line), kind, project=tmp_path, modules=[tmp_path / "disk"])
        write(made, tmp_path / "img")
        return tmp_path / "img"

    return build


@pytest.mark.parametrize("line", LINES)
def test_pygrub_finds_kernel_ramdisk_and_command_line(loaders, image, tmp_path, line):
    (tmp_path / "out").mkdir()
    argv = [*loaders.pygrub, "-q", "--output-format=simple0", f"--output-directory={tmp_path / 'out'}", image(line)]
    output = subprocess.run(argv, capture_output=True, check=True).stdout.decode()
    found = dict(item.split(" ", 1) for item in output.split("\0") if item)
    assert found.get("args", "") == line
    assert Path(found["kernel"]).read_bytes() == b"\x7fELF the kernel"
    assert Path(found["ramdisk"]).read_bytes() == b"the ramdisk"


def test_pygrub_fails_where_it_would_change_the_command_line(loaders, image, tmp_path):
    (tmp_path / "out").mkdir()  # the default, /var/run/xen, belongs to root
    argv = [*loaders.pygrub, "-q", "--not-really", f"--output-directory={tmp_path / 'out'}"]
    argv.append(image("""it's "$x" """.strip()))
    done = subprocess.run(argv, capture_output=True, text=True)
    assert "Unable to find partition containing kernel" in done.stderr


@pytest.mark.parametrize("device", ["(fd0)", "(hd0,0)"])
@pytest.mark.parametrize("size", [0, 3 << 20, 140 << 20])
def test_grub_0_97_reads_menu_and_kernel(loaders, image, tmp_path, device, size):
    path = image("""it's "a  b" $x #e \\f""", size=size)
    (tmp_path / "map").write_text(f"(fd0) {path}\n(hd0) {path}\n")
    asked = f"root {device}\ncat /boot/grub/menu.lst\nkernel --type=multiboot /kernel\ncmp /module-1 /module-1\nquit\n"
    argv = [*loaders.grub, "--batch", f"--device-map={tmp_path / 'map'}"]
    output = subprocess.run(argv, input=asked, capture_output=True, text=True).stdout
    assert "Filesystem type is ext2fs" in output
    assert """\nkernel /kernel it's "a  b" $x #e \\f\n""" in output
    assert "Error 13: Invalid or unsupported executable format" in output, "it read the kernel, which is none"
    assert "Error" not in output.split("cmp /module-1")[1]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("kind", ["pv", "pvh"])
def test_grub_2_can_read_its_configuration(image, tmp_path, line, kind):
    read = [program("debugfs"), "-R", f"dump /boot/grub/grub.cfg {tmp_path / 'cfg'}", image(line, kind)]
    subprocess.run(read, check=True, capture_output=True)
    done = subprocess.run([program("grub-script-check"), tmp_path / "cfg"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
