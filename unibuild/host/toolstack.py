"""The toolstack protocol: what unibuild asks of the programs that manage a Xen host's domains, and their registry."""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from unibuild.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from unibuild.host.base import Host
    from unibuild.util.process_identity import Process

__all__ = [
    "SHUTDOWN_REASONS",
    "TOOLSTACKS",
    "Console",
    "ConsoleReader",
    "Device",
    "Diagnostic",
    "Domain",
    "HostFacts",
    "HostQueries",
    "Lease",
    "Listing",
    "NewDomainRequest",
    "RootProgram",
    "Store",
    "Toolstack",
    "open_toolstack",
]

TOOLSTACKS = {"xl": "unibuild.host.xl:XlToolstack"}
"""``MODULE:CLASS`` of each toolstack, by the name that ``[hosts.NAME] toolstack`` takes; imported when first used."""

SHUTDOWN_REASONS = {  # xen/include/public/sched.h, SHUTDOWN_*
    0: "powered off",
    1: "asked for a reboot",
    2: "suspended itself",
    3: "crashed",
    4: "was shut down by its watchdog",
    5: "asked for a soft reset",
}


@dataclass(frozen=True)
class Domain:
    """A domain of a host, at the time of the query.

    Attributes:
        name: its name; not unique while a domain is being created.
        domid: its number; 0 is the control domain.
        memory: in MiB.
        vcpus: number of virtual processors.
        seconds: processor time that it has used.
        uuid: lower case, with hyphens.
        is_paused: whether it was created and never started, or paused from outside.
        has_ended: whether it has shut down, crashed, or is being destroyed.
        reason: its shutdown code, a key of ``SHUTDOWN_REASONS``; None: it has not shut down.
    """

    name: str
    domid: int
    memory: int
    vcpus: int
    seconds: float
    uuid: str
    is_paused: bool = False
    has_ended: bool = False
    reason: int | None = None


@dataclass(frozen=True)
class Device:
    """A virtual device of a domain.

    Attributes:
        kind: ``vbd``, ``qdisk``, ``vif``...
        domid: number of the domain.
        keys: of a disk ``params`` (the file or block device) and ``mode`` (``r``, ``w``); of a network device ``mac``.
    """

    kind: str
    domid: int
    keys: Mapping[str, str]


@dataclass(frozen=True)
class Diagnostic:
    """A query for a crash report.

    Attributes:
        name: title of the answer; for a command, the command.
        query: takes the seconds that it may need, and returns the answer; raises ``UnibuildError``.
        is_log: whether the answer is the hypervisor's log.
        is_log: whether the answer is the hypervisor's log.
    """

    name: str
    query: Callable[[float], str]
    is_log: bool = False


@dataclass(frozen=True)
class ConsoleReader:
    """Another unibuild that reads a console: its token, the domain's uuid, its process, and its user's name."""

    token: str
    uuid: str
    process: Process
    user: str


@dataclass(frozen=True)
class Listing:
    """What the store holds below a path.

    Attributes:
        now: the host's time, in seconds since 1970.
        entries: values by absolute path; an entry that only groups others has the value "".
    """

    now: float
    entries: Mapping[str, str]


@dataclass(frozen=True)
class Lease:
    """An entry of the store that ends by the host's clock; the arguments of ``Store.write_lease``."""

    path: str
    before: str
    seconds: float
    after: str
    root: str


@dataclass(frozen=True)
class HostQueries:
    """What ``Toolstack.survey`` asks a host.

    Attributes:
        folder: the files in this folder will be needed; see ``Toolstack.put``.
        paths: absolute paths on the host: do they exist?
        devices: whether the devices of all domains are wanted.
    """

    folder: str
    paths: tuple[str, ...] = ()
    devices: bool = False


@dataclass(frozen=True)
class HostFacts:
    """What a host has, at one time.

    Attributes:
        domains: as ``Toolstack.list_domains`` returns them.
        info: as ``Toolstack.info`` returns it.
        found: those of the queried paths that exist, as far as a user without root's rights sees; None: not known.
        devices: as ``Toolstack.list_devices`` returns them; None: not known.
    """

    domains: tuple[Domain, ...]
    info: Mapping[str, str]
    found: Collection[str] | None = None
    devices: tuple[Device, ...] | None = None


@dataclass(frozen=True)
class NewDomainRequest:
    """A domain to create.

    Attributes:
        config: the ``.xl`` on this machine, with the paths of the host.
        folder: of its copy; see ``Host.put``.
        name: its name while it is created.
        uuid: its uuid.
        entry: path and value of an entry in the store that is written before.
        renames: then the domains with these names get the others.
        upload: a file on this machine that is put in ``folder`` before.
    """

    config: Path
    folder: str
    name: str
    uuid: str
    entry: tuple[str, str]
    renames: tuple[tuple[str, str], ...] = ()
    upload: Path | None = None


class Store(Protocol):
    """A tree of small values on the host that every client of the host sees; XenStore where there is one.

    A path is absolute. Its parts consist of ``A-Z a-z 0-9 - _ @``, and it has at most 256 characters. A value is
    printable ASCII without ``"``, ``%`` and backslash, or these as ``%XX``; path and value have 4096 characters.
    Guests read their own part, ``/local/domain/DOMID``. All methods raise ``HostError`` for a host out of reach.
    """

    def read(self, path: str, *, timeout: float | None = None) -> str | None:
        """Return a value; None: there is no such entry.

        Args:
            path: of the entry.
            timeout: seconds to wait for the host; None: the host's own limit, and a second try.

        Raises:
            LostError: the host did not answer.
            CommandError: the store refused.
        """
        ...

    def write(self, path: str, value: str) -> None:
        """Write an entry, and those that group it."""
        ...

    def remove(self, path: str) -> None:
        """Remove an entry and all below it; do nothing where there is none."""
        ...

    def list(self, path: str) -> Listing:
        """Return all entries below a path, and the host's time; nothing below a path that does not exist."""
        ...

    def write_lease(self, path: str, before: str, seconds: float, after: str, *, root: str) -> Listing:
        """Write ``BEFORE TIME AFTER``, TIME being the host's time in ``seconds`` from now; then ``list`` ``root``."""
        ...


class Console(Protocol):
    """The console of one domain, attached until ``close``.

    Input typed into the domain and its output are bytes. No output is lost between two consoles of the same domain:
    what has not been read when one is closed is passed to ``on_close`` or left for the next.
    """

    @property
    def fd(self) -> int:
        """A file descriptor that is readable when ``read`` does not block."""
        ...

    @property
    def watch_fd(self) -> int:
        """A file descriptor that is readable when ``read_watch`` does not block."""
        ...

    def read(self) -> tuple[bytes, bool]:
        """Wait for output; return it, and whether more can follow."""
        ...

    def read_watch(self) -> tuple[bool, bool]:
        """Wait until some domain of the host has ended; return whether one has, and whether more reports can follow."""
        ...

    def send(self, data: bytes) -> None:
        """Type on the console."""
        ...

    def stop(self) -> None:
        """Stop reading on the host; output that is on its way can still be read."""
        ...

    def check(self) -> None:
        """Raise the error that ended the console, if it was the host's: it is out of reach, or refused.

        Raises:
            HostError: see above.
        """
        ...

    @property
    def is_refused(self) -> bool:
        """Whether the console could not be attached because another reader holds it."""
        ...

    def readers(self) -> tuple[ConsoleReader, ...]:
        """Return the other readers of this domain's console, as far as this user may see them.

        Raises:
            HostError: the host cannot be reached.
        """
        ...

    def end_reader(self, reader: ConsoleReader) -> None:
        """End another reader.

        Raises:
            HostError: the host cannot be reached.
        """
        ...

    def close(self) -> None:
        """Detach; call ``on_close`` while output that is on its way can still be read."""
        ...


class RootProgram(NamedTuple):
    """A program that runs as root on a host.

    Attributes:
        arguments: what lines of sudoers(5) allow after its path; an empty one allows any arguments.
        probe: arguments that the lines allow, to ask sudo(8) about.
        folders: where it is on some hosts, apart from the path.
    """

    arguments: Sequence[str] = ("",)
    probe: Sequence[str] = ("/",)
    folders: Sequence[str] = ()


class Toolstack(Protocol):
    """Manages the domains of one host.

    An implementation is registered in ``TOOLSTACKS`` and created with the ``Host`` that ``[hosts.NAME] address`` names.
    All methods raise ``HostError`` for a host that cannot be reached. ``background`` means that nothing may ask for a
    password: the call does not own the terminal.

    Attributes:
        name: as in ``TOOLSTACKS``.
        store: the host's store.
        programs: what must be installed on the host, with the Debian package that has it; the main program first.
        root_programs: what it runs as root there.
    """

    name: str
    store: Store
    programs: Mapping[str, str]
    root_programs: Mapping[str, RootProgram]

    def list_domains(self, *, background: bool = False) -> tuple[Domain, ...]:
        """Return all domains, the control domain included.

        Raises:
            HostError: the toolstack cannot talk to Xen.
        """
        ...

    def find(self, *, name: str | None = None, uuid: str | None = None, background: bool = False) -> Domain | None:
        """Return the domain with a name or a uuid; None: there is none."""
        for domain in self.list_domains(background=background):
            if domain.uuid == uuid or domain.name == name:
                return domain
        return None

    def create_paused(self, config: str, *, name: str, uuid: str) -> None:
        """Create a domain that does not run yet.

        Args:
            config: absolute path on the host of its configuration, in the language of xl.cfg(5).
            name: its name, whatever the configuration says.
            uuid: its uuid, whatever the configuration says.

        Raises:
            DomainError: Xen or the toolstack refused; nothing is left of the domain.
        """
        ...

    def survey(
        self,
        lease: Lease,
        queries: HostQueries,  # noqa: ARG002 (a toolstack may leave them unanswered)
    ) -> tuple[Listing, HostFacts]:
        """Write a lease, then return the store's entries and the facts of the host.

        Args:
            lease: what is written.
            queries: what else is wanted; the facts lack what a toolstack saves nothing by asking for here.

        Raises:
            HostError: the store or the toolstack does not answer.
        """
        listing = self.store.write_lease(lease.path, lease.before, lease.seconds, lease.after, root=lease.root)
        return listing, HostFacts(self.list_domains(), self.info())

    def launch(self, new: NewDomainRequest, on_put: Callable[[], object] = lambda: None) -> Domain | None:
        """Put a domain's files on the host, write its entry in the store, create it paused, and find it.

        Args:
            new: the domain.
            on_put: called once the files are there.

        Returns:
            The domain; None: it was gone at once. Its name says whether ``renames`` were carried out: a toolstack that
            saves nothing by doing it here leaves them to the caller.

        Raises:
            HostError: a file cannot be copied.
            DomainError: as those of ``create_paused`` and ``rename``; the domain may be there after a failed rename.
        """
        if new.upload:
            self.put(new.upload, folder=new.folder)
        config = self.put(new.config, folder=new.folder)
        on_put()
        self.store.write(*new.entry)
        self.create_paused(config, name=new.name, uuid=new.uuid)
        return self.find(uuid=new.uuid)

    def unpause(self, domain: Domain) -> None:
        """Start or continue a paused domain.

        Raises:
            DomainError: there is no such domain.
        """
        ...

    def rename(self, domain: Domain, name: str) -> None:
        """Give a domain another name.

        Raises:
            DomainError: another domain has it.
        """
        ...

    def request_shutdown(self, domain: Domain) -> None:
        """Ask a domain to shut down; do nothing where it cannot be asked."""
        ...

    def shut_down(self, domain: Domain, timeout: float) -> bool:
        """Ask a domain to shut down and wait for its end; return whether it has ended.

        Do not wait for a domain that says in the store that it takes no requests. A domain that does not end in time is
        destroyed or left running: the caller destroys it.

        Args:
            domain: it runs.
            timeout: seconds.
        """
        ...

    def hand_over(self, old: Domain, new: Domain, timeout: float) -> float | None:
        """Shut a domain down as ``shut_down`` does, and unpause another one as soon as it has ended.

        Args:
            old: it runs.
            new: it is paused.
            timeout: seconds for the old one.

        Returns:
            The seconds in which neither ran; None: the old one may run on, and the caller destroys it.

        Raises:
            DomainError: the new one cannot be unpaused.
        """
        if not self.shut_down(old, timeout):
            return None
        ended = time.monotonic()
        self.unpause(new)
        return time.monotonic() - ended

    def destroy(self, domain: Domain) -> None:
        """Destroy a domain; do nothing if it no longer exists.

        Raises:
            DomainError: it is the control domain, or the toolstack refused.
        """
        ...

    def destroy_hint(self, domain: Domain) -> str:
        """Return the command that a user types on the host to destroy a domain."""
        ...

    def open_console(self, domain: Domain, *, kind: str | None = None, on_close: Callable[[Console], None]) -> Console:
        """Attach the console of a domain that is paused, runs, or has ended and is preserved.

        Args:
            domain: it.
            kind: of an HVM domain, ``serial`` or ``pv``; None: the first one.
            on_close: see ``Console.close``; also called if attaching fails after output could arrive.
        """
        ...

    def info(self, *, background: bool = False) -> Mapping[str, str]:
        """Return facts of the host, with the keys of ``xl info``; a fact that is not known is left out.

        unibuild uses ``xen_version``, ``xen_major``, ``xen_minor``, ``xen_caps``, ``virt_caps``, ``total_memory`` and
        ``free_memory`` (MiB).
        """
        ...

    def free_memory(self, info: Mapping[str, str], domains: tuple[Domain, ...]) -> int:
        """Return the memory in MiB that a new domain can have at most; the host is not asked.

        Args:
            info: what ``info`` returned.
            domains: what ``list_domains`` returned.

        Raises:
            HostError: the facts do not say it.
        """
        ...

    def list_devices(self) -> tuple[Device, ...]:
        """Return the disks and network devices of all domains."""
        ...

    def assignable_pci(self) -> Collection[str]:
        """Return the PCI devices that can be given to a domain, as ``DDDD:BB:DD.F``."""
        ...

    def hypervisor_log(self) -> str:
        """Return the end of Xen's own log."""
        ...

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Return the queries of a crash report, without running them."""
        ...

    def registers(self, domid: int, remaining: Callable[[], float]) -> str:
        """Return the registers and stack of a domain's processors, in the format of Xen's ``xenctx -a -C -S``.

        Args:
            domid: number of the domain; it runs, or has ended and is preserved.
            remaining: returns the seconds that the next command may take; may raise ``UnibuildError``.

        Raises:
            UnibuildError: they cannot be read.
        """
        ...

    def put(self, path: Path, *, folder: str = "", own: str | None = None) -> str:
        """Make a file available to the host's domains; see ``Host.put``."""
        ...

    def place(self, path: Path, *, folder: str = "", own: str | None = None) -> str:
        """Return the path on the host that ``put`` will return; the file may be put there at once."""
        return self.put(path, folder=folder, own=own)

    def discard(self, folder: str, keep: Collection[str] = ()) -> tuple[str, ...]:
        """Remove files that ``put`` copied; see ``Host.discard``."""
        ...

    def clean_up(
        self,
        domains: Sequence[Domain],
        entries: Collection[str],
        folders: Mapping[str, Collection[str]],
        *,
        start: Domain | None = None,
    ) -> tuple[str, ...]:
        """Destroy domains, discard files, and remove entries of the store, in this order.

        Args:
            domains: as for ``destroy``.
            entries: paths of the entries; all are left if a domain is not destroyed.
            folders: what to keep in each folder; see ``discard``.
            start: a paused domain that is unpaused first; nothing else is done if that fails.

        Returns:
            What ``discard`` returns for the folders.

        Raises:
            DomainError: the toolstack refused.
        """
        if start:
            self.unpause(start)
        for domain in domains:
            self.destroy(domain)
        stay = tuple(path for folder, keep in folders.items() for path in self.discard(folder, keep))
        for entry in entries:
            self.store.remove(entry)
        return stay


def open_toolstack(name: str, host: Host) -> Toolstack:
    """Return the toolstack of a host; the host is not asked.

    Args:
        name: a key of ``TOOLSTACKS``.
        host: the machine that it manages.

    Raises:
        SettingsError: there is no toolstack of that name.
    """
    if name not in TOOLSTACKS:
        raise SettingsError(f"unknown toolstack: {name}", hint=f"known: {', '.join(TOOLSTACKS)}")
    module, _, attribute = TOOLSTACKS[name].partition(":")
    toolstack: Toolstack = getattr(importlib.import_module(module), attribute)(host)
    return toolstack
