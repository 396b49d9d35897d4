"""What can be read from a Makefile without running it: the targets of its rules.

Grammar: the GNU make manual, "Writing Makefiles". Plain variables are expanded and ``include`` is followed; what needs
a function, a condition or the shell is left out, for this is for guesses that the user then sees.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from unibuild.util.files import reading

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["NAMES", "find", "kernels", "targets"]

NAMES = ("GNUmakefile", "makefile", "Makefile")  # in the order in which GNU make looks for them
_ASSIGNMENT = re.compile(r"\s*(?:export\s+|override\s+)*([\w.-]+)\s*(\?|\+|:{0,3})=\s*(.*)")
_INCLUDE = re.compile(r"\s*(?:-include|sinclude|include)\s+(.*)")
_RULE = re.compile(r"([^\s:=#][^:=#]*?)\s*&?::?(?!=)")
_REFERENCE = re.compile(r"\$(?:\(([\w.-]+)\)|\{([\w.-]+)\}|(\w))")
_KERNELS = (r".*\.xen", r".*\.pvh", r"mini-os(?:\.gz|\.elf)?", r".*\.elf")  # the likeliest first


def find(folder: Path) -> Path | None:
    """Return the makefile that GNU make reads in a folder; if that only calls unibuild, the one behind it.

    Raises:
        FileError: it cannot be read.
    """
    found = [folder / name for name in NAMES if (folder / name).is_file()]
    if len(found) > 1 and found[0].name == "GNUmakefile":
        with reading(found[0]):
            if "unibuild.mk" in found[0].read_text(errors="replace"):
                return found[1]
    return next(iter(found), None)


def targets(path: Path) -> tuple[str, ...]:
    """Return the names of the targets of a makefile's rules, in their order, once each.

    Raises:
        FileError: it cannot be read.
    """
    found: dict[str, None] = {}
    _read(path, {}, found, set())
    return tuple(found)


def kernels(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of a makefile's targets that look like kernels, the likeliest first."""
    return tuple(name for pattern in _KERNELS for name in names if re.fullmatch(pattern, name))


def _read(path: Path, variables: dict[str, str], found: dict[str, None], seen: set[Path]) -> None:
    if path in seen:
        return
    seen.add(path)
    with reading(path):
        text = path.read_text(errors="replace")
    for line in re.sub(r"\\\n[ \t]*", " ", text).split("\n"):
        if line.startswith("\t") or line.lstrip().startswith("#"):
            continue
        line = re.sub(r"\s*(?<!\\)#.*", "", line)
        if assignment := _ASSIGNMENT.fullmatch(line):
            _assign(variables, *assignment.groups())
        elif include := _INCLUDE.fullmatch(line):
            for name in _expand(include[1], variables).split():
                if "$" not in name and (path.parent / name).is_file():
                    _read(path.parent / name, variables, found, seen)
        elif rule := _RULE.match(_expand(line, variables)):
            found.update((name, None) for name in rule[1].split() if not re.search(r"[$%()]", name) and name[0] != ".")


def _assign(variables: dict[str, str], name: str, operator: str, value: str) -> None:
    if operator == "+":
        variables[name] = f"{variables.get(name, '')} {value}".strip()
    elif operator != "?" or name not in variables:
        variables[name] = value


def _expand(text: str, variables: dict[str, str], depth: int = 8) -> str:
    """Put in the values of plain variables, at most ``depth`` deep: a variable may name itself."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2] or found[3]
        return variables.get(name, found[0])

    for _ in range(depth):
        expanded = _REFERENCE.sub(value, text)
        if expanded == text or len(expanded) > 100_000:
            break
        text = expanded
    return text
