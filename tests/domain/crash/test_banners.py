"""What dying kernels really said, and what is made of it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.domain.crash.console_patterns import read

BANNER = b"""\
Solo5: Xen console: port 0x2, ring @0x00000000FEFFF000
            |      ___|
  __|  _ \\  |  _ \\ __ \\
Solo5: Bindings version v0.12.1
Solo5: Memory map: 64 MB addressable:
"""
BOOM = b"""\
Fatal error: exception Failure("boom")
Raised at Stdlib.failwith in file "stdlib.ml", line 29, characters 17-33
Called from Dune__exe__Unikernel.Main.start in file "unikernel.ml", line 12, characters 4-19
Re-raised at Lwt.Miscellaneous.poll in file "duniverse/lwt/src/core/lwt.ml", line 3141, characters 20-29
Called from Dune__exe__Main.run in file "mirage/main.ml" (inlined), line 4, characters 12-29
Called from Xen_os__Main.run.aux in file "duniverse/mirage-xen/lib/main.ml", lines 37-39, characters 10-20
Solo5: solo5_exit(2) called
"""
TRAP = b"""\
Solo5: trap: type=#PF ec=0x2 rip=0x107332 rsp=0x1ffffb0 rflags=0x206
Solo5: trap: cr2=0x400000000
Solo5: ABORT: cpu_x86_64.c:182: Fatal trap
"""
MINI_OS = b"""\
Xen Minimal OS (pv)!
kernel.c: dummy main: par=0
do_page_fault: page fault at addr 8
Page fault at linear address 8, rip 3a2f, regs 0000000000081f28, sp 81fe0, our_sp 0000000000081ef8, code 2
Thread: main
RIP: e030:[<0000000000003a2f>]
RSP: e02b:0000000000081fe0  EFLAGS: 00010246
base is 0x81ff0 caller is 0x3b70
base is 0x0 caller is 0x1234
Pagetable walk from virt 8, base 0000000000080000:
Page fault in pagetable walk (access to invalid memory?).
"""

CASES = [
    (b"Solo5: solo5_exit(0) called", "exit", 0, "it exited with exit code 0"),
    (b"Solo5: solo5_exit(1) called", "exit", 1, "it exited with exit code 1"),
    (b"Solo5: solo5_exit(2) called", "exception", 2, "an OCaml exception was not caught; the console does not name it"),
    (b"Solo5: solo5_exit(63) called", "help", 63, "it printed its manual page and exited"),
    (b"Solo5: solo5_exit(255) called", "abort", 255, "it aborted"),
    (b"Solo5: solo5_abort() called", "abort", 255, "it called solo5_abort()"),
    (
        b"Solo5: Built-in manifest validation failed.\nSolo5: solo5_abort() called",
        *("abort", 255, "it aborted: Built-in manifest validation failed"),
    ),
    (b"Solo5: ABORT: Stack corruption detected", "abort", 255, "it found its stack corrupted"),
    (
        b"Solo5: ABORT: mem.c:12: Assertion `x > 0' failed",
        "abort",
        255,
        "it aborted: mem.c:12: Assertion `x > 0' failed",
    ),
    (BOOM, "exception", 2, 'the OCaml exception Failure("boom") was not caught'),
    (
        b'Fatal error: exception Out_of_memory\nRe-raised at X in file "x.ml", line 1, characters 1-2\n'
        b"Solo5: solo5_exit(2) called",
        "memory",
        2,
        "it ran out of memory (Out_of_memory)",
    ),
    (
        b"Fatal error: out of memory.\nSolo5: solo5_abort() called",
        "memory",
        None,
        "it ran out of memory",
    ),
    (
        b"Usage: network [--help] [--port=INT] [OPTION]\xe2\x80\xa6\nnetwork: unknown option '--nosuch'\n"
        b"Hint: To pass a space, it needs to be escaped twice: --hello='Hello,\\\\ world!'\n"
        b"Solo5: solo5_exit(64) called",
        "argument",
        64,
        "it rejected its arguments: unknown option '--nosuch'",
    ),
    (
        b"network: unknown option '--loglevel', did you mean '-l'?\n         unknown option '--gloglevel'.\n"
        b"Usage: network [--port=VAL] [OPTION]...\nSolo5: solo5_exit(64) called",
        "argument",
        64,
        "it rejected its arguments: unknown option '--loglevel', did you mean '-l'?",
    ),
    (TRAP, "trap", 255, "it wrote to 0x400000000, where no memory is mapped (#PF at 0x107332)"),
    (
        b"Solo5: trap: type=#UD ec=0x0 rip=0x107332 rsp=0x1ffffb0 rflags=0x206",
        "trap",
        255,
        "it executed an invalid instruction, or code marked as unreachable (#UD at 0x107332)",
    ),
    (MINI_OS, "trap", None, "it wrote to 0x8, through a null pointer (#PF at 0x3a2f)"),
    (
        b"GPF rip: 3a2f, error_code=0\nThread: main",
        "trap",
        None,
        "it used an invalid address, or an instruction that it may not use (#GP at 0x3a2f)",
    ),
    (
        b"FATAL:  Unhandled Trap 6 (invalid operand), error code=0x0\nRegs address 0000000000081f28\nThread: main\n"
        b"RIP: e030:[<0000000000003a2f>] ",
        "trap",
        None,
        "it executed an invalid instruction, or code marked as unreachable (#UD at 0x3a2f)",
    ),
    (
        b"PANIC: Unhandled exception at e033:0000000000104005\nVec 13 #GP[IDT[64]]",
        "trap",
        None,
        "it used an invalid address, or an instruction that it may not use (#GP at 0x104005)",
    ),
    (
        b"PANIC: Unhandled exception at 0008:0000000000104005\nVec 14 #PF[-d-srP] %cr2 0000000000200000",
        "trap",
        None,
        "it accessed 0x200000, where no memory is mapped (#PF at 0x104005)",
    ),
    (b"[    0.52] Kernel panic - not syncing: VFS: no root", "panic", None, "its kernel panicked: VFS: no root"),
]


@pytest.mark.parametrize(("said", "kind", "code", "sentence"), CASES)
def test_console_output_explains_the_end(said, kind, code, sentence):
    finding = read(BANNER + said.replace(b"\n", b"\r\n") + b"\r\n")
    assert (finding.kind, finding.code) == (kind, code)
    assert finding.sentence.startswith(sentence)
    assert finding.is_fatal == (code != 0)


def test_the_backtrace_of_an_exception():
    frames = read(BOOM).frames
    assert [frame.place for frame in frames] == [
        "stdlib.ml:29",
        "unikernel.ml:12",
        "duniverse/lwt/src/core/lwt.ml:3141",
        "mirage/main.ml:4",
        "duniverse/mirage-xen/lib/main.ml:37",
    ]
    assert [frame.is_own for frame in frames] == [False, True, False, False, False]
    assert str(frames[1]) == "Called from Unikernel.Main.start  unikernel.ml:12"


def test_the_backtrace_of_an_older_ocaml():
    (frame,) = read(b'Fatal error: exception Not_found\nRaised at file "a.ml", line 3, characters 4-5\n').frames
    assert str(frame) == "Raised at  a.ml:3"


def test_trap_reports_its_address():
    finding = read(TRAP)
    assert (finding.rip, finding.rsp, finding.cr2) == (0x107332, 0x1FFFFB0, 0x400000000)


def test_mini_os_walks_its_stack():
    assert read(MINI_OS).callers == (0x3B70, 0x1234)


def test_mini_os_without_memory():
    assert "memory" in read(b"Cannot handle page request order 3!\n" + MINI_OS.split(b"\n", 1)[1]).hint


@pytest.mark.parametrize("said", [BOOM, CASES[12][0]])
def test_hint_is_given_only_where_there_is_a_fix(said):
    assert bool(read(said).hint) == (said is not BOOM)


@pytest.mark.parametrize(
    "said", [b"", b"tick 1\r\n", b"all is well: no Fatal error here\n", b"(Solo5: solo5_exit(2) called)"]
)
def test_healthy_console_has_no_finding(said):
    assert read(said) is None


def test_output_before_a_reboot_is_ignored():
    assert read(BOOM + BANNER + b"Solo5: solo5_exit(0) called\r\n").kind == "exit"


@given(st.lists(st.sampled_from([*BOOM.split(b"\n"), *TRAP.split(b"\n"), *MINI_OS.split(b"\n")]) | st.binary()))
def test_any_bytes_are_accepted(pieces):
    finding = read(b"\n".join(pieces))
    assert finding is None or 0 < len(finding.sentence) < 2000


def test_no_escape_reaches_the_terminal():
    sentence = read(b'Fatal error: exception Failure("\x1b[31mred\x1b]0;title\x07")').sentence
    assert sentence == 'the OCaml exception Failure("red]0;title") was not caught'


@pytest.mark.parametrize(
    "said",
    [
        b"Called from " * 90_000,
        b"Fatal error: exception " + b"a in file " * 100_000,
        b"Fatal error: x\n" + b"Called from " * 20 + b"\n" * 900_000,
        b"PANIC: " + b"\x00\xff" * 500_000,
        (b"Fatal error: x\n" + b"Called from x in file " + b" in file " * 100 + b"\n") * 1000,
        b"a: unknown " * 100_000 + b"\nSolo5: solo5_exit(64) called",
    ],
)
def test_a_megabyte_of_nonsense_is_read_quickly(said):
    before = time.process_time()
    read(said)
    assert time.process_time() - before < 5
