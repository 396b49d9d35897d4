"""The programs and the opam switch that the steps of a Mirage unikernel use, kept for when they are not on PATH."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from unibuild.errors import FileError
from unibuild.settings.loader import state_dir
from unibuild.toolchain.base import environment, identity, installed
from unibuild.toolchain.mirage import opam
from unibuild.util.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FILE", "Tools", "look"]

FILE = "tools.json"
"""Where the project's ``.unibuild`` keeps what was found the last time that ``mirage`` was on PATH."""


class Tools(msgspec.Struct, frozen=True):
    """What was found.

    Attributes:
        identities: of each program, by its name; see ``base.identity``.
        switch: the opam switch in use; see ``opam.switch``.
        ocamlc: path of the compiler; None: there is none.
        selection: path of the file that selects the switch; None: opam was never used.
        switch_state: path of the file in which opam keeps what is installed; None: there is none.
    """

    identities: dict[str, str]
    switch: str
    ocamlc: str | None
    selection: str | None
    switch_state: str | None

    def folders(self) -> tuple[Path, ...]:
        """Return the paths whose stamps tell that the rest may have changed."""
        return tuple(Path(path) for path in (self.ocamlc, self.selection) if path is not None)


def look(root: Path, cwd: Path, env: Mapping[str, str], programs: Sequence[str]) -> Tools:
    """Return what is found now, or where ``mirage`` is not on PATH what was found the last time that it was.

    A tree whose steps are all up to date so stays up to date in a shell without ``eval $(opam env)``.

    Args:
        root: the project's folder.
        cwd: where the steps run.
        env: variables that the steps set.
        programs: the names of the programs that the steps use.
    """
    file = root / ".unibuild" / FILE
    kept = None
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        kept = msgspec.json.decode(file.read_bytes(), type=Tools)
    if kept is not None and installed("mirage", env) is None:
        return kept
    found = _look(cwd, env, programs)
    if found != kept and installed("mirage", env) is not None:
        with contextlib.suppress(FileError):  # a tree that cannot be written to can still be looked at
            write_whole(state_dir(root) / FILE, msgspec.json.encode(found))
    return found


def _look(cwd: Path, env: Mapping[str, str], programs: Sequence[str]) -> Tools:
    seen = environment(env)
    paths = (installed("ocamlc", env), opam.selection(seen), opam.switch_state(cwd, seen))
    ocamlc, selection, state = (None if path is None else str(path) for path in paths)
    identities = {program: identity(program, env) for program in programs}
    return Tools(identities, opam.switch(cwd, seen), ocamlc, selection, state)
