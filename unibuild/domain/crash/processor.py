"""What the processor's exceptions mean (AMD64 Architecture Programmer's Manual, volume 2, chapter 8)."""

from __future__ import annotations

__all__ = ["explain", "name"]

_NAMES = (  # by vector
    *("#DE", "#DB", "#NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "#9", "#TS", "#NP", "#SS", "#GP", "#PF"),
    *("#15", "#MF", "#AC", "#MC", "#XM", "#VE"),
)
_MEANINGS = {
    "#DE": "it divided by zero, or the quotient was too large",
    "#DB": "it met a debug exception",
    "#BP": "it ran into a breakpoint",
    "#OF": "it met an overflow that it checks for",
    "#UD": "it ran what is no instruction, or called code that must not be reached",
    "#NM": "it used the floating point unit, which was not set up",
    "#DF": "it faulted while a fault was being handled: a full stack does that",
    "#SS": "its stack pointer was no address",
    "#GP": "it did what it may not: an address that cannot be, or an instruction without the right to it",
    "#PF": "it met a page fault",
    "#MF": "it met a floating point error",
    "#AC": "it met an address that was not aligned",
    "#MC": "the machine reported an error of its hardware",
    "#XM": "it met a floating point error",
}
_PRESENT, _WRITE, _FETCH = 1, 2, 16  # bits of a page fault's error code
_NULL = 4096  # bytes: what lies so low was reached through a null pointer
_NEAR = 4096  # bytes between a faulting address and the stack pointer where the stack is the cause


def name(vector: int) -> str:
    """Return the name of an exception, as ``#PF``."""
    return _NAMES[vector] if vector < len(_NAMES) else f"#{vector}"


def explain(
    name: str, code: int | None = None, rip: int | None = None, rsp: int | None = None, cr2: int | None = None
) -> str:
    """Return in words what happened, and where in the code.

    Args:
        name: as ``#PF``.
        code: the error code that the processor gave; None: not known.
        rip: the address of the instruction.
        rsp: the stack pointer there.
        cr2: the address that a page fault was about.
    """
    what = _MEANINGS.get(name, "it met an exception of the processor")
    if name == "#PF" and cr2 is not None:
        what = _page_fault(code, rsp, cr2)
    return f"{what} ({name}" + ("" if rip is None else f" at {rip:#x}") + ")"


def _page_fault(code: int | None, rsp: int | None, cr2: int) -> str:
    if code is None:
        did, may = "reached for", "reached"
    elif code & _FETCH:
        did, may = "jumped to", "run"
    elif code & _WRITE:
        did, may = "wrote to", "written"
    else:
        did, may = "read from", "read"
    if cr2 < _NULL:
        return f"it {did} {cr2:#x}, through a null pointer"
    if code is not None and code & _PRESENT:
        return f"it {did} {cr2:#x}, which may not be {may}"
    if rsp is not None and abs(cr2 - rsp) < _NEAR:
        return f"it {did} {cr2:#x}, at its stack pointer: the stack is full"
    return f"it {did} {cr2:#x}, where no memory is mapped"
