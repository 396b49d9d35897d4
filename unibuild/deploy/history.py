"""The goals ``history``, which lists the generations, and ``rollback``, which boots one again.

docs/reference/status.md describes the object that ``--json`` prints.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from unibuild.deploy.status import query_hosts
from unibuild.domain import records as record
from unibuild.domain.generations import GenerationStore
from unibuild.errors import InputError
from unibuild.host import resolve
from unibuild.settings.loader import STATE
from unibuild.util.output import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from unibuild.domain.generations import BootRecord, Generation
    from unibuild.settings.loader import Project

__all__ = ["VERSION", "choose_generation", "collect", "history", "render", "rollback"]

VERSION = 1
"""Version of the object that ``--json`` prints; it changes when a field changes its meaning or is removed."""

_DIGITS = 12  # of a hash in the table


def history(project: Project, *, as_json: bool) -> None:
    """Print the generations, the newest first, as a table or as JSON."""
    report = collect(project)
    print(json.dumps(report, indent=2) if as_json else "\n".join(render(report)))


def collect(project: Project) -> dict[str, Any]:
    """Return what ``history --json`` prints; it queries each host that the records name."""
    state = project.root / STATE
    records = record.load_all(state)
    answers = query_hosts(project.settings, records)
    runs: dict[int, list[str]] = {}
    for host, made in sorted(records.items()):
        if made.good and answers[host].state(made.good) == "running":
            runs.setdefault(made.good.generation, []).append(host)
    report = [_generation(one, runs.get(one.number, [])) for one in reversed(GenerationStore(state).all())]
    return {"version": VERSION, "root": str(project.root), "generations": report}


def render(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table, with one for the last boot on each host."""
    generations = sorted(report["generations"], key=_last_boot, reverse=True)
    rows = [row for one in generations for row in _rows(one)]
    if not rows:
        yield "no generations yet: run `unibuild boot`"
        return
    yield from table(("GENERATION", "BOOTED (UTC)", "HOST", "OUTCOME", "FROM", "KERNEL", "", "ARGUMENTS"), rows)


def rollback(project: Project, words: Sequence[str]) -> None:
    """Boot an earlier generation, without building anything.

    Args:
        project: the project.
        words: the number; nothing: the last good generation before the one that was booted last.

    Raises:
        InputError: there is no such generation, or it is damaged.
        UnibuildError: see ``boot.boot_generation``.
    """
    from unibuild.deploy import boot

    boot.boot_generation(project, choose_generation(project, words))


def choose_generation(project: Project, words: Sequence[str]) -> Generation:
    """Return the generation that the arguments of ``rollback`` name.

    Raises:
        InputError: there is none, or it is damaged.
    """
    store = GenerationStore(project.root / STATE)
    if len(words) > 1 and any(word.startswith("-") for word in words):
        raise InputError("options come before the number", hint="for example: unibuild rollback --wait 5 2")
    if len(words) > 1 or not all(word.isascii() and word.isdecimal() for word in words):
        raise InputError(
            f"rollback takes the number of a generation, not `{' '.join(words)}`",
            hint="run `unibuild history` for the numbers; without one, it boots the last good one before this one",
        )
    if words:
        return store.get(int(words[0]))
    host = resolve.host_name(project.settings)
    present = record.load(project.root / STATE, host).good
    found = store.last_good(host, before=present.generation if present else None)
    if found is None:
        kept = ", ".join(str(one.number) for one in store.all())
        before = f" before {present.generation}" if present else ""
        raise InputError(
            f"no generation{before} was good on {host}",
            hint=f"run `unibuild rollback N` with one of the kept generations: {kept}"
            if kept
            else "run `unibuild boot`",
        )
    return found


def _generation(one: Generation, runs_on: list[str]) -> dict[str, Any]:
    return {
        "number": one.number,
        "name": one.name,
        "made": one.made,
        "runs_on": runs_on,
        "facts": dict(one.facts),
        "kernel": {"path": str(one.kernel), "sha256": one.kernel_sha256, "size": one.kernel_size},
        "xl": {"path": str(one.xl), "sha256": one.xl_sha256},
        "ramdisk": {"path": str(one.ramdisk), "sha256": one.ramdisk_sha256} if one.ramdisk else None,
        "boots": [_boot(boot) for boot in reversed(one.boots)],
    }


def _boot(boot: BootRecord) -> dict[str, Any]:
    return dict(msgspec.to_builtins(boot))


def _last_boot(one: Mapping[str, Any]) -> str:
    """Return when a generation was last booted, in ISO 8601; the empty string: never."""
    return max((str(boot["at"]) for boot in one["boots"]), default="")


def _rows(one: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a generation; the columns that are the same in all rows are in the first one."""
    facts = one["facts"]
    number = str(one["number"])
    kernel = (f"{one['kernel']['size'] / (1 << 20):.1f} MiB", one["kernel"]["sha256"][:_DIGITS])
    about = (facts.get("revision", ""), *kernel, facts.get("arguments", ""))
    latest: dict[str, Mapping[str, Any]] = {}
    for boot in one["boots"]:
        latest.setdefault(boot["host"], boot)
    for boot in latest.values():
        outcome = "booted" if boot["outcome"] == "running" else boot["outcome"]
        outcome = "runs" if boot["host"] in one["runs_on"] else outcome
        yield (number, boot["at"][:16].replace("T", " "), boot["host"], outcome, *about)
        number, about = "", ("", "", "", "")
    if not latest:
        yield (number, "never", "", "", *about)
