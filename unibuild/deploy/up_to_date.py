"""Check with one query to the host whether the project's domain runs what was built last.

Every `doit boot` that has nothing to do ends here, so this module imports little.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import TYPE_CHECKING

from unibuild import fingerprint
from unibuild.deploy import hosts
from unibuild.domain import generations, records
from unibuild.host import resolve
from unibuild.settings.loader import state_dir
from unibuild.util import files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from unibuild.host.base import Host
    from unibuild.host.toolstack import Domain
    from unibuild.settings.loader import Project

__all__ = ["identify", "identify_all", "identify_xl", "is_current", "is_same", "running", "was_seen"]


def is_current(project: Project, xl_file: Path, kernel: Path) -> bool:
    """Return whether the project's domain runs from these very files: one query to the host, none if they changed.

    A lab that is down is not started.

    Raises:
        HostError: the host cannot be reached.
    """
    known = records.load(state_dir(project.root), resolve.host_name(project.settings))
    good = known.good
    if good is None or known.pending:
        return False
    look = functools.partial(identify_xl, root=project.root)
    if not (is_same(good.files.xl, xl_file, look) and is_same(good.files.kernel, kernel, identify)):
        return False
    if not has_same_ramdisk(good.files, project.root):
        return False
    if not was_seen(state_dir(project.root), good):
        return False
    host = hosts.open_running(project.settings)
    return host is not None and running(host, known) is not None


def running(host: Host, known: records.HostRecord) -> Domain | None:
    """Return the good domain if it runs; None if it was never started, or has stopped."""
    domain = host.toolstack.find(uuid=known.good.uuid) if known.good else None
    return domain if domain and not domain.has_ended and not domain.is_paused else None


def was_seen(state: Path, instance: records.DomainRecord) -> bool:
    """Return whether a run saw the outcome of a domain's boot; an interrupted one did not."""
    return generations.outcome(state, instance.generation, instance.uuid) != "started"


def identify(path: Path) -> records.FileIdentity:
    """Return the fingerprint and the hash of a file."""
    return records.FileIdentity(fingerprint.take(str(path)), files.sha256(path))


def identify_xl(path: Path, root: Path) -> records.FileIdentity:
    """Return the fingerprint and the hashes of an ``.xl`` file of the project in ``root``."""
    from unibuild.graph import xl_file

    return dataclasses.replace(identify(path), movable=xl_file.digest(path, root))


def identify_all(kernel: Path, xl_file: Path, root: Path, ramdisk: Path | None = None) -> records.BootFiles:
    """Return the identities of the files that a domain is created from.

    Args:
        kernel: the kernel.
        xl_file: the ``.xl``.
        root: the project's folder.
        ramdisk: the copy of the ramdisk that a generation keeps; None: the ramdisk is where the ``.xl`` names it.

    Raises:
        FileError: a file cannot be read.
        XlSyntaxError: xl would refuse the ``.xl``.
    """
    from unibuild.graph import xl_file as xl
    from unibuild.xlcfg import parser

    named = parser.parse(xl.read(xl_file), str(xl_file)).get("ramdisk")
    found = None
    if isinstance(named, str) and named:
        path = os.path.relpath(root / named, root)
        found = dataclasses.replace(identify(ramdisk or root / path), path=path)
    return records.BootFiles(identify(kernel), identify_xl(xl_file, root), found)


def has_same_ramdisk(before: records.BootFiles, root: Path) -> bool:
    """Say whether the ramdisk of a domain, if it has one, has the content that it had before."""
    return before.ramdisk is None or is_same(before.ramdisk, root / before.ramdisk.path, identify)


def is_same(before: records.FileIdentity, path: Path, look: Callable[[Path], records.FileIdentity]) -> bool:
    """Say whether a file is there and has the content that it had before; ``look`` reads it, if need be."""
    stamp = fingerprint.take(str(path))
    return stamp != fingerprint.ABSENT and (stamp == before.stamp or before.is_same(look(path)))
