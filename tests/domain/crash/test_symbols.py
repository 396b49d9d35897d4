"""Addresses of a real kernel get the names, files and lines of its sources."""

import gzip
import re
import shutil

import pytest

from unibuild.domain.crash import symbols
from unibuild.domain.crash.stack import CALLED
from unibuild.errors import UnibuildError
from unibuild.util import process


@pytest.fixture
def tree(tmp_path, hello_kernels):
    """A copy of the kernel alone; its sources are elsewhere."""
    shutil.copy(hello_kernels.pvh, tmp_path / "hello.xen")
    return tmp_path


@pytest.fixture
def sources(hello_kernels):
    return hello_kernels.pvh.parent


def address_of(code, name: str) -> int:
    return code.starts[code.names.index(name)]


def strip(kernel, to) -> None:
    process.run(["strip", "-o", str(to), str(kernel)])


def test_a_function_has_its_file_and_line(tree, sources):
    missing = []
    code = symbols.unstripped(tree / "hello.xen", None, tree, missing)
    (*_, frame) = code.frames([(address_of(code, "power_off"), "")], sources, missing)
    lines = (sources / "lib/power.c").read_text().splitlines()
    assert (frame.function, frame.file, frame.how) == ("power_off", "lib/power.c", "")
    assert lines[frame.line - 1].startswith(("_Noreturn void power_off", "{"))
    assert missing == []


def test_a_return_address_is_of_the_call_before_it(tree, sources):
    code = symbols.load(tree / "hello.xen")
    start = address_of(code, "power_off")
    inside, outside = (
        code.frames([(start + 1, CALLED)], sources, [])[-1],
        code.frames([(start, CALLED)], sources, [])[-1],
    )
    assert inside.function == "power_off"
    assert outside.function != "power_off"


def test_inlined_functions_are_frames_too(tree, sources):
    code = symbols.load(tree / "hello.xen")
    start = address_of(code, "main")
    found = code.frames([(at, "") for at in range(start, start + 600)], sources, [])
    assert {"hello (inlined)", "main"} <= {frame.function for frame in found}


def test_a_stripped_kernel_is_named_by_one_of_the_same_build(tree, sources):
    (tree / "_build/default").mkdir(parents=True)
    (tree / "hello.xen").rename(tree / "_build/default/main.exe")
    strip(tree / "_build/default/main.exe", tree / "hello.xen")
    missing = []
    code = symbols.unstripped(tree / "hello.xen", None, tree, missing)
    assert code.path == tree / "_build/default/main.exe"
    assert missing == []


def test_file_of_another_build_is_not_used(tree, hello_kernels):
    shutil.copy(hello_kernels.pv, tree / "other.xen")
    strip(tree / "hello.xen", tree / "hello.xen")
    missing = []
    code = symbols.unstripped(tree / "hello.xen", None, tree, missing)
    assert code.names == ()
    assert missing == ["function names: the kernel is stripped, and no unstripped file of this build was found"]
    symbols.unstripped(tree / "hello.xen", tree / "other.xen", tree, missing)
    assert missing[1].endswith("other.xen is of another build, or has none")


def test_a_packed_kernel(tree, sources):
    (tree / "hello.gz").write_bytes(gzip.compress((tree / "hello.xen").read_bytes()))
    code = symbols.load(tree / "hello.gz")
    assert code.frames([(address_of(code, "power_off"), "")], sources, [])[-1].file == "lib/power.c"


def test_without_addr2line_there_are_names(tree, sources, monkeypatch):
    code = symbols.load(tree / "hello.xen")
    monkeypatch.setenv("PATH", str(tree))
    missing = []
    (frame,) = code.frames([(address_of(code, "power_off"), "")], sources, missing)
    assert (frame.function, frame.place) == ("power_off", "")
    assert re.search("addr2line.*binutils", missing[0])


def test_address_outside_the_code_has_no_name(tree):
    code = symbols.load(tree / "hello.xen")
    (frame,) = code.frames([(0xFFFF800000000000, "")], tree, [])
    assert str(frame) == "0xffff800000000000"


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF" + b"\xff" * 200, b"\x1f\x8b\x08junk", b"#!/bin/sh\n"])
def test_file_that_is_not_a_kernel_is_refused(tmp_path, data):
    (tmp_path / "k").write_bytes(data)
    with pytest.raises(UnibuildError):
        symbols.load(tmp_path / "k")


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("camlDune__exe__Unikernel__start_123", "Unikernel.start"),
        ("camlDune__exe__Main__entry", "Main.entry"),
        ("camlStdlib__List__iter_5", "Stdlib.List.iter"),
        ("camlFoo.bar_1", "Foo.bar"),
        ("camlFoo$bar_baz_12", "Foo.bar_baz"),
        ("camlLwt__Miscellaneous__poll$27_9", "Lwt.Miscellaneous.poll'"),
        ("camlFoo__fun_44", "Foo.fun"),
        ("caml_main", "caml_main"),
        ("solo5_exit", "solo5_exit"),
        ("", ""),
    ],
)
def test_ocamls_names_are_readable(symbol, name):
    assert symbols.readable(symbol) == name
