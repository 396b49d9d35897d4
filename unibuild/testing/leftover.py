"""What a test run that was killed has left: each run keeps a note of its domains' name, which the next one reads.

The note is locked for as long as the run lives. A domain is removed only where its marker in XenStore says that it is
ours too.
"""

from __future__ import annotations

import contextlib
import posixpath
from typing import TYPE_CHECKING

from unibuild.deploy import copy_files
from unibuild.domain import ownership
from unibuild.errors import BusyError, HostError
from unibuild.host import xl
from unibuild.host.ssh import Ssh
from unibuild.settings.loader import state_dir
from unibuild.util import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unibuild.host.base import Host

__all__ = ["noted", "sweep", "wipe"]


@contextlib.contextmanager
def noted(host: Host, root: Path, name: str) -> Iterator[None]:
    """Keep a note of what the domains of a run are called, for the time of the block.

    Args:
        host: where they are.
        root: the project's folder.
        name: theirs; no other run has it.

    Raises:
        FileError: it cannot be written.
    """
    note = state_dir(root) / "test" / f"{name}.note"
    lock = note.with_suffix(".lock")
    with contextlib.ExitStack() as undo:
        undo.callback(lock.unlink, missing_ok=True)
        undo.enter_context(files.lock(lock, f"the test run {name}"))
        files.write_whole(note, host.name.encode())
        undo.callback(note.unlink, missing_ok=True)
        yield


def sweep(host: Host, root: Path) -> Iterator[str]:
    """Remove from a host, and here, what runs that were killed have left; gives the names of domains that went.

    Args:
        host: where to look.
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
            wipe(host, root, note.stem)
            for path in note.parent.glob(f"{note.stem}.*"):  # the note and its lock too
                path.unlink(missing_ok=True)


def wipe(host: Host, root: Path, name: str) -> None:
    """Remove the files of the domain ``name`` from its host; one that is out of reach was told already."""
    if isinstance(host, Ssh):  # elsewhere nothing is copied
        with contextlib.suppress(HostError):
            place = posixpath.join(host.folder, copy_files.folder(root, name))
            host.run(["rm", "-rf", place], root=False, check=False, background=True)


def _domains(host: Host, root: Path, name: str) -> Iterator[str]:
    marks = ownership.owners(host)
    for domain in xl.domains(host):
        if domain.name == name and ownership.is_ours(marks.get(domain.uuid), root):
            xl.destroy(host, domain)
            ownership.unmark(host, domain.uuid)
            yield name
