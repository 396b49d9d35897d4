"""Putting a new domain in the place of the old one.

Beside: the new one is made paused while the old one runs on, both are renamed, the old one is shut down, the new one
unpaused; the time between the last two is all that anybody has to wait. Where both cannot live at once the old one goes
first, and is brought back by the caller if the new one cannot be made.
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

__all__ = ["conflict", "end", "new_name", "recover", "replace"]

_ALONE = ("pci", "usbdev", "usbctrl", "dtdev", "ioports", "irqs", "iomem", "vtpm")  # one domain at a time has it


def conflict(new: parser.Config, old: parser.Config | None, seen: HostCapacity, host: str) -> str | None:
    """Say why both domains cannot live at once; None: they can.

    Args:
        new: the ``.xl`` of the new domain.
        old: that of the old one; None: it is not known, and taken to be like the new one.
        seen: the host, as it is with the old one.
        host: the host's name, for the sentence.
    """
    old = old or new
    if new.get("uuid"):
        return "the .xl gives every domain the same uuid"
    for key in _ALONE:
        if new.get(key) and old.get(key):
            return f"both have {key} = ..."
    theirs = _vifs(old)
    for name in _vifs(new) & theirs:
        return f"both call a network device {name}"
    for target in _disks(new, written=False) & _disks(old, written=True):
        return f"the old one writes to {target}"
    for target in _disks(new, written=True) & _disks(old, written=False):
        return f"the new one writes to {target}"
    if seen.needed > seen.free:
        return f"{host} has {seen.free} MiB of memory left, and the new one takes {seen.needed}"
    return None


def new_name(name: str, uuid: str) -> str:
    """Return what the new domain is called while the old one has the name."""
    return f"{name}.new-{uuid[:8]}"


def recover(host: Host, record: HostRecord, domains: tuple[Domain, ...]) -> tuple[DomainRecord | None, str | None]:
    """Clear up after a swap that was cut off; return which of our domains stands now, and a sentence on what was found.

    A new domain that never ran goes. One that ran takes the place of the old one if that has ended; else it goes too.

    Args:
        host: where.
        record: what we knew before.
        domains: all of the host.
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
        _call(host, new, pending.name)
        return pending, f"an earlier run was cut off while it waited for {pending.name} to be ready"
    if new:
        _remove(host, new)
    else:
        ownership.clear_owner(host, pending.uuid)
    if old and good:
        _call(host, old, good.name)
    if old_runs:
        return good, f"an earlier run was cut off before it had replaced {pending.name}, which runs on"
    if good:
        lost = f"an earlier run was cut off: the older {good.name} was ended by it, and none runs on {host.name} now"
        return good if old else None, lost
    return None, f"an earlier run was cut off before {pending.name} ran, and none runs on {host.name} now"


def replace(host: Host, old: Domain, new: Domain, name: str, grace: float) -> float:
    """End the old domain and let the new one run; the old one stays, ended, for its console to be read.

    Args:
        host: where both are.
        old: it runs, or is paused, or has ended.
        new: it is paused.
        name: what the new one is called from now on.
        grace: seconds that the old one has to shut down by itself.

    Returns:
        The seconds from the old one's end, as far as we saw it, to the new one's start.

    Raises:
        DomainError: one of them cannot be renamed, or the new one not started. The old one, if it still runs, then has
            its name again.
    """
    host.toolstack.rename(old, f"{name}.old-{old.uuid[:8]}")
    try:
        host.toolstack.rename(new, name)
    except BaseException:
        _call(host, old, name, was=f"{name}.old-{old.uuid[:8]}")
        raise
    with job_control.defer_signals(first_only=True):  # here none runs
        began = end(host, old, grace)
        host.toolstack.unpause(new)
    return time.monotonic() - began


def end(host: Host, domain: Domain, grace: float) -> float:
    """See that a domain has ended: asked first, destroyed after ``grace`` seconds.

    Returns:
        When it ended (``time.monotonic``), as far as we saw it.

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


def _call(host: Host, domain: Domain, name: str, *, was: str | None = None) -> None:
    if (was or domain.name) != name:
        host.toolstack.rename(domain, name)


def _vifs(config: parser.Config) -> set[str]:
    specs = config.get("vif")
    vifs = [devices.parse_vif(str(spec)) for spec in (specs if isinstance(specs, list) else [])]
    return {str(vif["vifname"]) for vif in vifs if "vifname" in vif}


def _disks(config: parser.Config, *, written: bool) -> set[str]:
    """Return the targets of its disks, or of those that it writes to."""
    specs = config.get("disk")
    disks = [devices.parse_disk(str(spec)) for spec in (specs if isinstance(specs, list) else [])]
    return {
        str(disk["target"])
        for disk in disks
        if disk.get("target") and (not written or str(disk.get("access", "rw")) in ("rw", "w"))
    }
