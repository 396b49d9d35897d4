"""Replace the project's domain on one host, under the locks, recording each step before it is done.

A run that is killed leaves a record that the next one understands (``domain.swap.settle``); what fails in between
leaves the older domain running, brings it back, or says that it is lost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

from unibuild.deploy import host_files
from unibuild.domain import ownership, records, swap
from unibuild.domain.console import QUIET, SILENT, Reader
from unibuild.domain.console_log import Log, log_path, rotate
from unibuild.domain.generations import GenerationStore
from unibuild.errors import DomainError, UnibuildError
from unibuild.graph import xl_file
from unibuild.settings.loader import state_dir
from unibuild.util import files, job_control
from unibuild.xlcfg import parser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from unibuild.deploy.console_output import ConsoleOutput
    from unibuild.domain.generations import Generation
    from unibuild.domain.preflight import HostCapacity
    from unibuild.host.base import Host
    from unibuild.host.toolstack import Domain
    from unibuild.settings.loader import Project

__all__ = [
    "ConsoleDrain",
    "NewDomain",
    "ReplaceObserver",
    "Replacement",
    "discard_output",
    "locked",
    "open_console",
    "replacing",
]

_PATIENCE = 20.0  # seconds for what an ended domain still has to say


class ConsoleDrain(contextlib.AbstractContextManager["ConsoleDrain"]):
    """What an old domain still says, for its log alone.

    Where its console is being read elsewhere, or cannot be read, this reads nothing.

    Args:
        host: where it is.
        domain: which one.
        state: the state folder.
    """

    def __init__(self, host: Host, domain: Domain, state: Path) -> None:
        self._stack = contextlib.ExitStack()
        self._since = time.monotonic()
        self.reader: Reader | None = None
        with contextlib.suppress(UnibuildError):
            log = Log(log_path(state, domain.name, host.name))
            log.open()  # now: the file gets another name when the new domain begins its own
            self.reader = self._stack.enter_context(Reader(host, domain, log, discard_output, silent=SILENT))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def drain(self) -> None:
        """Read to the end; the domain has ended."""
        if self.reader is None:
            return
        self.reader.silent = max(QUIET, SILENT - (time.monotonic() - self._since))
        with contextlib.suppress(UnibuildError):
            self.reader.follow(wait=_PATIENCE)


def open_console(host: Host, domain: Domain, path: Path, show: Callable[[bytes], None]) -> Reader:
    """Return the reader of a domain that is paused yet, with a new log.

    Raises:
        HostError: the host went out of reach.
    """
    rotate(path)
    return Reader(host, domain, Log(path), show)


def discard_output(_: bytes) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class NewDomain:
    """A domain that runs now: its row of ``xl list``, our note of it, its ``.xl``, its console, and the log of that."""

    domain: Domain
    instance: records.DomainRecord
    config: parser.Config
    reader: Reader | None
    log: Path


class ReplaceObserver:
    """Who takes part in a change from outside: nobody, as here, or the watch loop, which follows consoles meanwhile."""

    def drain_console(self, host: Host, domain: Domain, state: Path) -> ConsoleDrain:
        """Return what reads the console of the old domain to its end."""
        return ConsoleDrain(host, domain, state)

    def phase_began(self, phase: Literal["copy", "create", "ready"] | None) -> None:
        """Hear that a part of the change begins, and the one before it ends; None: none begins."""

    def down_for(self, seconds: float) -> None:
        """Hear how long no domain ran."""

    def new_domain_accepted(self, made: NewDomain) -> None:
        """Accept a domain as the last good one; its reader belongs to the observer from now on."""


_SPARE = 120.0  # seconds that making and ending domains may take, beside what the settings allow


@dataclass
class Replacement:
    """The domain of a project on a host while it is ours to change.

    Attributes:
        old: our domain that is there: it runs, is paused, or has ended.
        known: what is written down.
        lost: what an earlier run, cut off, has left, in a sentence.
    """

    project: Project
    host: Host
    screen: ConsoleOutput
    reading: contextlib.ExitStack
    known: records.HostRecord
    marks: Mapping[str, str]
    old: Domain | None = None
    lost: str | None = None
    store: GenerationStore = field(init=False)
    state: Path = field(init=False)
    has_ended_one: bool = False  # a domain of this project that ran
    is_running: bool = False  # the new domain, which was not accepted yet
    observer: ReplaceObserver = field(default_factory=ReplaceObserver)

    def __post_init__(self) -> None:
        self.state = state_dir(self.project.root)
        self.store = GenerationStore(self.state)

    def save(self, good: records.DomainRecord | None, pending: records.DomainRecord | None = None) -> None:
        """Write down what is so now."""
        self.known = dataclasses.replace(self.known, good=good, pending=pending)
        records.save(self.state, self.known)

    def recover(self, name: str) -> None:
        """Clear up after a run that was cut off, and find our domain; someone else's of that name is refused.

        Raises:
            DomainError: the name is taken.
        """
        domains = self.host.toolstack.list_domains()
        there, self.lost = swap.recover(self.host, self.known, domains)
        if self.lost:
            self.screen.say(self.lost)
            domains = self.host.toolstack.list_domains()
        self.save(there)
        self.old = next((one for one in domains if there and one.uuid == there.uuid), None)
        for domain in domains:
            if domain.name != name or domain.uuid in self.known.uuids:
                continue
            theirs = self.marks.get(domain.uuid)
            if domain.domid == 0 or not (self.project.take_over or ownership.is_owned_by(theirs, self.project.root)):
                raise ownership.name_taken(self.host, domain, theirs)
            self.old = self.old or domain
        self._clear_stale_owners(domains)

    def replace(self, generation: Generation, kernel: records.FileIdentity, xl_mark: records.FileIdentity) -> NewDomain:
        """Bring a generation's domain in the place of the old one, which ends.

        Args:
            generation: what is booted.
            kernel: what the tree's kernel was.
            xl_mark: what the tree's ``.xl`` was.

        Raises:
            DomainError: the host cannot take it, or xl refused. The old domain runs on unless the hint says otherwise.
        """
        self.observer.phase_began("copy")
        leaving = (self.old.uuid,) if self.old else ()
        deployed, seen, new = host_files.prepare(self.host, self.project, generation, kernel, xl_mark, leaving)
        text = xl_file.read(generation.xl)
        beside = self._can_overlap(parser.parse(text, str(generation.xl)), seen)
        before = self.known.good.name if self.known.good else None
        self.save(self.known.good, new)
        ownership.set_owner(self.host, new.uuid, ownership.owner_id(self.project.root))
        self.store.started(generation.number, self.host.name, new.uuid, self._log(new.name))
        self.observer.phase_began(None)
        with contextlib.ExitStack() as undo:
            undo.callback(self._undo, new)
            if beside and self.old:
                with self.observer.drain_console(self.host, self.old, self.state) as words:
                    domain, reader = self._create(deployed, new, swap.new_name(new.name, new.uuid))
                    with job_control.defer_signals(first_only=True):
                        away = swap.replace(self.host, self.old, domain, new.name, self.project.settings.boot.grace)
                        undo.pop_all()
                        self.is_running = True
                        self.observer.down_for(away)
                        self.screen.say(f"{new.name} was replaced; none ran for {away:.2f} s")
                        words.drain()
                        self._remove_old("replaced")
            else:
                ran, began = self._ran, time.monotonic()
                self.end_old("replaced")
                domain, reader = self._create(deployed, new, new.name)
                self.host.toolstack.unpause(domain)
                undo.pop_all()
                self.is_running = True
                if ran:
                    self.observer.down_for(time.monotonic() - began)
        for name in {new.name, before} - {None}:
            self.host.toolstack.discard(
                host_files.host_folder(self.project.root, str(name)), deployed.files if name == new.name else ()
            )
        log = self._log(new.name)
        return NewDomain(dataclasses.replace(domain, name=new.name), new, deployed.config, reader, log)

    def accept(self, made: NewDomain, outcome: str, why: str = "") -> None:
        """Record a running domain as the last good one."""
        self.store.ended(made.instance.uuid, outcome, why)  # first: a run that is killed here has proven it
        self.save(made.instance)
        self.observer.new_domain_accepted(made)
        self.is_running = False
        self._prune()

    @property
    def _ran(self) -> bool:
        """Whether our old domain ran when we came."""
        return self.old is not None and not self.old.has_ended and not self.old.is_paused

    def good_generation(self, but: int) -> Generation | None:
        """Return what to go back to, not ``but``: what runs now if that is proven, else what was good last here."""
        runs = self.known.good if self._ran else None
        if runs and runs.generation != but and self.store.is_proven(runs.uuid):
            with contextlib.suppress(UnibuildError):
                return self.store.get(runs.generation)
        found = self.store.last_good(self.host.name)
        return self.store.last_good(self.host.name, before=but) if found and found.number == but else found

    def end_old(self, outcome: str) -> None:
        """End our old domain, where there is one, once its console has said all."""
        if self.old is None:
            return
        with self.observer.drain_console(self.host, self.old, self.state) as words:
            swap.end(self.host, self.old, self.project.settings.boot.grace)
            words.drain()
        self._remove_old(outcome)

    def discard_new(self, made: NewDomain, outcome: str, why: str) -> None:
        """Remove a new domain that was not good."""
        self.is_running = False
        self.host.toolstack.destroy(made.domain)
        ownership.clear_owner(self.host, made.instance.uuid)
        self.store.ended(made.instance.uuid, outcome, why)
        again = self.project.settings.boot.ready.on_failure == "rollback"
        self.save(
            self.known.good, made.instance if again else None
        )  # a run that is killed now has lost the last good domain
        self._prune()

    def _prune(self) -> None:
        boot = self.project.settings.boot
        self.store.prune(boot.keep, boot.keep_size, [one.generation for one in (self.known.good,) if one])

    def _remove_old(self, outcome: str) -> None:
        assert self.old is not None
        self.has_ended_one |= self._ran
        self.host.toolstack.destroy(self.old)
        ownership.clear_owner(self.host, self.old.uuid)
        self.store.ended(self.old.uuid, outcome, "")
        self.old = None

    def _can_overlap(self, config: parser.Config, seen: HostCapacity) -> bool:
        """Say whether the new domain is made while the old one runs; where it cannot be, tell why."""
        if self.old is None or self.old.has_ended:
            return False
        why = swap.conflict(config, self._old_config(), seen, self.host.name)
        if why:
            self.screen.say(f"the older {self.old.name} is ended first: {why}")
        return why is None

    def _old_config(self) -> parser.Config | None:
        if self.known.good is None:
            return None
        try:
            kept = self.store.get(self.known.good.generation).xl
            return parser.parse(xl_file.read(kept), str(kept))
        except UnibuildError:  # it is kept no more
            return None

    def _create(
        self, deployed: host_files.HostFiles, new: records.DomainRecord, name: str
    ) -> tuple[Domain, Reader | None]:
        """Make the new domain, paused, and begin to read its console."""
        self.observer.phase_began("create")
        self.host.toolstack.create_paused(deployed.xl, name=name, uuid=new.uuid)
        domain = self.host.toolstack.find(uuid=new.uuid)
        self.observer.phase_began(None)
        if domain is None:
            raise DomainError(f"{new.name} was gone from {self.host.name} as soon as it was made")
        return domain, self._read(domain, new.name)

    def _read(self, domain: Domain, name: str) -> Reader | None:
        """Read a new domain's console from its first byte on."""
        if self.project.settings.boot.console == "none" and not self.project.settings.boot.ready.is_set:
            return None
        show = self.screen.show if self.project.settings.boot.console != "none" else discard_output
        return self.reading.enter_context(open_console(self.host, domain, self._log(name), show))

    def _log(self, name: str) -> Path:
        return log_path(self.state, name, self.host.name)

    def _undo(self, new: records.DomainRecord) -> None:
        """Remove what was made of the new domain; the old one, if it runs, has its name again."""
        domain = self.host.toolstack.find(uuid=new.uuid, background=True)
        if domain:
            self.host.toolstack.destroy(domain)
        ownership.clear_owner(self.host, new.uuid)
        self.store.ended(new.uuid, "not made", "")
        there = self.host.toolstack.find(uuid=self.old.uuid, background=True) if self.old else None
        if there and not there.has_ended and there.name != new.name:
            self.host.toolstack.rename(there, new.name)
            there = dataclasses.replace(there, name=new.name)
        self.has_ended_one |= self._ran and (there is None or there.has_ended)
        self.old = there
        self.save(self.known.good, new if self.has_ended_one else None)  # one that is lost stays known as such
        self._prune()

    def _clear_stale_owners(self, domains: tuple[Domain, ...]) -> None:
        """Take away our marks of domains that are gone."""
        there = {domain.uuid for domain in domains}
        own = [one for one, owner in self.marks.items() if ownership.is_owned_by(owner, self.project.root)]
        ownership.clear_owner(self.host, *(one for one in own if one not in there))


@contextlib.contextmanager
def locked(root: Path, host: str) -> Iterator[None]:
    """Let no other run of this tree change its domain on a host for the time of a block.

    Raises:
        BusyError: another one does.
    """
    with files.lock(records.lock_path(state_dir(root), host), f"the domain of {root} on {host}"):
        yield


@contextlib.contextmanager
def replacing(
    project: Project,
    host: Host,
    name: str,
    screen: ConsoleOutput,
    reading: contextlib.ExitStack,
    observer: ReplaceObserver | None = None,
) -> Iterator[Replacement]:
    """Give our domain on a host to be changed, under its lock there, cleared up after runs that were cut off.

    The caller holds ``locked``.

    Args:
        project: the project.
        host: where.
        name: what the domain is called.
        screen: what reports progress.
        reading: holds the readers of consoles that outlast the block.
        observer: who takes part in it.

    Raises:
        BusyError: someone else changes a domain of that name.
        DomainError: the name is someone else's.
        HostError: the host cannot be reached.
    """
    boot = project.settings.boot
    seconds = 2 * (boot.grace + boot.ready.timeout) + _SPARE
    owner = ownership.owner_id(project.root)
    with (
        job_control.defer_hangup(),
        ownership.locked(host, name, owner, seconds=seconds, take_over=project.take_over) as marks,
    ):
        now = records.load(state_dir(project.root), host.name)
        change = Replacement(project, host, screen, reading, now, marks, observer=observer or ReplaceObserver())
        change.recover(name)
        yield change
