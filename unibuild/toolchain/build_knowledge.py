"""What earlier builds of a project showed: which files a build writes and reads.

It is kept as ``.unibuild/learned``, and survives a failed build and ``doit forget``; ``clean`` removes it. Paths in it
are those of ``fingerprint.key``.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Literal

import msgspec

from unibuild.settings.loader import STATE
from unibuild.util.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

__all__ = ["Learned", "Prepared"]

_VERSION = 1


class Prepared(msgspec.Struct, kw_only=True):
    """What the runs of a step before the build showed.

    Attributes:
        read: the files that it read; None: not known, so every file counts.
        made: the files that it wrote: 0 where it created the file, else in how many runs on end the file changed.
        there: the files of the project at the end of its last run, and those that came later and do not concern it.
        variables: the environment variables that it reads by name.
        programs: the programs that it ran.
    """

    read: list[str] | None = None
    made: dict[str, int] = {}
    there: list[str] = []
    variables: list[str] = []
    programs: list[str] = []


class Learned(msgspec.Struct, kw_only=True):
    """What earlier builds showed.

    Attributes:
        version: of this shape; another one is not read.
        outputs: the files that builds wrote; true: unibuild may move one away to have it made again.
        read: the files that were read since the last build from nothing; None: not known, so every file counts.
        listed: the folders that were listed.
        known: the files that make knows as prerequisites and does not make.
        rules: the prerequisites that make has for each of its targets.
        makefiles: the makefiles that were read.
        outside: files that it is built from and that are not found in its folder.
        named: folders, patterns and missing files outside of its folder that it names: a file may appear there.
        variables: the environment variables that the build reads by name.
        programs: the programs that the build ran.
        git: whether the build asks git for a revision; or which files changed, or for their dates.
        doubts: inputs that changed during the last build: their fingerprints at its end, and in how many builds on end.
        written: inputs that builds write, such as a log: while a build runs, a change of one does not stop it.
        unfinished: whether a build from nothing began and has not succeeded.
        prepared: what the steps before the build showed, by their names.
    """

    version: int = _VERSION
    outputs: dict[str, bool] = {}
    read: list[str] | None = None
    listed: list[str] = []
    known: list[str] = []
    rules: dict[str, list[str]] = {}
    makefiles: list[str] = []
    outside: list[str] = []
    named: list[str] = []
    variables: list[str] = []
    programs: list[str] = []
    git: Literal["", "revision", "changes"] = ""
    doubts: dict[str, tuple[str, int]] = {}
    written: list[str] = []
    unfinished: bool = False
    prepared: dict[str, Prepared] = {}

    @classmethod
    def load(cls, root: Path) -> Self:
        """Return what is known of the project in ``root``; nothing where the file is missing or damaged."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: also msgspec's own
            found = msgspec.convert(json.loads((root / STATE / "learned").read_bytes()), cls)
            if found.version == _VERSION:
                return found
        return cls()

    def save(self, root: Path) -> None:
        """Keep it.

        Raises:
            FileError: it cannot be written.
        """
        text = json.dumps(msgspec.to_builtins(self))
        write_atomic(root / STATE / "learned", text.encode(errors="surrogateescape"), mode=0o600)

    @staticmethod
    def forget(root: Path) -> None:
        """Remove the file."""
        (root / STATE / "learned").unlink(missing_ok=True)
