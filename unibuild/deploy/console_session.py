"""Follow a domain's console to its end: show its output, report its exit, recreate it after a reboot."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unibuild.deploy import crash_report, hosts
from unibuild.deploy.console_output import open_output
from unibuild.deploy.replacement import locked, replacing
from unibuild.domain import ownership, records
from unibuild.domain.console import Reader
from unibuild.domain.console_log import Log, log_path
from unibuild.domain.exit_status import GONE, Detached
from unibuild.domain.generations import GenerationStore
from unibuild.errors import DomainError
from unibuild.graph import xl_file
from unibuild.host import resolve
from unibuild.host.toolstack import SHUTDOWN_REASONS, Domain
from unibuild.settings.loader import state_dir
from unibuild.util import terminal
from unibuild.util.timing import backoff_delay
from unibuild.xlcfg import parser

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from unibuild.deploy.console_output import ConsoleOutput
    from unibuild.domain.exit_status import DomainExit
    from unibuild.host.base import Host
    from unibuild.settings.loader import Project

__all__ = ["AttachedDomain", "console", "follow", "handle_exit", "reattach", "reboot_delay", "runs"]


def console(project: Project) -> None:
    """Follow the console of the domain that we made last, as ``[boot]`` says.

    One that has ended meanwhile still tells its last lines.

    Raises:
        HostError: the host cannot be reached, or refused.
        DomainError: there is none; its console is being read already; or it ended badly.
    """
    screen, attached = open_output(project.settings)
    follow(reattach(project, screen), screen, attached=attached)


def reattach(project: Project, screen: ConsoleOutput) -> AttachedDomain:
    """Begin to read the console of the domain that we made last.

    Raises:
        HostError: the host cannot be reached, or refused.
        DomainError: there is none; its console is being read already.
    """
    state = state_dir(project.root)
    project = hosts.recorded(project)
    place = resolve.host_name(project.settings)
    known = records.load(state, place)
    host = None
    if known.uuids:
        host = hosts.open_running(project.settings, any_lab=True, batch=project.batch)
    domain = _ours(host, known) if host else None
    if host is None or domain is None:
        down = f": {hosts.DOWN}" if known.uuids and not host else ""
        raise DomainError(f"no domain of this project is on {place}{down}", hint="`unibuild boot` makes one")
    reader = Reader(host, domain, Log(log_path(state, domain.name, host.name)), screen.show)
    return AttachedDomain(project, host, domain, reader)


def _ours(host: Host, known: records.HostRecord) -> Domain | None:
    """Return the project's domain: the one that a swap created, if it runs, else the last good one."""
    there = {domain.uuid: domain for domain in host.toolstack.list_domains() if domain.uuid in known.uuids}
    found = [there[one.uuid] for one in (known.pending, known.good) if one and one.uuid in there]
    return next((one for one in found if not one.is_paused), found[0] if found else None)


_MINUTE = 60.0  # seconds within which [boot] restarts counts
_LONGEST_PAUSE = 30.0  # seconds before a domain is recreated
_REMAKE = 4.0  # seconds for xl to recreate a domain
_ENDS = dict(zip((SHUTDOWN_REASONS[code] for code in (0, 1, 3, 4)), xl_file.ENDS, strict=True))


@dataclass
class AttachedDomain:
    """A domain whose console is read."""

    project: Project
    host: Host
    domain: Domain
    reader: Reader


def runs(host: Host, domain: Domain) -> str:
    """Say where a domain runs on."""
    return f"{domain.name} runs as domain {domain.domid} of {host.name}; `unibuild console` shows its console"


def follow(followed: AttachedDomain, screen: ConsoleOutput, *, attached: bool) -> None:
    """Read the console until its end or ours, and tell how it ended.

    A domain that asks for a reboot is recreated, as often as ``[boot] restarts`` allows within a minute.

    Args:
        followed: the domain.
        screen: where it is shown.
        attached: the keyboard goes to the domain.

    Raises:
        HostError: the host went out of reach.
        DomainError: it ended badly, or reboots again and again.
    """
    reboots: list[float] = []
    with contextlib.ExitStack() as readers:
        while True:
            outcome = _read(followed, screen, attached=attached)
            if isinstance(outcome, Detached):
                screen.say(runs(followed.host, followed.domain))
                return
            time.sleep(reboot_delay(followed, outcome, reboots, screen.say))
            again = handle_exit(followed, outcome, reboots, screen, readers)
            if again is None:
                return
            followed = again


def reboot_delay(followed: AttachedDomain, end: DomainExit, reboots: list[float], tell: Callable[[str], None]) -> float:
    """Return the seconds to wait before ``handle_exit``; it grows with each reboot.

    They do not count in the minute of ``[boot] restarts``.

    Args:
        followed: the domain.
        end: how it ended.
        reboots: as in ``handle_exit``; moved by the pause.
        tell: called with a sentence about the pause.
    """
    now = time.monotonic()
    lately = sum(now - then < _MINUTE for then in reboots)
    restarts = followed.project.settings.boot.restarts
    if end.why != SHUTDOWN_REASONS[1] or not 0 < lately < restarts or _restarts_by_xl(followed, [_ENDS[end.why]]):
        return 0.0
    seconds = backoff_delay(lately, longest=_LONGEST_PAUSE)
    reboots[:] = [then + seconds for then in reboots]
    tell(f"{followed.domain.name} asked for a reboot again: recreating it in {seconds:g} s")
    return seconds


def handle_exit(
    followed: AttachedDomain,
    end: DomainExit,
    reboots: list[float],
    screen: ConsoleOutput,
    readers: contextlib.ExitStack,
) -> AttachedDomain | None:
    """Do what is to be done when a domain has ended; return the one in its place, or None: there is none.

    Args:
        followed: the domain.
        end: how it ended.
        reboots: when it was recreated so far (``time.monotonic``); another one is added.
        screen: what reports progress.
        readers: holds the console of the one in its place.

    Raises:
        HostError: the host went out of reach.
        DomainError: it ended badly, or reboots again and again.
    """
    allowed = followed.project.settings.boot.restarts
    by_xl = _find_restarted(followed, end)
    if not by_xl and (end.why != SHUTDOWN_REASONS[1] or not allowed):
        _finish(followed, end, screen)
        return None
    now = time.monotonic()
    reboots[:] = [*(then for then in reboots if now - then < _MINUTE), now]
    if len(reboots) > allowed:
        raise _reboot_loop_error(followed, by_xl or followed.domain, len(reboots))
    again = _reattach_restarted(followed, by_xl, screen, readers) if by_xl else _reboot(followed, screen, readers)
    if again is None:
        _finish(followed, end, screen)
    return again


def _read(followed: AttachedDomain, screen: ConsoleOutput, *, attached: bool) -> DomainExit | Detached:
    """Read the console to its end or ours."""
    domain, reader = followed.domain, followed.reader
    try:
        with reader, screen.reading():
            if not attached:
                outcome = reader.follow(wait=followed.project.settings.boot.wait)
            else:
                screen.say(f"this is the console of {domain.name} on {followed.host.name}; Ctrl-] leaves it")
                with terminal.Keyboard() as keys:
                    outcome = reader.follow(keys)
    except (KeyboardInterrupt, OSError):
        screen.say(runs(followed.host, domain))
        raise
    if reader.log.failure:
        screen.say(f"the console's log is not whole: {reader.log.failure}")
    return outcome


def _reboot(followed: AttachedDomain, screen: ConsoleOutput, readers: contextlib.ExitStack) -> AttachedDomain | None:
    """Recreate a domain that asked for a reboot; None if it is not the last one that unibuild created."""
    project, host = followed.project, followed.host
    state = state_dir(project.root)
    with locked(project.root, host.name):
        known = records.load(state, host.name).good
        if known is None or known.uuid != followed.domain.uuid:
            return None
        screen.say(f"{known.name} asked for a reboot")
        store = GenerationStore(state)
        generation = store.get(known.generation)
        outcome = "running" if store.is_proven(known.uuid) else "not ready"
        with replacing(project, host, known.name, screen, readers) as change:
            made = change.replace(generation, known.kernel, known.xl)
            change.accept(made, outcome, "rebooted")
    return dataclasses.replace(followed, domain=made.domain, reader=made.reader) if made.reader else None


def _find_restarted(followed: AttachedDomain, end: DomainExit) -> Domain | None:
    """Return the domain that xl itself made in the place of one that ended, as ``on_crash = "restart"`` asks it to."""
    keys = [key for why, key in _ENDS.items() if end.why in (why, GONE)]
    return _wait_for_restart(followed, keys) if keys else None


def _wait_for_restart(followed: AttachedDomain, keys: Collection[str]) -> Domain | None:
    """Wait for the domain that xl recreates, if one of these keys of its ``.xl`` says so.

    It has the same uuid and another number; between the two there is none for a moment.
    """
    name = _restarts_by_xl(followed, keys)
    deadline = time.monotonic() + _REMAKE
    while name and time.monotonic() < deadline:
        domain = followed.host.toolstack.find(uuid=followed.domain.uuid)
        if domain and domain.domid != followed.domain.domid and domain.name == name:
            return domain
        time.sleep(0.2)
    return None


def _restarts_by_xl(followed: AttachedDomain, keys: Collection[str]) -> str | None:
    """Return the name of the domain if one of these keys of its ``.xl`` tells xl to recreate it."""
    state = state_dir(followed.project.root)
    known = records.load(state, followed.host.name).good
    if known is None or known.uuid != followed.domain.uuid:
        return None
    kept = GenerationStore(state).get(known.generation).xl
    config = parser.parse(xl_file.read(kept), str(kept))
    return known.name if any("restart" in str(config.get(key)) for key in keys) else None


def _reattach_restarted(
    followed: AttachedDomain, domain: Domain, screen: ConsoleOutput, readers: contextlib.ExitStack
) -> AttachedDomain:
    """Read the console of a domain that xl recreated."""
    screen.say(f"{domain.name} ended, and xl recreated it (domain {domain.domid})")
    log = Log(followed.reader.log.path)
    reader = readers.enter_context(Reader(followed.host, domain, log, screen.show))
    return dataclasses.replace(followed, domain=domain, reader=reader)


def _finish(followed: AttachedDomain, end: DomainExit, screen: ConsoleOutput) -> None:
    """Tell how the domain ended, and remove what is left of it.

    Raises:
        DomainError: it ended badly.
    """
    host, domain = followed.host, followed.domain
    how = f"{domain.name} {end.why}" + ("" if end.code is None else f" with exit code {end.code}")
    written = None if end.is_good else crash_report.write(followed.project, host, domain, end, followed.reader)
    _remove(followed, "ended" if end.is_good else "crashed", end.why)
    if end.is_good:
        screen.say(how)
        return
    error = DomainError(written.sentence if written else how, hint=crash_report.lines(written, followed.reader))
    _suggest_rollback(followed, error)
    raise error


def _suggest_rollback(followed: AttachedDomain, error: DomainError) -> None:
    """Add what can run instead of a domain that ended badly."""
    state, name = state_dir(followed.project.root), followed.host.name
    known = records.load(state, name).good
    before = GenerationStore(state).last_good(name, before=known.generation if known else None)
    if known and known.uuid == followed.domain.uuid and before:
        number = before.number
        error.add(f"none runs on {name} now; `unibuild rollback {number}` boots generation {number}, which was good")


def _remove(followed: AttachedDomain, outcome: str, why: str) -> None:
    """Remove what is left of a domain, also if xl was about to recreate it."""
    followed.host.toolstack.destroy(followed.domain)
    again = _wait_for_restart(followed, _ENDS.values())
    if again:
        followed.host.toolstack.destroy(again)
    ownership.clear_owner(followed.host, followed.domain.uuid)
    GenerationStore(state_dir(followed.project.root)).ended(followed.domain.uuid, outcome, why)


def _reboot_loop_error(followed: AttachedDomain, domain: Domain, times: int) -> DomainError:
    _remove(dataclasses.replace(followed, domain=domain), "crashed", "it rebooted again and again")
    return DomainError(
        f"{domain.name} rebooted {times} times within a minute: it is in a loop, and was stopped",
        hint=f"what it said: {followed.reader.log.path}\n[boot] restarts says how often it may",
    )
