"""Write the crash report of a domain that failed or was not ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibuild.domain import records
from unibuild.domain.generations import GenerationStore
from unibuild.errors import UnibuildError

if TYPE_CHECKING:
    from pathlib import Path

    from unibuild.domain.console import Reader
    from unibuild.domain.crash.report import Report
    from unibuild.domain.exit_status import DomainExit
    from unibuild.domain.generations import Generation
    from unibuild.host.base import Host
    from unibuild.host.toolstack import Domain

__all__ = ["lines", "write"]


def write(state: Path, host: Host, domain: Domain, end: DomainExit | None, reader: Reader) -> Report | None:
    """Write the crash report of a domain that still exists; None: its generation is no longer known.

    Args:
        state: the project's folder ``.unibuild``.
        host: the domain's host.
        domain: the domain.
        end: how it stopped; None: it still runs, but is not ready.
        reader: its console, read to the end.
    """
    from unibuild.domain.crash import report

    generation = _generation(state, host, domain)
    if generation is None:
        return None
    return report.collect(
        host,
        domain,
        end,
        name=domain.name,
        said=reader.said,
        log=reader.log.path,
        kernel=generation.kernel,
        symbols=None,
        xl=generation.xl,
        state=state,
        facts=generation.facts,
    )


def lines(report: Report | None, reader: Reader) -> str:
    """Return the lines below the error message of a failed domain.

    They name the report's copy of the console: it stays this domain's even after the next domain begins its own log.
    """
    from unibuild.domain.crash.report import CONSOLE

    if report is None or report.folder is None:
        return "\n".join((*(report.details if report else ()), f"console output: {reader.log.path}"))
    return "\n".join((*report.details, f"crash report: {report.folder}", f"console output: {report.folder / CONSOLE}"))


def _generation(state: Path, host: Host, domain: Domain) -> Generation | None:
    known = records.load(state, host.name)
    for instance in (known.good, known.pending):
        if instance and instance.uuid == domain.uuid:
            try:
                return GenerationStore(state).get(instance.generation)
            except UnibuildError:
                return None
    return None
