"""The numbers that ``xl`` prints where it has no words: libxl's errors (``rc=-9``) and the system's (``errno=12``).

Source: libxl_error in Xen's tools/libs/light/libxl_types.idl, and errno(3) of Linux.
"""

from __future__ import annotations

import os
import re

__all__ = ["LIBXL", "words"]

LIBXL = {  # 1 and 3 say only that it failed
    2: "xl and its library are of different versions",
    4: "this Xen cannot do it",
    5: "dom0 is out of memory",
    6: "a value is not valid",
    7: "it failed, and so did clearing up after it",
    8: "the domain did not answer in time",
    9: "it took too long",
    10: "the domain has no paravirtual drivers",
    11: "something is not ready yet",
    12: "dom0 could not wait for events",
    13: "a buffer is too small",
    14: "a child of xl ended that it does not know",
    15: "a lock could not be had",
    16: "xl's own record of the domain is empty",
    17: "there is such a device already",
    18: "the checkpoint device is of another kind",
    19: "the checkpoint device is not supported",
    20: "the vNUMA settings contradict each other",
    21: "there is no such domain",
    22: "it was broken off",
    23: "something was not found",
    24: "the domain ended meanwhile",
    25: "this Xen cannot do it any more",
    26: "QEMU answered in a way that xl does not know",
    27: "QEMU failed with an error that xl does not know",
    28: "QEMU refused",
    29: "QEMU does not know the command",
    30: "a device of QEMU did not become active",
    31: "QEMU does not have the device",
    32: "QEMU's answer lacks a part",
}
_LIBXL = re.compile(r"(?:\brc[= ]+|(?:make|build) domain: |did not start: )-(\d+)\b")
_ERRNO = re.compile(r"\b(?:errno[= ]+|error )-?(\d+)\b")


def words(said: str) -> str | None:
    """Return what the first number means that xl printed and that says more than that it failed; None: there is none.

    Args:
        said: the standard error of ``xl``.
    """
    meant = (LIBXL.get(int(number)) for number in _LIBXL.findall(said))
    found = next(filter(None, meant), None)
    number = _ERRNO.search(said)
    if found or not number:
        return found
    text = os.strerror(int(number[1]))
    return None if text.startswith("Unknown error") else text[0].lower() + text[1:]
