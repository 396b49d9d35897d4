"""Boot a domain: create it from what was built, replace the older one and wait until it is ready."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

from unibuild.deploy import argument_check, crash_report, hosts, readiness
from unibuild.deploy.console_output import open_output
from unibuild.deploy.console_session import AttachedDomain, follow, report_log_failure, runs
from unibuild.deploy.replacement import locked, replacing
from unibuild.deploy.up_to_date import identify_all, running, was_seen
from unibuild.domain import records
from unibuild.domain.generations import GenerationStore
from unibuild.errors import NotReadyError, UnibuildError
from unibuild.graph import xl_file as xlfile
from unibuild.settings.loader import state_dir
from unibuild.util import run_result
from unibuild.xlcfg import parser

if TYPE_CHECKING:
    from pathlib import Path

    from unibuild.deploy.console_output import ConsoleOutput
    from unibuild.deploy.replacement import NewDomain, Replacement, ReplaceObserver
    from unibuild.domain.generations import Generation
    from unibuild.domain.readiness import Readiness
    from unibuild.host.base import Host
    from unibuild.settings.loader import Project

__all__ = ["boot", "boot_generation", "boot_in_place"]


def boot(project: Project, xl_file: Path, kernel: Path) -> None:
    """Boot the domain and follow its console as ``[boot]`` says; print so if it runs unchanged.

    Before an older domain is stopped, the kernel, the ``.xl`` and the disks are on the host, and preflight has passed.

    Args:
        project: the project.
        xl_file: the domain's ``.xl``, as ``xlfile.render`` wrote it.
        kernel: the kernel that it names.

    Raises:
        HostError: the host cannot be reached, or refused.
        DomainError: the domain could not be created, its name belongs to someone else, or it failed.
        NotReadyError: it was not ready in time; ``[boot.ready] on_failure`` was applied.
        SettingsError: the unikernel does not know an argument.
        BusyError: another run changes the domain.
        FileError: a file cannot be read.
    """
    screen, attached = open_output(project.settings)
    host = hosts.open_host(project.settings)
    with contextlib.ExitStack() as reading:
        made = boot_in_place(project, host, xl_file, kernel, screen, reading)
        if made:
            _watch(project, host, made, screen, attached=attached)


def boot_in_place(
    project: Project,
    host: Host,
    xl_file: Path,
    kernel: Path,
    screen: ConsoleOutput,
    reading: contextlib.ExitStack,
    *,
    observer: ReplaceObserver | None = None,
    force: bool = False,
) -> NewDomain | None:
    """Boot the domain and wait until it is ready; return it, or None if it runs unchanged.

    The errors are those of ``boot``.

    Args:
        project: the project.
        host: where it runs.
        xl_file: the domain's ``.xl``.
        kernel: the kernel that it names.
        screen: reports progress.
        reading: holds the reader of the domain's console.
        observer: observes the replacement.
        force: replace the domain even if it runs unchanged.
    """
    state = state_dir(project.root)
    with locked(project.root, host.name):
        made_from = identify_all(kernel, xl_file, project.root)
        if not force and _reuse_running(state, host, made_from, screen):
            return None
        argument_check.check(project.settings.boot, project.root, host, xl_file, kernel)
        generation = GenerationStore(state).add(kernel, xl_file, _facts(project))
        return _replace(project, host, generation, made_from, screen, reading, observer)


def boot_generation(project: Project, generation: Generation) -> None:
    """Boot a kept generation without building anything.

    Args:
        project: the project.
        generation: the generation.

    Raises:
        UnibuildError: see ``boot``.
    """
    screen, attached = open_output(project.settings)
    host = hosts.open_host(project.settings)
    with contextlib.ExitStack() as reading:
        with locked(project.root, host.name):
            made_from = _identify_kept(generation, project)
            made = _replace(project, host, generation, made_from, screen, reading)
        _watch(project, host, made, screen, attached=attached)


def _identify_kept(generation: Generation, project: Project) -> records.BootFiles:
    """Return the identities of the files that a generation keeps."""
    return identify_all(generation.kernel, generation.xl, project.root, generation.ramdisk)


def _reuse_running(state: Path, host: Host, made_from: records.BootFiles, screen: ConsoleOutput) -> bool:
    """Return whether the domain runs from these very files already, and report that."""
    known = records.load(state, host.name)
    good = known.good
    if not good or known.pending or not good.files.is_same(made_from):
        return False
    domain = running(host, known)
    if domain and was_seen(state, good):
        records.save(state, records.HostRecord(host.name, dataclasses.replace(good, files=made_from)))
        screen.say(f"{domain.name} runs on {host.name} already, unchanged (domain {domain.domid})")
        run_result.note(domid=domain.domid)
        return True
    return False


def _replace(
    project: Project,
    host: Host,
    generation: Generation,
    made_from: records.BootFiles,
    screen: ConsoleOutput,
    reading: contextlib.ExitStack,
    observer: ReplaceObserver | None = None,
) -> NewDomain:
    """Replace the old domain with a generation's, and wait until it is ready; apply ``on_failure`` if it is not.

    Raises:
        NotReadyError: it was not ready.
    """
    with replacing(project, host, generation.name, screen, reading, observer, generation) as change:
        before = change.good_generation(generation.number)
        if project.settings.boot.ready.is_set:
            readiness.check(project.settings.boot.ready, parser.parse(xlfile.read(generation.xl), str(generation.xl)))
        try:
            made = change.replace(generation, made_from)
        except UnibuildError as error:
            _restore_previous(change, before, error)
            raise
        except KeyboardInterrupt:
            if change.is_running:
                screen.say(f"{generation.name} runs on {host.name}; it was not ready yet")
            elif change.has_ended_one:
                screen.say(f"the old {generation.name} was stopped; no domain runs on {host.name} now")
            raise
        if project.settings.boot.ready.is_set:
            change.observer.phase_began("ready")
        verdict = _await_ready(project, host, made, screen)
        if verdict is None or verdict.ready:
            change.accept(made, "ready" if verdict else "running", verdict.why if verdict else "")
            return made
        return _reject(change, made, verdict, before)


def _await_ready(project: Project, host: Host, made: NewDomain, screen: ConsoleOutput) -> Readiness | None:
    if made.reader is None or not project.settings.boot.ready.is_set:
        return None
    try:
        verdict = readiness.await_ready(
            project.settings.boot.ready, project.settings.lab.forward, host, made.domain, made.config, made.reader
        )
    except KeyboardInterrupt:
        screen.say(f"{made.domain.name} runs; it was not ready yet")
        raise
    if verdict and verdict.ready:
        screen.say(f"{made.domain.name} {verdict.why}")
    return verdict


def _reject(change: Replacement, made: NewDomain, verdict: Readiness, before: Generation | None) -> NewDomain:
    """Apply ``on_failure`` to a domain that is not ready; always raises.

    Raises:
        NotReadyError: always; its hint names what runs now.
    """
    project, name = change.project, made.instance.name
    on_failure = project.settings.boot.ready.on_failure
    assert made.reader is not None
    written = crash_report.write(state_dir(project.root), change.host, made.domain, verdict.end, made.reader)
    error = NotReadyError(f"{name} {verdict.why}", hint=crash_report.lines(written, made.reader))
    outcome = "crashed" if verdict.end and not verdict.end.is_good else "not ready"
    if on_failure == "keep" and verdict.end is None:
        change.accept(made, outcome, verdict.why)
        error.add(f'it runs on as domain {made.domain.domid}: [boot.ready] on_failure = "keep"')
        raise error
    change.discard_new(made, outcome, verdict.why)
    if on_failure == "rollback":
        _restore_previous(change, before, error, lost=True)
    else:
        error.add(f"it was removed; no domain runs on {change.host.name} now")
    raise error


def _restore_previous(
    change: Replacement, before: Generation | None, error: UnibuildError, *, lost: bool = False
) -> None:
    """After a failure boot the previous good generation, unless it still runs; the error's hint names what runs now."""
    there = {
        domain.uuid: domain for domain in change.host.toolstack.list_domains(background=True) if not domain.has_ended
    }
    if change.old and change.old.uuid in there:
        error.add(f"the old {change.old.name} runs on")
        return
    pending = change.known.pending
    if pending and pending.uuid in there:
        error.add(f"the new {pending.name} runs, but was not ready: the next boot replaces it")
        return
    if before is None:
        if lost or change.has_ended_one:
            error.add(f"there is no good generation to boot again; no domain runs on {change.host.name} now")
        return
    if not (lost or change.has_ended_one):
        return
    change.screen.say(f"booting generation {before.number} again, which was good")
    try:
        made = change.replace(before, _identify_kept(before, change.project))
        change.accept(made, "running", "booted again")
        error.add(f"generation {before.number} runs again as domain {made.domain.domid}")
    except UnibuildError as again:
        error.add(f"generation {before.number} could not be booted again; no domain runs now: {again.message}")


def _watch(project: Project, host: Host, made: NewDomain, screen: ConsoleOutput, *, attached: bool) -> None:
    """Follow the console of a new domain, as ``[boot]`` says."""
    run_result.note(domid=made.domain.domid)
    if made.reader is None or project.settings.boot.console == "none":
        if made.reader:  # it was read until the domain was ready
            report_log_failure(made.reader, screen)
        screen.say(runs(host, made.domain))
        return
    follow(AttachedDomain(project, host, made.domain, made.reader), screen, keyboard=attached)


def _facts(project: Project) -> dict[str, str]:
    from unibuild.graph import provenance
    from unibuild.toolchain.registry import choose

    try:
        return provenance.facts(project.root, project.settings, choose(project))
    except UnibuildError:  # no toolchain here builds the kernel
        return {}
