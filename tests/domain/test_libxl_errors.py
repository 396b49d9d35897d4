"""What xl 4.17 really said, and the sentence for it."""

import pytest

from unibuild.domain.libxl_errors import explain
from unibuild.errors import DomainError, HostError

TAIL = """
libxl: error: libxl_create.c:1640:domcreate_rebuild_done: Domain 3:cannot (re-)build domain: -3
libxl: error: libxl_domain.c:1183:libxl__destroy_domid: Domain 3:Non-existant domain
libxl: error: libxl_domain.c:1137:domain_destroy_callback: Domain 3:Unable to destroy guest
libxl: error: libxl_domain.c:1064:domain_destroy_cb: Domain 3:Destruction of domain failed"""

CASES = [
    (
        'libxl: error: libxl_domain.c:81:libxl__domain_rename: Domain 2:Domain with name "hello" already exists.\n'
        "libxl: error: libxl_create.c:1296:initiate_domain_create: Domain 2:cannot make domain: -6",
        "a domain called hello is on box already",
    ),
    (
        "xc: error: panic: xg_dom_elfloader.c:63: xc_dom_guest_type: image not capable of booting inside a HVM "
        "container: Invalid kernel\nlibxl: error: libxl_dom.c:571:libxl__build_dom: xc_dom_parse_image failed",
        "Xen refused the kernel of hello: it cannot start in a domain of type pvh",
    ),
    (
        "xc: error: panic: xg_dom_core.c:689: xc_dom_find_loader: no loader found: Invalid kernel\n"
        "libxl: error: libxl_dom.c:571:libxl__build_dom: xc_dom_parse_image failed",
        "Xen refused the kernel of hello: it cannot start in a domain of this type",
    ),
    (
        "xc: error: panic: xg_dom_core.c:205: failed to open file '/nosuch': No such file or directory: Internal error",
        "box cannot open /nosuch for hello",
    ),
    (
        "xc: error: panic: xg_dom_boot.c:119: xc_dom_boot_mem_init: can't allocate low memory for domain: Out of memory"
        "\nlibxl: error: libxl_dom.c:586:libxl__build_dom: xc_dom_boot_mem_init failed: Cannot allocate memory",
        "there is too little free memory on box for hello",
    ),
    (
        "xc: error: panic: xg_dom_x86.c:159: count_pgtables: not enough memory for initial mapping (0x3ff > 0x100): "
        "Out of memory\nlibxl: error: libxl_dom.c:594:libxl__build_dom: xc_dom_build_image failed: No such file",
        "the memory of hello is too small for its kernel",
    ),
    (
        "libxl: error: libxl_dom.c:594:libxl__build_dom: xc_dom_build_image failed: Device or resource busy",
        "the memory of hello is too small for a PVH domain",
    ),
    (
        "libxl: error: libxl_exec.c:117:libxl_report_child_exitstatus: /etc/xen/scripts/vif-bridge online [229] exited "
        "with error status 1\nlibxl: error: libxl_device.c:1337:device_hotplug_child_death_cb: script: "
        "Could not find bridge device nosuch\nlibxl: error: libxl_create.c:1921:domcreate_attach_devices: Domain 9:"
        "unable to add vif devices",
        "box has no such bridge for a network device of hello: nosuch",
    ),
    (
        "libxl: cannot execute /etc/xen/scripts/vif-nosuch: No such file or directory\n"
        "libxl: error: libxl_create.c:1921:domcreate_attach_devices: Domain 12:unable to add vif devices",
        "box has no script /etc/xen/scripts/vif-nosuch for a device of hello",
    ),
    (
        "libxl: error: libxl_device.c:455:libxl__device_disk_set_backend: Disk vdev=xvda failed to stat: /nosuch.img: "
        "No such file or directory",
        "box has no file /nosuch.img for a disk of hello",
    ),
    (
        "/x/1:2: config parsing error near `foo': syntax error\nFailed to parse config: Invalid argument",
        "xl on box cannot read the .xl of hello, line 2: config parsing error near `foo': syntax error",
    ),
    ("nosuch is an invalid domain identifier (rc=-6)", "there is no domain nosuch on box"),
]


@pytest.mark.parametrize(("said", "sentence"), CASES)
def test_a_known_refusal_is_a_sentence(said, sentence):
    error = explain(f"Parsing config from /x/1\n{said}{TAIL}", host="box", name="hello")
    assert (type(error), error.message) == (DomainError, sentence)


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("Permission denied", "xl may not talk to Xen on box: it wants root's rights"),
        ("No such file or directory", "Xen is not running on box, or this is not its dom0"),
    ],
)
def test_no_xen(reason, sentence):
    error = explain(
        f"xencall: error: Could not obtain handle on privileged command interface: {reason}\n"
        f"libxl: error: libxl.c:102:libxl_ctx_alloc: cannot open libxc handle: {reason}\ncannot init xl context",
        host="box",
        name="hello",
    )
    assert (type(error), error.message) == (HostError, sentence)


def test_an_unknown_refusal_tells_what_xl_said():
    error = explain("WARNING: x\nlibxl: error: a new one\nmore\nlibxl: error: b\nerror c", host="box", name="hello")
    assert error.message == "xl failed for hello on box"
    assert error.hint == "xl said: libxl: error: a new one\nlibxl: error: b"
