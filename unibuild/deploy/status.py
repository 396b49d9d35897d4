"""Report which domain runs on which host, and from which sources: the goal ``status``.

It starts, builds and stops nothing; a lab that is down is reported as down. It queries each host once, several at the
same time. docs/reference/status.md describes the object that ``--json`` prints.
"""

from __future__ import annotations

import functools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from unibuild.deploy import hosts
from unibuild.deploy.up_to_date import has_same_ramdisk, identify, identify_xl, is_same
from unibuild.domain import records as record
from unibuild.domain.generations import GenerationStore
from unibuild.errors import UnibuildError
from unibuild.graph import provenance
from unibuild.graph.graph import graph
from unibuild.graph.rebuild_plan import explain
from unibuild.graph.staleness import verdict
from unibuild.host.toolstack import SHUTDOWN_REASONS, Domain
from unibuild.settings.hosts import apply_host, at
from unibuild.settings.loader import STATE
from unibuild.util import files
from unibuild.util.output import age, table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from unibuild.domain.records import DomainRecord, HostRecord
    from unibuild.settings.loader import Project
    from unibuild.settings.model import Settings

    Saved = Callable[[str], Any]

__all__ = ["VERSION", "HostAnswer", "collect", "query_hosts", "render", "status"]

VERSION = 1
"""Version of the object that ``--json`` prints; it changes when a field changes its meaning or is removed."""

_THERE = ("running", "paused", "ended")  # states of a domain that the host has


@dataclass(frozen=True)
class HostAnswer:
    """A host's answer to the query for its domains.

    Attributes:
        domains: all of them; none if the host could not be queried.
        problem: why it could not be queried, in a sentence.
        is_down: whether it is a lab that is down.
    """

    domains: tuple[Domain, ...] = ()
    problem: str | None = None
    is_down: bool = False

    def find(self, instance: DomainRecord | None) -> Domain | None:
        """Return the present domain of a record; None: the host lacks it."""
        return next((domain for domain in self.domains if instance and domain.uuid == instance.uuid), None)

    def state(self, instance: DomainRecord) -> str:
        """Return the state of a domain: ``running``, ``paused``, ``ended``, ``gone``, ``unknown`` or ``down``."""
        domain = self.find(instance)
        if self.is_down or self.problem:
            return "down" if self.is_down else "unknown"
        if domain is None:
            return "gone"
        return "ended" if domain.has_ended else "paused" if domain.is_paused else "running"


def status(project: Project, saved: Saved, *, as_json: bool) -> None:
    """Print which domain runs where, as a table or as JSON; the arguments are those of ``collect``."""
    report = collect(project, saved)
    print(json.dumps(report, indent=2) if as_json else "\n".join(render(report)))


def collect(project: Project, saved: Saved, now: datetime | None = None) -> dict[str, Any]:
    """Return what ``status --json`` prints.

    Args:
        project: the project.
        saved: returns what doit has saved of a stage.
        now: the time, for tests.
    """
    records = record.load_all(project.root / STATE)
    answers = query_hosts(project.settings, records)
    known = {one.number: one.facts for one in GenerationStore(project.root / STATE).all()}
    report = [_host(project, records[host], answers[host], known, now or datetime.now(UTC)) for host in sorted(records)]
    tree = {**_stale(project, saved), "revision": provenance.revision(project.root).get("revision")}
    return {"version": VERSION, "root": str(project.root), "tree": tree, "hosts": report}


def query_hosts(settings: Settings, names: Collection[str]) -> dict[str, HostAnswer]:
    """Query several hosts for their domains at once; a host that cannot be queried is not an error.

    Args:
        settings: all settings.
        names: the hosts' names in the records.
    """
    if len(names) == 1:  # only a single host may ask for a password
        return {name: _query_host(settings, name, background=False) for name in names}
    with ThreadPoolExecutor(max_workers=max(len(names), 1)) as pool:
        return dict(zip(names, pool.map(lambda name: _query_host(settings, name, background=True), names), strict=True))


def render(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table and the notes below it."""
    tree, found = report["tree"], report["hosts"]
    if found:
        yield from table(
            ("HOST", "DOMAIN", "ID", "STATE", "SINCE", "GENERATION", "FROM"),
            [
                (
                    one["host"],
                    one["name"] or "",
                    "" if one["domid"] is None else str(one["domid"]),
                    one["words"],
                    "" if one["age"] is None else age(one["age"]),
                    "" if one["generation"] is None else str(one["generation"]),
                    one["revision"] or "",
                )
                for one in found
            ],
        )
    else:
        yield "no domain of this project is on any host: run `unibuild boot`"
    for one in found:
        yield from _notes(one)
    if tree["stage"]:
        yield f"out of date: {tree['stage']} ({tree['reason']})"
    elif tree["reason"]:
        yield f"cannot check whether the tree is up to date: {tree['reason']}"


def _notes(one: Mapping[str, Any]) -> Iterator[str]:
    """Yield the notes on a host that its row does not show."""
    if one["problem"]:
        yield f"{one['host']}: {one['problem']}"
    if one["pending"]:
        what = f"generation {one['pending']['generation']}"
        if one["pending"]["underway"]:
            yield f"{one['host']}: {what} is being booted"
        else:
            there = "; its domain still exists" if one["pending"]["state"] in _THERE else ""
            yield f"{one['host']}: the boot of {what} was interrupted{there}: run `unibuild boot`"
    if one["differs"] and one["state"] == "running":
        yield f"{one['host']}: the running domain differs from what was built: {' and '.join(one['differs'])}"


def _query_host(settings: Settings, name: str, *, background: bool) -> HostAnswer:
    try:
        host = hosts.open_running(msgspec.structs.replace(settings, host=name), any_lab=True)
        return HostAnswer(host.toolstack.list_domains(background=background)) if host else HostAnswer(is_down=True)
    except UnibuildError as error:
        return HostAnswer(problem=error.message)


def _host(
    project: Project, made: HostRecord, answer: HostAnswer, known: Mapping[int, Mapping[str, str]], now: datetime
) -> dict[str, Any]:
    """Return the report on a host."""
    one = made.good
    domain = answer.find(one)
    state = answer.state(one) if one else "gone"
    since = datetime.fromisoformat(one.since) if one else None
    return {
        "host": made.host,
        "problem": answer.problem,
        "name": one.name if one else None,
        "uuid": one.uuid if one else None,
        "domid": domain.domid if domain else None,
        "state": state,
        "words": _words(state, domain) if one else "no good domain",
        "since": one.since if one else None,
        "age": max(0, round((now - since).total_seconds())) if since and state == "running" else None,
        "generation": one.generation if one else None,
        "revision": known.get(one.generation, {}).get("revision") if one else None,
        "kernel_sha256": one.files.kernel.sha256 if one else None,
        "xl_sha256": one.files.xl.sha256 if one else None,
        "differs": _differs(apply_host(at(project, made.host)), one) if one else [],
        "pending": _pending(project.root, made, answer),
    }


def _words(state: str, domain: Domain | None) -> str:
    """Return the text of a state in the table."""
    if domain and state == "ended":
        return "is being destroyed" if domain.reason is None else SHUTDOWN_REASONS.get(domain.reason, "ended")
    words = {"running": "runs", "gone": "is gone", "down": "the lab is down", "unknown": "is unknown"}
    return words.get(state, state)


def _pending(root: Path, made: HostRecord, answer: HostAnswer) -> dict[str, Any] | None:
    one = made.pending
    if one is None:
        return None
    underway = files.is_locked(record.lock_path(root / STATE, made.host))
    return {
        "generation": one.generation,
        "uuid": one.uuid,
        "state": answer.state(one),
        "since": one.since,
        "underway": underway,
    }


def _stale(project: Project, saved: Saved) -> dict[str, str | None]:
    """Return the first stage that is stale, and why; no stage if the graph cannot be computed."""
    try:
        for stage in graph(project).stages:
            reason = explain(stage, verdict(project.root / STATE, stage, saved(stage.name) or {})).reason
            if reason is not None:
                return {"stage": stage.name, "reason": reason}
    except UnibuildError as error:
        return {"stage": None, "reason": error.message}
    return {"stage": None, "reason": None}


def _differs(project: Project, one: DomainRecord) -> list[str]:
    """Return which of ``kernel``, ``.xl`` and ``ramdisk`` differ from the domain's; none if none is built."""
    try:
        found = graph(project)
    except UnibuildError:
        return []
    look = functools.partial(identify_xl, root=project.root)
    pairs = (("kernel", found.kernel, one.files.kernel, identify), (".xl", found.xl, one.files.xl, look))
    names = [name for name, path, before, read in pairs if path.exists() and not is_same(before, path, read)]
    return names if has_same_ramdisk(one.files, project.root) else [*names, "ramdisk"]
