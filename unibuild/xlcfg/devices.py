"""Read and change the strings in the lists `vif` and `disk`.

A device is its sub-keys, in their order: `{"bridge": "br0"}`, `{"vdev": "xvdb", "discard": True, "target": "/x"}`.

A disk has two forms, which can be mixed: `vdev=xvda, target=/x`, where `target` comes last because it takes the rest of
the string; and the older positional form, `file:/x,xvda,w` or `/x,raw,xvda,w`. This module writes the first form.

Sources: parse_nic_config() in Xen's tools/xl/xl_parse.c with xl-network-configuration(5), and libxlu_disk_l.l in
tools/libs/util with xl-disk-configuration(5). Words newer than Xen 4.17 (`trusted`, `grant_usage`, `specification`) are
known too, whether or not the host's xl accepts them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from unibuild.errors import InputError, SettingsError

__all__ = ["Device", "Parsed", "change_disk", "change_vif", "parse_disk", "parse_vif"]

Device = Mapping[str, str | int | bool]  # as the user sets it
Parsed = dict[str, str | bool]  # as parsed: True and False for the sub-keys of _FLAGS

_FLAGS = {  # sub-keys that are written as a word: for true, for false
    "colo": ("colo", "no-colo"),
    "direct-io-safe": ("direct-io-safe", ""),
    "discard": ("discard", "no-discard"),
    "trusted": ("trusted", "untrusted"),
}
_WORDS: dict[str, tuple[str, str | bool]] = {"cdrom": ("devtype", "cdrom")}
_WORDS |= {words[not yes]: (key, yes) for key, words in _FLAGS.items() for yes in (True, False) if words[not yes]}
_VIF = (
    *("accel", "backend", "bridge", "devid", "forwarddev", "gatewaydev", "ip", "mac", "model", "mtu", "netdev"),
    *("rate", "script", "trusted", "type", "vifname", "vlan"),
)  # and colo_...
_STRINGS = ("active-disk", "backend", "colo-export", "colo-host", "hidden-disk", "script", "target", "vdev")
_CHOICES = {
    "access": ("", "r", "ro", "rw", "w"),
    "backendtype": ("phy", "qdisk", "standalone", "tap"),
    "devtype": ("cdrom", "disk"),
    "format": ("empty", "qcow", "qcow2", "qed", "raw", "vhd"),
    "grant_usage": ("0", "1"),
    "specification": ("virtio", "xen"),
}
_REPLACEABLE = ("access", "colo-port", "devtype", "grant_usage")  # the last one wins; the others may be given once
_DISK = (*_STRINGS, *_CHOICES, *_FLAGS, "colo-port")
_KEYED = re.compile(rf"target=([^\n]*)|({'|'.join(sorted((*_STRINGS, *_CHOICES, 'colo-port')))})=([^,]*),?")
_MAC = re.compile(r"([0-9a-fA-F]{1,2}:){5}[0-9a-fA-F]{1,2}")  # xl ignores any other value, and uses a random address
_PREFIX = re.compile(r"(raw|qcow2?|vhd):|(iscsi|e?nbd|drbd):|(?:tapdisk|tap2?|aio|ioemu|file|phy):")
_OTHER_PREFIX = re.compile(r"[a-z][a-z0-9]*:(?![a-z0-9])")
_PLACED = re.compile(r"([^=,]*)(,|=|\Z)")


def parse_vif(spec: str) -> Parsed:
    """Parse one string of the `vif` list. It never fails: xl ignores what it does not know."""
    vif: Parsed = {}
    for field in spec.split(","):
        key, sign, value = field.lstrip(" ").partition("=")
        if key in ("trusted", "untrusted") and not sign:
            vif["trusted"] = key == "trusted"
        elif key or sign:
            vif[key] = value if sign else True
    return vif


def change_vif(spec: str, changes: Device) -> str:
    """Return a string of the `vif` list with some sub-keys changed or added, and the others unchanged.

    Args:
        spec: the string; empty for a new device.
        changes: the new values by sub-key.

    Raises:
        SettingsError: xl does not know the sub-key, or its value cannot be written there.
    """
    for key in changes:
        if key not in _VIF and not key.startswith("colo_"):
            raise SettingsError(f"unknown sub-key of a vif: {key}", hint=_nearest(key, _VIF))
    if not _MAC.fullmatch(str(changes.get("mac", "0:0:0:0:0:0"))):
        raise SettingsError(f"not a MAC address: {changes['mac']}", hint="write it like c0:ff:ee:c0:ff:ee")
    old = parse_vif(spec)
    new = {**old, **_plain(changes)}
    written = spec if new == old else _format(new, spec)
    if parse_vif(written) != new:
        raise SettingsError("a vif's sub-key cannot hold a comma")
    return written


def parse_disk(spec: str) -> Parsed:
    """Parse one string of the `disk` list, in either form.

    Raises:
        InputError: xl would refuse it.
    """
    return _DiskReader().read(spec)


def change_disk(spec: str, changes: Device) -> str:
    """Return a string of the `disk` list with some sub-keys changed or added, and the others unchanged.

    A string in the positional form is rewritten as `key=value` if something changes.

    Args:
        spec: the string; empty for a new device.
        changes: the new values by sub-key.

    Raises:
        SettingsError: xl would refuse the new string or read it differently.
        InputError: xl would refuse `spec`.
    """
    old = parse_disk(spec) if spec else {}
    new = {key: value for key, value in {**old, **_plain(changes)}.items() if value is not False or _FLAGS[key][1]}
    if new == old:
        return spec
    written = _format(new, spec)
    try:
        if parse_disk(written) == new:
            return written
    except InputError as error:
        raise SettingsError(error.message, hint=error.hint) from None
    raise SettingsError(f"xl would read `{written}` differently", hint="only `target` can hold a comma")


class _DiskReader:
    def __init__(self) -> None:
        self.disk: Parsed = {}
        self.prefixed = False
        self.access_placed = False

    def read(self, spec: str) -> Parsed:
        at = 0
        while at < len(spec):
            if spec[at] in " \t\n":
                at += 1
            elif found := _PREFIX.match(spec, at):
                at = found.end()
                self.prefix(found)
            elif found := _OTHER_PREFIX.match(spec, at):
                raise InputError(f"unknown prefix of a disk: {found[0]}")
            elif found := _KEYED.match(spec, at):
                at = found.end()
                if found[2]:
                    self.put(found[2], found[3])
                else:
                    self.put("target", found[1].removesuffix(","))
            elif found := _PLACED.match(spec, at):
                at = found.end()
                if found[2] == "=" and at < len(spec):  # xl ignores it at the very end
                    raise InputError(f"unknown sub-key of a disk: {found[1]}", hint=_nearest(found[1], _DISK))
                if found[0] != "=":
                    self.place(found[1])
        if "vdev" not in self.disk:
            raise InputError("the disk lacks `vdev`")
        if "target" not in self.disk and self.disk.get("devtype") != "cdrom":
            raise InputError("the disk lacks `target`")
        return self.disk

    def put(self, key: str, value: str) -> None:
        if key == "format":
            value = value or "raw"
        if key in _CHOICES and value not in _CHOICES[key]:
            raise InputError(f"invalid `{key}` of a disk: {value}", hint=_nearest(value, _CHOICES[key]))
        if key == "colo-port" and not re.match(r"\s*[+-]?0*[1-9]", value):
            raise InputError(f"invalid `colo-port` of a disk: {value}")
        before = self.disk.get(key)
        if before and key not in _REPLACEABLE and (key in _STRINGS or before != value):
            raise InputError(f"`{key}` of a disk is set twice: {before}, {value}")
        self.disk[key] = value

    def prefix(self, found: re.Match[str]) -> None:
        self.prefixed = True
        if found[1]:
            self.put("format", found[1])
        elif found[2]:
            self.put("script", f"block-{found[2]}")

    def place(self, word: str) -> None:
        """Assign a word without a key: a flag, or else the first of target, format, vdev and access that is not set."""
        vdev, colon, devtype = word.rpartition(":")
        format_free = not self.prefixed and "format" not in self.disk
        if word in _WORDS:
            key, value = _WORDS[word]
            self.disk[key] = value
        elif "target" not in self.disk:
            self.put("target", word)
        elif format_free and colon and self.disk["target"] == "":  # an empty CD drive: `,hdc:cdrom`
            self.put("vdev", vdev)
            self.put("devtype", devtype)
            self.put("format", "empty")
        elif format_free:
            self.put("format", word)
        elif "vdev" not in self.disk:
            self.put("vdev", vdev if colon else word)
            if colon:
                self.put("devtype", devtype)
        elif not self.access_placed:
            self.access_placed = True
            self.put("access", word)
        else:
            raise InputError(f"unexpected word in a disk: {word}")


def _plain(changes: Device) -> Parsed:
    """Return the user's values as they would be parsed."""
    plain: Parsed = {}
    for key, value in changes.items():
        if key in _FLAGS and not isinstance(value, bool):
            raise SettingsError(f"`{key}` must be true or false")
        if key == "cdrom":
            plain["devtype"] = "cdrom" if value else "disk"
        elif isinstance(value, bool):
            plain[key] = value if key in _FLAGS else str(int(value))
        else:
            plain[key] = str(value)
    return plain


def _format(device: Parsed, like: str) -> str:
    """Write sub-keys, `target` last, with a space after each comma unless `like` has none."""
    words = []
    for key, value in sorted(device.items(), key=lambda item: item[0] == "target"):
        if isinstance(value, bool):
            words.append(_FLAGS.get(key, (key, ""))[not value])
        else:
            comma = "," if key == "target" and value.endswith(",") else ""  # xl removes one comma
            words.append(f"{key}={value}{comma}")
    return ("," if "," in like and ", " not in like else ", ").join(words)


def _nearest(word: str, words: Iterable[str]) -> str | None:
    near = difflib.get_close_matches(word, words, 1)
    return f"did you mean `{near[0]}`?" if near else None
