"""Create a scratch domain for one test, with its own name and addresses, and always remove it."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import posixpath
import secrets
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from unibuild.deploy import host_files, hosts
from unibuild.domain import ownership
from unibuild.domain.console import Reader
from unibuild.domain.console_log import Log
from unibuild.domain.exit_status import DomainExit
from unibuild.errors import BusyError, DomainError, HostError, UnibuildError
from unibuild.graph import xl_file
from unibuild.host.ssh import Ssh
from unibuild.settings.loader import state_dir
from unibuild.testing.capture import ConsoleCapture, KeyQueue
from unibuild.util import files, standard_streams
from unibuild.xlcfg import edit, parser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from unibuild.graph.graph import Graph
    from unibuild.host.base import Host
    from unibuild.host.toolstack import Domain
    from unibuild.settings.model import Settings, Value
    from unibuild.testing.expectations import ConsoleLine

__all__ = [
    "ScratchDomain",
    "booted",
    "copies",
    "fresh_name",
    "journaled",
    "log_path",
    "open_host",
    "remove_files",
    "remove_leftovers",
    "with_args",
    "with_memory",
]


@contextlib.contextmanager
def journaled(host: Host, root: Path, name: str) -> Iterator[None]:
    """Record the name of a test run's domains for the time of the block.

    Args:
        host: the host.
        root: the project's folder.
        name: the domains' name; no other run has it.

    Raises:
        FileError: it cannot be written.
        FileError: it cannot be written.
    """
    note = state_dir(root) / "test" / f"{name}.note"
    lock = note.with_suffix(".lock")
    with contextlib.ExitStack() as undo:
        undo.callback(lock.unlink, missing_ok=True)
        undo.enter_context(files.lock(lock, f"the test run {name}"))
        files.write_atomic(note, host.name.encode())
        undo.callback(note.unlink, missing_ok=True)
        yield


def remove_leftovers(host: Host, root: Path) -> Iterator[str]:
    """Remove what killed runs left on a host and here; gives the names of the removed domains.

    Args:
        host: the host.
        root: the project's folder.

    Raises:
        HostError: the host cannot be reached.
    """
    for note in (state_dir(root) / "test").glob("*.note"):
        lock = note.with_suffix(".lock")
        with contextlib.suppress(BusyError, FileNotFoundError), files.lock(lock, f"the test run {note.stem}"):
            if note.read_text() != host.name:
                continue
            yield from _domains(host, root, note.stem)
            remove_files(host, root, note.stem)
            for path in note.parent.glob(f"{note.stem}.*"):  # the note and its lock too
                path.unlink(missing_ok=True)


def remove_files(host: Host, root: Path, name: str) -> None:
    """Remove the files of the domain ``name`` from its host; do nothing if it is out of reach."""
    if isinstance(host, Ssh):  # other hosts have no copies
        with contextlib.suppress(HostError):
            folder = posixpath.join(host.folder, host_files.host_folder(root, name))
            host.run(["rm", "-rf", folder], root=False, check=False, background=True)


def _domains(host: Host, root: Path, name: str) -> Iterator[str]:
    owners = ownership.owners(host)
    for domain in host.toolstack.list_domains():
        if domain.name == name and ownership.is_owned_by(owners.get(domain.uuid), root):
            host.toolstack.destroy(domain)
            ownership.clear_owner(host, domain.uuid)
            yield name


_TYPING = 5.0  # seconds for a key to reach the console


def fresh_name(name: str) -> str:
    """Return a name for one test run's domains, which no other run has."""
    return f"{name}-test-{secrets.token_hex(2)}"


def open_host(settings: Settings) -> Host:
    """Return the host in the settings; a lab without the ports of ``[lab] forward``, because tests open their own.

    Raises:
        HostError: it cannot be reached, or the lab does not start.
    """
    lab = msgspec.structs.replace(settings.lab, forward=())
    return hosts.open_host(msgspec.structs.replace(settings, lab=lab))


def log_path(root: Path, test: str) -> Path:
    """Return the path of a test's console log: ``.unibuild/test/NAME.log``."""
    return state_dir(root) / "test" / f"{test}.log"


def with_args(found: Graph, args: Sequence[str] | Mapping[str, Value] | None) -> Graph:
    """Return the graph with other arguments for the unikernel; they replace ``[xl] cmdline`` too."""
    if args is None:
        return found
    settings = found.project.settings
    settings = msgspec.structs.replace(
        settings,
        boot=msgspec.structs.replace(settings.boot, args=args),
        xl=msgspec.structs.replace(settings.xl, cmdline=None),
    )
    return found._replace(project=dataclasses.replace(found.project, settings=settings))


def with_memory(found: Graph, memory: int | None) -> Graph:
    """Return the graph with another memory size of the domain, in MiB."""
    if memory is None:
        return found
    settings = found.project.settings
    settings = msgspec.structs.replace(settings, xl=msgspec.structs.replace(settings.xl, memory=memory))
    return found._replace(project=dataclasses.replace(found.project, settings=settings))


@dataclass
class ScratchDomain:
    """A running test domain, and its console.

    Attributes:
        host: its host.
        domain: the domain, as listed when it was created.
        config: its ``.xl``.
        reader: its console.
        key_queue: the keys that are typed.
        end: how it stopped; None: it runs.
    """

    host: Host
    domain: Domain
    config: parser.Config
    reader: Reader
    key_queue: KeyQueue
    end: DomainExit | None
    _heard: ConsoleCapture

    @property
    def lines(self) -> list[ConsoleLine]:
        """The complete lines of its console so far."""
        return self._heard.lines

    @property
    def unfinished(self) -> str:
        """The incomplete last line."""
        return self._heard.rest

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._heard.began

    def follow(self, until: float) -> DomainExit | None:
        """Read the console until the age ``until``, a new line, a wake-up or its end; return how it stopped.

        Raises:
            HostError: the host went out of reach.
            DomainError: the console cannot be read.
        """
        if self.end is None:
            outcome = self.reader.follow(self.key_queue, wait=max(0.0, until - self.age))
            if isinstance(outcome, DomainExit):
                self.end = outcome
                self._heard.end()
        return self.end

    def catch_up(self) -> DomainExit | None:
        """Read the console's output up to now; return how the domain stopped."""
        before = -1
        while self._heard.count != before and self.end is None:
            before = self._heard.count
            self.follow(self.age)
        return self.end

    def type(self, keys: bytes) -> None:
        """Type on the console."""
        self.key_queue.put(keys)
        self.follow(self.age + _TYPING)

    def give_up(self) -> None:
        """Treat an incomplete line as complete: no more output is awaited."""
        self._heard.end()


@contextlib.contextmanager
def copies(host: Host, root: Path, name: str) -> Iterator[None]:
    """Ensure that nothing of the domain ``name`` is left on the host after the block, nor anything of killed runs.

    Raises:
        HostError: the host is out of reach.
        FileError: the run cannot be recorded here.
    """
    for gone in remove_leftovers(host, root):
        standard_streams.text(2, f"unibuild: removed {gone} from {host.name}, left by a killed test run\n")
    with journaled(host, root, name):
        try:
            yield
        finally:
            remove_files(host, root, name)


@contextlib.contextmanager
def booted(
    found: Graph, host: Host, name: str, log: Path, change: Callable[[str], str] | None = None
) -> Iterator[ScratchDomain]:
    """Boot a scratch domain for the time of the block, inside ``copies``, which removes the files.

    Disks that it writes to are fresh copies. The project's own domain, its record and its addresses are not touched.

    Args:
        found: the project's graph, up to date.
        host: the host.
        name: the domain's name; no other domain has it.
        log: the console log's path; an older file is removed.
        change: the last change to the text of its ``.xl``.

    Raises:
        DomainError: it cannot be created.
        HostError: the host is out of reach.
    """
    state = state_dir(found.project.root)
    path = state / "test" / f"{name}.xl"
    asked = str(uuid.uuid4())
    with contextlib.ExitStack() as undo:
        undo.callback(path.unlink, missing_ok=True)
        text = _render(found, name)
        text = change(text) if change else text
        if not isinstance(host, Ssh):
            text = _with_copied_disks(text, path, undo)
        files.write_atomic(path, text.encode(errors="surrogateescape"))
        undo.callback(_unlink, path.parent, f"{glob.escape(name)}*.remote.xl")
        deployed = host_files.copy_to_host(host, path, found.project.root, path.parent)
        if isinstance(host, Ssh):
            undo.callback(_wipe, host, deployed)
        undo.callback(_destroy, host, asked)
        ownership.set_owner(host, asked, ownership.owner_id(found.project.root))
        host.toolstack.create_paused(deployed.xl, name=name, uuid=asked)
        domain = host.toolstack.find(uuid=asked)
        if domain is None:
            raise DomainError(f"{name} disappeared from {host.name} as soon as it was created")
        log.unlink(missing_ok=True)
        key_queue = undo.enter_context(KeyQueue())
        captured = ConsoleCapture(key_queue.wake)
        kind = "pv" if deployed.config.get("type") == "hvm" else None  # a Xen kernel does not print to a serial port
        reader = undo.enter_context(Reader(host, domain, Log(log), captured.feed, kind=kind))
        captured.began = time.monotonic()
        host.toolstack.unpause(domain)
        yield ScratchDomain(host, domain, deployed.config, reader, key_queue, None, captured)


def _render(found: Graph, name: str) -> str:
    """Return the ``.xl`` with its own name and addresses; the domain is preserved when it stops."""
    text = found.render()
    vifs = parser.parse(text).get("vif")
    macs = {str(number): {"mac": _mac()} for number in range(len(vifs) if isinstance(vifs, list) else 0)}
    ends = dict.fromkeys(xl_file.ENDS, "preserve")
    return edit.apply(text, edit.Changes({"name": name, **ends}, vif=macs))


def _mac() -> str:
    """Return a random MAC address with Xen's own prefix (xl-network-configuration(5), "mac")."""
    return "00:16:3e:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))


def _with_copied_disks(text: str, path: Path, undo: contextlib.ExitStack) -> str:
    """Return the ``.xl`` with local copies of the files that the domain will write to, because xl opens them here."""
    moved = {}
    for disk in xl_file.disks(parser.parse(text)):
        if disk.is_written and disk.is_path and disk.target.is_file():
            copy = path.with_name(f"{path.stem}.{disk.vdev}.disk")
            undo.callback(copy.unlink, missing_ok=True)
            files.copy_atomic(disk.target, copy)
            moved[disk.number] = {"target": str(copy)}
    return edit.apply(text, edit.Changes(disk=moved))


def _wipe(host: Ssh, deployed: host_files.HostFiles) -> None:
    """Remove the working copies of the disks that the domain wrote to, so that the next test gets fresh ones."""
    disks = {str(disk.target) for disk in xl_file.disks(deployed.config) if disk.is_written}
    if written := disks.intersection(deployed.files):
        host.run(["rm", "-f", *sorted(written)], root=False, check=False, background=True)


def _unlink(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        path.unlink(missing_ok=True)


def _destroy(host: Host, asked: str) -> None:
    """Destroy the domain; do nothing if it is out of reach, because the error that led here reports that."""
    with contextlib.suppress(UnibuildError):
        domain = host.toolstack.find(uuid=asked, background=True)
        if domain:
            host.toolstack.destroy(domain)
        ownership.clear_owner(host, asked)
