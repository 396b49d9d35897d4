from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xl_files import VDEVS, broken, disk_lists, files, literals, scalars, texts, vif_lists

from unibuild.errors import InputError, SettingsError, XlSyntaxError
from unibuild.xlcfg.devices import parse_disk, parse_vif
from unibuild.xlcfg.edit import Changes, apply
from unibuild.xlcfg.parser import SourceText, parse, scan

if TYPE_CHECKING:
    from xl_oracle import Oracle

REPLACED = {"type": ["builder"], "cmdline": ["root", "extra"], "kernel": ["bootloader", "bootloader_args"]}
many = settings(max_examples=200, deadline=None)
plain_files = files(
    **dict.fromkeys(("name", "memory", "type", "builder", "root", "extra", "cmdline", "kernel", "bootloader"), scalars),
    vif=vif_lists,
    disk=disk_lists,
)
new_values = st.dictionaries(
    st.sampled_from(["name", "kernel", "memory", "type", "cmdline", "a", "d.e"]),
    texts | st.integers() | st.booleans() | st.lists(texts, max_size=3),
    max_size=4,
)


def as_xl(value: Any) -> Any:
    return value if isinstance(value, str | list) else str(int(value))


def comments(text: str) -> list[str]:
    return [
        token.value for token in scan(SourceText(text, "x")) if token.value.startswith("#") and token.kind == "newline"
    ]


def untouched_lines(text: str, keys: set[str]) -> list[str]:
    """The lines without any of these keys."""
    touched = [
        range(text.count("\n", 0, one.start), text.count("\n", 0, one.end) + 1)
        for one in parse(text).assignments
        if one.key in keys
    ]
    return [line for at, line in enumerate(text.split("\n")[:-1]) if not any(at in lines for lines in touched)]


def is_within(lines: list[str], more: list[str]) -> bool:
    """Whether the others have all lines, in the same order."""
    rest = iter(more)
    return all(line in rest for line in lines)


@many
@given(file=plain_files, values=new_values)
def test_xl_reads_new_values_and_unchanged_others(oracle: Oracle, file: Any, values: dict[str, Any]) -> None:
    text, old = file
    new = apply(text, Changes(set=values))
    gone = {rival for key in values for rival in REPLACED.get(key, [])}
    expected = {**old, **dict.fromkeys(gone), **{key: as_xl(value) for key, value in values.items()}}
    assert oracle.read(new, list(expected)) == expected
    assert is_within(untouched_lines(text, gone | set(values)), new.split("\n"))
    assert apply(new, Changes(set=values)) == new


@many
@given(file=plain_files, data=st.data())
def test_xl_reads_the_changed_vifs(oracle: Oracle, file: Any, data: st.DataObject) -> None:
    text, old = file
    vifs = [parse_vif(spec) for spec in old.get("vif", [])]
    changes = data.draw(device_changes(len(vifs)))
    new = apply(text, Changes(vif=changes))
    expected = [
        {**vif, **changes.get(str(at), {})}
        for at, vif in enumerate([*vifs, {}])
        if at < len(vifs) or str(at) in changes
    ]
    found = oracle.read(new, ["vif", *old])
    assert [parse_vif(spec) for spec in found.pop("vif") or []] == [vif for vif in expected if "remove" not in vif]
    assert found == {key: value for key, value in old.items() if key != "vif"}
    assert comments(new) == comments(text)
    assert is_within(untouched_lines(text, {"vif"}), new.split("\n"))


def device_changes(count: int) -> st.SearchStrategy[dict[str, dict[str, Any]]]:
    """Changes of some of `count` vifs, and perhaps one more."""
    changed = st.fixed_dictionaries({}, optional={"bridge": st.sampled_from(["br0", "b'r\\"]), "mtu": st.just("1400")})
    device = changed | st.just({"remove": True})
    return st.fixed_dictionaries({}, optional={**{str(at): device for at in range(count)}, str(count): changed})


@many
@given(file=plain_files, vdev=st.sampled_from(VDEVS), target=st.text("/ab,'\\ ", min_size=1))
def test_xl_reads_the_changed_disk(oracle: Oracle, file: Any, vdev: str, target: str) -> None:
    text, old = file
    disks = [oracle.disk(spec) for spec in old.get("disk", [])]
    changes = Changes(disk={vdev: {"target": target}})
    new = apply(text, changes)
    place = next((at for at, disk in enumerate(disks) if disk["vdev"] == vdev), len(disks))
    found = [oracle.disk(spec) for spec in oracle.read(new, ["disk"])["disk"]]
    assert (found[place]["pdev_path"], found[place]["vdev"]) == (target, vdev)
    assert found[:place] + found[place + 1 :] == disks[:place] + disks[place + 1 :]
    assert comments(new) == comments(text)
    assert apply(new, changes) == new


@many
@given(file=plain_files, vdev=st.sampled_from(VDEVS))
def test_xl_reads_one_disk_less(oracle: Oracle, file: Any, vdev: str) -> None:
    text, old = file
    disks = old.get("disk", [])
    place = next((at for at, spec in enumerate(disks) if parse_disk(spec)["vdev"] == vdev), len(disks))
    new = apply(text, Changes(disk={vdev: {"remove": True}}))
    assert (oracle.read(new, ["disk"])["disk"] or []) == disks[:place] + disks[place + 1 :]
    assert comments(new) == comments(text)


@many
@given(text=broken(), literal=literals())
def test_any_text_is_edited_or_refused(text: str, literal: tuple[str, str]) -> None:
    changes = Changes(set={"a": literal[0], "type": "pvh"}, vif={"0": {"bridge": "b"}}, disk={"xvda": {"target": "/x"}})
    try:
        assert str(parse(apply(text, changes)).get("a")) == literal[0]  # to xl, 0 and '0' are the same
    except InputError as error:
        assert error.message


MIRAGE_1 = """\
# Generated by Mirage (Mon, 23 Nov 2026 02:25:52 GMT).

name = 'hello'
kernel = '/home/u/mir-hello.xen'
builder = 'linux'
memory = 256
on_crash = 'preserve'

# You must define the network and block interfaces manually.
# disk = [ '/dev/loop0,,xvda' ]
# vif = [ 'mac=c0:ff:ee:c0:ff:ee,bridge=br0' ]
"""
MIRAGE_3 = """\
# Generated by ./config.exe configure -t xen (2026-11-23 02:22:42-00:00).

name = 'hello'
kernel = '/home/u/./hello.xen'
{type}
memory = 256
on_crash = 'preserve'

disk = [ 'format=raw, vdev=xvdb, access=rw, target=/home/u/./disk.img' ]

# if your system uses openvswitch then either edit /etc/xen/xl.conf and set
#     vif.default.script="vif-openvswitch"
# or add "script=vif-openvswitch," before the "bridge=" below:
vif = [ 'bridge=br0' ]
"""
MIRAGE_4 = MIRAGE_3.split("\n", 2)[2].replace("/home/u/./", "").format(type="type = 'pvh'")
CHANGES = Changes(
    set={"name": "test", "kernel": "/k/hello.xen", "memory": 64, "type": "pvh", "cmdline": "--hello='it\\'s \"me\"'"},
    vif={"0": {"bridge": "xenbr0"}},
    disk={"xvdb": {"target": "/data, old/disk.img"}},
)
PATCHED = """\
name = 'test'
kernel = '/k/hello.xen'
type = 'pvh'
memory = 64
on_crash = 'preserve'

disk = [ 'format=raw, vdev=xvdb, access=rw, target=/data, old/disk.img' ]

# if your system uses openvswitch then either edit /etc/xen/xl.conf and set
#     vif.default.script="vif-openvswitch"
# or add "script=vif-openvswitch," before the "bridge=" below:
vif = [ 'bridge=xenbr0' ]
cmdline = "--hello='it\\\\'s \\"me\\"'"
"""


@pytest.mark.parametrize(
    "text",
    [MIRAGE_3.format(type="builder = 'linux'"), MIRAGE_3.format(type="type = 'pv'"), MIRAGE_4],
    ids=["3.7", "3.8", "4"],
)
def test_mirage_file_keeps_its_layout(text: str) -> None:
    new = apply(text, CHANGES)
    assert new == text[: text.index("name =")] + PATCHED


def test_mirage_1_file_gets_its_devices() -> None:
    changes = Changes(set={"type": "pv"}, vif={"0": {"bridge": "xenbr0"}}, disk={"xvda": {"target": "/x"}})
    assert apply(MIRAGE_1, changes) == MIRAGE_1.replace("builder = 'linux'", "type = 'pv'") + (
        "vif = [ 'bridge=xenbr0' ]\ndisk = [ 'vdev=xvda, target=/x' ]\n"
    )


def test_an_empty_text_becomes_a_file() -> None:
    changes = Changes(set={"name": "a", "vcpus": 2, "pae": True, "cpus": ["0", "1"]}, vif={"0": {"bridge": "b"}})
    assert apply("", changes) == "name = 'a'\nvcpus = 2\npae = 1\ncpus = [ '0', '1' ]\nvif = [ 'bridge=b' ]\n"


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ("extra = 'a' # why\n", "cmdline = 'x' # why\n"),
        ("root = 'a'\nmemory = 1; extra = 'b'; vcpus = 1\n", "memory = 1; cmdline = 'x'; vcpus = 1\n"),
        ("extra = 'a'\nroot = 'b'\n", "cmdline = 'x'\n"),
        ("cmdline = 'x'\nextra = 'b'  # c\n", "cmdline = 'x'\n  # c\n"),
        ("cmdline = \"x\"; extra = 'b'", 'cmdline = "x"; '),
        ("cmdline = 'a'\ncmdline += 'b'\n", "cmdline = 'a'\ncmdline = 'x'\n"),
        ("cmdline = ''\ncmdline += 'x'\n", "cmdline = ''\ncmdline += 'x'\n"),
        ("memory = 1", "memory = 1\ncmdline = 'x'\n"),
        ("memory = 1\n#", "memory = 1\ncmdline = 'x'\n"),
    ],
)
def test_the_command_line(text: str, new: str) -> None:
    assert apply(text, Changes(set={"cmdline": "x"})) == new


LONG = """\
vif = [
  'bridge=a', # the first
  'bridge=b'
]
vif += [ 'bridge=c', ]
"""


@pytest.mark.parametrize(
    ("number", "new"),
    [
        ("0", "vif = [\n  # the first\n  'bridge=b'\n]\nvif += [ 'bridge=c', ]\n"),
        ("1", "vif = [\n  'bridge=a', # the first\n]\nvif += [ 'bridge=c', ]\n"),
        ("2", "vif = [\n  'bridge=a', # the first\n  'bridge=b'\n]\nvif += [  ]\n"),
        ("3", LONG),
    ],
)
def test_removing_a_vif_from_a_long_list(number: str, new: str) -> None:
    assert apply(LONG, Changes(vif={number: {"remove": True}})) == new


def test_device_numbers_are_those_of_the_file() -> None:
    changes = {"2": {"bridge": "z"}, "0": {"remove": True}, "3": {"bridge": "new"}, "1": {"remove": True}}
    new = parse(apply(LONG, Changes(vif=changes)))
    assert new.get("vif") == ["bridge=z", "bridge=new"]


def test_next_number_adds_a_disk() -> None:
    changes = {"xvdc": {"target": "/c"}, "1": {"vdev": "xvdb", "target": "/b"}}
    new = parse(apply("disk = [ 'vdev=xvda,target=/a' ]", Changes(disk=changes)))
    assert new.get("disk") == ["vdev=xvda,target=/a", "vdev=xvdb, target=/b", "vdev=xvdc, target=/c"]


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("memory = 1\ndisk = [ '/x,,xvda',\n 'vdev=xvdb' ]\n", 3, 2),
        ("vif = 'bridge=a'\n", 1, 7),
        ("vif = [ [ 'bridge=a' ] ]\n", 1, 9),
    ],
)
def test_device_that_xl_ignores_is_an_error(text: str, line: int, column: int) -> None:
    with pytest.raises(XlSyntaxError) as error:
        apply(text, Changes(vif={"0": {"bridge": "b"}}))
    assert (error.value.line, error.value.column) == (line, column)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (Changes(vif={"2": {"bridge": "b"}}), "the next one is xl.vif.1"),
        (Changes(vif={"eth0": {"bridge": "b"}}), "the first one is xl.vif.0"),
        (Changes(vif={"0": {"brigde": "b"}}), "xl.vif.0: unknown sub-key of a vif: brigde"),
        (Changes(disk={"xvda": {"format": "raw"}}), "xl.disk.xvda: the disk lacks `target`"),
        (Changes(set={"On-Crash": "destroy"}), "not a key of an .xl file: On-Crash"),
        (Changes(set={"name": "a\0"}), "NUL"),
    ],
)
def test_unwritable_change_is_refused(changes: Changes, words: str) -> None:
    with pytest.raises(SettingsError) as error:
        apply("vif = [ 'bridge=a' ]\n", changes)
    assert words in str(error.value)


@pytest.mark.parametrize("before", ["bootloader = 'pygrub'\n", "kernel = 'a'\nbootloader = 'pygrub'\n"])
def test_kernel_replaces_a_bootloader(before: str) -> None:
    text = f"# of xen-tools\n{before}bootloader_args = [ '-q' ]\nvcpus = '1'\n"
    changed = parse(apply(text, Changes({"kernel": "/k"})))
    assert {key: changed.get(key) for key in changed.keys()} == {"kernel": "/k", "vcpus": "1"}  # noqa: SIM118
    assert changed.text.startswith("# of xen-tools\n")
