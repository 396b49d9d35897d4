"""The verbs of ``xl``, one function each.

Those that make or end a domain are waited for even after Ctrl-C: an xl that is cut off, or whose ssh is, may go on with
what it had begun. A second Ctrl-C does not wait.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unibuild.errors import DomainError, HostError
from unibuild.host.xl_errors import explain
from unibuild.util import job_control
from unibuild.xlcfg.write import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unibuild.host.base import Host
    from unibuild.host.exchange import HostChild
    from unibuild.util.process import Completed

__all__ = [
    "REASONS",
    "Domain",
    "available_memory",
    "create_paused",
    "destroy",
    "domains",
    "find",
    "info",
    "parse_list",
    "rename",
    "shutdown",
    "unpause",
]

REASONS = {  # libxl_types.idl, libxl_shutdown_reason; "Reason-Code" of `xl list -v`, in hexadecimal there
    0: "powered off",
    1: "asked for a reboot",
    2: "suspended itself",
    3: "crashed",
    4: "was ended by its watchdog",
    5: "asked for a soft reset",
}
_LEAST_DOM0 = 128  # MiB; LIBXL_MIN_DOM0_MEM
_ROW = re.compile(  # tools/xl/xl_info.c, list_domains(); a name may hold spaces, a domain being made has "(null)"
    r"(?P<name>.*?)\s+(?P<domid>\d+)\s+(?P<memory>\d+)\s+(?P<vcpus>\d+)\s+"
    r"(?P<state>[-r][-b][-p][-s][-rscwS?][-d])\s+(?P<seconds>[\d.]+)\s+"
    r"(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\s+(?P<reason>-|[0-9a-f]+)(?:\s|$)"
)


@dataclass(frozen=True)
class Domain:
    """A row of ``xl list -v``.

    ``memory`` is in MiB, ``seconds`` the processor time; ``state`` are xl's six letters ``rbpscd`` (xl(1), "list");
    ``reason`` is the code of its shutdown, or None while it lives.
    """

    name: str
    domid: int
    memory: int
    vcpus: int
    state: str
    seconds: float
    uuid: str
    reason: int | None

    @property
    def has_ended(self) -> bool:
        """Whether it has shut down, crashed, or is being taken apart."""
        return self.state[3] == "s" or self.state[5] == "d"

    @property
    def is_paused(self) -> bool:
        """Whether it was made and never started, or stopped from outside."""
        return self.state[2] == "p"


def parse_list(text: str) -> tuple[Domain, ...]:
    """Read the output of ``xl list -v``."""
    rows = (_ROW.match(line) for line in text.splitlines())
    return tuple(
        Domain(
            name=row["name"],
            domid=int(row["domid"]),
            memory=int(row["memory"]),
            vcpus=int(row["vcpus"]),
            state=row["state"],
            seconds=float(row["seconds"]),
            uuid=row["uuid"],
            reason=None if row["reason"] == "-" else int(row["reason"], 16),
        )
        for row in rows
        if row
    )


def domains(host: Host, *, background: bool = False) -> tuple[Domain, ...]:
    """Return all domains of the host, dom0 included.

    Raises:
        HostError: the host cannot be reached, or xl cannot talk to Xen there.
    """
    return parse_list(_xl(host, "list", "-v", name="Domain-0", background=background).text)


def find(host: Host, *, name: str | None = None, uuid: str | None = None, background: bool = False) -> Domain | None:
    """Return the domain of that name or that uuid, or None."""
    for domain in domains(host, background=background):
        if domain.uuid == uuid or domain.name == name:
            return domain
    return None


def create_paused(host: Host, path: str, *, name: str, uuid: str) -> None:
    """Create a domain that does not run yet.

    Args:
        host: where.
        path: the ``.xl`` file, absolute, on the host.
        name: given to it, whatever that file calls it.
        uuid: given to it, so that it is known as ours from its first moment.

    Raises:
        DomainError: Xen or the host refused; nothing is left of it.
    """
    _xl(host, "create", "-p", path, f"name={quote(name)}", f'uuid="{uuid}"', name=name, whole=True)


def unpause(host: Host, domain: Domain) -> None:
    """Let it run."""
    _xl(host, "unpause", str(domain.domid), name=domain.name)


def rename(host: Host, domain: Domain, name: str) -> None:
    """Give it another name.

    Raises:
        DomainError: another one has it.
    """
    _xl(host, "rename", str(domain.domid), name, name=domain.name, whole=True)


def shutdown(host: Host, domain: Domain) -> HostChild | None:
    """Ask it to end by itself; return what ends when it has, successfully; None: it has nothing to hear it with.

    A domain that listens says so in XenStore (Xen's xenstore-paths.pandoc, "control/feature-poweroff"). xl waits over
    there for the end of this very domain, in whatever way that comes.

    Raises:
        HostError: the host cannot be reached.
    """
    key = f"/local/domain/{domain.domid}/control/feature-poweroff"
    hears = host.run(["xenstore-read", key], check=False, background=True)
    if hears.returncode or hears.text.strip() != "1":
        return None
    return host.start(["xl", "shutdown", "-w", str(domain.domid)])


def destroy(host: Host, domain: Domain) -> None:
    """End it at once; one that is gone already is none.

    Raises:
        DomainError: it is the host's own control domain, or xl refused.
    """
    if domain.domid == 0:
        raise DomainError(f"{domain.name} is the control domain of {host.name}, and is never ended")
    done = _xl(host, "destroy", str(domain.domid), name=domain.name, check=False, whole=True)
    if done.returncode and find(host, uuid=domain.uuid):
        raise explain(done.stderr.decode(errors="replace"), host=host.name, name=domain.name)


def info(host: Host, *, background: bool = False) -> dict[str, str]:
    """Return what ``xl info`` says of the host, by its keys.

    Raises:
        HostError: the host cannot be reached, or xl cannot talk to Xen there.
    """
    said = _xl(host, "info", name="Domain-0", background=background).text
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in said.splitlines())}


def available_memory(host: Host, facts: Mapping[str, str], domains: tuple[Domain, ...]) -> int:
    """Return the memory that a new domain can have at most, in MiB; asks nothing.

    That is what is free, and dom0's own down to ``LIBXL_MIN_DOM0_MEM`` where xl makes dom0 smaller for it: not where
    ``dom0_mem`` fixes dom0's, as xl.conf(5) says of ``autoballoon``; the pattern is that of tools/xl/xl.c.

    Args:
        host: the host.
        facts: what ``info`` says of it.
        domains: all of it.

    Raises:
        HostError: the facts lack the free memory.
    """
    free = facts.get("free_memory", "")
    if not free.isdigit():
        raise HostError(f"xl info on {host.name} says no free_memory", hint="see what `xl info` says there")
    fixed = re.search(r"(^| )dom0_mem=((|min:|max:)[0-9]+[bBkKmMgG]?,?)+($| )", facts.get("xen_commandline", ""))
    spare = sum(max(0, domain.memory - _LEAST_DOM0) for domain in domains if domain.domid == 0)
    return int(free) + (0 if fixed else spare)


def _xl(
    host: Host, *args: str, name: str, check: bool = True, background: bool = False, whole: bool = False
) -> Completed:
    argv: Sequence[str] = ("xl", *args)
    with job_control.signals_put_off(first_only=True) if whole else contextlib.nullcontext():
        done = host.run(argv, check=False, background=background or whole)
    if check and done.returncode:
        raise explain((done.stderr or done.stdout).decode(errors="replace"), host=host.name, name=name)
    return done
