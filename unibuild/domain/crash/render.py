"""Render a crash report for the terminal, for ``report.txt``, for ``host.txt`` and as JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from unibuild.domain.crash.report import Evidence

__all__ = ["as_json", "details", "host", "last_lines", "report", "sentence"]

_SHOWN = 5  # frames on the terminal
_LINES = 60  # of the console in the report
_WIDTH = 500  # characters of each
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_NOTE = """\
Check these files before you send them to somebody: the console, the arguments on the kernel's command line (in the
.xl) and the list of domains (in host.txt) may contain secrets."""


def last_lines(said: bytes) -> tuple[str, ...]:
    """Return the last lines of a console, without what a terminal would interpret."""
    lines = said[-(_LINES * 4096) :].decode(errors="replace").splitlines()
    return tuple(_CONTROL.sub("", line)[:_WIDTH] for line in lines[-_LINES:])


def sentence(found: Evidence) -> str:
    """Return how the domain ended, and why."""
    end, finding = found.end, found.finding
    if end is None:
        if finding and finding.is_fatal:
            return f"{found.name} failed: {finding.sentence}"
        return f"{found.name} still runs{_doing(found)}"
    how = f"{found.name} {end.why}" + ("" if end.code is None else f" with exit code {end.code}")
    why = finding.sentence if finding and finding.kind != "exit" else found.cause
    return f"{how}: {why}" if why else how


def _doing(found: Evidence) -> str:
    """Return what a running domain was doing: the first function other than the way into Xen."""
    for frame in found.frames:
        if frame.function.startswith("cpu_trap"):  # Solo5's
            return f"; it hangs in {frame.function}: it faulted and could not report it"
        if frame.function and not frame.function.startswith("hypercall"):
            return f"; it was in {frame.function}" + (f", {frame.place}" if frame.place else "")
    return ""


def details(found: Evidence) -> tuple[str, ...]:
    """Return the most important lines: the innermost frames, the first one in the user's code, the hint."""
    shown = list(found.frames[:_SHOWN])
    own = next((frame for frame in found.frames if frame.is_own), None)
    if own and own not in shown:
        shown[-1:] = [own]
    hint = found.finding.hint if found.finding else ""
    return (*map(str, shown), *([hint] if hint else []))


def report(found: Evidence, missing: Sequence[str]) -> str:
    """Return ``report.txt``."""
    parts = [sentence(found)]
    if found.finding and found.finding.hint:
        parts.append(found.finding.hint)
    if found.frames:
        parts.append(_section("Backtrace, the innermost frame first", map(str, found.frames)))
    for vcpu in found.vcpus:
        parts.append(_section(f"Registers of processor {vcpu.number}", str(vcpu).splitlines()))
        if vcpu.stack:
            parts.append(_section("Stack, from rsp up", _words(vcpu.stack)))
    if found.console:
        parts.append(_section("Last lines of the console", found.console))
    facts = {"host": found.host, "time": f"{found.made:%Y-%m-%d %H:%M:%S} UTC", **found.facts}
    parts.append(_section("Facts", (f"{key}: {value}" for key, value in facts.items())))
    if missing:
        parts.append(_section("Missing", missing))
    return "\n\n".join((*parts, _NOTE)) + "\n"


def host(found: Evidence) -> str:
    """Return ``host.txt``."""
    return "\n".join(f"$ {command}\n{output.rstrip() or '(no answer)'}\n" for command, output in found.answers.items())


def as_json(found: Evidence, missing: Sequence[str]) -> dict[str, object]:
    """Return ``report.json``; addresses and registers are hexadecimal."""
    finding = found.finding
    return {
        "sentence": sentence(found),
        "hint": finding.hint if finding else "",
        "name": found.name,
        "host": found.host,
        "time": f"{found.made:%Y-%m-%dT%H:%M:%SZ}",
        "end": found.end and {"why": found.end.why, "code": found.end.code},
        "kind": finding.kind if finding else None,
        "frames": [
            {
                "function": frame.function,
                "file": frame.file,
                "line": frame.line,
                "how": frame.how,
                "address": None if frame.address is None else f"{frame.address:#x}",
            }
            for frame in found.frames
        ],
        "processors": [
            {
                "registers": {name: f"{value:#x}" for name, value in vcpu.registers.items()},
                "stack": [f"{word:#x}" for word in vcpu.stack],
            }
            for vcpu in found.vcpus
        ],
        "facts": dict(found.facts),
        "missing": list(missing),
    }


def _section(title: str, lines: Iterable[str]) -> str:
    return title + "\n\n" + "\n".join(f"  {line}".rstrip() for line in lines)


def _words(words: Sequence[int]) -> list[str]:
    while words and not words[-1]:
        words = words[:-1]
    return [" ".join(f"{word:016x}" for word in words[at : at + 4]) for at in range(0, len(words), 4)]
