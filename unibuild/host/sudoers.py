"""The programs that unibuild runs as root on a host, and the sudoers(5) lines that allow them and no more.

Each line allows as little as possible. But a user who may run ``xl`` can start a domain with any disk of the host and
write to all of XenStore: that right is as good as root's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unibuild.host.base import Host

__all__ = ["PROGRAMS", "find", "find_xenctx", "refused", "sudoers"]

_ELSEWHERE = ("/usr/lib", "/usr/lib64", "/usr/libexec", "/usr/sbin", "/usr/local")  # where distributions put xenctx
_ANY = ("",)
# Without arguments a line allows any. The digits are written out, because * would match spaces and slashes too.
_ARGUMENTS: Mapping[str, Sequence[str]] = {
    "xl": _ANY,
    **dict.fromkeys(("xenstore-ls", "xenstore-read", "xenstore-rm", "xenstore-watch", "xenstore-write"), _ANY),
    "xenctx": _ANY,  # the registers of a domain that crashed
    "ls": (" -d -- /*",),  # is a disk there?
    "tee": tuple(f" -a /dev/pts/{'[0-9]' * digits}" for digits in (1, 2, 3)),  # keys for a console
}
PROGRAMS = tuple(_ARGUMENTS)
"""The programs that run as root."""

_ASK_SUDO = """\
set -f
IFS='|'
for words; do
    sudo -n -l -- $words >/dev/null 2>&1 && printf '%s\\n' "$words"
done
:
"""
_PROBES = {"ls": ("-d", "--", "/dev"), "tee": ("-a", "/dev/pts/0"), "xl": ("list",)}


def find(host: Host) -> dict[str, str]:
    """Return the full paths of the programs that run as root, as unibuild finds them, without those that are missing.

    Raises:
        HostError: the host cannot be reached.
    """
    found = host.locate(PROGRAMS)
    xenctx = found.get("xenctx") or find_xenctx(host)
    return {**found, "xenctx": xenctx} if xenctx else found


def find_xenctx(host: Host, timeout: float | None = None) -> str | None:
    """Return the full path of ``xenctx`` on a host that lacks it on the path; None: it is not installed.

    Args:
        host: the host.
        timeout: seconds that the host has to answer.

    Raises:
        HostError: the host cannot be reached.
    """
    argv = ["find", *_ELSEWHERE, "-maxdepth", "4", "-name", "xenctx"]
    said = host.run(argv, root=False, check=False, background=True, timeout=timeout).text
    return max((line for line in said.splitlines() if line.startswith("/")), default=None)


def refused(host: Host, paths: Mapping[str, str]) -> tuple[str, ...]:
    """Return the programs that sudo does not let the user run without a password; none of them is run.

    Raises:
        HostError: the host cannot be reached.
    """
    asked = {name: "|".join((path, *_PROBES.get(name, ("/",)))) for name, path in paths.items()}
    said = host.run(["sh", "-c", _ASK_SUDO, "sh", *asked.values()], root=False, background=True, question=True).text
    allowed = said.splitlines()
    return tuple(name for name, words in asked.items() if words not in allowed)


def sudoers(user: str, paths: Mapping[str, str]) -> tuple[str, ...]:
    """Return the sudoers lines that let a user run the programs as root without a password.

    Args:
        user: the user's name.
        paths: the programs' full paths by name.
    """
    commands = [paths[program] + rest for program in PROGRAMS if program in paths for rest in _ARGUMENTS[program]]
    first, *others = commands
    name = re.sub(r"([,:=!\\])", r"\\\1", user)
    lines = [f"{name} ALL=(root) NOPASSWD: {first}", *(f"    {command}" for command in others)]
    return tuple(line + (", \\" if line is not lines[-1] else "") for line in lines)
