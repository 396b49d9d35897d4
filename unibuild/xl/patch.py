"""Changing an .xl file in place: every byte that need not change stays, comments and order with it.

Each change is a splice of the text, and the next one reads the text anew: what is written is proven by reading.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from unibuild.errors import InputError, SettingsError
from unibuild.xl.devices import Device, change_disk, change_vif, parse_disk
from unibuild.xl.grammar import Config, Plain, Value, parse
from unibuild.xl.write import quote, write

__all__ = ["Changes", "apply"]

_KEY = re.compile(r"[a-z][._0-9a-z]*")
_REPLACES = {"type": ("builder",), "cmdline": ("root", "extra")}  # the older keys which xl would weigh against it


@dataclass(frozen=True)
class Changes:
    """What shall be different.

    Attributes:
        set: keys and their new values.
        vif: network devices by number, from "0": sub-keys and their new values, or `remove = true`.
        disk: disks by `vdev` or by number, likewise.

    Numbers are those of the devices before the change; the number that follows the last one adds a device.
    """

    set: Mapping[str, str | int | bool | list[str]] = field(default_factory=dict)
    vif: Mapping[str, Device] = field(default_factory=dict)
    disk: Mapping[str, Device] = field(default_factory=dict)


def apply(text: str, changes: Changes, path: str = "the .xl file") -> str:
    """Return the text with the changes made; an empty text becomes a whole new file.

    Args:
        text: an .xl file's text.
        changes: what shall be different.
        path: the file's name, for messages.

    Raises:
        XlSyntaxError: xl would refuse the text as it is, or one of its disks.
        SettingsError: a change cannot be made.
    """
    _check_disks(parse(text, path))
    for key, value in changes.set.items():
        text = _set(parse(text, path), key, value)
    text = _change_devices(text, path, "vif", changes.vif, change_vif)
    return _change_devices(text, path, "disk", changes.disk, change_disk)


def _set(config: Config, key: str, value: str | int | bool | list[str]) -> str:
    if not _KEY.fullmatch(key):
        raise SettingsError(f"xl.set: `{key}` is no key that an .xl file can have", hint="keys are like `on_crash`")
    rivals = [found for found in config.assignments if found.key in _REPLACES.get(key, ())]
    statement = f"{key} = {write(value)}"
    made = config.of(key)
    if made and _same(config.get(key), value):
        text = config.text
    elif made or rivals:
        place = made[-1] if made else rivals.pop()
        text = _splice(config.text, place.start, place.value.end, statement)
    else:
        return _append(config, statement)
    if not rivals:
        return text
    # Cut one, and read anew: the splice has moved what stood behind it.
    rival = next(found for found in reversed(parse(text).assignments) if found.key in _REPLACES[key])
    return _set(parse(_cut(text, rival.start, rival.value.end)), key, value)


def _change_devices(
    text: str, path: str, kind: str, changes: Mapping[str, Device], change: Callable[[str, Device], str]
) -> str:
    """Change and add first, then remove from behind: so the numbers stay those that a person sees in the file."""
    removed: list[int] = []
    for name, device in sorted(changes.items(), key=lambda item: int(item[0]) if item[0].isdecimal() else -1):
        config = parse(text, path)
        items = _items(config, kind)
        number = _number(items, kind, name)
        wanted = {key: value for key, value in device.items() if key != "remove"}
        if device.get("remove"):
            removed += [number] if number < len(items) else []
            continue
        if number == len(items) and not name.isdecimal():
            wanted = {"vdev": name, **wanted}
        try:
            if number < len(items):
                text = _rewrite(config, items[number], change(str(items[number].plain), wanted))
            else:
                text = _add(config, kind, change("", wanted))
        except InputError as error:
            raise SettingsError(f"xl.{kind}.{name}: {error.message}", hint=error.hint) from None
    for number in sorted(removed, reverse=True):
        text = _remove(parse(text, path), kind, number)
    return text


def _items(config: Config, kind: str) -> list[Value]:
    """Return the devices with their places in the text, in xl's order."""
    made = config.of(kind)
    for found in made:
        if not isinstance(found.value.plain, list):
            raise config.error(f"`{kind}` should be a list, and xl ignores it as it is", found.value.start)
    items = [item for found in made for item in found.value.items]
    for item in items:
        if isinstance(item.plain, list):
            raise config.error(f"a list stands in `{kind}`, and xl ignores what follows it", item.start)
    return items


def _number(items: list[Value], kind: str, name: str) -> int:
    """Return the place of the named device in the list, or the list's length where it is a new one."""
    if name.isdecimal():
        if int(name) > len(items):
            count = f"{len(items)} {kind}{'s' * (len(items) != 1)}"
            raise SettingsError(f"xl.{kind}.{name}: the file has {count}", hint=f"the next one is number {len(items)}")
        return int(name)
    if kind == "vif":
        raise SettingsError(f"xl.vif.{name}: a vif is named by its number", hint="the first one is [xl.vif.0]")
    return next((at for at, item in enumerate(items) if parse_disk(str(item.plain))["vdev"] == name), len(items))


def _check_disks(config: Config) -> None:
    for found in config.of("disk"):
        for item in found.value.items:
            if isinstance(item.plain, list):
                return  # xl goes no further
            try:
                parse_disk(str(item.plain))
            except InputError as error:
                raise config.error(error.message, item.start, hint=error.hint) from None


def _rewrite(config: Config, item: Value, spec: str) -> str:
    return config.text if spec == str(item.plain) else _splice(config.text, item.start, item.end, quote(spec))


def _add(config: Config, kind: str, spec: str) -> str:
    made = config.of(kind)
    if not made:
        return _append(config, f"{kind} = {write([spec])}")
    value = made[-1].value
    if value.items:
        return _splice(config.text, value.items[-1].end, value.items[-1].end, f", {quote(spec)}")
    inside = config.text[value.start + 1 : value.end - 1]
    kept = inside if inside.strip() else " "  # comments
    return _splice(config.text, value.start, value.end, f"[ {quote(spec)}{kept}]")


def _remove(config: Config, kind: str, number: int) -> str:
    for found in config.of(kind):
        value = found.value
        if number < len(value.items):
            break
        number -= len(value.items)
    item = value.items[number]
    text = config.text
    if number < len(value.commas):
        comma = value.commas[number]
        text = _splice(text, comma, comma + 1, "")
        behind = re.compile(r"[ \t]*").match(text, item.end)
        return _cut(text, item.start, behind.end() if behind and number + 1 < len(value.items) else item.end)
    before = value.commas[number - 1] if number else item.start
    if text[before + 1 : item.start].strip(" \t"):
        return _cut(text, item.start, item.end)  # on a line of its own; the comma before may stay
    return _splice(text, before, item.end, "")


def _append(config: Config, statement: str) -> str:
    text = config.text[: config.end]
    return f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{statement}\n"


def _splice(text: str, start: int, end: int, new: str) -> str:
    return text[:start] + new + text[end:]


def _cut(text: str, start: int, end: int) -> str:
    """Take a piece out, and with it the `;` behind it, or the whole line where nothing else stands on it."""
    semicolon = re.compile(r"[ \t]*;[ \t]*").match(text, end)
    end = semicolon.end() if semicolon else end
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", end) + 1 or len(text)
    if not (text[line_start:start] + text[end:line_end]).strip():
        start, end = line_start, line_end
    return _splice(text, start, end, "")


def _same(plain: Plain | None, value: str | int | bool | list[str]) -> bool:
    if isinstance(value, list):
        return plain == value
    return not isinstance(plain, list) and str(plain) == (value if isinstance(value, str) else str(int(value)))
