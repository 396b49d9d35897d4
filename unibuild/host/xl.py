"""The ``xl`` toolstack: one method for each command.

unibuild waits for commands that create or destroy a domain even after Ctrl-C: an interrupted xl (or ssh) may finish
what it has begun. A second Ctrl-C does not wait.
"""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING

from unibuild.errors import CommandError, DomainError, HostError, LostError, MissingError, NoAnswerError
from unibuild.host.batch import BatchStep
from unibuild.host.sudoers import find_program
from unibuild.host.toolstack import Device, Diagnostic, Domain, HostFacts, RootProgram, Toolstack
from unibuild.host.xenstore import XenStore
from unibuild.host.xenstore import parse as parse_store
from unibuild.host.xl_errors import explain
from unibuild.util import job_control

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from unibuild.errors import UnibuildError
    from unibuild.host.base import Host
    from unibuild.host.toolstack import Console, HostQueries, Lease, Listing, NewDomainRequest
    from unibuild.util.process import Completed

__all__ = ["XlToolstack", "parse_devices", "parse_list"]

_LEAST_DOM0 = 128  # MiB; LIBXL_MIN_DOM0_MEM
_ROW = re.compile(  # tools/xl/xl_info.c, list_domains(); a name may hold spaces; "(null)" is a domain in creation
    r"(?P<name>.*?)\s+(?P<domid>\d+)\s+(?P<memory>\d+)\s+(?P<vcpus>\d+)\s+"
    r"(?P<state>[-r][-b][-p][-s][-rscwS?][-d])\s+(?P<seconds>[\d.]+)\s+"
    r"(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\s+(?P<reason>-|[0-9a-f]+)(?:\s|$)"
)
_BACKENDS = "/local/domain/0/backend"
_DEVICE = re.compile(_BACKENDS + r"/([^/]+)/(\d+)/([^/]+)/(params|mode|mac)")
_XENCTX = ("-a", "-C", "-S", "-k", "0")  # all registers and processors, the whole stack; kernels lie at low addresses
_PROGRAMS: Mapping[str, str] = {
    "xl": "xen-system-amd64",
    **dict.fromkeys(
        ("xenstore-ls", "xenstore-read", "xenstore-rm", "xenstore-watch", "xenstore-write"), "xenstore-utils"
    ),
}
_XENCTX_FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/libexec", "/usr/sbin", "/usr/local")  # of distributions
# The digits are written out, because * in a line of sudoers would match spaces and slashes too.
_KEYS = tuple(f" -a /dev/pts/{'[0-9]' * digits}" for digits in (1, 2, 3))
_ROOT_PROGRAMS: Mapping[str, RootProgram] = {
    **dict.fromkeys(_PROGRAMS, RootProgram()),
    "xl": RootProgram(probe=("list",)),
    "xenctx": RootProgram(folders=_XENCTX_FOLDERS),  # the registers of a domain that crashed
    "tee": RootProgram(arguments=_KEYS, probe=("-a", "/dev/pts/0")),  # keys for a console
}
_LIST = ("xl", "list", "-v")
_INFO = ("xl", "info")
_DEVICES = ("xenstore-ls", "-f", _BACKENDS)  # fails if there is no backend yet
_IS_ONE = """p=$1; shift; [ "$("$@" xenstore-read "$p")" = 1 ]"""  # "$@" is sudo, or nothing
_ANSWER = 30.0  # seconds for an answer of XenStore
_POLL = 0.2  # seconds between queries for a domain that `xl shutdown -w` can no longer report on
_LATE = 5.0  # seconds for `xl shutdown -w` to notice that the domain was destroyed


def parse_list(text: str) -> tuple[Domain, ...]:
    """Read the output of ``xl list -v``; its state letters are ``rbpscd`` (xl(1), "list")."""
    rows = (_ROW.match(line) for line in text.splitlines())
    return tuple(
        Domain(
            name=row["name"],
            domid=int(row["domid"]),
            memory=int(row["memory"]),
            vcpus=int(row["vcpus"]),
            seconds=float(row["seconds"]),
            uuid=row["uuid"],
            is_paused=row["state"][2] == "p",
            has_ended=row["state"][3] == "s" or row["state"][5] == "d",
            reason=None if row["reason"] == "-" else int(row["reason"], 16),
        )
        for row in rows
        if row
    )


def parse_devices(text: str) -> tuple[Device, ...]:
    """Read the output of ``xenstore-ls -f /local/domain/0/backend``."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for path, value in parse_store(text).items():
        if row := _DEVICE.fullmatch(path):
            found.setdefault((row[1], row[2], row[3]), {})[row[4]] = value
    return tuple(Device(kind, int(domid), keys) for (kind, domid, _), keys in found.items())


class XlToolstack(Toolstack):
    """``xl`` on a host."""

    name = "xl"
    programs = _PROGRAMS
    root_programs = _ROOT_PROGRAMS

    store: XenStore

    def __init__(self, host: Host) -> None:
        self._host = host
        self.store = XenStore(host)

    def list_domains(self, *, background: bool = False) -> tuple[Domain, ...]:
        """See ``Toolstack``."""
        return parse_list(self._xl(*_LIST[1:], name="Domain-0", background=background).text)

    def survey(self, lease: Lease, queries: HostQueries) -> tuple[Listing, HostFacts]:
        """See ``Toolstack``; behind SSH this takes one exchange."""
        host = self._host
        if not host.has_ttys:
            return super().survey(lease, queries)
        steps = {
            "lease": self.store.lease_step(lease),
            "domains": BatchStep(_LIST),
            "info": BatchStep(_INFO),
        }
        if queries.paths:
            steps["paths"] = BatchStep(("ls", "-d", "--", *queries.paths), root=False, may_fail=True)
        if queries.devices:
            steps["devices"] = BatchStep(_DEVICES, may_fail=True)
        if lister := host.list_copies(queries.folder):
            steps["copies"] = lister
        found = dict(zip(steps, host.run_all(tuple(steps.values()), question=True), strict=False))
        listing = self.store.read_listing(found["lease"])
        for key in ("domains", "info"):
            self._check(found[key], "Domain-0")
        if "copies" in found:
            host.note_copies(queries.folder, found["copies"])
        return listing, HostFacts(
            parse_list(found["domains"].text),
            _parse_info(found["info"].text),
            found=set(found["paths"].text.splitlines()) if "paths" in found else None,
            devices=parse_devices(found["devices"].text) if "devices" in found else None,
        )

    def create_paused(self, config: str, *, name: str, uuid: str) -> None:
        """See ``Toolstack``."""
        self._xl(*_create(config, name, uuid)[1:], name=name, whole=True)

    def launch(self, new: NewDomainRequest, on_put: Callable[[], object] = lambda: None) -> Domain | None:
        """See ``Toolstack``; behind SSH this takes one exchange."""
        host = self._host
        if not host.has_ttys:
            return super().launch(new, on_put)
        config = host.place(new.config, folder=new.folder)
        files = {new.config: host.put_step(new.config, folder=new.folder, exact=True)}
        if new.upload:  # last: it is large
            files[new.upload] = host.put_step(new.upload, folder=new.folder)
        puts = {path: step for path, step in files.items() if step}
        steps = [
            *puts.values(),
            BatchStep(("xenstore-write", *new.entry)),
            BatchStep(_create(config, new.name, new.uuid)),
            *(BatchStep(("xl", "rename", *pair)) for pair in new.renames),
            BatchStep(_LIST),
        ]
        ended = 0

        def done_one(number: int) -> None:
            nonlocal ended
            if ended < len(puts) <= number:
                on_put()
            ended = number

        def run() -> tuple[Completed, ...]:
            if not puts:
                on_put()
            with job_control.defer_signals(first_only=True):
                return host.run_all(steps, uploads=tuple(puts), background=True, on_done=done_one)

        try:
            found = run()
        except NoAnswerError:
            raise
        except LostError:
            if ended >= len(puts) or self.find(uuid=new.uuid, background=True):
                raise
            for path in puts:  # the copy was interrupted: start it again, once
                host.put(path, folder=new.folder)
            del steps[: len(puts)]
            puts.clear()
            found = run()
        for path, done in zip(puts, found, strict=False):
            host.check_put(path, done, host.place(path, folder=new.folder))
        for step, done in list(zip(steps, found, strict=False))[len(puts) :]:
            if step.argv[0] == "xl":
                self._check(done, new.name)
            elif done.returncode:
                raise CommandError(step.argv, done.returncode, done.stderr.decode(errors="replace"))
        return next((one for one in parse_list(found[-1].text) if one.uuid == new.uuid), None)

    def unpause(self, domain: Domain) -> None:
        """See ``Toolstack``."""
        self._xl("unpause", str(domain.domid), name=domain.name)

    def rename(self, domain: Domain, name: str) -> None:
        """See ``Toolstack``."""
        self._xl("rename", str(domain.domid), name, name=domain.name, whole=True)

    def request_shutdown(self, domain: Domain) -> None:
        """See ``Toolstack``."""
        self._host.run(["xl", "shutdown", str(domain.domid)], check=False, background=True)

    def shut_down(self, domain: Domain, timeout: float) -> bool:
        """See ``Toolstack``.

        A domain that takes requests says so in XenStore (Xen's xenstore-paths.pandoc, "control/feature-poweroff").
        ``xl shutdown -w`` waits on the host for the end of this domain.
        """
        deadline = time.monotonic() + timeout
        try:
            if self.store.read(f"/local/domain/{domain.domid}/control/feature-poweroff") != "1":
                return False
        except CommandError:
            return False
        with self._host.start(["xl", "shutdown", "-w", str(domain.domid)]) as asked:
            try:
                done = asked.finish(timeout)
                if done is None:
                    self.destroy(domain)
                    asked.wait(_LATE)
            except LostError:  # the request arrived nevertheless
                return self._wait_for_end(domain, deadline)
        return done is None or not done.returncode

    def hand_over(self, old: Domain, new: Domain, timeout: float) -> float | None:
        """See ``Toolstack``; behind SSH this takes one exchange.

        An ``xl unpause`` too many changes nothing.
        """
        host = self._host
        if not host.has_ttys:
            return super().hand_over(old, new, timeout)
        deadline = time.monotonic() + timeout
        done_at: dict[int, float] = {}
        path = f"/local/domain/{old.domid}/control/feature-poweroff"
        steps = [
            BatchStep(("sh", "-c", _IS_ONE, "sh", path, *host.as_root), root=not host.needs_sudo, seconds=_ANSWER),
            BatchStep(("xl", "shutdown", "-w", str(old.domid)), seconds=timeout),
            BatchStep(("xl", "unpause", str(new.domid))),
        ]
        try:
            found = host.run_all(steps, background=True, on_done=lambda n: done_at.setdefault(n, time.monotonic()))
        except NoAnswerError:
            return None
        except LostError:  # the request arrived nevertheless
            if not self._wait_for_end(old, deadline):
                return None
            done_at[2] = time.monotonic()
            self.unpause(new)
        else:
            if len(found) < len(steps):
                return None
            self._check(found[2], new.name)
        return time.monotonic() - done_at.get(2, time.monotonic())

    def _wait_for_end(self, domain: Domain, deadline: float) -> bool:
        while time.monotonic() < deadline:
            now = self.find(uuid=domain.uuid, background=True)
            if now is None or now.has_ended:
                return True
            time.sleep(_POLL)
        return False

    def destroy(self, domain: Domain) -> None:
        """See ``Toolstack``."""
        if domain.domid == 0:
            raise DomainError(
                f"{domain.name} is the control domain of {self._host.name}, which unibuild never destroys"
            )
        done = self._xl("destroy", str(domain.domid), name=domain.name, check=False, whole=True)
        if done.returncode and self.find(uuid=domain.uuid):
            raise explain(done.stderr.decode(errors="replace"), host=self._host.name, name=domain.name)

    def destroy_hint(self, domain: Domain) -> str:
        """See ``Toolstack``."""
        return f"xl destroy {domain.domid}"

    def open_console(self, domain: Domain, *, kind: str | None = None, on_close: Callable[[Console], None]) -> Console:
        """See ``Toolstack``."""
        from unibuild.host.xl_console import XlConsole

        return XlConsole(self._host, self.store, domain, kind, on_close)

    def info(self, *, background: bool = False) -> dict[str, str]:
        """See ``Toolstack``."""
        return _parse_info(self._xl("info", name="Domain-0", background=background).text)

    def free_memory(self, info: Mapping[str, str], domains: tuple[Domain, ...]) -> int:
        """See ``Toolstack``.

        This is the free memory, plus dom0's own above ``LIBXL_MIN_DOM0_MEM`` if xl makes dom0 smaller. xl does not if
        ``dom0_mem`` fixes dom0's memory: see ``autoballoon`` in xl.conf(5). The pattern is from tools/xl/xl.c.
        """
        free = info.get("free_memory", "")
        if not free.isdigit():
            raise HostError(f"xl info on {self._host.name} lacks free_memory", hint="run `xl info` there")
        fixed = re.search(r"(^| )dom0_mem=((|min:|max:)[0-9]+[bBkKmMgG]?,?)+($| )", info.get("xen_commandline", ""))
        spare = sum(max(0, domain.memory - _LEAST_DOM0) for domain in domains if domain.domid == 0)
        return int(free) + (0 if fixed else spare)

    def list_devices(self) -> tuple[Device, ...]:
        """See ``Toolstack``."""
        return parse_devices(self._host.run(_DEVICES, check=False, background=True).text)

    def assignable_pci(self) -> Collection[str]:
        """See ``Toolstack``."""
        said = self._host.run(["xl", "pci-assignable-list"], check=False, background=True).text
        return re.findall(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", said)

    def hypervisor_log(self) -> str:
        """See ``Toolstack``."""
        return self._host.run(["xl", "dmesg"], background=True).text

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """See ``Toolstack``."""
        return (
            self._diagnostic("xl", "list", "-v"),
            self._diagnostic("xl", "info"),
            self._diagnostic("uname", "-a", root=False),
            self._diagnostic("xl", "dmesg", is_log=True),
        )

    def _diagnostic(self, *argv: str, root: bool = True, is_log: bool = False) -> Diagnostic:
        def query(timeout: float) -> str:
            return self._host.run(argv, root=root, timeout=timeout).text

        return Diagnostic(" ".join(argv), query, is_log)

    def registers(self, domid: int, remaining: Callable[[], float]) -> str:
        """See ``Toolstack``."""
        arguments = [*_XENCTX, str(domid)]
        try:
            return self._host.run(["xenctx", *arguments], timeout=remaining()).text
        except MissingError:
            path = find_program(self._host, "xenctx", _XENCTX_FOLDERS, remaining())
        if path is None:
            raise MissingError(f"{self._host.name} lacks the program xenctx, which is part of Xen's utilities")
        return self._host.run([path, *arguments], timeout=remaining()).text

    def put(self, path: Path, *, folder: str = "", own: str | None = None) -> str:
        """See ``Toolstack``."""
        return self._host.put(path, folder=folder, own=own)

    def place(self, path: Path, *, folder: str = "", own: str | None = None) -> str:
        """See ``Toolstack``."""
        return self._host.place(path, folder=folder, own=own)

    def discard(self, folder: str, keep: Collection[str] = ()) -> tuple[str, ...]:
        """See ``Toolstack``."""
        return self._host.discard(folder, tuple(keep))

    def clean_up(
        self,
        domains: Sequence[Domain],
        entries: Collection[str],
        folders: Mapping[str, Collection[str]],
        *,
        start: Domain | None = None,
    ) -> tuple[str, ...]:
        """See ``Toolstack``; behind SSH this takes one exchange, or none where nothing is to be done."""
        host = self._host
        if not host.has_ttys or any(domain.domid == 0 for domain in domains):
            return super().clean_up(domains, entries, folders, start=start)
        copies = [host.leftovers(folder, tuple(keep)) for folder, keep in folders.items()]
        gone = [path for found, _ in copies for path in found]
        first = [start] if start else []
        steps = [
            *(BatchStep(("xl", "unpause", str(domain.domid))) for domain in first),
            *(BatchStep(("xl", "destroy", str(domain.domid))) for domain in domains),
            *([BatchStep(("rm", "-f", *gone), root=False, may_fail=True)] if gone else []),
            *(BatchStep(("xenstore-rm", entry), may_fail=True) for entry in entries),
        ]
        with job_control.defer_signals(first_only=True):
            found = host.run_all(steps, background=True) if steps else ()
            for number, (domain, done) in enumerate(zip((*first, *domains), found, strict=False)):
                if done.returncode and (domain is start or self.find(uuid=domain.uuid, background=True)):
                    raise self._error(done, domain.name)
                if done.returncode:  # it is gone already: do the rest
                    self.clean_up(domains[number + 1 - len(first) :], entries, folders)
        return tuple(path for _, stay in copies for path in stay)

    def _xl(
        self, *args: str, name: str, check: bool = True, background: bool = False, whole: bool = False
    ) -> Completed:
        argv: Sequence[str] = ("xl", *args)
        with job_control.defer_signals(first_only=True) if whole else contextlib.nullcontext():
            done = self._host.run(argv, check=False, background=background or whole)
        if check:
            self._check(done, name)
        return done

    def _check(self, done: Completed, name: str) -> None:
        """Raise the error of an ``xl`` that failed; ``name`` is that of the domain it was about."""
        if done.returncode:
            raise self._error(done, name)

    def _error(self, done: Completed, name: str) -> UnibuildError:
        return explain((done.stderr or done.stdout).decode(errors="replace"), host=self._host.name, name=name)


def _create(config: str, name: str, uuid: str) -> tuple[str, ...]:
    from unibuild.xlcfg.edit import quote  # a boot that has nothing to do needs no grammar

    return ("xl", "create", "-p", config, f"name={quote(name)}", f'uuid="{uuid}"')


def _parse_info(text: str) -> dict[str, str]:
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
