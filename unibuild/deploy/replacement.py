"""Replace the project's domain on one host, under the locks, recording each step before it is done.

A run that is killed leaves a record that the next run understands (``domain.swap.recover``). A failure in between
leaves the old domain running, boots it again, or reports that it is lost.
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
from unibuild.host.toolstack import NewDomainRequest
from unibuild.settings.loader import state_dir
from unibuild.util import files, job_control
from unibuild.xlcfg import parser

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from unibuild.deploy.console_output import ConsoleOutput
    from unibuild.domain.generations import Generation
    from unibuild.domain.preflight import HostCapacity
    from unibuild.host.base import Host
    from unibuild.host.toolstack import Domain, HostFacts
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

_DRAIN_TIMEOUT = 20.0  # seconds to read what a stopped domain wrote last


class ConsoleDrain(contextlib.AbstractContextManager["ConsoleDrain"]):
    """Read the rest of an old domain's console into its log.

    It reads nothing if the console cannot be read, or another process reads it.

    Args:
        host: the domain's host.
        domain: the old domain.
        state: the state folder.
    """

    def __init__(self, host: Host, domain: Domain, state: Path) -> None:
        self._stack = contextlib.ExitStack()
        self._since = time.monotonic()
        self.reader: Reader | None = None
        with contextlib.suppress(UnibuildError):
            log = Log(log_path(state, domain.name, host.name))
            log.open()  # now: the file is renamed when the new domain begins its own
            self.reader = self._stack.enter_context(Reader(host, domain, log, discard_output, silent=SILENT))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def drain(self) -> None:
        """Read the console of the stopped domain to its end."""
        if self.reader is None:
            return
        self.reader.silent = max(QUIET, SILENT - (time.monotonic() - self._since))
        with contextlib.suppress(UnibuildError):
            self.reader.follow(wait=_DRAIN_TIMEOUT)


def open_console(host: Host, domain: Domain, path: Path, show: Callable[[bytes], None]) -> Reader:
    """Return the reader of a domain that is still paused, with a new log.

    Raises:
        HostError: the host went out of reach.
    """
    rotate(path)
    return Reader(host, domain, Log(path), show)


def discard_output(_: bytes) -> None:
    """Discard console output."""


@dataclass(frozen=True)
class NewDomain:
    """A domain that runs now: its row of ``xl list``, its record, ``.xl``, console and log."""

    domain: Domain
    instance: records.DomainRecord
    config: parser.Config
    reader: Reader | None
    log: Path


class ReplaceObserver:
    """Callbacks that observe a replacement; the default ones do nothing but read the old console for its log."""

    def drain_console(self, host: Host, domain: Domain, state: Path) -> ConsoleDrain:
        """Return what reads the old domain's console to its end."""
        return ConsoleDrain(host, domain, state)

    def phase_began(self, phase: Literal["copy", "create", "ready"] | None) -> None:
        """Called when a phase begins and the one before it ends; None: no phase begins."""

    def down_for(self, seconds: float) -> None:
        """Called with the downtime in seconds."""

    def new_domain_accepted(self, made: NewDomain) -> None:
        """Called when a domain is accepted as the last good one; its reader belongs to the observer from then on."""


_SPARE = 120.0  # seconds that creating and stopping domains may take, beyond what the settings allow


@dataclass
class Replacement:
    """The replacement of a project's domain on a host, while this run holds its lock.

    Attributes:
        old: the project's domain that is there: it runs, is paused, or has stopped.
        known: the record of the project's domains on the host.
        lost: a sentence on what an interrupted run left.
    """

    project: Project
    host: Host
    screen: ConsoleOutput
    reading: contextlib.ExitStack
    known: records.HostRecord
    lock: ownership.NameLock
    old: Domain | None = None
    lost: str | None = None
    facts: HostFacts | None = field(init=False)  # of the host, until something there is changed
    store: GenerationStore = field(init=False)
    state: Path = field(init=False)
    has_ended_one: bool = False  # a domain of this project that ran
    is_running: bool = False  # the new domain, which was not accepted yet
    observer: ReplaceObserver = field(default_factory=ReplaceObserver)

    def __post_init__(self) -> None:
        self.state = state_dir(self.project.root)
        self.store = GenerationStore(self.state)
        self.facts = self.lock.facts

    def save(self, good: records.DomainRecord | None, pending: records.DomainRecord | None = None) -> None:
        """Record the domains as they are now."""
        self.known = dataclasses.replace(self.known, good=good, pending=pending)
        records.save(self.state, self.known)

    def recover(self, name: str) -> None:
        """Clean up after an interrupted run, and find the project's domain; refuse another owner's of that name.

        Raises:
            DomainError: the name is taken.
        """
        domains = self.facts.domains if self.facts else self.host.toolstack.list_domains()
        there, self.lost = swap.recover(self.host, self.known, domains)
        if self.lost:
            self.facts = None
            self.screen.say(self.lost)
            domains = self.host.toolstack.list_domains()
        self.save(there)
        self.old = next((one for one in domains if there and one.uuid == there.uuid), None)
        for domain in domains:
            if domain.name != name or domain.uuid in self.known.uuids:
                continue
            owner = self.lock.owners.get(domain.uuid)
            if domain.domid == 0 or not (self.project.take_over or ownership.is_owned_by(owner, self.project.root)):
                raise ownership.name_taken(self.host, domain, owner)
            self.old = self.old or domain
        self._clear_stale_owners(domains)

    def replace(self, generation: Generation, made_from: records.BootFiles) -> NewDomain:
        """Replace the old domain with a generation's, and stop the old one.

        Args:
            generation: the generation to boot.
            made_from: identities of the project's files.

        Raises:
            DomainError: the host cannot take it, or xl refused. The old domain runs on unless the hint says otherwise.
        """
        self.observer.phase_began("copy")
        leaving = (self.old.uuid,) if self.old else ()
        facts, self.facts = self.facts, None
        deployed, seen, new = host_files.prepare(self.host, self.project, generation, made_from, leaving, facts)
        text = xl_file.read(generation.xl)
        overlap = self._can_overlap(parser.parse(text, str(generation.xl)), seen)
        before = {host_files.host_folder(self.project.root, self.known.good.name)} if self.known.good else set()
        copies = {**dict.fromkeys(before, ()), deployed.folder: deployed.files}
        self.save(self.known.good, new)
        self.store.started(generation.number, self.host.name, new.uuid, self._log(new.name))
        with contextlib.ExitStack() as undo:
            undo.callback(self._undo, new)
            if overlap and self.old:
                with self.observer.drain_console(self.host, self.old, self.state) as console:
                    domain, reader = self._create(deployed, new, replaces=self.old)
                    with job_control.defer_signals(first_only=True):
                        downtime = swap.replace(self.host, self.old, domain, new.name, self.project.settings.boot.grace)
                        undo.pop_all()
                        self.is_running = True
                        self.observer.down_for(downtime)
                        self.screen.say(f"replaced {new.name}; downtime {downtime:.2f} s")
                        with reader.reading() if reader else contextlib.nullcontext():
                            console.drain()
                            self._remove_old("replaced", copies)
            else:
                ran, began = self._ran, time.monotonic()
                for path in (deployed.upload, deployed.source) if self.old else ():
                    if path:
                        self.host.toolstack.put(path, folder=deployed.folder)
                if self.old:
                    self.observer.phase_began(None)  # stopping the old one is not part of the copy
                self.end_old("replaced")
                domain, reader = self._create(deployed, new)
                self._clean_up((), (), copies, start=domain)
                undo.pop_all()
                self.is_running = True
                if ran:
                    self.observer.down_for(time.monotonic() - began)
        log = self._log(new.name)
        return NewDomain(dataclasses.replace(domain, name=new.name), new, deployed.config, reader, log)

    def accept(self, made: NewDomain, outcome: str, why: str = "") -> None:
        """Record a running domain as the last good one."""
        self.store.ended(made.instance.uuid, outcome, why)  # first: the outcome outlasts a run that is killed here
        self.save(made.instance)
        self.observer.new_domain_accepted(made)
        self.is_running = False
        self._prune()

    @property
    def _ran(self) -> bool:
        """Whether the project's old domain ran at the start."""
        return self.old is not None and not self.old.has_ended and not self.old.is_paused

    def good_generation(self, but: int) -> Generation | None:
        """Return the generation to fall back to, not ``but``: the running one if it is good, else the last good one."""
        runs = self.known.good if self._ran else None
        if runs and runs.generation != but and self.store.is_proven(runs.uuid):
            with contextlib.suppress(UnibuildError):
                return self.store.get(runs.generation)
        found = self.store.last_good(self.host.name)
        return self.store.last_good(self.host.name, before=but) if found and found.number == but else found

    def end_old(self, outcome: str) -> None:
        """Stop the old domain, if there is one, and read the rest of its console."""
        if self.old is None:
            return
        with self.observer.drain_console(self.host, self.old, self.state) as console:
            swap.end(self.host, self.old, self.project.settings.boot.grace)
            console.drain()
        self._remove_old(outcome)

    def discard_new(self, made: NewDomain, outcome: str, why: str) -> None:
        """Remove a new domain that is not good."""
        self.is_running = False
        self.host.toolstack.destroy(made.domain)
        ownership.clear_owner(self.host, made.instance.uuid)
        self.store.ended(made.instance.uuid, outcome, why)
        again = self.project.settings.boot.ready.on_failure == "rollback"
        # a run that is killed during the rollback has lost the last good domain
        self.save(self.known.good, made.instance if again else None)
        self._prune()

    def _prune(self) -> None:
        boot = self.project.settings.boot
        self.store.prune(boot.keep, boot.keep_size, [one.generation for one in (self.known.good,) if one])

    def _remove_old(self, outcome: str, copies: Mapping[str, Collection[str]] | None = None) -> None:
        """Remove the old domain, which has ended.

        Args:
            outcome: of its boot.
            copies: what to keep in each folder of copies of files; None: this is not the end of the replacement.
        """
        assert self.old is not None
        self.has_ended_one |= self._ran
        if copies is None:
            self.host.toolstack.clean_up([self.old], [ownership.entry(self.old.uuid)], {})
        else:
            self._clean_up([self.old], [ownership.entry(self.old.uuid)], copies)
        self.store.ended(self.old.uuid, outcome, "")
        self.old = None

    def _clean_up(
        self,
        domains: Sequence[Domain],
        entries: Sequence[str],
        copies: Mapping[str, Collection[str]],
        *,
        start: Domain | None = None,
    ) -> None:
        """Clean up at the end of the replacement; release the lock with it where the host is not needed any more."""
        last = not self.project.settings.boot.ready.is_set
        unlock = [self.lock.path] if last else []
        self.host.toolstack.clean_up(domains, [*entries, *unlock], copies, start=start)
        self.lock.is_released |= last

    def _can_overlap(self, config: parser.Config, seen: HostCapacity) -> bool:
        """Return whether the new domain is created while the old one runs; report why not."""
        if self.old is None or self.old.has_ended:
            return False
        why = swap.conflict(config, self._old_config(), seen, self.host.name)
        if why:
            self.screen.say(f"the old {self.old.name} is stopped first: {why}")
        return why is None

    def _old_config(self) -> parser.Config | None:
        if self.known.good is None:
            return None
        try:
            kept = self.store.get(self.known.good.generation).xl
            return parser.parse(xl_file.read(kept), str(kept))
        except UnibuildError:  # it is no longer kept
            return None

    def _create(
        self, deployed: host_files.HostFiles, new: records.DomainRecord, *, replaces: Domain | None = None
    ) -> tuple[Domain, Reader | None]:
        """Create the new domain, paused, and begin to read its console.

        Args:
            deployed: its files on the host.
            new: what is recorded of it.
            replaces: the domain that has its name now.
        """
        temporary = swap.new_name(new.name, new.uuid)
        renames = (
            ((str(replaces.domid), swap.old_name(new.name, replaces.uuid)), (temporary, new.name)) if replaces else ()
        )
        domain = self.host.toolstack.launch(
            NewDomainRequest(
                config=deployed.source,
                folder=deployed.folder,
                name=temporary if replaces else new.name,
                uuid=new.uuid,
                entry=(ownership.entry(new.uuid), ownership.owner_id(self.project.root)),
                renames=renames,
                upload=deployed.upload,
            ),
            lambda: self.observer.phase_began("create"),
        )
        self.observer.phase_began(None)
        if domain is None:
            raise DomainError(f"{new.name} disappeared from {self.host.name} as soon as it was created")
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
        """Remove what was created of the new domain, and give the old one its name back if it runs.

        A new domain that runs in place of the old one stays: the run failed after it had started.
        """
        domain = self.host.toolstack.find(uuid=new.uuid, background=True)
        there = self.host.toolstack.find(uuid=self.old.uuid, background=True) if self.old else None
        if domain and not (domain.is_paused or domain.has_ended) and (there is None or there.has_ended):
            self.is_running = True
            return
        if domain:
            self.host.toolstack.destroy(domain)
        ownership.clear_owner(self.host, new.uuid)
        self.store.ended(new.uuid, "not made", "")
        if there and not there.has_ended and there.name != new.name:
            self.host.toolstack.rename(there, new.name)
            there = dataclasses.replace(there, name=new.name)
        self.has_ended_one |= self._ran and (there is None or there.has_ended)
        self.old = there
        self.save(self.known.good, new if self.has_ended_one else None)  # which shows that the old one is lost
        self._prune()

    def _clear_stale_owners(self, domains: tuple[Domain, ...]) -> None:
        """Remove this project's ownership records of domains that no longer exist."""
        there = {domain.uuid for domain in domains}
        own = [one for one, owner in self.lock.owners.items() if ownership.is_owned_by(owner, self.project.root)]
        ownership.clear_owner(self.host, *(one for one in own if one not in there))


@contextlib.contextmanager
def locked(root: Path, host: str) -> Iterator[None]:
    """Keep other runs of this tree from changing its domain on a host for the time of a block.

    Raises:
        BusyError: another run changes it.
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
    generation: Generation | None = None,
) -> Iterator[Replacement]:
    """Give the replacement of the project's domain on a host, under its lock there, after recovering interrupted runs.

    The caller holds ``locked``.

    Args:
        project: the project.
        host: the host.
        name: the domain's name.
        screen: reports progress.
        reading: holds the readers of consoles that outlast the block.
        observer: observes the replacement.
        generation: the generation to boot, if there is one; the host is asked for what preflight needs of it.

    Raises:
        BusyError: another process changes a domain of that name.
        DomainError: the name belongs to another owner.
        HostError: the host cannot be reached.
    """
    boot = project.settings.boot
    seconds = 2 * (boot.grace + boot.ready.timeout) + _SPARE
    owner, take_over = ownership.owner_id(project.root), project.take_over
    queries = host_files.queries(host, project, name, generation)
    with (
        job_control.defer_hangup(),
        ownership.surveyed(host, name, owner, seconds=seconds, take_over=take_over, queries=queries) as lock,
    ):
        now = records.load(state_dir(project.root), host.name)
        observer = observer or ReplaceObserver()
        change = Replacement(project, host, screen, reading, now, lock, observer=observer)
        change.recover(name)
        yield change
