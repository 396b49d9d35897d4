"""The sources of settings as errors name them: a line of a file, a variable, a word of the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from unibuild.errors import SettingsError
from unibuild.util.files import reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["PREFIX", "CommandLineWord", "File", "KeyPath", "SettingSource", "Variable", "line_of", "read_toml"]

PREFIX = "UNIBUILD_"
KeyPath = tuple[str, ...]  # ("xl", "vif", "0", "bridge")


class SettingSource(Protocol):
    """A source of settings, as errors name it."""

    def at(self, path: KeyPath) -> str:
        """Name the place where the key ``path`` is set."""

    def spell(self, path: KeyPath) -> str:
        """Spell the key ``path`` as in this source."""

    def element(self, path: KeyPath, index: int) -> SettingSource:
        """Return the source of one element, from 0, of the list of tables ``path``."""


@dataclass(frozen=True)
class File:
    """A TOML file and its text."""

    file: Path
    text: str
    first: int = 1  # the line where the element of a list of tables begins

    def element(self, path: KeyPath, index: int) -> File:
        """Return the source of one element of the list of tables ``path``: the text from its ``[[path]]`` on."""
        found = [number for number, header, place in _places(self.text) if header and place == path]
        return replace(self, first=found[index]) if index < len(found) else self

    def at(self, path: KeyPath) -> str:
        """Return ``file:line``, or only the file if the line cannot be found."""
        line = line_of(self.text, path, self.first)
        return f"{self.file}:{line}" if line else f"{self.file}"

    def spell(self, path: KeyPath) -> str:
        """Return ``[table] key``."""
        return f"[{'.'.join(path[:-1])}] {path[-1]}" if path[:-1] else path[-1]


@dataclass(frozen=True)
class Variable:
    """An environment variable."""

    name: str

    def at(self, path: KeyPath) -> str:  # noqa: ARG002 (a variable is one place)
        """Return ``environment``: the spelling of the key has the name."""
        return "environment"

    def element(self, path: KeyPath, index: int) -> Variable:  # noqa: ARG002
        """Return the same source: it has no parts."""
        return self

    def spell(self, path: KeyPath) -> str:
        """Return ``UNIBUILD_TABLE_KEY``."""
        return PREFIX + "_".join(path).upper()


@dataclass(frozen=True)
class CommandLineWord:
    """A word ``key=value`` of the command line."""

    word: str

    def at(self, path: KeyPath) -> str:  # noqa: ARG002 (a word is one place)
        """Return the word."""
        return f"command line, `{self.word}`"

    def element(self, path: KeyPath, index: int) -> CommandLineWord:  # noqa: ARG002
        """Return the same source: it has no parts."""
        return self

    def spell(self, path: KeyPath) -> str:
        """Return ``table.key``."""
        return ".".join(path)


def read_toml(file: Path) -> tuple[dict[str, object], File]:
    """Read a TOML file; return its values and the source that errors name.

    Raises:
        FileError: it cannot be read.
        SettingsError: it is not TOML; the message starts with ``file:line:column``.
    """
    import tomllib

    with reading(file):
        data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig")  # some editors of Windows begin a file with a byte order mark
        return tomllib.loads(text), File(file, text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{file}:{line}: this is not UTF-8", hint="save the file as UTF-8") from None
    except ValueError as error:  # TOML's own, and that of a number with thousands of digits
        reason, _, place = str(error).partition(" (at ")
        numbers = re.findall(r"\d+", place) or ([str(text.count("\n") + 1)] if place else [])
        raise SettingsError(
            f"{':'.join([str(file), *numbers])}: this is not TOML: {reason[:1].lower()}{reason[1:]}",
            hint="see https://toml.io for the grammar",
        ) from None
    except RecursionError:
        raise SettingsError(f"{file}: the values are nested too deep") from None


def line_of(text: str, path: KeyPath, first: int = 1) -> int | None:
    """Find the line, counted from 1, not before ``first``, where a TOML text sets a key, or the nearest table."""
    best: tuple[int, int | None] = (0, None)
    for number, _, place in _places(text):
        if number >= first and path[: len(place)] == place and len(place) > best[0]:
            best = (len(place), number)
    return best[1]


def _places(text: str) -> Iterator[tuple[int, bool, KeyPath]]:
    """Yield each line that sets a key or opens a table: its number, whether it opens one, and the whole key."""
    import tomllib

    # Strings over several lines may contain what looks like keys, so only their line ends are kept.
    pieces = r"""#[^\n]*|\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'"""
    bare = re.sub(pieces, lambda m: "\n" * m[0].count("\n") if "\n" in m[0] else m[0], text, flags=re.DOTALL)
    header: KeyPath = ()
    for number, line in enumerate(bare.split("\n"), 1):
        found = re.match(r"""\s*(?:\[{1,2}\s*([^\]=#]+?)\s*\]|([^=\[\]#]+?)\s*=)""", line)
        if not found:
            continue
        try:
            node: object = tomllib.loads(f"{found[1] or found[2]} = 0")
        except tomllib.TOMLDecodeError:
            continue
        place: KeyPath = () if found[1] else header
        while isinstance(node, dict):
            key, node = next(iter(node.items()))
            place = (*place, key)
        if found[1]:
            header = place
        yield number, bool(found[1]), place
