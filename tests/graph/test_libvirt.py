"""The XML for libvirt, checked with libvirt's own schema."""

import os
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.errors import InputError
from unibuild.graph.libvirt import describe, render

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")  # of Debian's libvirt0
HEAD = "name = 'hello'\nkernel = '/k/hello.xen'\ntype = 'pvh'\nmemory = 64\n"
WHOLE = (
    HEAD
    + """vcpus = 2
maxvcpus = 4
uuid = 'c7a5fdb2-cdaf-9455-926a-d65c16db1809'
ramdisk = '/k/initrd'
cmdline = "--hello='a & b' <\\"x\\">"
on_poweroff = 'destroy'
on_crash = 'coredump-destroy'
disk = [ 'format=raw, vdev=xvdb, access=rw, target=/d/a & b.img', '/dev/vg/x,raw,xvdc,ro', ',empty,xvdd:cdrom' ]
vif = [ 'bridge=br0,mac=00:16:3e:00:00:01,mtu=9000,vifname=v0,ip=10.0.0.1 10.0.0.2', '',
        'script=vif-route,ip=10.0.0.3' ]
"""
)
PV = HEAD.replace("pvh", "pv") + "vif = [ 'script=vif-openvswitch,bridge=ovs0', 'backend=net' ]\n"


@pytest.fixture
def xml(tmp_path):
    return lambda text: render(describe(text, "hello.xl"), tmp_path)


def test_pvh(xml):
    tree = ElementTree.fromstring(xml(WHOLE))
    kind = tree.find("os/type")
    assert (kind.text, kind.attrib) == ("xenpvh", {"arch": "x86_64", "machine": "xenpvh"})
    assert (tree.findtext("memory"), tree.findtext("vcpu"), tree.find("vcpu").get("current")) == ("64", "4", "2")
    assert tree.findtext("os/cmdline") == "--hello='a & b' <\"x\">"
    assert tree.findtext("on_crash") == "coredump-destroy"
    assert [
        (disk.get("type"), disk.get("device"), disk.find("driver").attrib, disk.find("target").get("dev"))
        for disk in tree.findall("devices/disk")
    ] == [
        ("file", "disk", {"name": "qemu", "type": "raw"}, "xvdb"),
        ("block", "disk", {"name": "phy", "type": "raw"}, "xvdc"),
        ("file", "cdrom", {"name": "qemu", "type": "raw"}, "xvdd"),
    ]
    assert tree.find("devices/disk/source").get("file") == "/d/a & b.img"
    first, second, third = tree.findall("devices/interface")
    assert (first.find("source").get("bridge"), first.find("mac").get("address")) == ("br0", "00:16:3e:00:00:01")
    assert [ip.get("address") for ip in first.findall("ip")] == ["10.0.0.1", "10.0.0.2"]
    assert second.find("source").get("bridge") == "xenbr0"
    assert (third.get("type"), third.find("script").get("path")) == ("ethernet", "vif-route")


def test_pv(xml):
    kind = ElementTree.fromstring(xml(PV)).find("os/type")
    assert (kind.text, kind.attrib) == ("linux", {"arch": "x86_64", "machine": "xenpv"})


@pytest.mark.parametrize("text", [HEAD, WHOLE, PV], ids=["least", "whole", "pv"])
def test_libvirt_would_take_it(xml, text, tmp_path):
    if not SCHEMA.exists():
        assert os.environ.get("CI") != "true", "install libvirt0 and libxml2-utils"
        pytest.skip("libvirt's schema is not installed (libvirt0, libxml2-utils)")
    (tmp_path / "hello.xml").write_text(xml(text))
    done = subprocess.run(
        ["xmllint", "--noout", "--relaxng", SCHEMA, tmp_path / "hello.xml"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@given(
    line=st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff") | st.sampled_from("\t<&>'\"")
    )
)
def test_any_command_line_survives(line):
    quoted = "".join(f"\\{char}" if char in "'\\" else char for char in line).replace("\t", r"\t")
    text = render(describe(f"{HEAD}cmdline = '{quoted}'\n"), Path("/nowhere"))
    assert (ElementTree.fromstring(text).findtext("os/cmdline") or "") == line


def test_what_xml_cannot_hold(xml):
    with pytest.raises(InputError, match=r"U\+0007"):
        xml(f"{HEAD}cmdline = '\\a'\n")


def test_a_domain_of_another_type(xml):
    with pytest.raises(InputError, match=r"\bhvm\b"):
        xml("type = 'hvm'\n")


def test_what_libvirt_cannot_express_is_reported():
    text = (
        f"{HEAD}pae = 1\non_reboot = 'soft-reset'\nvif = [ 'rate=1Mb/s' ]\ndisk = [ 'vdev=xvda, discard, target=/d' ]\n"
    )
    assert describe(text).left_out == ("pae", "on_reboot=soft-reset", "discard of disk xvda", "rate of vif 0")


def test_a_template_of_the_project_wins(tmp_path):
    (tmp_path / "dodo_templates").mkdir()
    (tmp_path / "dodo_templates" / "libvirt.xml.j2").write_text("<mine>{{ name | xml }}</mine>")
    assert render(describe(HEAD), tmp_path) == "<mine>hello</mine>"


def test_the_goal_writes_it_and_says_so(tree, hello_kernels):
    tree.write("unibuild.toml", '[build]\nkernel = "hello.xen"\n[boot]\nargs = ["--port=80"]\n')
    shutil.copy(hello_kernels.pvh, tree.root / "main.c")
    output = tree.run("unibuild", "libvirt")
    assert ".unibuild/hello.xml is there: virsh -c xen:///system define " in output
    written = ElementTree.fromstring(tree.read(".unibuild/hello.xml"))
    assert written.findtext("os/cmdline") == "--port=80"
    assert written.find("on_poweroff") is None
    assert tree.run("unibuild", "libvirt") == "libvirt: up to date\n"
    assert "boot.args" in tree.run("unibuild", "plan", "libvirt", "boot.args=--port=81")


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ("extra = 'a=1'\n", "a=1"),
        ("root = '/dev/xvda'\nextra = 'a=1'\n", "root=/dev/xvda a=1"),
        ("cmdline = 'b'\nextra = 'a=1'\n", "b"),
        ("cmdline = ''\nextra = 'a=1'\n", None),
    ],
)
def test_the_older_keys_of_the_command_line_count_as_for_xl(xml, lines, line):
    assert ElementTree.fromstring(xml(HEAD + lines)).findtext("os/cmdline") == line
    assert describe(HEAD + lines).left_out == ()


def test_numbers_count_as_xl_counts_them(xml):
    tree = ElementTree.fromstring(xml("name = 'a'\nkernel = '/k'\ntype = 'pvh'\nmemory = '0x40'\nvcpus = \"2\"\n"))
    assert (tree.findtext("memory"), tree.findtext("vcpu")) == ("64", "2")
