"""Stacks of made-up code: which words are return addresses, and which are certain."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from unibuild.domain.crash.registers import Vcpu
from unibuild.domain.crash.stack import CALLED, MAYBE, walk
from unibuild.domain.crash.symbols import Code

BASE, RSP = 0x1000, 0x8000
INNER, MIDDLE, OUTER, OTHER = BASE, BASE + 0x40, BASE + 0x80, BASE + 0xC0


def call(at: int, target: int) -> tuple[int, bytes]:
    """Return the offset and the bytes of a call at an address."""
    return at - BASE, b"\xe8" + (target - at - 5).to_bytes(4, "little", signed=True)


def code(*calls: tuple[int, bytes]) -> Code:
    data = bytearray(b"\x90" * 0x100)
    for offset, instruction in calls:
        data[offset : offset + len(instruction)] = instruction
    return Code(Path("k"), ((BASE, bytes(data)),), (INNER, MIDDLE, OUTER, OTHER), ("inner", "middle", "outer", "other"))


def walked(program: Code, *words: int, **registers: int) -> list[tuple[int, str]]:
    return walk(Vcpu(0, {"rip": INNER + 2, "rsp": RSP, "rbp": 0, **registers}, words), program)[1:]


MIDDLE_CALLS, OUTER_CALLS, OTHER_CALLS = MIDDLE + 5, OUTER + 5, OTHER + 5
PROGRAM = code(call(MIDDLE, INNER), call(OUTER, MIDDLE), call(OTHER, OUTER))


def test_calls_that_fit_are_certain():
    assert walked(PROGRAM, 1, MIDDLE_CALLS, 2, 3, OUTER_CALLS) == [(MIDDLE_CALLS, CALLED), (OUTER_CALLS, CALLED)]


def test_leftover_calls_between_frames_are_dropped():
    assert walked(PROGRAM, OTHER_CALLS, MIDDLE_CALLS, OUTER_CALLS) == [(MIDDLE_CALLS, CALLED), (OUTER_CALLS, CALLED)]


def test_a_call_that_does_not_fit_is_a_guess():
    assert walked(PROGRAM, OUTER_CALLS) == [(OUTER_CALLS, MAYBE)]


def test_words_that_are_not_return_addresses_are_ignored():
    assert walked(PROGRAM, 0, MIDDLE, MIDDLE_CALLS + 1, BASE, BASE + 0x100, 1 << 63) == []


def test_a_call_through_a_pointer_may_belong_there():
    for instruction in (
        b"\xff\xd0",
        b"\xff\x10",
        b"\xff\x50\x08",
        b"\xff\x54\x24\x08",
        b"\xff\x15\0\0\0\0",
        b"\xff\x14\xc0",
    ):
        program = code((MIDDLE - BASE, instruction), call(OUTER, MIDDLE))
        back = MIDDLE + len(instruction)
        assert walked(program, back, OUTER_CALLS) == [(back, MAYBE), (OUTER_CALLS, CALLED)]


def test_frame_pointers_are_followed_if_present():
    words = (0, 0, RSP + 0x28, MIDDLE_CALLS, OTHER_CALLS, 0, OUTER_CALLS)
    assert walked(PROGRAM, *words, rbp=RSP + 0x10) == [(MIDDLE_CALLS, CALLED), (OUTER_CALLS, CALLED)]


def test_invalid_frame_pointer_is_ignored():
    for rbp in (0, 2, RSP + 4, RSP - 8, RSP + 0x1000, (1 << 64) - 8):
        assert walked(PROGRAM, MIDDLE_CALLS, rbp=rbp) == [(MIDDLE_CALLS, CALLED)]


@given(
    st.lists(st.integers(0, (1 << 64) - 1) | st.integers(BASE, BASE + 0x110)),
    st.integers(0, (1 << 64) - 1),
    st.binary(),
)
def test_walking_any_stack_terminates(words, rbp, data):
    program = Code(Path("k"), ((BASE, data),), (BASE,), ("f",))
    found = walk(Vcpu(0, {"rip": BASE, "rsp": RSP, "rbp": rbp}, tuple(words)), program)
    assert found[0] == (BASE, "")
    assert {address for address, _ in found[1:]} <= set(words)
