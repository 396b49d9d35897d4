"""What is different in the .xl of a domain that boots an image from a disk."""

from __future__ import annotations

from pathlib import Path

from unibuild.testing.image_verification import from_bios, from_loader
from unibuild.xlcfg import parser

TEXT = """
name = 'hello'
kernel = '/k/hello.xen'
ramdisk = '/k/initrd'
type = 'pvh'
memory = 32
cmdline = 'a=1'
vcpus = 2
on_poweroff = 'preserve'
vif = [ 'mac=00:16:3e:00:00:01,bridge=xenbr0', '' ]
disk = [ 'format=raw, vdev=xvda, access=rw, target=/d/a.img' ]
"""
IMAGE = "vdev=xvdb, format=raw, access=rw, target=/dev/vda"


def said(text):
    config = parser.parse(text)
    return {one.key: config.get(one.key) for one in config.assignments}


def test_a_loader_is_the_kernel_and_gets_no_command_line():
    found = said(from_loader(Path("/g/grub.bin"), "pv", "/dev/vda")(TEXT))
    assert (found["kernel"], found["type"], found["cmdline"], found["ramdisk"]) == ("/g/grub.bin", "pv", "", "")
    assert (int(found["memory"]), found["name"]) == (128, "hello")
    assert found["disk"][1:] == [IMAGE]


def test_the_memory_is_what_the_domain_has_where_that_is_more():
    text = TEXT.replace("memory = 32", "memory = 500")
    assert int(said(from_loader(Path("/g"), "pvh", "/dev/vda")(text))["memory"]) == 500


def test_a_domain_without_disks_gets_the_first_one():
    text = "\n".join(line for line in TEXT.splitlines() if not line.startswith("disk"))
    (disk,) = said(from_loader(Path("/g"), "pvh", "/dev/vda")(text))["disk"]
    assert "xvda" in disk


def test_an_hvm_domain_has_neither_kernel_nor_emulated_network():
    found = said(from_bios("/dm", "/dev/vda")(TEXT))
    assert not {"kernel", "ramdisk", "cmdline"} & found.keys()
    assert (found["type"], found["device_model_override"]) == ("hvm", "/dm/device-model")
    assert (found["firmware_override"], found["bios_path_override"]) == ("/dm/hvmloader", "/dm/bios.bin")
    assert (found["name"], found["vcpus"], found["on_poweroff"]) == ("hello", "2", "preserve")
    assert all("type=vif" in one for one in found["vif"]) and len(found["vif"]) == 2
    assert len(found["disk"]) == 2
