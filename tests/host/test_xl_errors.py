"""What xl really said, and the sentence for it: of 4.17 in the lab where nothing else is noted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.errors import DomainError, HostError
from unibuild.host.xl_errors import CASES, explain, meaning

TAIL = """
libxl: error: libxl_create.c:1640:domcreate_rebuild_done: Domain 3:cannot (re-)build domain: -3
libxl: error: libxl_domain.c:1183:libxl__destroy_domid: Domain 3:Non-existant domain
libxl: error: libxl_domain.c:1137:domain_destroy_callback: Domain 3:Unable to destroy guest
libxl: error: libxl_domain.c:1064:domain_destroy_cb: Domain 3:Destruction of domain failed"""

FROM_THE_LAB = [
    (
        'libxl: error: libxl_domain.c:81:libxl__domain_rename: Domain 2:Domain with name "hello" already exists.\n'
        "libxl: error: libxl_create.c:1296:initiate_domain_create: Domain 2:cannot make domain: -6",
        "the name hello is in use on xen1",
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
        "xen1 cannot open /nosuch for hello",
    ),
    (
        "xc: error: panic: xg_dom_boot.c:119: xc_dom_boot_mem_init: can't allocate low memory for domain: Out of memory"
        "\nlibxl: error: libxl_dom.c:586:libxl__build_dom: xc_dom_boot_mem_init failed: Cannot allocate memory",
        "there is too little free memory on xen1 for hello",
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
        "xen1 lacks the bridge for a network device of hello: nosuch",
    ),
    (
        "libxl: cannot execute /etc/xen/scripts/vif-nosuch: No such file or directory\n"
        "libxl: error: libxl_create.c:1921:domcreate_attach_devices: Domain 12:unable to add vif devices",
        "xen1 lacks the script /etc/xen/scripts/vif-nosuch for a device of hello",
    ),
    (
        "libxl: error: libxl_device.c:455:libxl__device_disk_set_backend: Disk vdev=xvda failed to stat: /nosuch.img: "
        "No such file or directory",
        "xen1 lacks the file /nosuch.img for a disk of hello",
    ),
    (
        "/x/1:2: config parsing error near `foo': syntax error\nFailed to parse config: Invalid argument",
        "xl on xen1 cannot read the .xl of hello, line 2: config parsing error near `foo': syntax error",
    ),
    ("nosuch is an invalid domain identifier (rc=-6)", "there is no domain nosuch on xen1"),
    (
        "libxl: error: libxl_domain.c:1183:libxl__destroy_domid: Domain 99:Non-existant domain\n"
        "libxl: error: libxl_domain.c:1137:domain_destroy_callback: Domain 99:Unable to destroy guest\n"
        "destroy failed (rc=-21)",
        "there is no domain 99 on xen1",
    ),
    (
        "libxl: error: libxl_dom.c:37:libxl__domain_type: unable to get domain type for domid=99\n"
        "shutdown failed (rc=-3)",
        "there is no domain 99 on xen1",
    ),
    ("Can't rename domain '99'.", "there is no domain 99 on xen1"),
    (
        "Invalid domain type foo.",
        "xl on xen1 refuses a value in the .xl of hello: Invalid domain type foo.",
    ),
    (
        'Unknown on_crash action "x" specified',
        'xl on xen1 refuses a value in the .xl of hello: Unknown on_crash action "x" specified',
    ),
    ("xl: maxvcpus < vcpus", "xl on xen1 refuses a value in the .xl of hello: maxvcpus < vcpus"),
    ("Failed to parse UUID: zz", "xl on xen1 refuses a value in the .xl of hello: Failed to parse UUID: zz"),
    (
        "libxl: error: libxl_create.c:1134:libxl__domain_config_setdefault: Illegal pool specified: x",
        "xl on xen1 refuses a value in the .xl of hello: Illegal pool specified: x",
    ),
    (
        "/x/c.xl: config parsing error in vif: invalid rate in `foo'",
        "xl on xen1 refuses a device in the .xl of hello: vif: invalid rate in `foo'",
    ),
    (
        "libxl: error: libxl_create.c:711:libxl__domain_make: domain creation fail: Invalid argument\n"
        "libxl: error: libxl_create.c:1296:initiate_domain_create: cannot make domain: -3",  # vcpus = 200
        "Xen on xen1 refused to create hello: it does not support one of its settings",
    ),
    (
        "libxl: error: libxl_create.c:1160:libxl__domain_config_setdefault: passthrough not supported on this platform",
        "xen1 cannot assign a PCI device to hello: it lacks an IOMMU, or it is disabled",
    ),
    (
        "xc: error: panic: xg_dom_core.c:205: failed to open file '/usr/lib/xen-4.17/boot/hvmloader': No such file or "
        "directory: Internal error\nlibxl: error: libxl_dom.c:1075:libxl__build_hvm: initializing domain firmware "
        "failed",
        "hello is a domain of type hvm, and xen1 lacks what those need (/usr/lib/xen-4.17/boot/hvmloader)",
    ),
    (
        "xc: error: panic: xg_dom_core.c:205: failed to open file '/usr/lib/xen-4.17/boot/xen-shim': No such file or "
        "directory: Internal error",
        "xen1 lacks the PV shim (/usr/lib/xen-4.17/boot/xen-shim) that runs hello",
    ),
    (
        "xc: error: panic: xg_dom_core.c:230: '/x/empty': zero length file: Internal error\n"
        "libxl: error: libxl_dom.c:646:libxl__build_pv: xc_dom_kernel_file failed: No such file or directory",
        "/x/empty, which hello boots from, is empty",
    ),
    (
        "libxl: error: libxl_dm.c:2909:libxl__spawn_local_dm: Domain 73:device model /usr/libexec/xen-qemu-system-i386 "
        "is not executable: No such file or directory\nlibxl: error: libxl_create.c:1896:domcreate_devmodel_started: "
        "Domain 73:device model did not start: -3",
        "QEMU did not start on xen1, which hello needs for one of its devices",
    ),
    (
        "libxl: error: libxl_disk.c:214:libxl__device_from_disk: Domain 74:Invalid or unsupported virtual disk "
        "identifier nonsense\nlibxl: error: libxl_create.c:1672:domcreate_launch_dm: Domain 74:unable to add disk "
        "devices",
        "hello cannot have a disk called nonsense",
    ),
    (
        "libxl: error: libxl_device.c:1998:libxl__device_add_async: Domain 78:device already exists in xenstore\n"
        "libxl: error: libxl_create.c:1921:domcreate_attach_devices: Domain 78:unable to add vif devices",
        "two devices of hello have the same number or vdev",
    ),
    (  # sysml/clickos#25, Xen 4.5
        "libxl: error: libxl_exec.c:118:libxl_report_child_exitstatus: /etc/xen/scripts/vif-vale online [24793] exited "
        "with error status 1\nlibxl: error: libxl_device.c:1084:device_hotplug_child_death_cb: script: "
        "/etc/xen/scripts/vif-vale failed; error detected.\nlibxl: error: libxl_create.c:1381:domcreate_attach_vtpms: "
        "unable to add nic devices",
        "a script of xen1 could not connect a device of hello: /etc/xen/scripts/vif-vale failed",
    ),
    (  # QubesOS/qubes-issues#10786, Xen 4.19
        "libxl: libxl_device.c:1224:device_backend_callback: Domain 115:unable to add device with path "
        "/local/domain/3/backend/vif/115/0 - rc -9\nlibxl: libxl_create.c:2043:domcreate_attach_devices: Domain 115:"
        "unable to add vif devices",
        "dom0 of xen1 did not serve a device of hello in time: /local/domain/3/backend/vif/115/0",
    ),
]

# Texts put together as the source prints them: tools/hotplug/Linux/block and vif-common.sh, libxl_disk.c and
# libxl_device.c, libxl_create.c, xg_dom_*.c, libxl_pci.c, xl_vmcontrol.c.
FROM_THE_SOURCE = [
    (
        "libxl: error: libxl_device.c:1351:device_hotplug_child_death_cb: script: Device /dev/vg/db is mounted in a "
        "guest domain,\nand so cannot be mounted now.",
        "the disk /dev/vg/db of hello is in use on xen1",
    ),
    (
        "libxl: error: libxl_device.c:1351:device_hotplug_child_death_cb: script: File /x.img is loopback-mounted "
        "through /dev/loop0,\nwhich is mounted in a guest domain,\nand so cannot be mounted now.",
        "the disk /x.img of hello is in use on xen1",
    ),
    ("script: Failed to find an unused loop device", "xen1 has no free loop device for a disk of hello"),
    ("script: /dev/vg/db does not exist.", "xen1 lacks the file /dev/vg/db for a disk of hello"),
    ("script: /etc/fstab is not a block device.", "/etc/fstab on xen1, a disk of hello, is not a block device"),
    (
        "script: Unable to find ovs-vsctl tool",
        "xen1 lacks the program ovs-vsctl, which the script for a device of hello runs",
    ),
    (
        "script: Cannot rename interface vif3.0. An interface with name web already exists.",
        "the network device name web of hello is in use on xen1",
    ),
    ("no suitable backend for disk xvda", "xen1 cannot serve the disk xvda of hello in its format"),
    (
        "xc: error: panic: xg_dom_boot.c:88: xc_dom_compat_check: guest type xen-3.0-x86_64 not supported by xen "
        "kernel, sorry: Invalid kernel",
        "Xen on xen1 was built without PV, and the kernel of hello needs it",
    ),
    (
        "xc: error: panic: xg_dom_boot.c:88: xc_dom_compat_check: guest type xen-3.0-x86_32p not supported by xen "
        "kernel, sorry: Invalid kernel",
        "Xen on xen1 cannot run the kernel of hello, which is of type xen-3.0-x86_32p",
    ),
    ("xc_dom_parse_bin: ZSTD decompress support unavailable", "xl on xen1 cannot unpack the kernel of hello: ZSTD"),
    ("xc_dom_parse_elf_kernel: corrupted ELF image", "the kernel of hello is damaged"),
    (
        "libxl: error: libxl_create.c:694:libxl__domain_make: domain creation fail: Cannot allocate memory",
        "there is too little free memory on xen1 for hello",
    ),
    ("failed to free memory for the domain", "there is too little free memory on xen1 for hello"),
    (
        "libxl: error: libxl_create.c:100: neither hap nor shadow paging available",
        "xen1 cannot run a PVH domain: its processor or firmware lacks hardware virtualization",
    ),
    (
        "libxl: error: libxl_pci.c:1600: Domain 3:PCI device 0:0:1b.0 is not assignable",
        "the PCI device 0:0:1b.0 of hello is not assignable on xen1",
    ),
    (
        "libxl: error: libxl_dom.c:185: Hard affinity completely outside of domain's cpupool!",
        "hello is pinned to processors that xen1 or its pool lacks",
    ),
]


@pytest.mark.parametrize(("said", "sentence"), [*FROM_THE_LAB, *FROM_THE_SOURCE])
def test_known_xl_error_is_explained(said, sentence):
    error = explain(f"Parsing config from /x/1\n{said}{TAIL}", host="xen1", name="hello")
    assert (type(error), error.message) == (DomainError, sentence)
    assert error.hint


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("Permission denied", "xl cannot talk to Xen on xen1: it needs root's rights"),
        ("No such file or directory", "Xen is not running on xen1, or this is not its dom0"),
    ],
)
def test_no_xen(reason, sentence):
    error = explain(
        f"xencall: error: Could not obtain handle on privileged command interface: {reason}\n"
        f"libxl: error: libxl.c:102:libxl_ctx_alloc: cannot open libxc handle: {reason}\ncannot init xl context",
        host="xen1",
        name="hello",
    )
    assert (type(error), error.message) == (HostError, sentence)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "libxl: error: libxl.c:108:libxl_ctx_alloc: cannot connect to xenstore: No such file or directory\n"
            "cannot init xl context",
            "xenstored does not answer on xen1",
        ),
        (
            "libxl: error: libxl_exec.c:328: domain 3 console tty: startup timed out",
            "the console of hello was not connected: xenconsoled is not running on xen1",
        ),
        (
            "ERROR:  Can't find version 4.14 of xen utils, bailing out!",
            "xen1 runs Xen 4.14 and lacks the xl of that version: its packages were upgraded without a reboot",
        ),
        (
            "libxl: error: libxl_domain.c:337:libxl_list_domain: getting domain info list: Permission denied",
            "Xen on xen1 refuses xl's commands: xl is of another version, or Xen's policy forbids them",
        ),
        (  # GaloisInc/HaLVM#60, Xen 4.1
            "libxl: error: libxl_dom.c:721:libxl_userdata_store cannot write /var/lib/xen/userdata-n.1.x.xl for "
            "/var/lib/xen/userdata-d.1.x.xl: No such file or directory",
            "xl on xen1 cannot write /var/lib/xen/userdata-n.1.x.xl",
        ),
        ("cannot acquire lock /var/lock/xl errno=11", "xl on xen1 cannot acquire its lock /var/lock/xl"),
    ],
)
def test_host_problems_are_explained(said, sentence):
    error = explain(said, host="xen1", name="hello")
    assert (type(error), error.message) == (HostError, sentence)
    assert error.hint


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("libxl: error: x\nreboot failed (rc=-11)", "something is not ready yet"),
        ("libxl: error: libxl_create.c:1: Domain 3:cannot (re-)build domain: -5", "dom0 is out of memory"),
        ("cannot make domain: -3\nfailed (rc=-9)", "it took too long"),
        ("xc: error: hypercall failed, errno=28", "no space left on device"),
        ("xenctrl said error 22", "invalid argument"),
        ("failed (rc=-3)", None),
        ("failed (rc=-99), error 4711", None),
    ],
)
def test_error_numbers_are_explained(said, meant):
    assert meaning(said) == meant
    error = explain(said, host="xen1", name="hello")
    assert error.message == "xl failed for hello on xen1" + (f": {meant}" if meant else "")
    assert error.hint.startswith("xl printed: ")


def test_every_pattern_formats():
    for case in CASES:
        for text in (case.sentence, case.hint):
            assert text.format("it", host="xen1", name="hello").strip()


@given(st.text())
def test_any_xl_output_gives_an_error(said):
    assert explain(said, host="xen1", name="hello").hint


def test_unknown_xl_error_shows_its_message():
    error = explain("WARNING: x\nlibxl: error: a new one\nmore\nlibxl: error: b\nerror c", host="xen1", name="hello")
    assert error.message == "xl failed for hello on xen1"
    assert error.hint == "xl printed: libxl: error: a new one\nlibxl: error: b"
