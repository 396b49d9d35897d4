"""What is told of a domain that ended badly, or was not ready: its crash report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibuild.domain import records
from unibuild.domain.generations import GenerationStore
from unibuild.errors import UnibuildError
from unibuild.settings.loader import state_dir

if TYPE_CHECKING:
    from pathlib import Path

    from unibuild.domain.console import Reader
    from unibuild.domain.crash.report import Report
    from unibuild.domain.exit_status import DomainExit
    from unibuild.domain.generations import Generation
    from unibuild.host.base import Host
    from unibuild.host.toolstack import Domain
    from unibuild.settings.loader import Project

__all__ = ["lines", "write"]


def write(project: Project, host: Host, domain: Domain, end: DomainExit | None, reader: Reader) -> Report | None:
    """Write the crash report of a domain that is there still; None: what it was made from is not known any more.

    Args:
        project: the project.
        host: where the domain is.
        domain: which one.
        end: how it ended; None: it lives, and is not ready.
        reader: its console, read to the end.
    """
    from unibuild.domain.crash import report

    state = state_dir(project.root)
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
    """Return what stands below the sentence of a bad end.

    The report has its console too, which is that of this domain still when the next one has begun its log.
    """
    from unibuild.domain.crash.report import CONSOLE

    if report is None or report.folder is None:
        return "\n".join((*(report.details if report else ()), f"what it said: {reader.log.path}"))
    return "\n".join((*report.details, f"the report: {report.folder}", f"what it said: {report.folder / CONSOLE}"))


def _generation(state: Path, host: Host, domain: Domain) -> Generation | None:
    known = records.load(state, host.name)
    for instance in (known.good, known.pending):
        if instance and instance.uuid == domain.uuid:
            try:
                return GenerationStore(state).get(instance.generation)
            except UnibuildError:
                return None
    return None
