"""A domain before it is made: its files are on the host, the host can take it, and it has a uuid."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from unibuild import kernel as kernels
from unibuild.deploy import copy_files
from unibuild.domain import preflight, records
from unibuild.errors import KernelError
from unibuild.settings.loader import state_dir

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from unibuild.domain.generations import Generation
    from unibuild.host.base import Host
    from unibuild.settings.loader import Project

__all__ = ["prepare"]


def prepare(
    host: Host,
    project: Project,
    generation: Generation,
    kernel: records.Mark,
    xl_mark: records.Mark,
    going: Collection[str],
) -> tuple[copy_files.Deployed, preflight.Seen, records.Instance]:
    """Bring what a domain is made from to its host, and see whether that can take it; nothing is made or ended.

    Args:
        host: where.
        project: the project.
        generation: what it is made from.
        kernel: what the tree's kernel was.
        xl_mark: what the tree's ``.xl`` was.
        going: uuids of the domains whose place it takes.

    Raises:
        DomainError: the host cannot take it.
        HostError: the host cannot be reached.
        FileError: a file cannot be read.
    """
    files = {"kernel": generation.kernel, **({"ramdisk": generation.ramdisk} if generation.ramdisk else {})}
    deployed = copy_files.bring(host, generation.xl, project.root, state_dir(project.root), files)
    seen = preflight.look(
        host, deployed.config, kernel=_inspect(generation.kernel), disks=deployed.elsewhere, going=going
    )
    asked = deployed.config.get("uuid")
    instance = records.Instance(
        uuid=asked if isinstance(asked, str) else str(uuid.uuid4()),
        name=deployed.name,
        generation=generation.number,
        kernel=kernel,
        xl=xl_mark,
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return deployed, seen, instance


def _inspect(path: Path) -> kernels.Kernel | None:
    try:
        return kernels.inspect(path)
    except KernelError:  # xl has the last word
        return None
