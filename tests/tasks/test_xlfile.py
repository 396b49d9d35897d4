"""The .xl that the domain is made from."""

import re

import pytest

from unibuild.errors import KernelError, XlSyntaxError
from unibuild.settings.sources import load
from unibuild.tasks import xlfile
from unibuild.xl import grammar

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

    def make(generated: str | None = None, kernel: str = "pvh", **words: str) -> tuple[str, grammar.Config]:
        path = None
        if generated is not None:
            path = tmp_path / "tree" / "hello.xl"
            path.parent.mkdir(exist_ok=True)
            path.write_text(generated)
        project = load(tmp_path, {key.replace("__", "."): value for key, value in words.items()}, {})
        text = xlfile.render(project, getattr(hello_kernels, kernel), path)
        return text, grammar.parse(text)

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


def test_the_generated_one_is_patched(render, hello_kernels, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "data.img").write_text("")
    text, config = render(MIRAGE_4, xl__vif__0__bridge="xenbr0")
    assert "# if your system uses openvswitch then ...\n" in text
    assert config.get("vif") == ["bridge=xenbr0"]
    assert config.get("kernel") == str(hello_kernels.pvh)
    assert config.get("memory") == 256
    disks = xlfile.disks(config)
    assert [(disk.vdev, str(disk.target), disk.is_written) for disk in disks] == [
        ("xvdb", str(tmp_path / "tree" / "data.img"), True),
        ("xvdc", "/dev/vg/x", False),
    ]


def test_an_ended_domain_stays_unless_the_person_says_otherwise(render):
    _, config = render("on_reboot = 'restart'\n", xl__set__on_crash="coredump-destroy")
    assert [config.get(key) for key in xlfile.ENDS] == ["preserve", "restart", "coredump-destroy", "preserve"]


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
def test_a_kernel_of_the_other_type_is_refused_with_the_mend(render, generated, kernel, words):
    with pytest.raises(KernelError, match="cannot start in a domain of type") as error:
        render(generated, kernel, **words)
    assert f'type = "{kernel}"' in error.value.hint


def test_a_file_that_xl_would_refuse_is_told_with_its_place(render, tmp_path):
    with pytest.raises(XlSyntaxError, match=re.escape(f"{tmp_path}/tree/hello.xl:2:")):
        render("name = 'a'\nmemory = = 3\n")


def test_the_name_of_the_folder_where_nothing_says_one(tmp_path, hello_kernels):
    folder = tmp_path / "My kernel (2)"
    folder.mkdir()
    (folder / "unibuild.toml").write_text("")
    assert xlfile.domain_name(load(folder, {}, {})) == "My-kernel-2"
