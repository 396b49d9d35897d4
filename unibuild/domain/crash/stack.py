"""Reconstruct a backtrace from the words of a stack.

Most kernels are built without frame pointers, so a word counts as a return address if the code before it is a call.
It is certain if that call goes to the previous frame's function. The others are guesses: remains of older calls, or
calls through a pointer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unibuild.domain.crash.registers import Vcpu
    from unibuild.domain.crash.symbols import Code

__all__ = ["CALLED", "MAYBE", "StackFrame", "walk"]

_NOT_OWN = ("duniverse/", "_opam/", "mirage/", "/")  # below the project's folder: libraries and generated code


@dataclass(frozen=True)
class StackFrame:
    """One line of a backtrace.

    Attributes:
        function: its readable name, or "".
        file: the source file, relative to the project's folder if it is in it, or "".
        line: from 1; 0: not known.
        how: the words before its name: "Called from", "maybe", or "".
        address: the address of the code; None if only the console names the frame.
    """

    function: str
    file: str = ""
    line: int = 0
    how: str = ""
    address: int | None = None

    @property
    def place(self) -> str:
        """``FILE:LINE``, or ``FILE``, or "" if it is not known."""
        return f"{self.file}:{self.line}" if self.file and self.line else self.file

    @property
    def is_own(self) -> bool:
        """Whether its source belongs to the project."""
        return bool(self.file) and not self.file.startswith(_NOT_OWN) and not self.function.startswith("Stdlib")

    def __str__(self) -> str:
        name = self.function or ("" if self.address is None else f"{self.address:#x}")
        return "  ".join(filter(None, (f"{self.how} {name}".strip(), self.place)))


CALLED = "called from"
MAYBE = "maybe from"
_DEPTH = 32  # frames
_LONGEST = 7  # bytes of a call instruction, without its prefix


def walk(vcpu: Vcpu, code: Code) -> list[tuple[int, str]]:
    """Return the addresses from the innermost outwards, each with its kind: "", ``CALLED`` or ``MAYBE``."""
    found = _by_frame_pointers(vcpu, code) or _by_calls(vcpu, code)
    return [(vcpu.rip, ""), *found][:_DEPTH]


def _by_frame_pointers(vcpu: Vcpu, code: Code) -> list[tuple[int, str]]:
    """Follow the chain of frame pointers from ``rbp``; return nothing if there is none."""
    found: list[tuple[int, str]] = []
    base, frame = vcpu.registers.get("rsp", 0), vcpu.registers.get("rbp", 0)
    while frame >= base and frame % 8 == 0 and (frame - base) // 8 + 1 < len(vcpu.stack):
        number = (frame - base) // 8
        address = vcpu.stack[number + 1]
        if _called(address, code) is None:
            break
        found.append((address, CALLED))
        if vcpu.stack[number] <= frame:
            break
        frame = vcpu.stack[number]
    return found


def _by_calls(vcpu: Vcpu, code: Code) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    current = _start(vcpu.rip, code)
    for word in vcpu.stack:
        target = _called(word, code)
        if target is None:
            continue
        if target == current:
            # calls elsewhere in between are remains; a call through a pointer may belong there
            found = [one for one in found if one[1] == CALLED or _called(one[0], code) == 0]
            found.append((word, CALLED))
            current = _start(word, code)
        else:
            found.append((word, MAYBE))
            if target == 0:
                current = _start(word, code)
    return found


def _start(address: int, code: Code) -> int | None:
    function = code.function(address)
    return function[0] if function else None


def _called(address: int, code: Code) -> int | None:
    """Return the target of the call before an address; 0: a call through a pointer; None: there is no call."""
    before = code.before(address, _LONGEST)
    if len(before) >= 5 and before[-5] == 0xE8:
        target = address + int.from_bytes(before[-4:], "little", signed=True)
        if code.holds(target):
            return target
    for length in range(2, len(before) + 1):
        if before[-length] == 0xFF and _length(before[1 - length :]) == length:
            return 0
    return None


def _length(rest: Sequence[int]) -> int:
    """Return the length in bytes of ``call r/m64`` from its opcode 0xFF on, which ``rest`` follows; 0: it is none."""
    mod, digit, memory = rest[0] >> 6, rest[0] >> 3 & 7, rest[0] & 7
    if digit != 2:
        return 0
    if mod == 3:
        return 2
    length = 2 + (memory == 4)
    if mod == 1:
        return length + 1
    base = rest[1] & 7 if memory == 4 and len(rest) > 1 else memory
    return length + 4 if mod == 2 or base == 5 else length
