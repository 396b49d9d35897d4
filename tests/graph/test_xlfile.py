"""The .xl that the domain is made from."""

import re

import pytest

from unibuild.errors import KernelError, SettingsError, XlSyntaxError
from unibuild.graph import xl_file
from unibuild.settings.loader import load
from unibuild.xlcfg import parser
from unibuild.xlcfg.edit import quote

MIRAGE_4 = """name = 'hello'
kernel = 'hello.xen'
type = 'pvh'
memory = 256
on_crash = 'preserve'

disk = [ 'format=raw, vdev=xvdb, access=rw, target=data.img', 'phy:/dev/vg/x,xvdc,r' ]

# if your system uses openvswitch then ...
vif = [ 'bridge=br0' ]
"""


@pytest.fixture
def render(tmp_path, hello_kernels):
    (tmp_path / "unibuild.toml").write_text("")

    def make(
        generated: str | None = None,
        kernel: str = "pvh",
        template: str | None = None,
        mirage: bool = True,
        **words: str,
    ) -> tuple[str, parser.Config]:
        path = None
        if generated is not None:
            path = tmp_path / "tree" / "hello.xl"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(generated.encode(errors="surrogateescape"))
        project = load(tmp_path, {key.replace("__", "."): value for key, value in words.items()}, {})
        path_in = tmp_path / "tree" / "hello.xl.in"
        if template is not None:
            path_in.write_text(template)
        text = xl_file.render(project, getattr(hello_kernels, kernel), path, path_in, mirage=mirage)
        return text, parser.parse(text)

    return make


def test_a_whole_new_one(render, tmp_path, hello_kernels):
    _, config = render(name="one", xl__memory="64", xl__cmdline="a 'b' \"c\"")
    assert {key: config.get(key) for key in ("name", "kernel", "memory", "type", "cmdline", "on_poweroff")} == {
        "name": "one",
        "kernel": str(hello_kernels.pvh),
        "memory": 64,
        "type": "pvh",
        "cmdline": "a 'b' \"c\"",
        "on_poweroff": "preserve",
    }


@pytest.mark.parametrize(
    ("generated", "kernel", "memory"),
    [("", "pvh", 128), ("maxmem = 64\n", "pvh", None), ("memory = 32\n", "pvh", 32), ("", "pv", None)],
)
def test_pvh_has_a_memory_that_libxl_can_compute_with(render, generated, kernel, memory):
    assert render(generated, kernel)[1].get("memory") == memory


def test_the_generated_one_is_patched(render, hello_kernels, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "data.img").write_text("")
    text, config = render(MIRAGE_4, xl__vif__0__bridge="xenbr0")
    assert "# if your system uses openvswitch then ...\n" in text
    assert config.get("vif") == ["bridge=xenbr0"]
    assert config.get("kernel") == str(hello_kernels.pvh)
    assert config.get("memory") == 256
    disks = xl_file.disks(config)
    assert [(disk.vdev, str(disk.target), disk.is_written) for disk in disks] == [
        ("xvdb", str(tmp_path / "tree" / "data.img"), True),
        ("xvdc", "/dev/vg/x", False),
    ]


def test_an_ended_domain_stays_unless_the_user_says_otherwise(render):
    _, config = render("on_reboot = 'restart'\n", xl__set__on_crash="coredump-destroy")
    assert [config.get(key) for key in xl_file.ENDS] == ["preserve", "restart", "coredump-destroy", "preserve"]


@pytest.mark.parametrize(
    ("generated", "kernel", "kind"),
    [
        ("", "pv", "pv"),
        ("", "pvh", "pvh"),
        ("builder = 'linux'\n", "pv", "pv"),
        ("type = 'pvh'\npvshim = 1\n", "pv", "pvh"),
    ],
)
def test_the_type_is_what_the_kernel_is(render, generated, kernel, kind):
    _, config = render(generated, kernel)
    assert (config.get("type"), config.get("builder")) == (kind, None)


@pytest.mark.parametrize(
    ("generated", "kernel", "words"),
    [
        ("type = 'pvh'\n", "pv", {}),
        ("type = 'pv'\n", "pvh", {}),
        ("builder = 'linux'\n", "pvh", {}),
        (None, "pv", {"xl__type": "pvh"}),
        (None, "pvh", {"xl__set__type": "pv"}),
    ],
)
def test_a_kernel_of_the_other_type_is_refused_with_a_hint(render, generated, kernel, words):
    with pytest.raises(KernelError, match="cannot start in a domain of type") as error:
        render(generated, kernel, **words)
    assert f'type = "{kernel}"' in error.value.hint


def test_a_file_that_xl_would_refuse_is_reported_with_its_place(render, tmp_path):
    with pytest.raises(XlSyntaxError, match=re.escape(f"{tmp_path}/tree/hello.xl:2:")):
        render("name = 'a'\nmemory = = 3\n")


def test_the_name_of_the_folder_where_nothing_says_one(tmp_path, hello_kernels):
    folder = tmp_path / "My kernel (2)"
    folder.mkdir()
    (folder / "unibuild.toml").write_text("")
    assert xl_file.domain_name(load(folder, {}, {})) == "My-kernel-2"


TWO_NETS = MIRAGE_4.replace("[ 'bridge=br0' ]", "[ 'bridge=br0', 'bridge=br1' ]").replace(
    "data.img', 'phy:/dev/vg/x,xvdc,r'", "disk.img'"
)
TEMPLATE = """name = '@NAME@'
kernel = '@KERNEL@'
memory = @MEMORY@
disk = [ 'format=raw, vdev=xvdb, access=rw, target=@BLOCK:disk.img@' ]
vif = [ 'bridge=@NETWORK:service@', 'bridge=@NETWORK:0@' ]
"""


def test_the_networks_have_the_order_of_the_unikernel(render):
    _, config = render(TWO_NETS, template=TEMPLATE)
    assert config.get("vif") == ["bridge=br1", "bridge=br0"]


def test_devices_by_their_names(render):
    words = {"xl__vif__service__bridge": "back", "xl__vif__0__mtu": "9000", 'xl__disk__"disk.img"__target': "/data.img"}
    _, config = render(TWO_NETS, template=TEMPLATE, **words)
    assert config.get("vif") == ["bridge=br1, mtu=9000", "bridge=back"]
    assert config.get("disk") == ["format=raw, vdev=xvdb, access=rw, target=/data.img"]


def test_a_device_that_the_user_removes_is_not_missed(render):
    _, config = render(TWO_NETS, template=TEMPLATE, xl__vif__0__remove="true", xl__disk__xvdb__remove="true")
    assert (config.get("vif"), config.get("disk")) == (["bridge=br0, devid=1"], [])


def test_a_file_of_ones_own_keeps_its_order_and_lacks_nothing(render, tmp_path):
    (tmp_path / "own.xl").write_text("vif = [ 'bridge=a', 'bridge=b' ]\n")
    with pytest.raises(SettingsError, match=r"disk\.img.*xvdb"):
        render("vif = [ 'bridge=a', 'bridge=b' ]\n", template=TEMPLATE, xl__file="own.xl")
    _, config = render(
        "vif = [ 'bridge=a', 'bridge=b' ]\n", template=TEMPLATE, xl__file="own.xl", xl__disk__xvdb__target="/d"
    )
    assert config.get("vif") == ["bridge=a", "bridge=b"]


@pytest.mark.parametrize(
    ("mirage", "words", "line"),
    [
        (True, {"boot__args": "--port=80 '--hello=a b'"}, r"--port=80 --hello=a\ b"),
        (True, {"boot__args__port": "80", "boot__args__hello": "a b"}, r"--port=80 --hello=a\ b"),
        (False, {"boot__args": "root=/dev/xvda ro"}, "root=/dev/xvda ro"),
    ],
)
def test_arguments(render, mirage, words, line):
    _, config = render("extra = 'old'\n", mirage=mirage, **words)
    assert (config.get("cmdline"), config.get("extra")) == (line, None)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"xl__cmdline": "x"}, r"\[boot\] args and \[xl\] cmdline contradict each other"),
        ({"xl__set__extra": "x"}, r"\[boot\] args and \[xl.set\] extra contradict each other"),
    ],
)
def test_arguments_and_a_command_line(render, words, sentence):
    with pytest.raises(SettingsError, match=sentence):
        render(boot__args="--port=80", **words)


def test_a_command_line_that_xen_would_cut(render):
    line = "x" * 1023
    assert render(kernel="pv", xl__cmdline=line)[1].get("cmdline") == line
    assert render(kernel="pvh", xl__cmdline=f"{line}x")[1].get("cmdline") == f"{line}x"
    with pytest.raises(SettingsError, match=r"\b1024\b.*\b1023\b"):
        render(kernel="pv", xl__cmdline=f"{line}x")


@pytest.mark.parametrize(
    "name", ["krs23.ru", "Ubuntu 18LTS", 'it\'s "q"', "caf\u00e9", "\u540d" * 60, "7", "-x", "$(x);&"]
)
def test_a_name_that_xl_can_use_is_kept(render, name):
    assert render(f"name = {quote(name)}\n")[1].get("name") == name


@pytest.mark.parametrize("name", ["a/b", "../x", "x" * 201, "\u540d" * 67, "a\nb", "a\x1b[2J", "caf\udce9"])
def test_a_name_that_xl_cannot_use_is_refused(render, tmp_path, name):
    (tmp_path / "tree").mkdir()
    with pytest.raises(SettingsError, match="the domain's name"):
        render(f"name = {quote(name)}\n")


def test_a_project_in_a_folder_with_a_very_long_name_has_a_name(tmp_path):
    root = tmp_path / ("x" * 255)
    root.mkdir()
    (root / "unibuild.toml").touch()
    assert len(xl_file.domain_name(load(root, {}, {}))) == xl_file.NAME_MAX


FAR = [
    "drbd:webres,xvda,w",
    "script=block-rbd,vdev=xvdb,target=rbd:image1",
    "iscsi:iqn.2001-05.com.example:0-8a09,xvdc,w",
    "nbd:192.0.2.1:2000,xvdd,w",
    "enbd:192.0.2.1:2000,xvdd,w",
    "backend=storage,vdev=xvde,target=tank/vol",
    "backendtype=qdisk,format=raw,vdev=xvdf,target=rbd:data/disk",
    "backendtype=qdisk,format=raw,vdev=xvdf,target=nbd://192.0.2.1/disk",
]


@pytest.mark.parametrize("disk", FAR)
def test_a_target_that_is_not_a_path_stays_as_it_is(render, disk):
    _, config = render(f"disk = [ {quote(disk)} ]\n")
    assert config.get("disk") == [disk]
    assert not xl_file.disks(config)[0].is_path


@pytest.mark.parametrize(
    "disk", ["file:a.img,xvda,w", "backend=0,vdev=xvda,target=a.img", "format=raw,vdev=xvda,target=a.img"]
)
def test_a_relative_path_of_a_disk_is_in_the_project(render, tmp_path, disk):
    _, config = render(f"disk = [ {quote(disk)} ]\n")
    (found,) = xl_file.disks(config)
    assert (found.target, found.is_path) == (tmp_path / "a.img", True)


def test_a_bootloader_that_is_taken_out_is_reported(render, tmp_path):
    text, config = render("bootloader = '/usr/lib/xen-4.17/bin/pygrub'\nmemory = 64\n")
    assert config.get("bootloader") is None
    assert "bootloader" in "".join(xl_file.notes(tmp_path / "tree" / "hello.xl", text))
    assert xl_file.notes(tmp_path / "tree" / "hello.xl", text + "bootloader = 'x'\n") == ()
