"""Reads opam files, and finds the opam switch in use, without running opam.

Format: the opam manual, "Common file format".
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["dependency_digest", "fields", "installed", "places", "selection", "switch", "switch_state"]

DEPENDENCY_FIELDS = ("depends", "pin-depends", "x-mirage-extra-repo", "x-opam-monorepo-opam-provided")
"""What ``make depend`` reads; the other fields name a branch, a command line or a date."""

_TOKEN = re.compile(
    r"""
      \s+ | \#[^\n]* | \(\*.*?\*\)
    | (?P<string>\"{3}.*?\"{3} | "(?:\\.|[^"\\])*")
    | (?P<field>[A-Za-z0-9_-]+ (?= \s* (?: : | (?:"[^"]*"\s*)? \{ )))
    | (?P<token>[\[\]{}()] | [^\s\[\]{}()"\#]+ | .)
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_SWITCH = re.compile(r'^switch:\s*"([^"]*)"', re.MULTILINE)


def fields(text: str) -> dict[str, tuple[str, ...]]:
    """Return the top-level fields and sections of an opam file as tokens; layout and comments are left out."""
    found: dict[str, list[str]] = {}
    value: list[str] = []
    depth = 0
    for match in _TOKEN.finditer(text):
        if match["field"] is not None and depth == 0:
            value = found.setdefault(match["field"], [])
        elif token := match["field"] or match["string"] or match["token"]:
            depth += (token in "[{(") - (token in "]})")
            value.append(token)
    return {name: tuple(tokens[1:]) for name, tokens in found.items()}


def dependency_digest(text: str) -> str:
    """Return a hash of what an opam file asks to be installed; nothing else in the file moves it."""
    found = fields(text)
    wanted = [(name, found.get(name, ())) for name in DEPENDENCY_FIELDS]
    return hashlib.sha256(repr(wanted).encode()).hexdigest()


def installed(text: str) -> list[str]:
    """Return the file names, without folders, that the ``install`` commands of an opam file copy."""
    words = [token[1:-1] for token in fields(text).get("install", ()) if token.startswith('"')]
    return [Path(word).name for word in words if word != "cp" and "%{" not in word]


def switch(folder: Path, env: Mapping[str, str]) -> str:
    """Return the switch that opam would use in ``folder``: a name, the path of a local one, or "" where none is known.

    As opam does: OPAMSWITCH, a ``_opam`` in the folder or above it, what ``opam env`` set, the one selected for the
    user. Its environment variable OPAM_SWITCH_PREFIX holds a path.
    """
    if env.get("OPAMSWITCH"):
        return env["OPAMSWITCH"]
    for above in (folder, *folder.parents):
        if (above / "_opam" / ".opam-switch").is_dir():
            return str(above)
    if env.get("OPAM_SWITCH_PREFIX"):
        return env["OPAM_SWITCH_PREFIX"]
    file = selection(env)
    selected = None if file is None else _SWITCH.search(file.read_text(errors="replace"))
    return selected[1] if selected else ""


def selection(env: Mapping[str, str]) -> Path | None:
    """Return the file that says which switch is selected for the user; None where opam was never used."""
    file = _root(env) / "config"
    return file if file.is_file() else None


def places(folder: Path, env: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the paths, there or not, that decide which switch is in use besides the environment."""
    return (_root(env) / "config", *(above / "_opam" / ".opam-switch" for above in (folder, *folder.parents)))


def switch_state(folder: Path, env: Mapping[str, str]) -> Path | None:
    """Return the file in which opam keeps what is installed in the switch in use; None where there is none."""
    name = switch(folder, env)
    if not name:
        return None
    places = (_root(env) / name, Path(name) / "_opam", Path(name))
    files = (place / ".opam-switch" / "switch-state" for place in places)
    return next((file for file in files if file.is_absolute() and file.is_file()), None)


def _root(env: Mapping[str, str]) -> Path:
    return Path(env.get("OPAMROOT") or os.path.join(env.get("HOME", "/"), ".opam"))  # noqa: PTH118
