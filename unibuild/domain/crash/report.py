"""The report of a crash: one folder that holds all that was found, to be read and to be sent."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.domain.crash import console_patterns, host_queries, registers, render, stack, symbols
from unibuild.domain.crash.host_queries import BoundedQueries
from unibuild.errors import UnibuildError
from unibuild.host.toolstack import SHUTDOWN_REASONS
from unibuild.util import files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unibuild.domain.crash.stack import StackFrame
    from unibuild.domain.exit_status import DomainExit
    from unibuild.host.base import Host
    from unibuild.host.toolstack import Domain

__all__ = ["CONSOLE", "KEEP", "Evidence", "Report", "collect"]

CONSOLE = "console.log"  # in the folder
KEEP = 10  # reports
_LOG_LINES = 200  # of Xen's log
_BY_ITSELF = ("exit", "help", "argument")  # where it was then is of no interest
_OURS = re.compile(r"\d{8}T\d{6}Z-.*")
_SECRET = re.compile(r"""((?:vnc|spice)passwd["']?\s*=\s*)("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[^\s,'"\]]+)""")


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        sentence: how the domain ended, and why.
        details: lines for the terminal: where it was in the code, and what can be done about it.
        folder: where all of it is; None where it could not be written.
    """

    sentence: str
    details: tuple[str, ...]
    folder: Path | None


@dataclass(frozen=True)
class Evidence:
    """What was found out of a domain.

    Attributes:
        name: the domain's.
        host: where it is, as it is known.
        made: when it was looked at.
        end: how Xen saw it end; None while it is alive.
        finding: what its console says of that.
        cause: what Xen's log says of that.
        vcpus: its processors.
        frames: where it was: the console's own backtrace, else what the stack tells.
        facts: what is known of its kernel.
        console: its last lines.
        answers: what the host said, by the command.
        missing: what could not be found out, each a sentence.
    """

    name: str
    host: str
    made: datetime
    end: DomainExit | None
    finding: console_patterns.ConsoleFinding | None
    cause: str | None
    vcpus: tuple[registers.Vcpu, ...]
    frames: tuple[StackFrame, ...]
    facts: Mapping[str, str]
    console: tuple[str, ...]
    answers: Mapping[str, str] = field(repr=False)
    missing: tuple[str, ...] = ()


def collect(
    host: Host,
    domain: Domain | None,
    end: DomainExit | None,
    *,
    name: str,
    said: bytes,
    log: Path,
    kernel: Path,
    symbols: Path | None,
    xl: Path,
    state: Path,
    facts: Mapping[str, str],
) -> Report:
    """Find out why a domain ended, or hangs, and write it down; the host is asked for half a minute at most.

    The domain must still be there for its registers: preserved where it has ended. What cannot be found out is told in
    the report.

    Args:
        host: where it is.
        domain: the domain; None where it is gone.
        end: how it ended; None while it is alive.
        name: the domain's.
        said: what its console said, or the end of that.
        log: the console's log; it need not be there.
        kernel: what was booted.
        symbols: the same kernel before it was stripped; None: it is looked for in the project's folder.
        xl: its ``.xl`` file.
        state: the state folder in the project's folder.
        facts: what is known of the kernel, by names that a person can read.
    """
    asking = BoundedQueries(host)
    vcpus = registers.take(asking, domain.domid) if domain else ()  # first: it may run, or be destroyed by others
    answers, xen = _ask(asking)
    if domain and end and not vcpus:
        vcpus = registers.from_xen_log(xen, domain.domid)
    finding = console_patterns.read(said)
    first = next(iter(vcpus), None)
    frames = _frames(finding, first, kernel, symbols, state.absolute().parent, asking.missing)
    found = Evidence(
        name=name,
        host=host.name,
        made=datetime.now(UTC),
        end=end,
        finding=finding,
        cause=_cause(xen, domain, end, first) if not finding or finding.kind == "exit" else None,
        vcpus=vcpus,
        frames=frames,
        facts=dict(facts),
        console=render.last_lines(said),
        answers=answers,
        missing=tuple(asking.missing),
    )
    sentence, details = render.sentence(found), render.details(found)
    try:
        return Report(sentence, details, _write(found, said, log, kernel, xl, state / "crashes"))
    except (OSError, UnibuildError) as error:
        return Report(sentence, (*details, f"the report could not be written: {error}"), None)


def _ask(asking: BoundedQueries) -> tuple[dict[str, str], str]:
    """Return what the host answers, by the query's name, with the end of Xen's log; and the whole log."""
    answers, log = {}, ""
    for diagnostic in asking.host.toolstack.diagnostics():
        said = asking.ask(diagnostic)
        if diagnostic.is_log:
            log, said = said, "\n".join(said.splitlines()[-_LOG_LINES:])
        answers[diagnostic.name] = said
    return answers, log


def _cause(xen: str, domain: Domain | None, end: DomainExit | None, vcpu: registers.Vcpu | None) -> str | None:
    """Return what Xen's log tells of an end that the console does not explain."""
    if domain is None or end is None:
        return None
    told = host_queries.cause(xen, domain.domid, vcpu)
    if told is None and xen and end.why == SHUTDOWN_REASONS[3]:
        return "it told Xen so itself, and its console does not say why"
    return told


def _frames(
    finding: console_patterns.ConsoleFinding | None,
    vcpu: registers.Vcpu | None,
    kernel: Path,
    symbols_file: Path | None,
    root: Path,
    missing: list[str],
) -> tuple[StackFrame, ...]:
    """Return where it was: what the console names, else the failed instruction and what the stack tells."""
    if finding and (finding.frames or finding.kind in _BY_ITSELF):
        return finding.frames
    rip = finding.rip if finding else None
    if vcpu is None and rip is None:
        return ()
    code = symbols.unstripped(kernel, symbols_file, root, missing)
    if code is None:
        return ()
    addresses: list[tuple[int, str]] = [] if rip is None else [(rip, "")]
    if finding and finding.callers:
        addresses += ((address, stack.CALLED) for address in finding.callers)
    elif vcpu and rip in (None, vcpu.rip):  # else it is in the code that handles its faults, on a stack of that
        addresses = stack.walk(vcpu, code)
    return code.frames(addresses, root, missing)


def _write(found: Evidence, said: bytes, log: Path, kernel: Path, xl: Path, crashes: Path) -> Path:
    """Write the folder whole, and let the oldest ones go."""
    crashes.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = f"{found.made:%Y%m%dT%H%M%SZ}-{re.sub(r'[^A-Za-z0-9_.+-]', '_', found.name)}"
    beside = Path(tempfile.mkdtemp(prefix=".", dir=crashes))
    try:
        missing = list(found.missing)
        _console(said, log, beside / CONSOLE)
        _kernel(kernel, beside / "kernel", crashes.parent, missing)
        try:
            (beside / xl.name).write_text(_masked(xl.read_text("utf-8", "surrogateescape")), "utf-8", "surrogateescape")
        except OSError as error:
            missing.append(f"its .xl: {error.strerror}")
        (beside / "host.txt").write_text(render.host(found), "utf-8", "replace")
        (beside / "report.txt").write_text(render.report(found, missing), "utf-8", "replace")
        (beside / "report.json").write_text(json.dumps(render.as_json(found, missing), indent=2) + "\n", "ascii")
        folder, number = crashes / stamp, 1
        while folder.exists():
            number += 1
            folder = crashes / f"{stamp}-{number}"
        beside.rename(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    ours = [path for path in crashes.iterdir() if _OURS.fullmatch(path.name)]
    for old in sorted(ours, key=_age)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def _age(folder: Path) -> tuple[str, int]:
    """Return what sorts reports: their second, and of those of one second when they were written."""
    return folder.name.partition("-")[0], folder.stat().st_mtime_ns


def _console(said: bytes, log: Path, target: Path) -> None:
    """Copy the log, with its times; where there is none, write what was heard."""
    try:
        shutil.copyfile(log, target)
    except OSError:
        target.write_bytes(said.replace(b"\r\n", b"\n"))


def _kernel(kernel: Path, target: Path, state: Path, missing: list[str]) -> None:
    """Put the kernel there: a link where ours will never be written to again, else a copy."""
    try:
        if kernel.absolute().is_relative_to(state.absolute()):
            try:
                os.link(kernel, target)
                return
            except OSError:  # another file system, or one without links
                pass
        files.copy_atomic(kernel, target)
    except (OSError, UnibuildError) as error:
        missing.append(f"its kernel: {error}")


def _masked(config: str) -> str:
    """Return an ``.xl`` without the passwords that it can hold."""

    def mask(found: re.Match[str]) -> str:
        quote = found[2][0] if found[2][0] in "\"'" else ""
        return f"{found[1]}{quote}***{quote}"

    return _SECRET.sub(mask, config)
