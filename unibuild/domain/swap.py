"""Replace a running domain with a new one.

Normally both live at once: the new domain is created paused while the old one runs on. Then both are renamed, the old
one is shut down and the new one is unpaused; the time between these last two steps is the only downtime. Where both
cannot live at once, the old domain is removed first, and the caller brings it back if the new one cannot be created.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from unibuild.domain import ownership
from unibuild.util import job_control
from unibuild.xlcfg import devices

if TYPE_CHECKING:
    from unibuild.domain.preflight import HostCapacity
    from unibuild.domain.records import DomainRecord, HostRecord
    from unibuild.host.base import Host
    from unibuild.host.toolstack import Domain
    from unibuild.xlcfg import parser

__all__ = ["conflict", "end", "new_name", "old_name", "recover", "replace"]

_ALONE = ("pci", "usbdev", "usbctrl", "dtdev", "ioports", "irqs", "iomem", "vtpm")  # one domain at a time


def conflict(new: parser.Config, old: parser.Config | None, seen: HostCapacity, host: str) -> str | None:
    """Return why both domains cannot live at once, or None if they can.

    Args:
        new: the ``.xl`` of the new domain.
        old: the ``.xl`` of the old domain; None: it is not known, and taken to be like the new one.
        seen: the host's resources while the old domain is there.
        host: the host's name, for the sentence.
    """
    old = old or new
    if new.get("uuid"):
        return "the .xl gives every domain the same uuid"
    for key in _ALONE:
        if new.get(key) and old.get(key):
            return f"both have {key} = ..."
    old_vifs = _vifs(old)
    for name in _vifs(new) & old_vifs:
        return f"both name a network device {name}"
    for target in _disks(new, written=False) & _disks(old, written=True):
        return f"the old domain writes to {target}"
    for target in _disks(new, written=True) & _disks(old, written=False):
        return f"the new domain writes to {target}"
    if seen.needed > seen.free:
        return f"{host} has {seen.free} MiB of memory left, and the new domain needs {seen.needed}"
    return None


def new_name(name: str, uuid: str) -> str:
    """Return the temporary name of the new domain while the old one holds the name."""
    return f"{name}.new-{uuid[:8]}"


def old_name(name: str, uuid: str) -> str:
    """Return what the old domain is called once the new one has the name."""
    return f"{name}.old-{uuid[:8]}"


def recover(host: Host, record: HostRecord, domains: tuple[Domain, ...]) -> tuple[DomainRecord | None, str | None]:
    """Clean up after an interrupted swap; return the remaining domain, and what was found in a sentence.

    A new domain that never ran is removed. One that ran replaces a stopped old domain, else it is removed.

    Args:
        host: the host.
        record: the project's domains there, as recorded before.
        domains: all domains of the host.
    """
    by_uuid = {domain.uuid: domain for domain in domains}
    good, pending = record.good, record.pending
    if pending is None:
        return (good, None) if good and good.uuid in by_uuid else (None, None)
    old = by_uuid.get(good.uuid) if good else None
    new = by_uuid.get(pending.uuid)
    old_runs = old is not None and not old.has_ended
    if new and not old_runs and not new.is_paused:
        if old:
            _remove(host, old)
        _rename(host, new, pending.name)
        return pending, f"an earlier run was interrupted while it waited for {pending.name} to be ready"
    if new:
        _remove(host, new)
    else:
        ownership.clear_owner(host, pending.uuid)
    if old and good:
        _rename(host, old, good.name)
    if old_runs:
        return good, f"an earlier run was interrupted before it replaced {pending.name}, which runs on"
    if good:
        lost = f"an earlier run was interrupted after it stopped the old {good.name}; no domain runs on {host.name} now"
        return good if old else None, lost
    return None, f"an earlier run was interrupted before {pending.name} ran; no domain runs on {host.name} now"


def replace(host: Host, old: Domain, new: Domain, name: str, grace: float) -> float:
    """Shut down the old domain and unpause the new one; the old one is kept, so that its console can be read.

    Args:
        host: the host of both.
        old: the old domain: running, paused or already stopped.
        new: the new domain, paused; both are renamed, unless it has its name already.
        name: the new domain's name from now on.
        grace: seconds that the old domain has to shut down.

    Returns:
        The downtime in seconds: from the old domain's end, as far as unibuild saw it, to the new one's start.

    Raises:
        DomainError: one of them cannot be renamed, or the new one cannot be started. The old domain, if it still runs,
            then has its name again.
    """
    if new.name != name:
        host.toolstack.rename(old, old_name(name, old.uuid))
        try:
            host.toolstack.rename(new, name)
        except BaseException:
            _rename(host, old, name, was=old_name(name, old.uuid))
            raise
    with job_control.defer_signals(first_only=True):  # no domain runs here
        if grace and not old.has_ended and not old.is_paused:
            downtime = host.toolstack.hand_over(old, new, grace)
            if downtime is not None:
                return downtime
        began = end(host, old, 0.0)
        host.toolstack.unpause(new)
    return time.monotonic() - began


def end(host: Host, domain: Domain, grace: float) -> float:
    """Shut down a domain, and destroy it after ``grace`` seconds; do nothing if it has stopped already.

    Returns:
        When it stopped (``time.monotonic``), as far as unibuild saw it.

    Raises:
        HostError: the host went out of reach.
    """
    if domain.has_ended or (not domain.is_paused and grace and host.toolstack.shut_down(domain, grace)):
        return time.monotonic()
    began = time.monotonic()
    host.toolstack.destroy(domain)
    return began


def _remove(host: Host, domain: Domain) -> None:
    host.toolstack.destroy(domain)
    ownership.clear_owner(host, domain.uuid)


def _rename(host: Host, domain: Domain, name: str, *, was: str | None = None) -> None:
    if (was or domain.name) != name:
        host.toolstack.rename(domain, name)


def _vifs(config: parser.Config) -> set[str]:
    specs = config.get("vif")
    vifs = [devices.parse_vif(str(spec)) for spec in (specs if isinstance(specs, list) else [])]
    return {str(vif["vifname"]) for vif in vifs if "vifname" in vif}


def _disks(config: parser.Config, *, written: bool) -> set[str]:
    """Return the targets of the disks; with ``written``, only of those that the domain writes to."""
    specs = config.get("disk")
    disks = [devices.parse_disk(str(spec)) for spec in (specs if isinstance(specs, list) else [])]
    return {
        str(disk["target"])
        for disk in disks
        if disk.get("target") and (not written or str(disk.get("access", "rw")) in ("rw", "w"))
    }
