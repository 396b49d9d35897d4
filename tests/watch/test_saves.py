"""Saves of all kinds against a reference of what must be built: none is lost, none is built twice.

`nox -s fuzz` makes 1,000 saves (STALENESS_SAVES).
"""

import hashlib
import os
import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from unibuild.watch import events

SEED = 20261124
SAVES = int(os.environ.get("STALENESS_SAVES", "300"))
SLACK = 0.2  # seconds between two clocks, and two lines of a program, on a busy machine
NAMES = [f"{folder}{name}" for folder in ("", "lib/", "lib/deep/", "src/") for name in ("a.c", "b.c", "c.h", "dune")]
DROPPINGS = [".a.c.swp", "4913", "a.c~", "#a.c#", "lib/.b.c.un~", ".hg/x.c", ".git/z.c"]
MAKEFILE = """\
hello.xen: FORCE
	@./see >> log; cp base.bin $@
FORCE:
"""
SEE = """\
#!/bin/sh
# What a build reads: one word for the names and fingerprints of all inputs, and when it was read.
find -L . \\( -name .git -o -name .hg -o -name .unibuild \\) -prune -o -type f \\
  \\( -name '*.c' -o -name '*.h' -o -name dune -o -name Makefile \\) -printf '%p %T@ %s %i\\n' \\
  | LC_ALL=C sort | sha256sum | cut -c1-16 | tr '\\n' ' '
date +%s.%N
"""


class Saver:
    """Somebody at work in a tree, in every way in which editors and git change files."""

    def __init__(self, root, seed):
        self.root = root
        self.random = random.Random(seed)
        self.count = 0
        self.ways = [
            *(self.in_place, self.atomic, self.backup, self.touch, self.new, self.delete, self.rename) * 3,
            *(self.droppings, self.comment, self.move_folder, self.new_folder, self.link_folder, self.older),
        ]

    def text(self):
        self.count += 1
        return f"int x{self.count};\n" * self.random.randint(1, 20)

    def sources(self):
        found = []
        for folder, folders, names in os.walk(self.root):  # not what unibuild moves meanwhile
            folders[:] = [name for name in folders if name not in (".git", ".hg", ".unibuild")]
            found += [f"{folder}/{name}" for name in names if name.endswith((".c", ".h")) or name == "dune"]
        return sorted(path for path in found if os.path.isfile(path)) or [str(self.new())]  # noqa: PTH113

    def one(self):
        return Path(self.random.choice(self.sources()))

    def in_place(self):
        self.one().write_text(self.text())

    def atomic(self):
        path = self.one()
        beside = path.with_name(f".{path.name}.tmp")
        beside.write_text(self.text())
        beside.replace(path)

    def backup(self):
        """As vim does it: the old file becomes the backup, a new one is written, the backup goes."""
        path = self.one()
        kept = path.with_name(path.name + "~")
        path.rename(kept)
        path.write_text(self.text())
        kept.unlink()

    def touch(self):
        os.utime(self.one())

    def older(self):
        """Replace a file by an older one, as from a backup or by `git stash`."""
        path = self.one()
        old = path.with_name("older.tmp")
        old.write_text(self.text())
        os.utime(old, (1.7e9 + self.count, 1.7e9 + self.count))
        old.replace(path)

    def new(self):
        path = self.root / self.random.choice(["", "lib", "src"]) / f"new{self.random.randint(0, 30)}.c"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(self.text())
        return path

    def delete(self):
        if len(self.sources()) > 5:
            self.one().unlink()

    def rename(self):
        path = self.one()
        path.rename(path.with_name(f"renamed{self.random.randint(0, 30)}.c"))

    def comment(self):
        with self.one().open("a") as file:
            file.write("/* a comment */\n")

    def new_folder(self):
        folder = self.root / f"lib/f{self.random.randint(0, 5)}/g/h"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "x.c").write_text(self.text())

    def move_folder(self):
        """Move a folder away, and another one to its path."""
        lib, moved = self.root / "lib", self.root / "moved"
        shutil.rmtree(moved, ignore_errors=True)
        if lib.is_dir() and not lib.is_symlink():
            shutil.copytree(lib, moved, symlinks=True)
            gone = self.root.parent / f"gone{self.count}"
            lib.rename(gone)
            moved.rename(lib)
            shutil.rmtree(gone)

    def link_folder(self):
        """A symbolic link to a folder elsewhere, led to another one."""
        elsewhere = self.root.parent / f"elsewhere{self.random.randint(0, 2)}"
        elsewhere.mkdir(exist_ok=True)
        (elsewhere / "far.c").write_text(self.text())
        beside = self.root / "link.tmp"
        beside.unlink(missing_ok=True)
        beside.symlink_to(elsewhere)
        beside.replace(self.root / "linked")

    def branch(self):
        """Hundreds of files at once."""
        for number in range(300):
            path = self.root / "src" / f"m{number % 20}" / f"s{number}.c"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.text())

    def droppings(self):
        path = self.root / self.random.choice(DROPPINGS)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("dropped")
        if self.random.random() < 0.5:
            path.unlink()

    def save(self):
        self.random.choice(self.ways)()


@pytest.fixture
def counted(project):
    """A project with a build that records the inputs that it read."""
    project.write("Makefile", MAKEFILE)
    project.write("see", SEE)
    (project.root / "see").chmod(0o755)
    for name in NAMES:
        project.write(name, name)
    return project


def seen(project):
    """Return what `./see` prints now, without starting the seven programs of it."""
    lines = []
    for folder, folders, names in os.walk(project.root, followlinks=True):
        folders[:] = [name for name in folders if name not in (".git", ".hg", ".unibuild")]
        for name in names:
            if name.endswith((".c", ".h")) or name in ("dune", "Makefile"):
                path = f"{folder}/{name}"
                lines.append(f".{path.removeprefix(str(project.root))}{fingerprint(Path(path).stat())}".encode())
    return hashlib.sha256(b"".join(sorted(lines))).hexdigest()[:16]


def fingerprint(found):
    """Return date, size and inode as find's ``%T@ %s %i`` prints them, with the end of the line."""
    seconds, rest = divmod(found.st_mtime_ns, 10**9)
    return f" {seconds}.{rest:09}0 {found.st_size} {found.st_ino}\n"


@dataclass
class Builds:
    """What builds saw, and when they had seen it (seconds since the epoch)."""

    states: list[str]
    times: list[float]

    @classmethod
    def of(cls, project):
        words = project.log
        return cls(words[::2], [float(word) for word in words[1::2]])

    def twice(self, cycles, saves):
        """Return those that saw what the one before had seen, unless it saw more than the watch had when it began it.

        Args:
            cycles: when each cycle began its build and when it ended (seconds since the epoch).
            saves: when each save, or many of them at once, began and ended.
        """
        found = []
        for place in range(1, len(self.states)):
            saw = self.times[place - 1]
            began = next(began for began, ended in cycles if began - SLACK <= saw <= ended + SLACK)
            if self.states[place] == self.states[place - 1] and not any(
                first <= saw + SLACK and last >= began - SLACK for first, last in saves
            ):
                found.append(place)
        return found


def building(cycle):
    """Return when a cycle began its build, and when it ended."""
    began = cycle.at - cycle.seconds
    return began + cycle.phases.get("debounce", 0.0), cycle.at


@pytest.mark.long
def test_saves_of_all_kinds_are_built_once_each(watching, counted):
    watch = watching()
    watch.cycle("booted")
    saver, bursts, saves = Saver(counted.root, SEED), [], 0
    while saves < SAVES:
        number, began = saver.random.choice([1, 1, 4, 20, 40]), time.time()
        for _ in range(number):
            saver.save()
        if saver.random.random() < 0.1:
            saver.branch()
        saves += number
        bursts.append((began, time.time()))
        watch.wait_for(lambda: Builds.of(counted).states[-1] == seen(counted), f"after save {saves}")
    watch.rests()
    assert watch.end() == 0
    found = Builds.of(counted)
    assert found.states[-1] == seen(counted)
    cycles = [building(one) for one in watch.told if isinstance(one, events.Cycle)]
    assert len(found.twice(cycles, bursts)) <= 3 + SAVES // 100, (
        "a build does not always know that it read a save made meanwhile"
    )


def test_editor_files_and_build_outputs_start_nothing(watching, counted):
    watch = watching()
    watch.cycle("booted")
    for name in DROPPINGS:
        counted.write(name, "dropped")
    watch.quiet()
    assert len(Builds.of(counted).states) == 1
