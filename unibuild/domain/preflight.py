"""Looking whether a host can take a domain, before anything is stopped there."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unibuild.domain import demands, shortfall
from unibuild.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from unibuild.host.base import Host
    from unibuild.host.toolstack import Device, Domain
    from unibuild.kernel import Kernel
    from unibuild.xlcfg.parser import Config

__all__ = ["Seen", "look"]


@dataclass(frozen=True)
class Seen:
    """What a host that can take a domain has.

    Attributes:
        domains: all of the host, dom0 included.
        free: memory that a new domain can have now, while the older ones are still there, in MiB.
        facts: facts of the host, as ``Toolstack.info`` returns them.
        needed: memory that Xen will take for the new domain, in MiB; the domain fits beside the others up to ``free``.
    """

    domains: tuple[Domain, ...]
    free: int
    facts: Mapping[str, str]
    needed: int


def look(
    host: Host, config: Config, *, kernel: Kernel | None, disks: Iterable[shortfall.DiskSource], going: Collection[str]
) -> Seen:
    """See that a host can take a domain; only that is asked which its ``.xl`` makes necessary.

    Args:
        host: the host.
        config: the domain's ``.xl``, with paths of the host.
        kernel: the domain's kernel; None: nothing is known of it.
        disks: those of its disks that only the host can have.
        going: uuids of domains that may go first: their name, memory, disks and addresses are free.

    Raises:
        DomainError: the host cannot take it; all reasons are told at once.
        HostError: the host cannot be reached, or xl cannot talk to Xen there.
    """
    wanted, disks = demands.read(config), tuple(disks)
    if host.address == "lab":
        wanted = dataclasses.replace(wanted, bridges={})  # its script vif-bridge takes any name
    domains = host.toolstack.list_domains()  # first and alone: it may ask for a password, or open the connection
    paths = [path for bridge in wanted.bridges.values() for path in demands.bridge_paths(bridge)]
    if wanted.scripts:
        paths += [demands.SCRIPTS, *wanted.scripts]
    files = [str(disk.target) for disk in disks if disk.is_path]
    with ThreadPoolExecutor() as pool:
        asked_info = pool.submit(host.toolstack.info, background=True)
        asked_paths = pool.submit(_missing, host, paths, root=False)
        asked_files = pool.submit(_missing, host, files, root=True)
        asked_backends = pool.submit(_backends, host, wanted)
        asked_pci = pool.submit(_assignable, host, wanted)
        missing = asked_paths.result()
        lost = any(path.startswith(demands.NET) for path in missing)
        there = shortfall.Resources(
            host=host.name,
            info=asked_info.result(),
            domains=domains,
            going=going,
            free=host.toolstack.free_memory(asked_info.result(), domains),
            missing=missing | asked_files.result(),
            backends=asked_backends.result(),
            assignable=asked_pci.result(),
            devices=tuple(host.run(["ls", demands.NET], root=False, background=True).text.split()) if lost else (),
        )
    problems = shortfall.lacks(wanted, there, kernel, disks)
    if problems:
        raise _refusal(problems, host.name, wanted.name)
    return Seen(domains, there.free, there.info, wanted.needed)


def _refusal(problems: Sequence[shortfall.PreflightProblem], host: str, name: str) -> DomainError:
    if len(problems) == 1:
        return DomainError(problems[0].sentence, hint=problems[0].mend)
    lines = [f"- {problem.sentence}\n    {problem.mend}" for problem in problems]
    return DomainError(f"{host} cannot take {name}, for {len(problems)} reasons", hint="\n".join(lines))


def _missing(host: Host, paths: Sequence[str], *, root: bool) -> set[str]:
    """Return those of the paths that are not there; with ``root``, root is asked about those that we do not see."""
    unseen = set(paths)
    for as_root in (False, True) if root else (False,):
        if unseen:
            said = host.run(["ls", "-d", "--", *sorted(unseen)], check=False, root=as_root, background=True)
            unseen -= set(said.text.splitlines())
    return unseen


def _backends(host: Host, wanted: demands.Demands) -> tuple[Device, ...]:
    if not (wanted.disks or wanted.macs):
        return ()
    return host.toolstack.list_devices()


def _assignable(host: Host, wanted: demands.Demands) -> Collection[str]:
    if not wanted.pci:
        return ()
    return host.toolstack.assignable_pci()
