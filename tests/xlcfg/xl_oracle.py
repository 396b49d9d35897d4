"""Xen's own parser (libxlutil) through ctypes: what it reads, or where it refuses.

Debian's package libxenmisc4.17 has it; no Xen need run. Interface: /usr/include/libxlutil.h of libxen-dev.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

Plain = str | list["Plain"] | None  # what libxlutil stores: strings (numbers too) and lists of them


@dataclass(frozen=True)
class Refused:
    """libxlutil does not take the text."""

    said: str

    @property
    def line(self) -> int:
        """The line of its first complaint, put right: an error at a line end it reports one line too early."""
        number, words = re.findall(r"^xl:(-?\d+):(.*?)(?=\nxl:|\Z)", self.said, re.MULTILINE | re.DOTALL)[0]
        return int(number) + ("unexpected NEWLINE" in words)


class Oracle:
    """libxlutil and libxenlight, loaded once."""

    def __init__(self) -> None:
        self._util = ctypes.CDLL(_library("xlutil"))
        self._light = ctypes.CDLL(_library("xenlight"))
        self._libc = ctypes.CDLL(None)
        self._util.xlu_cfg_init.restype = ctypes.c_void_p
        self._util.xlu_cfg_get_listitem2.restype = ctypes.c_void_p
        self._libc.fdopen.restype = ctypes.c_void_p
        self._light.libxl_device_disk_to_json.restype = ctypes.c_void_p
        self._report = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the oracle)
        self._stream = ctypes.c_void_p(self._libc.fdopen(os.dup(self._report.fileno()), b"w"))

    def close(self) -> None:
        self._libc.fclose(self._stream)
        self._report.close()

    def read(self, text: str, keys: list[str]) -> dict[str, Plain] | Refused:
        """Read a file's text; return the values of `keys` (None where it has none)."""
        config = ctypes.c_void_p(self._util.xlu_cfg_init(self._stream, b"xl"))
        data = text.encode(errors="surrogateescape")
        try:
            if self._util.xlu_cfg_readdata(config, data, len(data)):
                return Refused(self._complaint())
            return {key: self._value(config, key) for key in keys}
        finally:
            self._util.xlu_cfg_destroy(config)

    def number(self, text: str, key: str) -> int | None:
        """Read a file's text; return the number that a key holds, None where xl ignores it."""
        config = ctypes.c_void_p(self._util.xlu_cfg_init(self._stream, b"xl"))
        data, value = text.encode(errors="surrogateescape"), ctypes.c_long()
        try:
            assert self._util.xlu_cfg_readdata(config, data, len(data)) == 0
            refused = self._util.xlu_cfg_get_long(config, key.encode(), ctypes.byref(value), 1)
            return None if refused else value.value
        finally:
            self._util.xlu_cfg_destroy(config)

    def disk(self, spec: str) -> dict[str, object] | Refused:
        """Read one disk specification; return what libxl makes of it as JSON."""
        config = ctypes.c_void_p(self._util.xlu_cfg_init(self._stream, b"xl"))
        disk = ctypes.create_string_buffer(4096)  # more than any libxl_device_disk; its layout does not matter
        self._light.libxl_device_disk_init(disk)
        specs = (ctypes.c_char_p * 1)(spec.encode(errors="surrogateescape"))
        try:
            if self._util.xlu_disk_parse(config, 1, specs, disk):
                return Refused(self._complaint())
            text = ctypes.c_void_p(self._light.libxl_device_disk_to_json(None, disk))
            found: dict[str, object] = json.loads(ctypes.string_at(text).decode(errors="surrogateescape"))
            self._libc.free(text)
            return found
        finally:
            self._light.libxl_device_disk_dispose(disk)
            self._util.xlu_cfg_destroy(config)

    def _value(self, config: ctypes.c_void_p, key: str) -> Plain:
        text = ctypes.c_char_p()
        if self._util.xlu_cfg_get_string(config, key.encode(), ctypes.byref(text), 1) == 0:
            return _text(text)
        found, count = ctypes.c_void_p(), ctypes.c_int()
        if self._util.xlu_cfg_get_list(config, key.encode(), ctypes.byref(found), ctypes.byref(count), 1) == 0:
            return self._items(config, found)
        return None

    def _items(self, config: ctypes.c_void_p, found: ctypes.c_void_p) -> list[Plain]:
        items: list[Plain] = []
        while item := self._util.xlu_cfg_get_listitem2(found, len(items)):
            value, text, inner = ctypes.c_void_p(item), ctypes.c_char_p(), ctypes.c_void_p()
            if self._util.xlu_cfg_value_get_string(config, value, ctypes.byref(text), 1) == 0:
                items.append(_text(text))
            else:
                self._util.xlu_cfg_value_get_list(config, value, ctypes.byref(inner), 1)
                items.append(self._items(config, inner))
        return items

    def _complaint(self) -> str:
        self._libc.fflush(self._stream)
        self._report.seek(0)
        output = self._report.read().decode(errors="replace")
        self._report.seek(0)
        self._report.truncate()
        return output


def _text(found: ctypes.c_char_p) -> str:
    return (found.value or b"").decode(errors="surrogateescape")


def _library(name: str) -> str:
    """Return the library's file name; with the version in it, since the bare one comes with libxen-dev only."""
    found = ctypes.util.find_library(name)
    if found is None:
        raise OSError(f"the library lib{name} of Debian's package libxenmisc4.17 is not installed")
    return Path(found).name
