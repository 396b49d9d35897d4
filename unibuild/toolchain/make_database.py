"""Reads GNU make's database, as ``make -pn`` prints it: which files are targets, and of what each is made.

Format: the GNU make manual, "Summary of Options" (``--print-data-base``), in the C locale. A recursive make prints a
database of its own, between two lines that name its folder.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

__all__ = ["Database", "parse"]

_FOLDER = re.compile(r"(?:# )?make(?:\[\d+\])?: (Entering|Leaving) directory '(.*)'")
_VARIABLE = re.compile(r"(\w+) :*= (.*)")
_SPECIAL = re.compile(r"\.[A-Z_]+:")  # .PHONY, .SUFFIXES
_ALSO = "#  Also makes: "
_RECIPE = "#  recipe to execute"


@dataclass
class Database:
    """What make knows of a project's files; all paths are absolute.

    Attributes:
        rules: the prerequisites of each file that has some.
        targets: the files that a recipe makes.
        known: every other file that is a prerequisite of something.
        makefiles: the makefiles that were read.
        texts: what was printed, to search for names: the lines of each folder that make ran in.
        variables: the variables of one line, with their values before expansion.
    """

    rules: dict[str, tuple[str, ...]] = field(default_factory=dict)
    targets: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    makefiles: set[str] = field(default_factory=set)
    texts: dict[str, list[str]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def reach(self, target: str) -> set[str]:
        """Return all that a target is made of, directly or through other targets."""
        found: set[str] = set()
        left = [target]
        while left:
            new = [path for path in self.rules.get(left.pop(), ()) if path not in found]
            found.update(new)
            left += new
        return found


def parse(text: str, folder: str) -> Database:
    """Read what ``make -pn`` printed in ``folder``, an absolute path."""
    database = Database()
    folders = [folder]
    lines = database.texts.setdefault(folder, [])
    mentioned: set[str] = set()
    entry: list[str] = []
    is_files = is_environment = False
    for line in text.splitlines():
        if "directory '" in line and (moved := _FOLDER.fullmatch(line)):
            if moved[1] == "Entering":
                folders.append(moved[2])
            elif len(folders) > 1:
                folders.pop()
            lines = database.texts.setdefault(folders[-1], [])
            continue
        if not is_environment:
            lines.append(line)
        is_environment = line.startswith("# environment")
        if line == "# Files":
            is_files, entry = True, []
        elif line.startswith("# files hash-table stats"):
            is_files = False
        elif not is_files:
            if line.startswith("MAKEFILE_LIST := "):
                names = line.partition(":= ")[2].split()
                database.makefiles |= {_absolute(folders[-1], name) for name in names}
            elif variable := _VARIABLE.fullmatch(line):
                database.variables[variable[1]] = variable[2]
        elif line:
            entry.append(line)
        else:
            _take(database, mentioned, entry, folders[-1])
            entry = []
    database.known = mentioned - database.targets
    return database


def _take(database: Database, mentioned: set[str], entry: list[str], folder: str) -> None:
    """Take one entry of the section of files: a rule's first line, comments and the recipe."""
    head = next((line for line in entry if not line.startswith(("#", "\t"))), None)
    if head is None or ":" not in head or "#  Builtin rule" in entry or _SPECIAL.match(head):
        return
    name, _, rest = head.partition(":")
    made_of = tuple(_absolute(folder, word) for word in rest.lstrip(":").split() if word != "|")
    mentioned.update(made_of)
    path = _absolute(folder, name)
    if entry[0] == "# Not a target:" or not any(line.startswith(_RECIPE) for line in entry):
        if entry[0] == "# Not a target:" or not made_of:
            mentioned.add(path)
        if made_of:  # it makes nothing by itself, and hands on what it depends on
            database.rules[path] = (*database.rules.get(path, ()), *made_of)
        return
    also = [word for line in entry if line.startswith(_ALSO) for word in line.removeprefix(_ALSO).split()]
    for target in (path, *(_absolute(folder, word) for word in also)):
        database.targets.add(target)
        database.rules[target] = (*database.rules.get(target, ()), *made_of)


def _absolute(folder: str, name: str) -> str:
    return os.path.normpath(os.path.join(folder, name))  # noqa: PTH118 (strings: there are very many)
