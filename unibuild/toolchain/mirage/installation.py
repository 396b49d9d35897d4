"""Find the installed ``mirage``, its version, the opam switch and the programs that the steps use; cached."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from unibuild.errors import CommandError, FileError, MissingError
from unibuild.settings.loader import state_dir
from unibuild.toolchain.base import environment, installed, program_fingerprint
from unibuild.toolchain.mirage import opam
from unibuild.util.files import write_atomic
from unibuild.util.process import run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["GET_MIRAGE", "TOOLS_FILE", "InstalledTools", "find_tools", "mirage_version"]

TOOLS_FILE = "tools.json"
"""Cache file in ``.unibuild``: what was found the last time that ``mirage`` was on PATH."""


class InstalledTools(msgspec.Struct, frozen=True):
    """Installed programs and the opam switch.

    Attributes:
        identities: of each program, by its name; see ``base.identity``.
        switch: the opam switch in use; see ``opam.switch``.
        ocamlc: path of the compiler; None: there is none.
        selection: path of the file that selects the switch; None: opam was never used.
        switch_state: path of the file in which opam keeps what is installed; None: there is none.
        places: paths, there or not, that decide which switch is in use.
    """

    identities: dict[str, str]
    switch: str
    ocamlc: str | None
    selection: str | None
    switch_state: str | None
    places: tuple[str, ...] = ()

    def folders(self) -> tuple[Path, ...]:
        """Return paths that get other fingerprints when the rest may have changed."""
        return tuple(Path(path) for path in (self.ocamlc, self.selection, *self.places) if path is not None)


def find_tools(root: Path, cwd: Path, env: Mapping[str, str], programs: Sequence[str]) -> InstalledTools:
    """Return what is installed; without ``mirage`` on PATH, what was found the last time.

    So an up-to-date tree stays up to date in a shell without ``eval $(opam env)``.

    Args:
        root: the project's folder.
        cwd: where the steps run.
        env: variables that the steps set.
        programs: the names of the programs that the steps use.
    """
    file = root / ".unibuild" / TOOLS_FILE
    kept = None
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        kept = msgspec.json.decode(file.read_bytes(), type=InstalledTools)
    if kept is not None and installed("mirage", env) is None:
        return kept
    found = _find(cwd, env, programs)
    if found != kept and installed("mirage", env) is not None:
        with contextlib.suppress(FileError):  # a read-only tree can still be inspected
            write_atomic(state_dir(root) / TOOLS_FILE, msgspec.json.encode(found))
    return found


def _find(cwd: Path, env: Mapping[str, str], programs: Sequence[str]) -> InstalledTools:
    seen = environment(env)
    paths = (installed("ocamlc", env), opam.selection(seen), opam.switch_state(cwd, seen))
    ocamlc, selection, state = (None if path is None else str(path) for path in paths)
    identities = {program: program_fingerprint(program, env) for program in programs}
    places = tuple(map(str, opam.places(cwd, seen)))
    return InstalledTools(identities, opam.switch(cwd, seen), ocamlc, selection, state, places)


GET_MIRAGE = "install it with opam, then bring it onto PATH: opam install mirage && eval $(opam env)"
_VERSION = re.compile(r"v?([1-9]\d*\.\d+(?:\.\d+)*)\b")
_VERSION_TIMEOUT = 60.0  # seconds; a cold disk and a bytecode build of the tool are slow


def mirage_version(root: Path, env: Mapping[str, str]) -> tuple[str, str]:
    """Return the version of the ``mirage`` on PATH without the ``v`` (``4.11.1``), and that program's path.

    The answer is cached in the project's ``.unibuild`` until the executable changes. Without a ``mirage`` on PATH the
    cached answer is used: a tree that is up to date needs no ``mirage``.

    Raises:
        MissingError: there is none and never was, or what has that name is not MirageOS's tool.
    """
    found = installed("mirage", env)
    known = {"executable": program_fingerprint("mirage", env), "program": str(found)}
    cache = root / ".unibuild" / "mirage.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(cache.read_text())
        if found is None or kept["executable"] == known["executable"]:
            return str(kept["version"]), str(found or kept["program"])
    if found is None:
        raise MissingError("the program mirage is not on PATH", hint=GET_MIRAGE)
    version = _ask(str(found), env)
    with contextlib.suppress(FileError):  # a read-only tree can still be inspected
        write_atomic(state_dir(root) / cache.name, json.dumps({**known, "version": version}).encode())
    return version, str(found)


def _ask(program: str, env: Mapping[str, str]) -> str:
    """Run ``mirage --version``: other subcommands may change a configured tree."""
    try:
        output = run([program, "--version"], env=env, timeout=_VERSION_TIMEOUT).text.strip()
    except CommandError as error:
        output = error.output.strip()
    version = _VERSION.match(output)
    if version is None:
        raise MissingError(
            f"{program} is not MirageOS's mirage: asked for its version, it says {output.splitlines()[:1]!r}",
            hint=f"Debian has an image viewer of that name; {GET_MIRAGE}",
        )
    return version[1]
