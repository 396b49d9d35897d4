from __future__ import annotations

import bz2
import gzip
import lzma
import os
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unibuild.errors import FileError, KernelError
from unibuild.kernel import Kernel, inspect
from unibuild.util import process

ENTRY, XEN_VERSION, GUEST_OS, LOADER, PHYS32_ENTRY = 1, 5, 6, 8, 18
X86_64, X86_32, AARCH64 = 62, 3, 183
ABI1 = 0x31494241
PV = {XEN_VERSION: b"xen-3.0\0", GUEST_OS: b"test\0", LOADER: b"generic\0", ENTRY: bytes(8)}
PVH = {PHYS32_ENTRY: bytes(4)}
MINI_OS_2015 = (
    b"GUEST_OS=Mini-OS,XEN_VER=xen-3.0,VIRT_BASE=0x0,ELF_PADDR_OFFSET=0x0,HYPERCALL_PAGE=0x2,LOADER=generic\0"
)
ANY_FILE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def note(owner: bytes, number: int, value: bytes) -> bytes:
    owner += b"\0"
    pad = [bytes(-len(part) % 4) for part in (owner, value)]
    return struct.pack("<III", len(owner), len(value), number) + owner + pad[0] + value + pad[1]


def xen(values: dict[int, bytes]) -> bytes:
    return b"".join(note(b"Xen", number, value) for number, value in values.items())


def elf(
    segments: list[bytes] = [],  # noqa: B006 (never changed)
    sections: dict[str, tuple[int, bytes]] = {},  # noqa: B006
    machine: int = X86_64,
    wide: bool = True,
) -> bytes:
    """Return an ELF file with a PT_NOTE for each of ``segments`` and sections of (type, bytes)."""
    header, program, section = ("<16sHHIQQQIHHHHHH", "<IIQQQQQQ", "<IIQQQQIIQQ") if wide else (
        "<16sHHIIIIIHHHHHH", "<IIIIIIII", "<IIIIIIIIII"
    )  # fmt: skip
    ident = bytes([0x7F, *b"ELF", 2 if wide else 1, 1, 1]) + bytes(9)
    names = b"\0" + b"\0".join(name.encode() for name in sections) + b"\0.shstrtab\0"
    sections = {**sections, ".shstrtab": (3, names)} if sections else {}
    start = struct.calcsize(header) + struct.calcsize(program) * (1 + len(segments))
    blob, programs, heads = bytes(16), [], [bytes(struct.calcsize(section))] if sections else []

    def add(data: bytes) -> int:
        nonlocal blob
        blob += data + bytes(-len(data) % 4)
        return start + len(blob) - len(data) - (-len(data) % 4)

    for kind, data in [(1, bytes(16))] + [(4, data) for data in segments]:
        offset, size = add(data), len(data)
        fields = (kind, 5, offset, 0, 0, size, size, 4) if wide else (kind, offset, 0, 0, size, size, 5, 4)
        programs.append(struct.pack(program, *fields))
    for name, (kind, data) in sections.items():
        place = names.index(b"\0" + name.encode() + b"\0") + 1
        heads.append(
            struct.pack(section, place, kind, 0, 0, add(data), len(data), len(sections), 0, 4, 24 if kind == 2 else 0)
        )
    sizes = (struct.calcsize(program), len(programs), struct.calcsize(section), len(heads), max(0, len(heads) - 1))
    head = struct.pack(
        header,
        ident,
        2,
        machine,
        1,
        0,
        struct.calcsize(header),
        start + len(blob) if heads else 0,
        0,
        struct.calcsize(header),
        *sizes,
    )
    return head + b"".join(programs) + blob + b"".join(heads)


@pytest.fixture
def kernel_of(tmp_path: Path):
    """Write bytes to a file and inspect it."""

    def kernel_of(data: bytes) -> Kernel:
        (tmp_path / "kernel").write_bytes(data)
        return inspect(tmp_path / "kernel")

    return kernel_of


@pytest.fixture(scope="session")
def xen_builder(tmp_path_factory):
    """Return the types of domain that a file can start in, according to Xen's own domain builder."""
    program = tmp_path_factory.mktemp("oracle") / "oracle"
    source = str(Path(__file__).with_name("xenguest_oracle.c"))
    process.run(["gcc", "-o", str(program), source, "-lxenguest", "-lxenctrl"])

    def ask(path: Path) -> set[str]:
        return set(process.run([str(program), str(path)]).text.split())

    return ask


def types(kernel: Kernel) -> set[str]:
    return {name for name, able in (("pv", kernel.pv), ("pvh", kernel.pvh)) if able}


class TestRealKernels:
    def test_pv(self, hello_kernels):
        kernel = inspect(hello_kernels.pv)
        assert (types(kernel), kernel.bits, kernel.machine) == ({"pv"}, 64, "x86_64")
        assert (kernel.symbols, kernel.solo5_abi, kernel.compression) == (True, None, None)
        assert kernel.size == hello_kernels.pv.stat().st_size

    def test_pvh(self, hello_kernels):
        assert types(inspect(hello_kernels.pvh)) == {"pvh"}

    def test_stripped(self, hello_kernels, tmp_path):
        process.run(["strip", "-o", str(tmp_path / "kernel"), str(hello_kernels.pvh)])
        kernel = inspect(tmp_path / "kernel")
        assert (types(kernel), kernel.symbols) == ({"pvh"}, False)

    def test_object_file(self, hello_kernels):
        with pytest.raises(KernelError, match="is not a linked kernel: it has nothing to load"):
            inspect(hello_kernels.pv.parent / "build" / "boot_pv.S.o")

    def test_program_of_this_machine(self):
        with pytest.raises(KernelError, match="is not a Xen kernel"):
            inspect(Path("/bin/sh")).type_for(None)

    def test_xen_agrees(self, hello_kernels, xen_builder):
        assert xen_builder(hello_kernels.pv) == {"pv"}
        assert xen_builder(hello_kernels.pvh) == {"pvh"}


class TestNotes:
    @pytest.mark.parametrize("wide", [True, False], ids=["64 bit", "32 bit"])
    @pytest.mark.parametrize(
        ("notes", "expected"),
        [(PV, {"pv"}), (PVH, {"pvh"}), (PV | PVH, {"pv", "pvh"}), ({}, set())],
        ids=["pv", "pvh", "both", "neither"],
    )
    def test_types(self, kernel_of, notes, expected, wide):
        kernel = kernel_of(elf(segments=[xen(notes)], wide=wide, machine=X86_64 if wide else X86_32))
        assert (types(kernel), kernel.bits) == (expected, 64 if wide else 32)

    def test_in_a_section_without_program_header(self, kernel_of):
        assert types(kernel_of(elf(sections={".note": (7, xen(PV))}))) == {"pv"}

    def test_in_one_of_several_program_headers(self, kernel_of):
        solo5 = note(b"Solo5", ABI1, struct.pack("<IIII", 6, 1, 0, 0))
        kernel = kernel_of(elf(segments=[note(b"OpenBSD", 1, bytes(4)), xen(PVH), solo5]))
        assert (types(kernel), kernel.solo5_abi) == ({"pvh"}, "xen 1")

    def test_sections_count_only_without_program_headers(self, kernel_of):
        assert types(kernel_of(elf(segments=[xen(PVH)], sections={".note": (7, xen(PV))}))) == {"pvh"}

    def test_xen_guest_section(self, kernel_of):
        assert types(kernel_of(elf(sections={"__xen_guest": (1, MINI_OS_2015)}))) == {"pv"}

    def test_pvh_only_with_the_strings_of_pv(self, kernel_of):
        texts = {number: value for number, value in PV.items() if number != ENTRY}
        assert types(kernel_of(elf(segments=[xen(texts | PVH)]))) == {"pvh"}

    def test_notes_of_another_loader(self, kernel_of):
        assert types(kernel_of(elf(segments=[xen(PV | {LOADER: b"odd\0"})]))) == set()

    def test_symbols(self, kernel_of):
        assert kernel_of(elf(segments=[xen(PV)], sections={".symtab": (2, bytes(48))})).symbols

    TEXTS = st.sampled_from([b"generic\0", b"linux\0", b"xen-3.0\0", b"xen-3.0-x86_64\0", b"other\0", b"\0", b""])

    @ANY_FILE
    @given(
        texts=st.dictionaries(st.sampled_from([XEN_VERSION, GUEST_OS, LOADER]), TEXTS),
        phys32=st.booleans(),
        in_segment=st.booleans(),
        guest=st.sampled_from([None, MINI_OS_2015, b"LOADER=generic\0", b"GUEST_OS=linux,XEN_VER=xen-3.0\0"]),
    )
    def test_xen_agrees(self, kernel_of, xen_builder, texts, phys32, in_segment, guest):
        data = xen(texts | ({ENTRY: bytes(8), **PVH} if phys32 else {}))
        sections = {} if in_segment else {".note": (7, data)}
        if guest is not None:
            sections["__xen_guest"] = (1, guest)
        kernel = kernel_of(elf(segments=[data] if in_segment else [], sections=sections))
        assert types(kernel) == xen_builder(kernel.path)


class TestTypeFor:
    def test_nothing_asked(self, kernel_of):
        assert kernel_of(elf(segments=[xen(PV)])).type_for(None) == "pv"
        assert kernel_of(elf(segments=[xen(PVH)])).type_for(None) == "pvh"
        assert kernel_of(elf(segments=[xen(PV | PVH)])).type_for(None) == "pvh"

    def test_asked(self, kernel_of):
        both = kernel_of(elf(segments=[xen(PV | PVH)]))
        assert (both.type_for("pv"), both.type_for("pvh")) == ("pv", "pvh")

    @pytest.mark.parametrize(
        ("notes", "asked", "hint"), [(PV, "pvh", 'set type = "pv"'), (PVH, "pv", 'set type = "pvh"')]
    )
    def test_mismatch(self, kernel_of, notes, asked, hint):
        kernel = kernel_of(elf(segments=[xen(notes)]))
        with pytest.raises(KernelError, match=f'cannot start in a domain of type "{asked}"') as error:
            kernel.type_for(asked)
        assert hint in error.value.hint

    def test_other_solo5_target(self, kernel_of):
        kernel = kernel_of(elf(segments=[note(b"Solo5", ABI1, struct.pack("<II", 1, 2))]))
        with pytest.raises(KernelError, match="was built for Solo5's hvt, not for Xen"):
            kernel.type_for(None)

    def test_other_machine(self, kernel_of):
        kernel = kernel_of(elf(segments=[xen(PV)], machine=AARCH64))
        with pytest.raises(KernelError, match="is a program for aarch64"):
            kernel.type_for("pv")


class TestCompression:
    def test_gzip_is_unpacked(self, kernel_of, hello_kernels, xen_builder):
        kernel = kernel_of(gzip.compress(hello_kernels.pv.read_bytes()))
        assert (types(kernel), kernel.compression, kernel.type_for(None)) == ({"pv"}, "gzip", "pv")
        assert xen_builder(kernel.path) == {"pv"}

    @pytest.mark.parametrize(("name", "pack"), [("xz", lzma.compress), ("bzip2", bz2.compress)])
    def test_compression_that_xen_does_not_unpack(self, kernel_of, hello_kernels, xen_builder, name, pack):
        kernel = kernel_of(pack(hello_kernels.pv.read_bytes()))
        assert (types(kernel), kernel.compression) == ({"pv"}, name)
        with pytest.raises(KernelError, match=f"compressed with {name}, which Xen does not unpack"):
            kernel.type_for(None)
        assert xen_builder(kernel.path) == set()

    @pytest.mark.parametrize(("magic", "name"), [(b"\x28\xb5\x2f\xfd", "zstd"), (b"\x04\x22\x4d\x18", "lz4")])
    def test_compression_that_unibuild_does_not_unpack(self, kernel_of, magic, name):
        with pytest.raises(KernelError, match=f"compressed with {name}") as error:
            kernel_of(magic + bytes(100))
        assert f"{name} -d" in error.value.hint

    @pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress])
    def test_cut_off(self, kernel_of, hello_kernels, pack):
        with pytest.raises(KernelError, match="is cut off"):
            kernel_of(pack(hello_kernels.pv.read_bytes())[:-20])

    def test_bomb(self, kernel_of):
        with pytest.raises(KernelError, match="unpacks to more than 128 MiB"):
            kernel_of(gzip.compress(bytes(130 << 20), 1))


class TestNoKernel:
    def test_no_file(self, tmp_path):
        with pytest.raises(FileError, match="there is no file"):
            inspect(tmp_path / "none")

    def test_folder_and_pipe(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
            with pytest.raises(KernelError, match="is not a file that can hold a kernel"):
                inspect(path)

    @pytest.mark.parametrize("data", [b"", b"\x7fEL", b"#!/bin/sh\n", b"\0" * 5000])
    def test_no_elf(self, kernel_of, data):
        with pytest.raises(KernelError, match="not an ELF file"):
            kernel_of(data)

    def test_every_truncation_is_an_error(self, kernel_of):
        whole = elf(segments=[xen(PV)], sections={".note": (7, xen(PV))})
        for length in range(len(whole)):
            with pytest.raises(KernelError):
                kernel_of(whole[:length])


def patched(data: bytes, changes: list[tuple[int, bytes]]) -> bytes:
    result = bytearray(data)
    for place, value in changes:
        place %= len(data)
        result[place : place + len(value)] = value
    return bytes(result)


EVIL = st.sampled_from(
    [b"\0", b"\xff", b"\xff" * 2, b"\xff" * 4, b"\xff" * 8, bytes(8), b"\x00\x00\x00\x80", b"\1" + bytes(7)]
)
CHANGES = st.lists(st.tuples(st.integers(0, 1 << 20), EVIL | st.binary(min_size=1, max_size=8)), max_size=6)


class TestHostile:
    """Inspect any bytes: the result is a Kernel or a KernelError, in limited time and memory."""

    def either(self, kernel_of, data: bytes) -> None:
        try:
            assert isinstance(kernel_of(data), Kernel)
        except KernelError as error:
            assert "\n" not in error.message and "Traceback" not in error.message

    @ANY_FILE
    @given(data=st.data(), which=st.sampled_from(["pv", "pvh"]))
    def test_real_kernel(self, kernel_of, hello_kernels, data, which):
        whole = getattr(hello_kernels, which).read_bytes()
        tables = (
            st.integers(0, 200) | st.integers(len(whole) - 18 * 64, len(whole) - 1) | st.integers(0, len(whole) - 1)
        )
        changes = data.draw(st.lists(st.tuples(tables, EVIL), max_size=6))
        self.either(kernel_of, patched(whole, changes)[: data.draw(st.integers(0, len(whole)) | st.just(len(whole)))])

    @ANY_FILE
    @given(changes=CHANGES, wide=st.booleans())
    def test_small_kernel(self, kernel_of, changes, wide):
        sections = {".note": (7, xen(PV)), "__xen_guest": (1, MINI_OS_2015), ".symtab": (2, bytes(48))}
        self.either(kernel_of, patched(elf(segments=[xen(PVH)], sections=sections, wide=wide), changes))

    @ANY_FILE
    @given(
        data=st.binary(max_size=300),
        start=st.sampled_from([b"", b"\x7fELF\2\1\1", b"\x7fELF\1\2\1", b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh9"]),
    )
    def test_anything(self, kernel_of, data, start):
        self.either(kernel_of, start + data)

    def costly(self) -> list[bytes]:
        many = bytearray(elf(segments=[note(b"X", 1, b"")] * 4000))  # 4000 program headers over the same 8 MB
        many += bytes(8 << 20)
        for i in range(4000):
            struct.pack_into("<QQQQ", many, 64 + 56 * (i + 1) + 8, 64, 0, 0, len(many) - 64)
        shdrs = bytearray(elf(sections={"x": (1, b"")}))  # 2**60 section headers of no length
        struct.pack_into("<H", shdrs, 58, 0)
        struct.pack_into("<H", shdrs, 60, 0)
        place = struct.unpack_from("<Q", shdrs, 40)[0]
        struct.pack_into("<Q", shdrs, place + 32, 1 << 60)
        names = bytearray(elf(sections={"x": (1, b"n" * (8 << 20))}))  # names without an end
        phdrs = bytearray(elf(segments=[xen(PV)] * 2))
        struct.pack_into("<HH", phdrs, 54, 0, 65534)
        bomb = lzma.compress(bytes(200 << 20), preset=0)
        return [bytes(many), bytes(shdrs), bytes(names), bytes(phdrs), bomb]

    @pytest.mark.timeout(60)
    def test_time_and_memory_are_limited(self, kernel_of):
        for data in self.costly():
            tracemalloc.start()
            self.either(kernel_of, data)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 400 << 20
