"""The disk image of a project: its content, and when it is written again."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

import pytest

from unibuild.errors import InputError, KernelError
from unibuild.graph import disk_image as images
from unibuild.graph.graph import Graph, graph
from unibuild.settings.loader import load
from unibuild.testing.image_verification import verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Kernels, Tree


@pytest.fixture
def project(tmp_path: Path, hello_kernels: Kernels) -> Callable[..., Graph]:
    """Return a function that makes a project with a kernel."""

    def make(more: str = "", kind: str = "pv", kernel: bytes | None = None) -> Graph:
        (tmp_path / "unibuild.toml").write_text(f'[build]\nkernel = "k.xen"\n{more}')
        (tmp_path / "Makefile").touch()
        (tmp_path / ".unibuild").mkdir(exist_ok=True)
        found = graph(load(tmp_path))
        found.kernel.write_bytes(kernel or getattr(hello_kernels, kind).read_bytes())
        return found

    return make


def line(found: Graph) -> str:
    return images.plan(found).line.text


def test_the_command_line_is_that_of_the_xl(project, tmp_path):
    assert line(project("[xl]\ncmdline = \"a  b='c'\"\n")) == "a  b='c'"
    assert line(project("[boot.args]\nport = 80\n")) == "--port=80"
    assert line(project('[xl]\ncmdline = "a"\n[image]\ncmdline = ""\n')) == ""
    (tmp_path / "own.xl").write_text("root = '/dev/x'\nextra = 'quiet 3'\n")
    assert line(project('[xl]\nfile = "own.xl"\n')) == "root=/dev/x quiet 3"


def test_the_kernel_decides_what_the_image_is_for(project):
    assert images.plan(project(kind="pv")).kind == "pv"
    assert images.plan(project(kind="pvh")).kind == "pvh"


def test_a_ramdisk_of_the_xl_or_of_the_settings_is_in_it(project, tmp_path):
    for name in ("one", "other", "third"):
        (tmp_path / name).write_text(name)
    by_xl = images.plan(project('[xl.set]\nramdisk = "one"\n'))
    assert by_xl.read(2).rstrip(b"\0") == b"one"
    both = images.plan(project('[image]\nramdisks = ["other", "third"]\n'))
    assert (both.read(2).rstrip(b"\0"), both.read(3).rstrip(b"\0")) == (b"other", b"third")


def test_a_mirage_kernel_gets_its_arguments_from_grub_2_too(project, help_kernel):
    found = project('[boot.args]\nhello = \'a "b" \\\'\nx = "it\'s"\n', kernel=help_kernel.read_bytes())
    made = images.plan(found)
    assert made.line.words == ('--hello=a "b" \\', "-xit's")
    assert images.warnings(found, made) == []


def test_what_grub_2_cannot_do_is_reported(project):
    found = project("[xl]\ncmdline = '\"a\"'\n")
    assert "backslash before each of its quotes" in images.warnings(found, images.plan(found))[0]
    found = project(kind="pvh")
    assert images.warnings(found, images.plan(found)) == []
    magic = (0x1BADB002).to_bytes(4, "little")
    found = project(kernel=found.kernel.read_bytes().replace(magic, bytes(4)))
    assert "no multiboot header" in images.warnings(found, images.plan(found))[0]
    with pytest.raises(KernelError, match=r"k\.xen lacks a multiboot header"):
        verify(found, images.plan(found))


@pytest.mark.parametrize(
    "setting", ['path = "/"', 'path = "/a b"', 'cmdline = "a\\nb"', 'path = "/boot/grub/grub.cfg"']
)
def test_what_cannot_be_is_refused(project, setting):
    with pytest.raises(InputError):
        images.plan(project(f"[image]\n{setting}\n"))


def test_the_goal_writes_it_when_something_changed(tree: Tree, hello_kernels: Kernels):
    shutil.copy(hello_kernels.pv, tree.root / "main.c")
    assert "hello.img is there: 1024 KiB, PV" in tree.run("unibuild", "image")
    path = tree.root / ".unibuild/hello.img"
    made = images.plan(graph(load(tree.root)))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == made.digest
    assert "image: up to date" in tree.run("unibuild", "image")
    assert "image: up to date" in tree.run("unibuild", "plan", "image")
    tree.write("dodo_templates/menu.lst.j2", "kernel {{ kernel }} {{ cmdline }}")
    assert "image: dodo_templates/menu.lst.j2 is new" in tree.run("unibuild", "image")
    assert "is there" in tree.run("unibuild", "image", "image.file=out/k.img")
    assert (tree.root / "out/k.img").stat().st_size == made.size
    assert tree.log == ["built"]


def test_a_ramdisk_that_changed_makes_it_stale(tree: Tree, hello_kernels: Kernels):
    shutil.copy(hello_kernels.pv, tree.root / "main.c")
    tree.write("own.xl", "ramdisk = 'disk'\n")
    tree.write("disk", "one")
    tree.run("unibuild", "image", "xl.file=own.xl")
    assert "image: up to date" in tree.run("unibuild", "image", "xl.file=own.xl")
    tree.write("disk", "other")
    assert "image: disk changed" in tree.run("unibuild", "image", "xl.file=own.xl")


def test_doit_has_the_goal_and_cleans_up_after_it(tree: Tree, hello_kernels: Kernels):
    shutil.copy(hello_kernels.pv, tree.root / "main.c")
    tree.run("doit", "image")
    assert (tree.root / ".unibuild/hello.img").exists()
    assert not (tree.root / ".unibuild/hello.xml").exists()
    tree.run("doit", "clean", "image")
    assert not (tree.root / ".unibuild/hello.img").exists()


def test_a_bios_cannot_boot_a_pv_kernel(project):
    with pytest.raises(KernelError, match="cannot start in an HVM domain"):
        images.plan(project("[image]\nbios = true\n"))
    with pytest.raises(KernelError, match="cannot start in an HVM domain"):
        images.plan(project('[publish]\nvirtualization = "hvm"\n'))
