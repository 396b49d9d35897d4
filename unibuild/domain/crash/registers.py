"""Read the registers and stacks of a domain's processors, from ``xenctx`` or from Xen's own log.

Format: tools/xentrace/xenctx.c in Xen (``print_ctx_64``, ``print_stack``), the same for PV and PVH; newer releases put
the address before each word of the stack. Xen's log: ``show_registers`` and ``show_guest_stack`` in
xen/arch/x86/x86_64/traps.c and xen/arch/x86/traps.c.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unibuild.errors import CommandError, NoAnswerError, UnibuildError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unibuild.domain.crash.host_queries import BoundedQueries

__all__ = ["Vcpu", "exception_name", "explain_exception", "from_xen_log", "parse", "take"]

_NAMES = (  # by vector
    *("#DE", "#DB", "#NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "#9", "#TS", "#NP", "#SS", "#GP", "#PF"),
    *("#15", "#MF", "#AC", "#MC", "#XM", "#VE"),
)
_MEANINGS = {
    "#DE": "it divided by zero, or the quotient was too large",
    "#DB": "it raised a debug exception",
    "#BP": "it hit a breakpoint",
    "#OF": "it raised an overflow exception",
    "#UD": "it executed an invalid instruction, or code marked as unreachable",
    "#NM": "it used the floating point unit, which was not initialized",
    "#DF": "it faulted while it handled a fault: its stack may be full",
    "#SS": "its stack pointer was not a valid address",
    "#GP": "it used an invalid address, or an instruction that it may not use",
    "#PF": "it raised a page fault",
    "#MF": "it raised a floating point error",
    "#AC": "it used an address that was not aligned",
    "#MC": "the machine reported a hardware error",
    "#XM": "it raised a floating point error",
}
_PRESENT, _WRITE, _FETCH = 1, 2, 16  # bits of a page fault's error code
_NULL = 4096  # bytes: lower addresses were reached through a null pointer
_NEAR = 4096  # bytes between a faulting address and the stack pointer, if the stack is the cause


def exception_name(vector: int) -> str:
    """Return the name of an exception, such as ``#PF``."""
    return _NAMES[vector] if vector < len(_NAMES) else f"#{vector}"


def explain_exception(
    name: str, code: int | None = None, rip: int | None = None, rsp: int | None = None, cr2: int | None = None
) -> str:
    """Return in words what happened, and where in the code.

    Args:
        name: the exception, such as ``#PF``.
        code: the processor's error code; None: not known.
        rip: the address of the instruction.
        rsp: the stack pointer there.
        cr2: the address that caused a page fault.
    """
    what = _MEANINGS.get(name, "it raised a processor exception")
    if name == "#PF" and cr2 is not None:
        what = _page_fault(code, rsp, cr2)
    return f"{what} ({name}" + ("" if rip is None else f" at {rip:#x}") + ")"


def _page_fault(code: int | None, rsp: int | None, cr2: int) -> str:
    if code is None:
        did, may = "accessed", "accessed"
    elif code & _FETCH:
        did, may = "jumped to", "run"
    elif code & _WRITE:
        did, may = "wrote to", "written"
    else:
        did, may = "read from", "read"
    if cr2 < _NULL:
        return f"it {did} {cr2:#x}, through a null pointer"
    if code is not None and code & _PRESENT:
        return f"it {did} {cr2:#x}, which must not be {may}"
    if rsp is not None and abs(cr2 - rsp) < _NEAR:
        return f"it {did} {cr2:#x}, at its stack pointer: the stack is full"
    return f"it {did} {cr2:#x}, where no memory is mapped"


_START = re.compile(r"^(?:rip|cs:eip):", re.MULTILINE)
_INSTRUCTION = re.compile(r"^(?:rip: |cs:eip: [0-9a-f]{4}:)([0-9a-f]{8,16})", re.MULTILINE)
_STACK_32 = re.compile(r"^ss:esp: [0-9a-f]{4}:([0-9a-f]{8})", re.MULTILINE)
_REGISTER = re.compile(r"(?:^|\s)([a-z][a-z0-9]{1,4}): ([0-9a-f]{4,16})(?![:0-9a-f])")
_WORD = re.compile(r"^(?:[0-9a-f]{8,16}:|[|* ]) *(?:\[<)?([0-9a-f]{16})(?:>\])?\s*$", re.MULTILINE)
_LOG_RIP = re.compile(r"RIP: +[0-9a-f]{4}:\[<([0-9a-f]{16})>\]")
_LOG_REGISTER = re.compile(r"([a-z][a-z0-9]{1,4}): +([0-9a-f]{4,16})(?![0-9a-f])")


@dataclass(frozen=True)
class Vcpu:
    """A stopped processor of a domain.

    Attributes:
        number: from 0.
        registers: the known registers by name (``rip``, ``rsp``, ``flags``, ``rax``, ``cs``, ``cr2``, ...).
        stack: the words from ``rsp`` up to the end of its page, 8 bytes each.
    """

    number: int
    registers: Mapping[str, int]
    stack: tuple[int, ...] = ()

    @property
    def rip(self) -> int:
        """The address of the next instruction, or of the one that failed."""
        return self.registers.get("rip", 0)

    def __str__(self) -> str:
        cells = [
            f"{name:>5} {format(value, '04x' if name in _SEGMENTS else '016x'):16}"
            for name, value in self.registers.items()
            if not name.startswith("dr")
        ]
        return "\n".join("  ".join(cells[at : at + 4]).rstrip() for at in range(0, len(cells), 4))


_SEGMENTS = frozenset({"cs", "ss", "ds", "es", "fs", "gs"})


def take(asking: BoundedQueries, domid: int) -> tuple[Vcpu, ...]:
    """Return the processors of a domain that is preserved or runs: xenctx stops it for a moment.

    Args:
        asking: queries the host, and records what is missing.
        domid: the domain's number.
    """
    try:
        return parse(asking.host.toolstack.registers(domid, asking.left))
    except NoAnswerError as error:
        why = f"no answer within {error.seconds:.0f} s"
    except CommandError as error:
        lines = error.output.strip().splitlines()
        why = f"xenctx failed: {lines[-1]}" if lines else f"xenctx failed with exit code {error.returncode}"
    except UnibuildError as error:
        why = error.message
    asking.missing.append(f"its registers: {why}")
    return ()


def parse(said: str) -> tuple[Vcpu, ...]:
    """Parse xenctx's output for all processors of a domain."""
    starts = [found.start() for found in _START.finditer(said)]
    pieces = [said[start:end] for start, end in itertools.pairwise([*starts, len(said)])]
    return tuple(_vcpu(number, piece) for number, piece in enumerate(pieces))


def _vcpu(number: int, said: str) -> Vcpu:
    head, _, trace = said.partition("Stack Trace:")
    head = head.partition("Code (instr")[0]
    registers = {}
    found = _INSTRUCTION.search(head)
    if found:
        registers["rip"] = int(found[1], 16)
    found = _STACK_32.search(head)
    if found:
        registers["rsp"] = int(found[1], 16)
    for name, value in _REGISTER.findall(head):
        registers.setdefault(name, int(value, 16))
    return Vcpu(number, registers, tuple(int(word, 16) for word in _WORD.findall(trace)))


def from_xen_log(log: str, domid: int) -> tuple[Vcpu, ...]:
    """Return the registers that Xen itself logged when it crashed the domain; nothing if it logged none.

    Args:
        log: Xen's log, or its end.
        domid: the domain's number.
    """
    lines = [line.removeprefix("(XEN) ") for line in log.splitlines()]
    starts = [number for number, line in enumerate(lines) if f"guest (d{domid}v" in line]
    if not starts:
        return ()
    found = _LOG_RIP.search(lines[starts[-1] - 1]) if starts[-1] else None
    registers = {"rip": int(found[1], 16)} if found else {}
    stack: list[int] = []
    in_stack = False
    for line in lines[starts[-1] + 1 :]:
        if line.startswith("Guest stack trace"):
            in_stack = True
        elif in_stack and re.fullmatch(r"(?: +[0-9a-f]{16})+ *", line):
            stack += (int(word, 16) for word in line.split())
        elif not in_stack and _LOG_REGISTER.match(line):
            registers |= {name: int(value, 16) for name, value in _LOG_REGISTER.findall(line)}
        else:
            break
    return (Vcpu(0, registers, tuple(stack)),)
