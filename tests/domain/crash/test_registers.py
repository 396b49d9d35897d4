"""What xenctx and Xen's log said of domains in the lab, and what is read of it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.domain.crash import host_queries, registers

HERE = Path(__file__).parent


def text(name: str) -> str:
    return (HERE / f"{name}.txt").read_text()


def test_a_pv_domain():
    (vcpu,) = registers.parse(text("xenctx_pv"))
    wanted = {
        "rip": 0x30E0,
        "rsp": 0xBF20,
        "flags": 0x206,
        "cr2": 0x400000000,
        "rax": 0x400000000,
        "r8": 0x14,
        "cs": 0xE033,
    }
    assert wanted.items() <= vcpu.registers.items()
    assert len(vcpu.stack) == (0xC000 - 0xBF20) // 8
    assert vcpu.stack[:4] == (0xFFFFFFD0, 0, 2, 0x30E0)
    assert vcpu.stack[-1] == 0x12


def test_a_pvh_domain():
    (vcpu,) = registers.parse(text("xenctx_pvh"))
    assert {"rip": 0x1013A8, "rsp": 0x111F08, "rbp": 2, "cs": 8, "cr3": 0x104000}.items() <= vcpu.registers.items()
    assert vcpu.stack[0] == 0x10270F
    assert len(vcpu.stack) == (0x112000 - 0x111F08) // 8


def test_several_processors():
    vcpus = registers.parse(text("xenctx_pv") + text("xenctx_pvh").replace("vcpu0", "vcpu1"))
    assert [(vcpu.number, vcpu.rip) for vcpu in vcpus] == [(0, 0x30E0), (1, 0x1013A8)]


def test_an_older_xenctx_has_no_addresses_before_the_words():
    output = "rip: 0000000000001000 \nrsp: 000000000000bff0\n\nStack Trace:\n* [<0000000000001000>]  <--\n"
    output += "    0000000000000001\n"
    (vcpu,) = registers.parse(output + "  [<0000000000002000>] \n")
    assert vcpu.stack == (1, 0x2000)


def test_a_kernel_of_32_bits():
    (vcpu,) = registers.parse(
        "cs:eip: 0061:00104005 \nflags: 00000202 i nz\nss:esp: 0069:00108000\neax: 00000001\tebx: 00000002\n"
    )
    assert {"rip": 0x104005, "rsp": 0x108000, "ebx": 2}.items() <= vcpu.registers.items()


def test_unknown_instruction_address_gives_no_stack():
    output = text("xenctx_pv").partition("Code (instr")[0].replace("00000000000030e0", "0000000000000000")
    (vcpu,) = registers.parse(output + "Code (instr addr 00000000)\n")
    assert (vcpu.rip, vcpu.stack) == (0, ())


def test_registers_that_xen_logged_itself():
    (logged,), (seen,) = registers.from_xen_log(text("xl_dmesg_pv"), 114), registers.parse(text("xenctx_pv"))
    assert logged.registers["rip"] == seen.registers["rip"]
    assert logged.registers["cr2"] == seen.registers["cr2"]
    assert logged.stack[: len(seen.stack)] == seen.stack


def test_the_log_of_another_domain():
    assert registers.from_xen_log(text("xl_dmesg_pv"), 11) == ()
    assert host_queries.cause(text("xl_dmesg_pv"), 11, None) is None


@pytest.mark.parametrize(
    ("log", "domid", "sentence"),
    [
        ("xl_dmesg_pv", 114, "it wrote to 0x400000000, where no memory is mapped (#PF at 0x30e0)"),
        ("xl_dmesg_pvh", 149, "it faulted and has no fault handler (triple fault at 0x103220)"),
    ],
)
def test_xen_log_explains_a_crash(log, domid, sentence):
    (vcpu,) = registers.from_xen_log(text(log), domid)
    assert host_queries.cause(text(log), domid, vcpu) == sentence


def test_log_of_an_older_xen_explains_a_crash():
    assert "(#PF)" in host_queries.cause("(XEN) d7v0 Unhandled page fault fault/trap [#14, ec=0002]", 7, None)


LINES = [*text("xenctx_pv").splitlines(), *text("xl_dmesg_pv").splitlines()]


@given(st.lists(st.sampled_from(LINES) | st.text(), max_size=30))
def test_any_log_is_accepted(lines):
    output = "\n".join(lines)
    vcpus = (*registers.parse(output), *registers.from_xen_log(output, 114))
    assert all(0 <= value < 1 << 64 for vcpu in vcpus for value in (*vcpu.registers.values(), *vcpu.stack))
