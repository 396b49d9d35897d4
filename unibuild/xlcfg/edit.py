"""Write values in the language of xl.cfg(5), and edit an .xl file without touching its other bytes.

Each change is one splice of the text; the next change parses the text again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from unibuild.errors import InputError, SettingsError
from unibuild.xlcfg.devices import Device, change_disk, change_vif, parse_disk
from unibuild.xlcfg.parser import Config, Value, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Changes", "Setting", "apply", "arrange", "quote", "write"]

Setting = str | int | bool | list[str]

_KEY = re.compile(r"[a-z][._0-9a-z]*")
_REPLACES = {"type": ("builder",), "cmdline": ("root", "extra")}  # older keys, which conflict with the new ones
_REPLACES["kernel"] = ("bootloader", "bootloader_args", "bootloader_restrict")  # libxl runs it, and ignores the kernel
_CHANGE = {"vif": change_vif, "disk": change_disk}


@dataclass(frozen=True)
class Changes:
    """Changes to an .xl file.

    Attributes:
        set: new values of keys. `type` replaces `builder`, `cmdline` replaces `root` and `extra`, and `kernel` replaces
            `bootloader`.
        vif: network devices by number, from "0": new values of sub-keys, or `remove = true`.
        disk: disks by number or `vdev`, likewise.

    Numbers are those in the unchanged file; the number after the last one adds a device, as does a new `vdev`.
    """

    set: Mapping[str, Setting] = field(default_factory=dict)
    vif: Mapping[str, Device] = field(default_factory=dict)
    disk: Mapping[str, Device] = field(default_factory=dict)


def apply(text: str, changes: Changes, path: str = "the .xl file") -> str:
    """Return the text with the changes applied; an empty text becomes a new file.

    Args:
        text: the file's text, decoded as for `parser.parse`.
        changes: the changes.
        path: the file's name, for messages.

    Raises:
        XlSyntaxError: xl would refuse the file, or one of its disks.
        SettingsError: a change cannot be written in an .xl file.
    """
    _check_disks(parse(text, path))
    for key, value in changes.set.items():
        text = _set(text, path, key, value)
    text = _change_devices(text, path, "vif", changes.vif)
    return _change_devices(text, path, "disk", changes.disk)


def arrange(text: str, kind: str, specs: list[str], path: str = "the .xl file") -> str:
    """Return the text with its list of devices replaced by as many new strings.

    Raises:
        XlSyntaxError: xl would refuse the file.
        SettingsError: a string cannot be written in an .xl file.
    """
    devices = _devices(parse(text, path), kind)
    for old, spec in reversed([*zip(devices, specs, strict=True)]):
        text = text if spec == old.plain else _splice(text, old.start, old.end, quote(spec))
    return text


def _check_disks(config: Config) -> None:
    for item in _devices(config, "disk"):
        try:
            parse_disk(str(item.plain))
        except InputError as error:
            raise config.error(error.message, item.start, hint=error.hint) from None


def _set(text: str, path: str, key: str, value: Setting) -> str:
    if not _KEY.fullmatch(key):
        raise SettingsError(f"xl.set: not a key of an .xl file: {key}", hint="write it like `on_crash`")
    config = parse(text, path)
    older = [found for found in config.assignments if found.key in _REPLACES.get(key, ())]
    made = config.of(key)
    if not made and not older:
        return _append(config, f"{key} = {write(value)}")
    if not made or not _is(config.get(key), value):
        last = (made or older)[-1]
        text = _splice(text, last.start, last.end, f"{key} = {write(value)}")
    for found in reversed(parse(text, path).assignments):
        if found.key in _REPLACES.get(key, ()):
            text = _cut(text, found.start, found.end)
    return text


def _is(plain: object, value: Setting) -> bool:
    """Return whether a value of the file is the wanted one: to xl, 1 and '1' are the same."""
    if isinstance(plain, list) or isinstance(value, list):
        return plain == value
    return str(plain) == str(int(value) if isinstance(value, bool) else value)


def _change_devices(text: str, path: str, kind: str, changes: Mapping[str, Device]) -> str:
    """Change and add devices, numbers first, and remove devices last, so that the numbers stay those in the file."""
    removed: set[int] = set()
    for name in sorted(changes, key=lambda name: int(name) if name.isdecimal() else float("inf")):
        config = parse(text, path)
        devices = _devices(config, kind, strict=True)
        number = _number(devices, kind, name)
        wanted = dict(changes[name])
        if wanted.pop("remove", False):
            removed |= {number} & set(range(len(devices)))
            continue
        try:
            if number < len(devices):
                old = devices[number]
                spec = _CHANGE[kind](str(old.plain), wanted)
                text = text if spec == old.plain else _splice(text, old.start, old.end, quote(spec))
            else:
                named = {} if name.isdecimal() else {"vdev": name}
                text = _add(config, kind, _CHANGE[kind]("", {**named, **wanted}))
        except InputError as error:
            raise SettingsError(f"xl.{kind}.{name}: {error.message}", hint=error.hint) from None
    for number in sorted(removed, reverse=True):
        text = _remove(parse(text, path), kind, number)
    return text


def _devices(config: Config, kind: str, *, strict: bool = False) -> list[Value]:
    """Return the devices that xl would create, in its order; with `strict`, raise an error for what it would ignore."""
    devices: list[Value] = []
    for found in config.of(kind):
        if strict and not isinstance(found.value.plain, list):
            raise config.error(f"`{kind}` is not a list, so xl ignores it", found.value.start)
        for item in found.value.items:
            if isinstance(item.plain, list):
                if strict:
                    raise config.error(f"xl ignores the devices from here on: a list in `{kind}`", item.start)
                return devices
            devices.append(item)
    return devices


def _number(devices: list[Value], kind: str, name: str) -> int:
    """Return the number of the named device; for a new one, the number of devices."""
    if name.isdecimal():
        if int(name) > len(devices):
            hint = f"the next one is xl.{kind}.{len(devices)}"
            raise SettingsError(f"xl.{kind}.{name}: the file lacks a {kind} before that number", hint=hint)
        return int(name)
    if kind == "vif":
        raise SettingsError(f"xl.vif.{name}: a vif has a number instead of a name", hint="the first one is xl.vif.0")
    return next((at for at, disk in enumerate(devices) if parse_disk(str(disk.plain))["vdev"] == name), len(devices))


def _add(config: Config, kind: str, spec: str) -> str:
    made = config.of(kind)
    if not made:
        return _append(config, f"{kind} = {write([spec])}")
    value = made[-1].value
    if value.items:
        return _splice(config.text, value.items[-1].end, value.items[-1].end, f", {quote(spec)}")
    inside = config.text[value.start + 1 : value.end - 1]
    return _splice(config.text, value.start, value.end, f"[ {quote(spec)}{inside if inside.strip() else ' '}]")


def _remove(config: Config, kind: str, number: int) -> str:
    """Remove a device and its comma from the list; comments stay."""
    text = config.text
    for found in config.of(kind):
        items, commas = found.value.items, found.value.commas
        if number < len(items):
            break
        number -= len(items)
    start, end = items[number].start, items[number].end
    if number < len(commas):
        text = _splice(text, commas[number], commas[number] + 1, "")
        return _cut(text, start, _after(text, end, r"[ \t]*") if number + 1 < len(items) else end)
    if number and not text[commas[number - 1] + 1 : start].strip(" \t"):
        return _splice(text, commas[number - 1], end, "")
    return _cut(text, start, end)


def _append(config: Config, statement: str) -> str:
    text = config.text[: config.end]
    line_end = "\n" if text and not text.endswith("\n") else ""
    return f"{text}{line_end}{statement}\n"


def _cut(text: str, start: int, end: int) -> str:
    """Remove a piece of text with the `;` after it, and its line if nothing else is on it."""
    end = _after(text, end, r"([ \t]*;[ \t]*)?")
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", end) + 1 or len(text)
    if not (text[line_start:start] + text[end:line_end]).strip():
        return _splice(text, line_start, line_end, "")
    return _splice(text, start, end, "")


def _after(text: str, at: int, pattern: str) -> int:
    found = re.compile(pattern).match(text, at)
    return found.end() if found else at


def _splice(text: str, start: int, end: int, new: str) -> str:
    return text[:start] + new + text[end:]


# Neither \x.. nor octal: xl cannot read them. Other control characters need no escape.
_ESCAPES = {"\\": r"\\", "\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}


def quote(text: str) -> str:
    """Return a string as written in an .xl file, in the quotes that need fewer backslashes.

    Raises:
        SettingsError: it has a NUL character, which no .xl file can hold.
    """
    if "\0" in text:
        raise SettingsError(f"{text!r} has a NUL character, which no .xl file can hold")
    mark = '"' if text.count("'") > text.count('"') else "'"
    return mark + "".join(f"\\{mark}" if char == mark else _ESCAPES.get(char, char) for char in text) + mark


def write(value: str | int | bool | list[str]) -> str:
    """Return a value as written in an .xl file; xl's booleans are 1 and 0.

    Raises:
        SettingsError: a string has a NUL character.
    """
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, list):
        return f"[ {', '.join(map(quote, value))} ]"
    return str(int(value)) if value >= 0 else quote(str(value))  # a minus sign is allowed only in quotes
