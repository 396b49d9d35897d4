"""Find out from the last lines of a unikernel's console how and why it ended.

The formats are from

- Solo5: bindings/exit.c, bindings/abort.c and bindings/cpu_x86_64.c
- OCaml: ``print_location`` in runtime/backtrace.c, before OCaml 4.11 without the function's name
- MirageOS: cmdliner's error messages, and functoria_runtime.ml's exit codes 63 and 64
- Mini-OS: arch/x86/traps.c
- XTF: ``do_exception`` in arch/x86/traps.c and ``panic`` in common/lib.c
- Linux: ``panic`` in kernel/panic.c
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from unibuild.domain.crash.registers import exception_name, explain_exception
from unibuild.domain.crash.stack import StackFrame

__all__ = ["ConsoleFinding", "Kind", "read"]

Kind = Literal["exit", "help", "argument", "exception", "memory", "abort", "trap", "panic"]

MORE_MEMORY = "give it more: `memory` under [xl] in unibuild.toml"

_LAST = 256 << 10  # bytes at the end that are searched
_WIDTH = 1000  # characters of a line that are searched
_FRAMES = 64
_MARK = re.compile(
    rb"Solo5: (?:solo5_|trap|ABORT|PANIC)|Fatal error|age fault at|^GPF |FATAL: |PANIC: |Kernel panic", re.MULTILINE
)
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a terminal would interpret them
_BANNER = re.compile(r"Solo5: Bindings version |Xen Minimal OS")
_EXIT = re.compile(r"Solo5: solo5_exit\((-?\d{1,9})\) called")
_TRAP = re.compile(r"Solo5: trap: type=(#\w+) ec=0x([0-9a-f]{1,16}) rip=0x([0-9a-f]{1,16}) rsp=0x([0-9a-f]{1,16})")
_CR2 = re.compile(r"Solo5: trap: cr2=0x([0-9a-f]{1,16})")
_ABORT = re.compile(r"Solo5: (?:ABORT|PANIC): (.+)")
_EXCEPTION = re.compile(r"Fatal error: (exception )?(.+)")
_BACKTRACE = re.compile(
    r"(Raised at|Raised by primitive operation at|Re-raised at|Called from) (?:([^\"]+) in )?file "
    r'"([^"]+)"(?: \(inlined\))?, lines? (\d{1,9})'
)
_MINIOS_FAULT = re.compile(r"Page fault at linear address (?:0x)?([0-9a-f]{1,16}), [er]ip (?:0x)?([0-9a-f]{1,16})")
_MINIOS_CODE = re.compile(r"code ([0-9a-f]{1,8})$")
_MINIOS_GPF = re.compile(r"GPF [er]ip: (?:0x)?([0-9a-f]{1,16})")
_MINIOS_TRAP = re.compile(r"FATAL: +Unhandled Trap (\d{1,3})")
_MINIOS_RIP = re.compile(r"RIP: [0-9a-f]{1,4}:\[<([0-9a-f]{1,16})>\]")
_MINIOS_CALLER = re.compile(r"base is (?:0x)?[0-9a-f]{1,16} caller is 0x([0-9a-f]{1,16})")
_MINIOS_MEMORY = re.compile(r"Cannot handle page request order \d")
_XTF = re.compile(r"PANIC: Unhandled exception at [0-9a-f]{1,4}:([0-9a-f]{1,16})")
_XTF_VECTOR = re.compile(r"Vec (\d{1,3}) #\w*(?:\[[^\]]{0,40}\])?(?: %cr2 ([0-9a-f]{1,16}))?")
_PANIC = re.compile(r"(?:\[ *\d{1,9}\.\d{1,9}\] )?(?:PANIC|Kernel panic - not syncing): (.+)")
_COMPLAINT = re.compile(
    r"[\w.-]{1,64}: ((?:unknown|required|too many|too few|invalid|missing|option|environment) .{0,200})"
)


@dataclass(frozen=True)
class ConsoleFinding:
    """What the console reveals about the end of a domain.

    Attributes:
        kind: what happened, as one word.
        sentence: the same as a sentence, to follow "hello crashed: ".
        hint: the fix, or "".
        code: the exit code; None if it did not exit.
        rip: the address of the instruction that failed, or None.
        rsp: the stack pointer there, or None.
        cr2: the address of the failed access, or None.
        callers: return addresses that the kernel itself found on its stack, the innermost first.
        frames: the backtrace that the kernel itself printed, the innermost first.
    """

    kind: Kind
    sentence: str
    hint: str = ""
    code: int | None = None
    rip: int | None = None
    rsp: int | None = None
    cr2: int | None = None
    callers: tuple[int, ...] = ()
    frames: tuple[StackFrame, ...] = ()

    @property
    def is_fatal(self) -> bool:
        """Whether the domain failed, though it may not have stopped yet."""
        return self.kind != "exit" or bool(self.code)


def read(said: bytes) -> ConsoleFinding | None:
    """Find out from the console's output how the domain ended; None if the output does not show it.

    Args:
        said: any part of the output up to its end. The last 256 KiB count.
    """
    said = said[-_LAST:]
    if not _MARK.search(said):
        return None
    lines = [_ESCAPES.sub("", line[:_WIDTH]).strip() for line in said.decode(errors="replace").split("\n")]
    lines = lines[max((number for number, line in enumerate(lines) if _BANNER.match(line)), default=0) :]
    finding = _solo5_trap(lines) or _minios(lines) or _xtf(lines) or _exception(lines) or _aborted(lines)
    code, at = _last_exit(lines)
    if finding:
        return replace(finding, code=code if finding.code is None else finding.code)
    return None if code is None else _exited(code, lines[:at])


def _match(pattern: re.Pattern[str], lines: list[str]) -> tuple[re.Match[str] | None, int]:
    """Return the first line that starts with the pattern, and its number."""
    for number, line in enumerate(lines):
        found = pattern.match(line)
        if found:
            return found, number
    return None, len(lines)


def _last_exit(lines: list[str]) -> tuple[int | None, int]:
    for number in range(len(lines) - 1, -1, -1):
        found = _EXIT.match(lines[number])
        if found:
            return int(found[1]), number
    return None, len(lines)


def _solo5_trap(lines: list[str]) -> ConsoleFinding | None:
    found, at = _match(_TRAP, lines)
    if not found:
        return None
    line, _ = _match(_CR2, lines[at + 1 : at + 3])
    code, rip, rsp = (int(found[group], 16) for group in (2, 3, 4))
    cr2 = int(line[1], 16) if line else None
    return ConsoleFinding("trap", explain_exception(found[1], code, rip, rsp, cr2), code=255, rip=rip, rsp=rsp, cr2=cr2)


def _minios(lines: list[str]) -> ConsoleFinding | None:
    fault, at = _match(_MINIOS_FAULT, lines)
    finding = None
    if fault:
        code = _MINIOS_CODE.search(lines[at])
        cr2, rip = int(fault[1], 16), int(fault[2], 16)
        sentence = explain_exception("#PF", int(code[1], 16) if code else None, rip, None, cr2)
        finding = ConsoleFinding("trap", sentence, rip=rip, cr2=cr2)
    if not finding:
        gpf, at = _match(_MINIOS_GPF, lines)
        if gpf:
            rip = int(gpf[1], 16)
            finding = ConsoleFinding("trap", explain_exception("#GP", None, rip), rip=rip)
    if not finding:
        trap, at = _match(_MINIOS_TRAP, lines)
        if not trap:
            return None
        register, _ = _match(_MINIOS_RIP, lines[at + 1 : at + 8])
        address = int(register[1], 16) if register else None
        finding = ConsoleFinding("trap", explain_exception(exception_name(int(trap[1])), None, address), rip=address)
    callers = (_MINIOS_CALLER.match(line) for line in lines[at + 1 :])
    hint = MORE_MEMORY if any(_MINIOS_MEMORY.match(line) for line in lines[:at]) else ""
    return replace(finding, hint=hint, callers=tuple(int(found[1], 16) for found in callers if found)[:_FRAMES])


def _xtf(lines: list[str]) -> ConsoleFinding | None:
    found, at = _match(_XTF, lines)
    if not found:
        return None
    rip = int(found[1], 16)
    vector, _ = _match(_XTF_VECTOR, lines[at + 1 : at + 3])
    cr2 = int(vector[2], 16) if vector and vector[2] else None
    name = exception_name(int(vector[1])) if vector else "#?"
    return ConsoleFinding("trap", explain_exception(name, None, rip, None, cr2), rip=rip, cr2=cr2)


def _exception(lines: list[str]) -> ConsoleFinding | None:
    found, at = _match(_EXCEPTION, lines)
    if not found:
        return None
    frames = tuple(frame for frame in map(_frame, lines[at + 1 :]) if frame)[:_FRAMES]
    what = found[2]
    if what.rstrip(".").removeprefix("Stdlib.").lower().replace("_", " ") == "out of memory":
        return ConsoleFinding("memory", f"it ran out of memory ({what})", MORE_MEMORY, frames=frames)
    sentence = f"the OCaml exception {what} was not caught" if found[1] else f"OCaml's runtime failed: {what}"
    return ConsoleFinding("exception", sentence, frames=frames)


def _frame(line: str) -> StackFrame | None:
    found = _BACKTRACE.match(line)
    if not found:
        return None
    return StackFrame((found[2] or "").replace("Dune__exe__", "").replace("__", "."), found[3], int(found[4]), found[1])


def _aborted(lines: list[str]) -> ConsoleFinding | None:
    found, _ = _match(_ABORT, lines)
    if found:
        message = found[1]
        if "Stack corruption" in message:
            sentence = "it found its stack corrupted: something wrote past the end of a local variable"
        else:
            sentence = f"it aborted: {message}"
        return ConsoleFinding("abort", sentence, code=255)
    found, at = _match(re.compile(r"Solo5: solo5_abort\(\) called"), lines)
    if found:
        before = (re.fullmatch(r"Solo5: (.+\.)", line) for line in reversed(lines[:at][-5:]))
        why = next((line[1].strip() for line in before if line), "")
        return ConsoleFinding("abort", f"it aborted: {why.rstrip('.')}" if why else "it called solo5_abort()", code=255)
    found, _ = _match(_PANIC, lines)
    return ConsoleFinding("panic", f"its kernel panicked: {found[1]}") if found else None


def _exited(code: int, lines: list[str]) -> ConsoleFinding:
    if code == 0:
        return ConsoleFinding("exit", "it exited with exit code 0", code=0)
    if code == 63:
        return ConsoleFinding("help", "it printed its manual page and exited, because of --help", code=63)
    if code == 64:
        complaints = (_COMPLAINT.match(line) for line in reversed(lines[-40:]))
        complaint = next((found[1].rstrip(" .") for found in complaints if found), "")
        sentence = "it rejected its arguments" + (f": {complaint}" if complaint else "")
        return ConsoleFinding(
            "argument", sentence, "fix [boot] args; with --help=plain the unikernel lists its arguments", code=64
        )
    if code == 2:
        return ConsoleFinding("exception", "an OCaml exception was not caught; the console does not name it", code=2)
    if code == 255:
        return ConsoleFinding("abort", "it aborted", code=255)
    return ConsoleFinding("exit", f"it exited with exit code {code}", code=code)
