"""Which ``mirage`` is on PATH, and its version, without asking it more than once."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING

from unibuild.errors import CommandError, FileError, MissingError
from unibuild.settings.loader import state_dir
from unibuild.toolchain.base import identity, installed
from unibuild.util.files import write_whole
from unibuild.util.process import run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["GET_MIRAGE", "mirage_version"]

GET_MIRAGE = "install it with opam, then bring it onto PATH: opam install mirage && eval $(opam env)"
_VERSION = re.compile(r"v?([1-9]\d*\.\d+(?:\.\d+)*)\b")
_PATIENCE = 60.0  # seconds; a cold disk and a bytecode build of the tool are slow


def mirage_version(root: Path, env: Mapping[str, str]) -> tuple[str, str]:
    """Return the version of the ``mirage`` on PATH without the ``v`` (``4.11.1``), and that program's path.

    It is asked once, and again when the executable has changed: the answer is kept in the project's ``.unibuild``.
    Where there is none on PATH the last answer holds: a tree that is up to date needs no ``mirage``.

    Raises:
        MissingError: there is none and never was, or what has that name is not MirageOS's tool.
    """
    found = installed("mirage", env)
    known = {"executable": identity("mirage", env), "program": str(found)}
    cache = root / ".unibuild" / "mirage.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(cache.read_text())
        if found is None or kept["executable"] == known["executable"]:
            return str(kept["version"]), str(found or kept["program"])
    if found is None:
        raise MissingError("the program mirage is not on PATH", hint=GET_MIRAGE)
    version = _ask(str(found), env)
    with contextlib.suppress(FileError):  # a tree that cannot be written to can still be looked at
        write_whole(state_dir(root) / cache.name, json.dumps({**known, "version": version}).encode())
    return version, str(found)


def _ask(program: str, env: Mapping[str, str]) -> str:
    """Ask for the version; of the subcommands only ``--version`` leaves a configured tree as it is."""
    try:
        said = run([program, "--version"], env=env, timeout=_PATIENCE).text.strip()
    except CommandError as error:
        said = error.output.strip()
    version = _VERSION.match(said)
    if version is None:
        raise MissingError(
            f"{program} is not MirageOS's mirage: asked for its version, it says {said.splitlines()[:1]!r}",
            hint=f"Debian has an image viewer of that name; {GET_MIRAGE}",
        )
    return version[1]
