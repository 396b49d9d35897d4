"""Write a crash report: a folder with everything that is known about a crash, to read and to send."""

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
_BY_ITSELF = ("exit", "help", "argument")  # the backtrace is of no interest then
_FOLDER = re.compile(r"\d{8}T\d{6}Z-.*")
_SECRET = re.compile(r"""((?:vnc|spice)passwd["']?\s*=\s*)("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[^\s,'"\]]+)""")


@dataclass(frozen=True)
class Report:
    """A crash report.

    Attributes:
        sentence: how the domain ended, and why.
        details: lines for the terminal: the backtrace and a hint.
        folder: the report's folder; None if it could not be written.
    """

    sentence: str
    details: tuple[str, ...]
    folder: Path | None


@dataclass(frozen=True)
class Evidence:
    """Everything that is known about a domain's crash.

    Attributes:
        name: the domain's name.
        host: the host's name.
        made: when it was collected.
        end: how Xen reported its end; None while it runs.
        finding: what its console reveals.
        cause: what Xen's log reveals.
        vcpus: its processors.
        frames: the console's own backtrace, else the one from the stack.
        facts: provenance of its kernel.
        console: its last lines.
        answers: the host's answers, by query.
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
    """Find out why a domain crashed or hangs, and write a report; the queries take half a minute at most.

    The domain must still exist for its registers, so it must be preserved when it stops. The report lists what could
    not be found out.

    Args:
        host: the domain's host.
        domain: the domain; None if it no longer exists.
        end: how it stopped; None while it runs.
        name: the domain's name.
        said: the console's output, or the end of it.
        log: the console's log; it need not exist.
        kernel: the kernel that was booted.
        symbols: the same kernel before it was stripped; None: search the project's folder.
        xl: its ``.xl``.
        state: the state folder in the project's folder.
        facts: provenance of the kernel, with readable names.
    """
    asking = BoundedQueries(host)
    vcpus = registers.take(asking, domain.domid) if domain else ()  # first: others may destroy it
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
        return Report(sentence, (*details, f"cannot write the crash report: {error}"), None)


def _ask(asking: BoundedQueries) -> tuple[dict[str, str], str]:
    """Return the host's answers by query, with only the end of Xen's log; and the whole log."""
    answers, log = {}, ""
    for diagnostic in asking.host.toolstack.diagnostics():
        answer = asking.ask(diagnostic)
        if diagnostic.is_log:
            log, answer = answer, "\n".join(answer.splitlines()[-_LOG_LINES:])
        answers[diagnostic.name] = answer
    return answers, log


def _cause(xen: str, domain: Domain | None, end: DomainExit | None, vcpu: registers.Vcpu | None) -> str | None:
    """Return the cause in Xen's log of an end that the console does not explain."""
    if domain is None or end is None:
        return None
    why = host_queries.cause(xen, domain.domid, vcpu)
    if why is None and xen and end.why == SHUTDOWN_REASONS[3]:
        return "it reported the crash to Xen itself; its console does not show why"
    return why


def _frames(
    finding: console_patterns.ConsoleFinding | None,
    vcpu: registers.Vcpu | None,
    kernel: Path,
    symbols_file: Path | None,
    root: Path,
    missing: list[str],
) -> tuple[StackFrame, ...]:
    """Return the backtrace: the console's own, else the failed instruction and the frames from the stack."""
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
    elif vcpu and rip in (None, vcpu.rip):  # else it is in its fault handler, on another stack
        addresses = stack.walk(vcpu, code)
    return code.frames(addresses, root, missing)


def _write(found: Evidence, said: bytes, log: Path, kernel: Path, xl: Path, crashes: Path) -> Path:
    """Write the folder and rename it into place, and remove the oldest reports."""
    crashes.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"{found.made:%Y%m%dT%H%M%SZ}-{re.sub(r'[^A-Za-z0-9_.+-]', '_', found.name)}"
    temporary = Path(tempfile.mkdtemp(prefix=".", dir=crashes))
    try:
        missing = list(found.missing)
        _console(said, log, temporary / CONSOLE)
        _kernel(kernel, temporary / "kernel", crashes.parent, missing)
        try:
            (temporary / xl.name).write_text(
                _masked(xl.read_text("utf-8", "surrogateescape")), "utf-8", "surrogateescape"
            )
        except OSError as error:
            missing.append(f"its .xl: {error.strerror}")
        (temporary / "host.txt").write_text(render.host(found), "utf-8", "replace")
        (temporary / "report.txt").write_text(render.report(found, missing), "utf-8", "replace")
        (temporary / "report.json").write_text(json.dumps(render.as_json(found, missing), indent=2) + "\n", "ascii")
        folder, number = crashes / name, 1
        while folder.exists():
            number += 1
            folder = crashes / f"{name}-{number}"
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    folders = [path for path in crashes.iterdir() if _FOLDER.fullmatch(path.name)]
    for old in sorted(folders, key=_age)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def _age(folder: Path) -> tuple[str, int]:
    """Return the sort key of a report: the second in its name, then its time of modification."""
    return folder.name.partition("-")[0], folder.stat().st_mtime_ns


def _console(said: bytes, log: Path, target: Path) -> None:
    """Copy the log, with its times; if there is none, write the output that was read."""
    try:
        shutil.copyfile(log, target)
    except OSError:
        target.write_bytes(said.replace(b"\r\n", b"\n"))


def _kernel(kernel: Path, target: Path, state: Path, missing: list[str]) -> None:
    """Add the kernel: a hard link to unibuild's own copy, which is never written to again; else a copy."""
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
    """Return an ``.xl`` with its passwords masked."""

    def mask(found: re.Match[str]) -> str:
        quote = found[2][0] if found[2][0] in "\"'" else ""
        return f"{found[1]}{quote}***{quote}"

    return _SECRET.sub(mask, config)
