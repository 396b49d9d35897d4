"""The disk image of a kernel on the real Xen of the lab: a boot loader reads it there, and starts the kernel."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from unibuild.errors import NotReadyError
from unibuild.graph.disk_image import plan, write
from unibuild.graph.graph import Graph, graph
from unibuild.image.disk import make
from unibuild.image.grub_config import CommandLine
from unibuild.lab import grub_bios
from unibuild.settings.loader import load
from unibuild.testing.image_verification import verify
from unibuild.util import process

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Kernels
    from unibuild.lab.vm import LabVm

pytestmark = pytest.mark.lab

LINE = "a  b=c $x ${y} #e {f} (g) ; | & < > ~ * ? %d `h` exit=30"
SETTINGS = """
name = "hello"
[xl]
memory = 32
cmdline = '{line}'
[image]
ramdisks = ["Makefile"]
"""


@pytest.fixture
def project(tmp_path: Path, lab_vm: LabVm, hello_kernels: Kernels) -> Callable[..., Graph]:
    """Return a function that creates a project with a built kernel of a minimum size."""

    def make(kind: str, more: str = "", size: int = 0) -> Graph:
        (tmp_path / "unibuild.toml").write_text(SETTINGS.format(line=LINE) + more + '[build]\nkernel = "k.xen"\n')
        (tmp_path / "Makefile").write_text("a ramdisk too")
        (tmp_path / ".unibuild").mkdir()
        kernel = Path(shutil.copy(getattr(hello_kernels, kind), tmp_path / ".unibuild/hello.xen"))
        os.truncate(kernel, max(size, kernel.stat().st_size))
        return graph(load(tmp_path))

    return make


@pytest.mark.parametrize(("kind", "size"), [("pv", 150 << 20), ("pvh", 0)])
def test_the_image_boots_with_its_command_line(project, lab_vm, kind, size, capsys):
    found = project(kind, '[boot.ready]\nconsole = "tick 1"\n', size)
    verify(found, plan(found))
    with lab_vm.monitor() as monitor:
        assert monitor.plugged() == []
    said = (found.project.root / ".unibuild/test/image.log").read_bytes().decode(errors="replace")
    assert any(row.rstrip().endswith(f"command line: {LINE}") for row in said.splitlines()), said
    assert "the image boots in the lab" in capsys.readouterr().out
    verify(found, plan(found))
    assert capsys.readouterr().out == "  the image booted in the lab before\n"
    assert list((found.project.root / ".unibuild/test").glob("*.img")) == []


def test_an_image_without_its_kernel_does_not(project):
    found = project("pv")
    templates = found.project.root / "dodo_templates"
    templates.mkdir()
    (templates / "grub.cfg.j2").write_text(
        "set timeout=0\nmenuentry 'x' {\n  linux /other\n  boot\n  sleep 1\n  halt\n}\n"
    )
    with pytest.raises(NotReadyError, match="does not boot in the lab: it powered off before") as caught:
        verify(found, plan(found))
    assert "/other" in caught.value.hint
    assert not (found.project.root / ".unibuild/verified.json").exists()


def test_a_bios_boots_the_image(lab_cache: None, tmp_path: Path) -> None:
    """In QEMU without Xen: only the loader's part of an HVM domain, because its kernel needs Xen from the start."""
    kernel = tmp_path / "kernel"
    flat = ["-m32", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none,-Ttext=0x100000,-estart,--oformat=binary"]
    process.run(["gcc", *flat, "-o", str(kernel), str(Path(__file__).parents[1] / "standins/multiboot.S")])
    line = LINE + " 100 blanks:" + " " * 100 + "end"
    write(
        make(
            kernel,
            CommandLine(line),
            "pvh",
            project=tmp_path,
            bios=grub_bios.find(lambda what, _: print(what, file=sys.stderr)),
        ),
        tmp_path / "disk",
    )
    drive = f"file={tmp_path / 'disk'},format=raw,if=ide"
    machine = ["-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none", "-device", "isa-debug-exit,iobase=0xf4"]
    argv = ["qemu-system-x86_64", *machine, "-serial", "stdio", "-drive", drive]
    said = process.run(argv, check=False, timeout=120).text
    assert said.endswith(f"{line}\nmasked\n")
