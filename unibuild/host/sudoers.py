"""The programs that unibuild runs as root on a host, and the sudoers(5) lines that allow them and no more.

Each line allows as little as possible. But a user who may start a domain can give it any disk of the host: that right
is as good as root's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from unibuild.host.toolstack import RootProgram

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unibuild.host.base import Host
    from unibuild.host.toolstack import Toolstack

__all__ = ["find", "find_program", "refused", "root_programs", "sudoers"]

_LS = RootProgram(arguments=(" -d -- /*",), probe=("-d", "--", "/dev"))  # is a disk there?

_ASK_SUDO = """\
set -f
IFS='|'
for words; do
    sudo -n -l -- $words >/dev/null 2>&1 && printf '%s\\n' "$words"
done
:
"""


def root_programs(toolstack: Toolstack | type[Toolstack]) -> dict[str, RootProgram]:
    """Return the programs that unibuild runs as root on a host with this toolstack."""
    return {**toolstack.root_programs, "ls": _LS}


def find(host: Host) -> dict[str, str]:
    """Return the full paths of the programs that run as root, as unibuild finds them, without those that are missing.

    Raises:
        HostError: the host cannot be reached.
    """
    programs = root_programs(host.toolstack)
    found = host.locate(list(dict.fromkeys((*programs, *host.toolstack.programs))))
    for name, program in programs.items():
        if name not in found and program.folders and (path := find_program(host, name, program.folders)):
            found[name] = path
    return found


def find_program(host: Host, name: str, folders: Sequence[str], timeout: float | None = None) -> str | None:
    """Return the full path of a program on a host that lacks it on the path; None: it is not installed.

    Args:
        host: the host.
        name: its name.
        folders: where it may be, four levels deep.
        timeout: seconds that the host has to answer.

    Raises:
        HostError: the host cannot be reached.
    """
    argv = ["find", *folders, "-maxdepth", "4", "-name", name]
    printed = host.run(argv, root=False, check=False, background=True, timeout=timeout).text
    return max((line for line in printed.splitlines() if line.startswith("/")), default=None)


def refused(host: Host, paths: Mapping[str, str]) -> tuple[str, ...]:
    """Return the programs that sudo does not let the user run without a password; none of them is run.

    Raises:
        HostError: the host cannot be reached.
    """
    programs = root_programs(host.toolstack)
    asked = {name: "|".join((paths[name], *one.probe)) for name, one in programs.items() if name in paths}
    argv = ["sh", "-c", _ASK_SUDO, "sh", *asked.values()]
    allowed = host.run(argv, root=False, background=True, question=True).text.splitlines()
    return tuple(name for name, words in asked.items() if words not in allowed)


def sudoers(user: str, paths: Mapping[str, str], programs: Mapping[str, RootProgram]) -> tuple[str, ...]:
    """Return the sudoers lines that let a user run the programs as root without a password.

    Args:
        user: the user's name.
        paths: the programs' full paths by name; at least one of ``programs``.
        programs: the result of ``root_programs``.
    """
    commands = [paths[name] + rest for name, program in programs.items() if name in paths for rest in program.arguments]
    first, *others = commands
    name = re.sub(r"([,:=!\\])", r"\\\1", user)
    lines = [f"{name} ALL=(root) NOPASSWD: {first}", *(f"    {command}" for command in others)]
    return tuple(line + (", \\" if line is not lines[-1] else "") for line in lines)
