"""Load the settings: defaults < ``unibuild.toml`` < environment < command line.

``unibuild.toml``, in the current folder or the nearest above it, holds TOML values. The environment and the command
line hold text, which the type of the setting reads:

- a string is the unchanged text; a number is parsed;
- a list is split into words as in a shell (``mirage.args="--net direct"``), or is a TOML array;
- where strings, numbers and booleans are accepted (``xl.set``, ``xl.vif``, ``xl.disk``), ``true``, ``false`` and whole
  numbers are those, ``"..."`` and ``'...'`` are TOML strings, ``[...]`` is a TOML array, and all else is a string.

A list replaces the one of an earlier source; tables are merged key by key.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unibuild.errors import FileError, SettingsError
from unibuild.settings import deprecated
from unibuild.settings.deprecated import old_variables
from unibuild.settings.locations import PREFIX, CommandLineWord, Variable, read_toml
from unibuild.util.files import find_upward, write_atomic, writing_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from unibuild.settings.locations import KeyPath, SettingSource
    from unibuild.settings.model import Settings

__all__ = ["CYCLE", "FILE", "RESERVED", "STATE", "Project", "load", "state_dir", "variable_path"]

FILE = "unibuild.toml"
STATE = ".unibuild"
_MAX_SHOWN = 60  # characters of a wrong value that a message shows


@dataclass(frozen=True)
class Project:
    """A project and its settings.

    ``root`` is the folder of ``unibuild.toml``, absolute; ``file`` is that file, or None if there is none: then
    ``root`` is the folder where the search began. ``take_over``: a domain of that name may be taken over from another
    owner (``--take-over``). ``words`` are the settings of the command line, ``lab.memory=512``. ``batch``: nothing may
    ask for a password, as while watch draws on the terminal.
    """

    root: Path
    file: Path | None
    settings: Settings
    take_over: bool = False
    words: tuple[str, ...] = ()
    batch: bool = False


def load(
    start: Path,
    overrides: Mapping[str, str] = {},
    environ: Mapping[str, str] = os.environ,
    *,
    required: bool = True,
    take_over: bool = False,
    report: bool = True,
) -> Project:
    """Read the settings of the project that the folder ``start`` belongs to.

    Args:
        start: the folder where the search upward begins.
        overrides: the command line's ``key=value`` words: ``{"lab.memory": "512"}``.
        environ: the environment; an empty variable counts as not set.
        required: whether there must be an ``unibuild.toml``; the lab also runs without a project.
        take_over: see ``Project``.
        report: whether to write a hint to standard error if a setting has an old spelling.

    Raises:
        SettingsError: there is no ``unibuild.toml`` and one is ``required``; it is not TOML; a key is unknown; a value
            has the wrong type.
        FileError: the file cannot be read.
    """
    import msgspec

    from unibuild.settings.model import Settings

    file = find_upward(FILE, start.absolute())
    if file is None and required:
        raise SettingsError(
            f"no {FILE} in {start.absolute()} or a folder above it", hint="run `unibuild init`, which writes one"
        )
    tree: dict[str, object] = {}
    source = None
    old: list[tuple[KeyPath, SettingSource]] = []
    if file is not None:
        raw, source = read_toml(file)
        old += _old_keys(dict.fromkeys(_paths(raw, ()), source))
        _merge(tree, raw, source, Settings, ())
    names = sorted(n for n in environ if n.startswith(PREFIX) and n not in RESERVED and environ[n])
    variables = [(variable_path(name), environ[name], Variable(name)) for name in names]
    words = [(_key_path(key), text, CommandLineWord(f"{key}={text}")) for key, text in overrides.items()]
    for given in (variables, words):
        old += _old_keys({path: place for path, _, place in given})
        for path, text, place in given:
            _put(tree, path, text, place)
    _complete(tree, Settings, (), source)
    if report:
        for path, found in old:
            current = found.spell(deprecated.current_key(path)).rpartition(" ")[2]
            deprecated.report(f"`{found.spell(path)}` is now `{current}`")
    root = file.parent if file else start.absolute()
    kept = tuple(f"{key}={text}" for key, text in overrides.items())
    return Project(root, file, msgspec.convert(tree, Settings), take_over, kept)


def state_dir(root: Path) -> Path:
    """Return ``root/.unibuild``, unibuild's folder in a project; create it if necessary, with a ``.gitignore`` for it.

    Only the user may read it: logs, boot arguments and ``.xl`` files may hold secrets. A folder that an older unibuild
    made readable for everybody is closed.

    Raises:
        FileError: it cannot be created, or is private to another user.
    """
    folder = root / STATE
    with writing_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(folder, os.R_OK | os.X_OK):
        raise FileError(
            f"cannot read {folder}: it is private to another user",
            hint="only one user can run unibuild in a tree: clone it, or ask that user to remove the folder",
        )
    with contextlib.suppress(OSError):  # of another user, or a file system without permissions
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    if not (folder / ".gitignore").exists():
        write_atomic(folder / ".gitignore", b"*\n")
    return folder


def _paths(raw: object, path: KeyPath) -> Iterator[KeyPath]:
    """Yield the key of every value in a TOML table."""
    if isinstance(raw, dict):
        for key, value in raw.items():
            yield from _paths(value, (*path, key))
    else:
        yield path


def _old_keys(given: Mapping[KeyPath, SettingSource]) -> list[tuple[KeyPath, SettingSource]]:
    """Return the keys of one source that have an old spelling.

    Raises:
        SettingsError: the source has the new spelling too.
    """
    old = [(path, place) for path, place in given.items() if deprecated.current_key(path) != path]
    for path, place in old:
        current = deprecated.current_key(path)
        if current in given:
            both = f"`{place.spell(path)}` and `{place.spell(current)}` are the same setting"
            raise SettingsError(f"{place.at(path)}: {both}", hint=f"remove `{place.spell(path)}`, the old spelling")
    return old


def _merge(
    tree: dict[str, object], raw: Mapping[str, object], source: SettingSource, table: object, path: KeyPath
) -> None:
    """Put the values of a TOML table into ``tree``, each checked against the model's type."""
    from unibuild.settings.schema import is_table, table_of

    for key, value in raw.items():
        place = (*path, key)
        current = deprecated.current_key(place)
        kind = _child(table, current, source)
        inner = table_of(kind)
        if inner is not None and isinstance(value, dict):
            _merge(_inner(tree, key), value, source, inner, place)
        elif is_table(kind):
            raise _wrong(value, kind, place, source)
        else:
            tree[current[-1]] = _value(value, kind, place, source)


def _value(value: object, kind: object, path: KeyPath, source: SettingSource) -> object:
    """Return the checked value of a key that is not a table; check each element of a list of tables separately."""
    from unibuild.settings.schema import element_of

    element = element_of(kind)
    if element is None or not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return _checked(value, kind, path, source)
    tables: list[dict[str, object]] = [{} for _ in value]
    for index, (table, one) in enumerate(zip(tables, value, strict=True)):
        _merge(table, one, source.element(path, index), element, path)
    return tables


def _put(tree: dict[str, object], path: KeyPath, text: str, source: SettingSource) -> None:
    """Put one value, given as text, into ``tree``."""
    from unibuild.settings.model import Settings
    from unibuild.settings.schema import is_table, table_of

    kind: object = Settings
    current = deprecated.current_key(path)
    for depth, key in enumerate(current, 1):
        table = table_of(kind)
        if table is None:
            raise SettingsError(
                f"{source.at(path)}: `{source.spell(path)}` is unknown: "
                f"`{source.spell(path[: depth - 1])}` is not a table"
            )
        kind = _child(table, current[:depth], source)
        if depth < len(path) and table_of(kind) is not None:
            tree = _inner(tree, key)
    if is_table(kind):
        raise _wrong(text, kind, path, source)
    tree[current[-1]] = _read_text(text, kind, path, source)


def _complete(tree: dict[str, object], table: object, path: KeyPath, file: SettingSource | None) -> None:
    """Check the merged tree for required keys; a later source may add what an earlier one lacks."""
    from unibuild.settings.schema import child, expected, required, table_of

    for key in required(table):
        if key not in tree:
            kind = child(table, key)
            where = f"{file.at(path)}: " if file else ""
            raise SettingsError(f"{where}`[{'.'.join(path)}]` has no `{key}`", hint=f"it must be {expected(kind)}")
    for key, value in tree.items():
        inner = table_of(child(table, key))
        if inner is not None and isinstance(value, dict):
            _complete(value, inner, (*path, key), file)


def _inner(tree: dict[str, object], key: str) -> dict[str, object]:
    """Return the table below a key; it replaces a value that is not a table."""
    if not isinstance(tree.get(key), dict):
        tree[key] = {}
    inner = tree[key]
    assert isinstance(inner, dict)
    return inner


def _key_path(key: str) -> KeyPath:
    """Split a dotted key; a key that contains dots is in quotes: ``xl.disk."disk.img".target``."""
    parts = re.split(r'\.(?=(?:[^"]*"[^"]*")*[^"]*$)', key)
    return tuple(part[1:-1] if re.fullmatch(r'"[^"]*"', part) else part for part in parts)


def _child(table: object, path: KeyPath, source: SettingSource) -> object:
    from unibuild.settings.schema import child, expected, key_type, known

    kind = child(table, path[-1])
    if kind is not None:
        return kind
    keys = key_type(table)
    if keys is not None and not known(table):
        raise SettingsError(
            f"{source.at(path)}: `{source.spell(path)}`: the key `{path[-1]}` must be {expected(keys)}",
        )
    raise SettingsError(f"{source.at(path)}: `{source.spell(path)}` is unknown", hint=_nearest(table, path, source))


def _nearest(table: object, path: KeyPath, source: SettingSource) -> str:
    """Name the known key that is most similar to an unknown one, and all keys of the same table."""
    import difflib

    from unibuild.settings.schema import known, leaves

    siblings = [(*path[:-1], key) for key in known(table)]
    elsewhere = [leaf.path for leaf in leaves() if "<" not in leaf.dotted]
    close = difflib.get_close_matches(path[-1], [place[-1] for place in siblings], 1)
    places = [place for place in siblings if place[-1] in close]
    if not places:
        close = difflib.get_close_matches(path[-1], [place[-1] for place in elsewhere], 1, 0.75)
        places = [place for place in elsewhere if place[-1] in close]
    mean = f"did you mean {' or '.join(f'`{source.spell(place)}`' for place in places)}? " if places else ""
    return f"{mean}known here: {', '.join(place[-1] for place in siblings)}"


def _checked(value: object, kind: object, path: KeyPath, source: SettingSource, *, strict: bool = True) -> object:
    import msgspec

    from unibuild.settings.schema import is_pattern

    try:
        found = msgspec.convert(value, kind, strict=strict)
    except (msgspec.ValidationError, UnicodeError):  # UnicodeError: bytes of the environment that are not UTF-8
        raise _wrong(value, kind, path, source) from None
    for pattern in ([found] if isinstance(found, str) else found) if found and is_pattern(kind) else ():
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise _wrong(pattern, kind, path, source, why=str(error)) from None
    return found


def _read_text(text: str, kind: object, path: KeyPath, source: SettingSource) -> object:
    """Read a value of the type ``kind`` from text, as the docstring of this module describes."""
    import shlex
    import tomllib
    from typing import get_origin

    from unibuild.settings.schema import options

    found = options(kind)
    is_list = str not in found and any(get_origin(option) in (list, tuple) for option in found)
    if not is_list and len(found) == 1:
        return _checked(text, kind, path, source, strict=False)
    try:
        if re.fullmatch(
            r"\[.*\]" if is_list else r"""\[.*\]|".*"|'.*'|true|false|[+-]?(0|[1-9]\d*)""", text, re.DOTALL
        ):
            return _value(tomllib.loads(f"value = {text}")["value"], kind, path, source)
        return _value(shlex.split(text) if is_list else text, kind, path, source)
    except ValueError:  # also TOML's own error
        raise _wrong(text, kind, path, source) from None


def _wrong(value: object, kind: object, path: KeyPath, source: SettingSource, why: str = "") -> SettingsError:
    from unibuild.settings.schema import expected, is_table, known, leaves, wrong_element

    if (element := wrong_element(value, kind)) is not None:
        one, of = element
        hint = f"separate the values with spaces: {one.replace(',', ' ')}" if "," in one else None
        message = f"{source.at(path)}: each value of `{source.spell(path)}` must be {expected(of)}, not {_shown(one)}"
        return SettingsError(message, hint=hint)
    shown = _shown(value)
    hint = None
    if is_table(kind):
        keys = f" ({', '.join(known(kind))})" if known(kind) else ""
        hint = f"it holds keys: `{source.spell(next(leaves(kind, path)).path)}`{keys}"
    sentence = f"{source.at(path)}: `{source.spell(path)}` must be {expected(kind)}, not {shown}"
    return SettingsError(f"{sentence}: {why}" if why else sentence, hint=hint)


def _shown(value: object) -> str:
    shown = str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
    return f"{shown[: _MAX_SHOWN - 4]} ..." if len(shown) > _MAX_SHOWN else shown


CYCLE = {
    "UNIBUILD_CYCLE_NUMBER": "in a hook of the watch: number of the cycle, from 1",
    "UNIBUILD_CYCLE_OUTCOME": "in a hook of the watch: booted, ready, failed, not ready; later perhaps crashed",
    "UNIBUILD_CYCLE_TRIGGER": "in a hook of the watch: the file that started the cycle",
    "UNIBUILD_CYCLE_SECONDS": "in a hook of the watch: how long it took",
    "UNIBUILD_CYCLE_WHY": "in a hook of the watch: the reason, in a sentence",
    "UNIBUILD_CYCLE_DOMAIN": "in a hook of the watch: name of the domain",
    "UNIBUILD_CYCLE_DOMID": "in a hook of the watch: its number on the host; empty if none runs",
    "UNIBUILD_CYCLE_HOST": "in a hook of the watch: where it runs",
    "UNIBUILD_CYCLE_GENERATION": "in a hook of the watch: number of its generation",
    "UNIBUILD_CYCLE_CONSOLE": "in a hook of the watch: the log of its console",
}
"""The environment variables of the commands that `unibuild watch` runs (``watch.on_ready``, ``watch.on_fail``)."""
RESERVED = {  # variables with unibuild's prefix that are not settings, and their meanings
    "UNIBUILD_ARGS": "more words for the command line of unibuild, for `make boot UNIBUILD_ARGS=...`",
    "UNIBUILD_GOALS": "the goals that unibuild.mk adds to a Makefile",
    "UNIBUILD_DEBUG": "show tracebacks, and the time of each command on a host, as --debug does",
    "UNIBUILD_BATCH": "never ask for a password, not even on a terminal",
    "UNIBUILD_RESULT": "the number of a file descriptor to write the result to, as JSON",
    **CYCLE,
}


def variable_path(name: str) -> KeyPath:
    """Return the key that an environment variable sets; an old spelling of the name gives the old key.

    Raises:
        SettingsError: it does not set any.
    """
    import difflib

    from unibuild.settings.model import Settings
    from unibuild.settings.schema import leaves, spellings

    if name in (old := old_variables(PREFIX)):
        return old[name]
    for path in spellings(Settings, name.removeprefix(PREFIX)):
        return path
    names = [leaf.variable for leaf in leaves()] + list(RESERVED)
    close = difflib.get_close_matches(name, names, 1, 0.8)
    raise SettingsError(
        f"environment: `{name}` is not a setting",
        hint=f"did you mean `{close[0]}`?" if close else f"unset it: names that start with {PREFIX} are settings",
    )
