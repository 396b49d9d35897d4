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
from unibuild.errors import DomainError, UnibuildError
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

__all__ = ["AttachedDomain", "ConsoleSession", "console", "follow", "reattach", "report_log_failure", "runs"]

_MINUTE = 60.0  # seconds within which [boot] restarts counts
_LONGEST_PAUSE = 30.0  # seconds before a domain is recreated
_XL_RESTART = 4.0  # seconds for xl to recreate a domain
_ENDS = dict(zip((SHUTDOWN_REASONS[code] for code in (0, 1, 3, 4)), xl_file.ENDS, strict=True))


def console(project: Project) -> None:
    """Follow the console of the project's domain, as ``[boot]`` says.

    If the domain has ended meanwhile, its last lines are shown.

    Raises:
        HostError: the host cannot be reached, or refused.
        DomainError: there is none; its console is being read already; or it ended badly.
    """
    output, attached = open_output(project.settings)
    follow(reattach(project, output), output, keyboard=attached)


def reattach(project: Project, output: ConsoleOutput) -> AttachedDomain:
    """Begin to read the console of the project's domain.

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
    domain = _find_own(host, known) if host else None
    if host is None or domain is None:
        down = f": {hosts.DOWN}" if known.uuids and not host else ""
        raise DomainError(f"no domain of this project is on {place}{down}", hint="`unibuild boot` makes one")
    reader = Reader(host, domain, Log(log_path(state, domain.name, host.name)), output.show)
    return AttachedDomain(project, host, domain, reader)


def _find_own(host: Host, known: records.HostRecord) -> Domain | None:
    """Return the project's domain: the one that a swap created, if it runs, else the last good one."""
    there = {domain.uuid: domain for domain in host.toolstack.list_domains() if domain.uuid in known.uuids}
    found = [there[one.uuid] for one in (known.pending, known.good) if one and one.uuid in there]
    return next((one for one in found if not one.is_paused), found[0] if found else None)


@dataclass
class AttachedDomain:
    """A domain with the reader of its console."""

    project: Project
    host: Host
    domain: Domain
    reader: Reader


def runs(host: Host, domain: Domain) -> str:
    """Return a sentence that says where a domain runs."""
    return f"{domain.name} runs as domain {domain.domid} of {host.name}; `unibuild console` shows its console"


def report_log_failure(reader: Reader, output: ConsoleOutput) -> None:
    """Report that the console's log could not be written, if so."""
    if reader.log.failure:
        output.say(f"the console's log is not whole: {reader.log.failure}")


class ConsoleSession:
    """Follows the console of a domain until it ends, and recreates a domain that asks for a reboot.

    Subclasses read the console, and say what is specific to the terminal or the watch loop.

    Args:
        attached: the domain; replaced when the domain is recreated.
        output: shows the console and reports progress.
        readers: holds the readers of recreated domains.
    """

    def __init__(self, attached: AttachedDomain, output: ConsoleOutput, readers: contextlib.ExitStack) -> None:
        self.attached = attached
        self.output = output
        self.readers = readers
        self._reboots: list[float] = []  # when it was recreated, of the monotonic clock

    def follow(self) -> None:
        """Follow the console until it ends for good, or ``read`` returns None.

        A domain that asks for a reboot is recreated, as often as ``[boot] restarts`` allows within a minute.

        Raises:
            UnibuildError: whatever ``read`` or ``ended`` raises.
        """
        while (end := self.read()) is not None:
            with contextlib.suppress(UnibuildError):  # _handle_exit meets it again
                if delay := _reboot_delay(self.attached, end, self._reboots, self.report_pause):
                    self.pause(delay)
            with self.exclusive():
                if self.is_stopped:
                    return
                try:
                    again = _handle_exit(self.attached, end, self._reboots, self.output, self.readers)
                except UnibuildError as error:
                    self.ended(error)
                    return
                if again is None:
                    self.ended(end)
                    return
                self.attached = again
                self.recreated()

    def read(self) -> DomainExit | None:
        """Read the console until the domain ends; None: until something else ended the reading."""
        raise NotImplementedError

    def pause(self, seconds: float) -> None:
        """Wait before the domain is recreated."""
        time.sleep(seconds)

    def report_pause(self, why: str) -> None:
        """Report that the domain is recreated later."""
        self.output.say(why)

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """Keep other threads from changing the domain while the block runs."""
        return contextlib.nullcontext()

    @property
    def is_stopped(self) -> bool:
        """Whether the domain's end is to be ignored."""
        return False

    def ended(self, outcome: DomainExit | UnibuildError) -> None:
        """Answer that the domain has ended and none replaces it, or what failed then."""
        if isinstance(outcome, UnibuildError):
            raise outcome

    def recreated(self) -> None:
        """Answer that ``attached`` is now the recreated domain."""


class _TerminalSession(ConsoleSession):
    """Shows the console on standard output, and sends keys if ``keyboard`` says so."""

    keyboard = False

    def read(self) -> DomainExit | None:
        domain, host, reader = self.attached.domain, self.attached.host, self.attached.reader
        try:
            with reader, self.output.reading():
                if not self.keyboard:
                    outcome = reader.follow(wait=self.attached.project.settings.boot.wait)
                else:
                    self.output.say(f"this is the console of {domain.name} on {host.name}; Ctrl-] leaves it")
                    with terminal.Keyboard() as keys:
                        outcome = reader.follow(keys)
        except (KeyboardInterrupt, OSError):
            self.output.say(runs(host, domain))
            raise
        report_log_failure(reader, self.output)
        if isinstance(outcome, Detached):
            self.output.say(runs(host, domain))
            return None
        return outcome


def follow(attached: AttachedDomain, output: ConsoleOutput, *, keyboard: bool) -> None:
    """Follow a console on the terminal until the domain ends or the user leaves it, and report how it ended.

    Args:
        attached: the domain.
        output: shows the console.
        keyboard: whether keys go to the domain.

    Raises:
        HostError: the host went out of reach.
        DomainError: the domain ended badly, or reboots again and again.
    """
    with contextlib.ExitStack() as readers:
        session = _TerminalSession(attached, output, readers)
        session.keyboard = keyboard
        session.follow()


def _reboot_delay(
    attached: AttachedDomain, end: DomainExit, reboots: list[float], report: Callable[[str], None]
) -> float:
    """Return the seconds to wait before ``_handle_exit``; they grow with each reboot.

    They do not count in the minute of ``[boot] restarts``.

    Args:
        attached: the domain.
        end: how it ended.
        reboots: as in ``_handle_exit``; moved by the pause.
        report: called with a sentence about the pause.
    """
    now = time.monotonic()
    lately = sum(now - then < _MINUTE for then in reboots)
    restarts = attached.project.settings.boot.restarts
    if end.why != SHUTDOWN_REASONS[1] or not 0 < lately < restarts or _restarts_by_xl(attached, [_ENDS[end.why]]):
        return 0.0
    seconds = backoff_delay(lately, longest=_LONGEST_PAUSE)
    reboots[:] = [then + seconds for then in reboots]
    report(f"{attached.domain.name} asked for a reboot again: recreating it in {seconds:g} s")
    return seconds


def _handle_exit(
    attached: AttachedDomain,
    end: DomainExit,
    reboots: list[float],
    output: ConsoleOutput,
    readers: contextlib.ExitStack,
) -> AttachedDomain | None:
    """Answer the end of a domain; return the recreated one, or None: there is none.

    Args:
        attached: the domain.
        end: how it ended.
        reboots: when it was recreated so far (``time.monotonic``); this time is added.
        output: reports progress.
        readers: holds the reader of the recreated one.

    Raises:
        HostError: the host went out of reach.
        DomainError: the domain ended badly, or reboots again and again.
    """
    allowed = attached.project.settings.boot.restarts
    by_xl = _find_restarted(attached, end)
    if not by_xl and (end.why != SHUTDOWN_REASONS[1] or not allowed):
        _finish(attached, end, output)
        return None
    now = time.monotonic()
    reboots[:] = [*(then for then in reboots if now - then < _MINUTE), now]
    if len(reboots) > allowed:
        raise _reboot_loop_error(attached, by_xl or attached.domain, len(reboots))
    again = _reattach_restarted(attached, by_xl, output, readers) if by_xl else _reboot(attached, output, readers)
    if again is None:
        _finish(attached, end, output)
    return again


def _reboot(attached: AttachedDomain, output: ConsoleOutput, readers: contextlib.ExitStack) -> AttachedDomain | None:
    """Recreate a domain that asked for a reboot; None if it is not the last one that unibuild created."""
    project, host = attached.project, attached.host
    state = state_dir(project.root)
    with locked(project.root, host.name):
        known = records.load(state, host.name).good
        if known is None or known.uuid != attached.domain.uuid:
            return None
        output.say(f"{known.name} asked for a reboot")
        store = GenerationStore(state)
        generation = store.get(known.generation)
        outcome = "running" if store.is_proven(known.uuid) else "not ready"
        with replacing(project, host, known.name, output, readers, generation=generation) as change:
            made = change.replace(generation, known.files)
            change.accept(made, outcome, "rebooted")
    return dataclasses.replace(attached, domain=made.domain, reader=made.reader) if made.reader else None


def _find_restarted(attached: AttachedDomain, end: DomainExit) -> Domain | None:
    """Return the domain that xl itself recreated, as ``on_crash = "restart"`` asks it to."""
    keys = [key for why, key in _ENDS.items() if end.why in (why, GONE)]
    return _wait_for_restart(attached, keys) if keys else None


def _wait_for_restart(attached: AttachedDomain, keys: Collection[str]) -> Domain | None:
    """Wait for the domain that xl recreates, if one of these keys of its ``.xl`` says so.

    It has the same uuid and another number; between the two there is none for a moment.
    """
    name = _restarts_by_xl(attached, keys)
    deadline = time.monotonic() + _XL_RESTART
    while name and time.monotonic() < deadline:
        domain = attached.host.toolstack.find(uuid=attached.domain.uuid)
        if domain and domain.domid != attached.domain.domid and domain.name == name:
            return domain
        time.sleep(0.2)
    return None


def _restarts_by_xl(attached: AttachedDomain, keys: Collection[str]) -> str | None:
    """Return the name of the domain if one of these keys of its ``.xl`` asks xl to recreate it."""
    state = state_dir(attached.project.root)
    known = records.load(state, attached.host.name).good
    if known is None or known.uuid != attached.domain.uuid:
        return None
    kept = GenerationStore(state).get(known.generation).xl
    config = parser.parse(xl_file.read(kept), str(kept))
    return known.name if any("restart" in str(config.get(key)) for key in keys) else None


def _reattach_restarted(
    attached: AttachedDomain, domain: Domain, output: ConsoleOutput, readers: contextlib.ExitStack
) -> AttachedDomain:
    """Read the console of a domain that xl recreated."""
    output.say(f"{domain.name} ended, and xl recreated it (domain {domain.domid})")
    log = Log(attached.reader.log.path)
    reader = readers.enter_context(Reader(attached.host, domain, log, output.show))
    return dataclasses.replace(attached, domain=domain, reader=reader)


def _finish(attached: AttachedDomain, end: DomainExit, output: ConsoleOutput) -> None:
    """Report how the domain ended, and remove what is left of it.

    Raises:
        DomainError: it ended badly.
    """
    host, domain = attached.host, attached.domain
    how = f"{domain.name} {end.why}" + ("" if end.code is None else f" with exit code {end.code}")
    state = state_dir(attached.project.root)
    written = None if end.is_good else crash_report.write(state, host, domain, end, attached.reader)
    _remove(attached, "ended" if end.is_good else "crashed", end.why)
    if end.is_good:
        output.say(how)
        return
    error = DomainError(written.sentence if written else how, hint=crash_report.lines(written, attached.reader))
    _suggest_rollback(attached, error)
    raise error


def _suggest_rollback(attached: AttachedDomain, error: DomainError) -> None:
    """Add what can run instead of a domain that ended badly."""
    state, name = state_dir(attached.project.root), attached.host.name
    known = records.load(state, name).good
    before = GenerationStore(state).last_good(name, before=known.generation if known else None)
    if known and known.uuid == attached.domain.uuid and before:
        number = before.number
        error.add(f"none runs on {name} now; `unibuild rollback {number}` boots generation {number}, which was good")


def _remove(attached: AttachedDomain, outcome: str, why: str) -> None:
    """Remove what is left of a domain, also if xl was about to recreate it."""
    attached.host.toolstack.destroy(attached.domain)
    again = _wait_for_restart(attached, _ENDS.values())
    if again:
        attached.host.toolstack.destroy(again)
    ownership.clear_owner(attached.host, attached.domain.uuid)
    GenerationStore(state_dir(attached.project.root)).ended(attached.domain.uuid, outcome, why)


def _reboot_loop_error(attached: AttachedDomain, domain: Domain, times: int) -> DomainError:
    _remove(dataclasses.replace(attached, domain=domain), "crashed", "it rebooted again and again")
    return DomainError(
        f"{domain.name} rebooted {times} times within a minute: it is in a loop, and was stopped",
        hint=f"what it said: {attached.reader.log.path}\n[boot] restarts says how often it may",
    )
