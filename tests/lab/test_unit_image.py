from __future__ import annotations

import gzip
import json
import lzma
import shutil
import struct
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from unibuild.errors import FileError, LabError
from unibuild.lab import image, initrd, packages
from unibuild.lab.image import LabImage
from unibuild.lab.packages import Member
from unibuild.settings.model import Lab

if TYPE_CHECKING:
    from pathlib import Path

CONTROL = "Package: tool\nVersion: 1\nArchitecture: all\nMaintainer: a\nDescription: b\n"


@pytest.fixture
def small(tmp_path) -> LabImage:
    """An image that nobody could boot."""
    folder = tmp_path / "image"
    folder.mkdir()
    for part in image.PARTS:
        (folder / part).write_bytes(part.encode() * 1000)
    image._write_manifest(folder, {"xen": "4.17", "linux": "6.1", "distribution": "Debian bookworm"})
    return LabImage(folder)


def bzimage(payload: bytes) -> bytes:
    """A kernel as its boot protocol wants it: one sector of set-up code, then the payload."""
    head = bytearray(1024)
    head[0x1F1] = 1
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, 0, len(payload))
    return bytes(head) + payload


def test_a_lab_vm_file_holds_the_image(small, tmp_path):
    image.pack(small, tmp_path / "box")
    found = image.unpack(tmp_path / "box", tmp_path / "unpacked", lambda *_: None)
    assert found.manifest == small.manifest
    assert found.describe() == "Xen 4.17, Linux 6.1, Debian bookworm"
    assert [(found.folder / part).read_bytes() for part in image.PARTS] == [
        (small.folder / part).read_bytes() for part in image.PARTS
    ]


def test_a_lab_vm_file_is_unpacked_once(small, tmp_path):
    image.pack(small, tmp_path / "box")
    image.unpack(tmp_path / "box", tmp_path / "unpacked", lambda *_: None)
    image.unpack(tmp_path / "box", tmp_path / "unpacked", lambda *_: pytest.fail("it was there"))


def test_a_lab_vm_file_of_the_same_image_has_the_same_bytes(small, tmp_path):
    image.pack(small, tmp_path / "one")
    image.pack(small, tmp_path / "two")
    with gzip.open(tmp_path / "one") as one, gzip.open(tmp_path / "two") as two:
        assert one.read() == two.read()


def test_a_lab_vm_file_with_other_bytes_is_refused(small, tmp_path):
    (small.folder / "xen").write_bytes(b"other")
    image.pack(small, tmp_path / "box")
    with pytest.raises(LabError, match="checksum of xen differs"):
        image.unpack(tmp_path / "box", tmp_path / "unpacked", lambda *_: None)
    assert not (tmp_path / "unpacked").exists()
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize("size", [0, 10, 100, 300])
def test_truncated_lab_vm_file_is_refused(small, tmp_path, size):
    image.pack(small, tmp_path / "box")
    data = (tmp_path / "box").read_bytes()
    (tmp_path / "box").write_bytes(data[:size])
    with pytest.raises(LabError, match="not a packed image"):
        image.unpack(tmp_path / "box", tmp_path / "unpacked", lambda *_: None)


def test_a_lab_vm_file_of_another_version_is_refused(small, tmp_path):
    facts = json.loads(small.manifest) | {"recipe": image.RECIPE + 1}
    (small.folder / "manifest.json").write_text(json.dumps(facts))
    image.pack(small, tmp_path / "box")
    with pytest.raises(LabError, match="not a packed image of this version"):
        image.unpack(tmp_path / "box", tmp_path / "unpacked", lambda *_: None)


def test_a_lab_vm_file_cannot_write_elsewhere(small, tmp_path):
    with tarfile.open(tmp_path / "box", "w:gz") as tar:
        tar.add(small.folder / "manifest.json", "manifest.json")
        tar.add(small.folder / "xen", "../evil")
    with pytest.raises(LabError):
        image.unpack(tmp_path / "box", tmp_path / "unpacked", lambda *_: None)
    assert not (tmp_path / "evil").exists()


def test_file_that_is_not_a_packed_image_is_refused(tmp_path):
    with pytest.raises(FileError, match="there is no file"):
        image.unpack(tmp_path / "box", tmp_path / "unpacked", lambda *_: None)


def test_incomplete_image_is_not_used(small):
    assert image.find(small.folder) is not None
    (small.folder / "vmlinux").unlink()
    assert image.find(small.folder) is None


def test_missing_package_file_is_named(tmp_path):
    with pytest.raises(LabError, match="lack a hypervisor"):
        image.assemble({}, tmp_path)
    with pytest.raises(LabError, match="lack a kernel for dom0"):
        image.assemble({"boot/xen-4.17-amd64.gz": Member(gzip.compress(b"xen", mtime=0))}, tmp_path)


@pytest.mark.parametrize(
    "payload",
    [
        gzip.compress(b"\x7fELF kernel", mtime=0),
        lzma.compress(b"\x7fELF kernel", check=lzma.CHECK_CRC32) + b"\x0b\0\0\0",
        b"\x7fELF kernel",
    ],
)
def test_the_kernel_is_taken_out_of_its_bzimage(payload):
    assert initrd.vmlinux(bzimage(payload)) == b"\x7fELF kernel"


@pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd is not installed")
def test_a_zstd_kernel_is_taken_out_of_its_bzimage():
    packed = subprocess.run(["zstd", "-c"], input=b"\x7fELF kernel", capture_output=True, check=True).stdout
    assert initrd.vmlinux(bzimage(packed + b"\x0b\0\0\0")) == b"\x7fELF kernel"


@pytest.mark.parametrize("kernel", [b"", b"\x7fELF", bzimage(b"unknown")])
def test_another_kernel_is_refused(kernel):
    with pytest.raises(LabError):
        initrd.vmlinux(kernel)


def test_modules_load_after_what_they_need(tmp_path):
    needs = {"a": ["b-c", "d"], "b_c": ["d"], "d": []}
    order = initrd.load_order(["a"], lambda name: module(tmp_path, name, needs[name]))
    assert list(order) == ["d", "b_c", "a"]


def test_a_module_that_is_built_in_is_left_out(tmp_path):
    assert initrd.load_order(["a"], lambda name: module(tmp_path, "a", ["b"]) if name == "a" else None).keys() == {"a"}


def module(folder: Path, name: str, needs: list[str]) -> bytes:
    """Compile a module's .modinfo."""
    text = f'.section .modinfo\n.asciz "license=GPL"\n.asciz "depends={",".join(needs)}"\n'
    subprocess.run(["gcc", "-c", "-x", "assembler", "-", "-o", folder / f"{name}.o"], input=text, text=True, check=True)
    return (folder / f"{name}.o").read_bytes()


def test_a_package_is_read_as_on_a_merged_system(tmp_path):
    root = tmp_path / "root"
    for name in ("bin/tool", "usr/share/doc/tool", "DEBIAN/control"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("data")
    (root / "DEBIAN/control").write_text(CONTROL)
    (root / "bin/alias").symlink_to("tool")
    subprocess.run(["dpkg-deb", "--build", root, tmp_path / "tool.deb"], check=True, capture_output=True)
    found = dict(packages.members(tmp_path / "tool.deb", lambda name: name.startswith("usr/bin/")))
    assert found == {"usr/bin/tool": Member(b"data"), "usr/bin/alias": Member(link="tool")}


def test_damaged_package_is_reported(tmp_path):
    (tmp_path / "tool.deb").write_bytes(b"!<arch>\nrubbish")
    with pytest.raises(LabError, match=r"tool\.deb is damaged"):
        list(packages.members(tmp_path / "tool.deb", lambda _: True))


def test_the_boot_loaders_are_in_the_image(small, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(LabError, match="another version of unibuild, and lacks a boot loader"):
        image.loader(Lab(), "pv")
    shutil.copytree(small.folder, tmp_path / "cache/unibuild/lab/image")
    assert image.loader(Lab(), "pvh").read_bytes().startswith(b"grub-i386-xen_pvh.bin")
    shutil.copytree(small.folder, tmp_path / "cache/unibuild/lab/image-from-file")
    assert "image-from-file" in str(image.loader(Lab(image="x"), "pv"))
