"""Learn from a build which files it wrote and read, and which files the user saved while it ran.

A file that changed while the build ran is an output if make's database says so. The change is ignored if the build does
not read the file. Otherwise it counts as an edit, and the next run builds again. This ends because a build writes the
same content again. A file that changes in every build, such as a counter, counts as an output after ``OFTEN`` builds.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from unibuild import fingerprint
from unibuild.errors import UnibuildError
from unibuild.fingerprint import key, path_of
from unibuild.graph.restart_limit import RestartLimit
from unibuild.toolchain import text_references
from unibuild.toolchain.make_database import Database, parse
from unibuild.toolchain.sources import outside
from unibuild.util import process

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from unibuild.fingerprint import Seen, StageRecord
    from unibuild.graph.graph import Stage
    from unibuild.graph.read_trace import Trace
    from unibuild.toolchain.base import Step
    from unibuild.toolchain.build_knowledge import Learned

__all__ = ["OFTEN", "Observation", "adopt", "database", "is_binary", "learn", "programs"]

_DEPENDENCIES = re.compile(r".*\.(?:d|dep|deps|P|Po|Plo|cmd|dd)")
_CHMOD = re.compile(rb"\bchmod\b[^\n]*")
OFTEN = 8  # builds on end that rewrite a file which nobody else changes: more than saves in a row can be


class Observation(NamedTuple):
    """What was seen of a build.

    Attributes:
        before: what was there before it.
        trace: what it read; None: not known.
        database: what make knows.
        is_whole: whether all that earlier builds wrote was out of the way.
        is_finished: whether it succeeded.
    """

    before: StageRecord
    trace: Trace | None
    database: Database
    is_whole: bool
    is_finished: bool = True


def database(step: Step, argv: Sequence[str]) -> Database:
    """Return what make knows; nothing where it does not say."""
    limit = RestartLimit()
    env = {**step.env, "LC_ALL": "C", "LANGUAGE": "C"}
    try:
        said = process.run(argv, cwd=step.cwd, env=env, check=False, watched=limit.watch)
    except UnibuildError:
        return Database()
    if limit.is_exceeded:
        return Database()
    return parse(said.stdout.decode(errors="surrogateescape"), str(step.cwd))


def learn(learned: Learned, stage: Stage, files: Iterable[str], seen: Observation) -> list[str]:
    """Take what a build showed into ``learned``.

    Args:
        learned: what is known; it is changed.
        stage: the stage that was built.
        files: the files of the project now, absolute.
        seen: what was seen of it.

    Returns:
        The inputs that count by their state after the build.
    """
    learner = _Learner(learned, stage.watch.root, {key(stage.watch.root, path): path for path in files}, seen)
    learner.made_before = {key(stage.watch.root, path) for path in stage.watch.made}
    learner.take_reads()
    learner.take_rules()
    learner.take_mentions()
    return learner.decide()


def adopt(learned: Learned, stage: Stage, before: StageRecord, database: Database) -> None:
    """Take for the build's own what a run that was killed has written; ``before`` is what was there when it began."""
    root = stage.watch.root
    for path in (*database.targets, *filter(is_binary, stage.watch.inputs)):
        name = key(root, path)
        if os.path.isfile(path) and (path in database.targets or name not in before["inputs"]):  # noqa: PTH113
            is_new = name not in before["inputs"] and name not in before["outputs"]
            learned.outputs[name] = learned.outputs.get(name, False) or is_new or is_binary(path)


class _Learner:
    """Learn from one build; the arguments are those of ``learn``."""

    def __init__(self, learned: Learned, root: str, names: dict[str, str], seen: Observation) -> None:
        self.learned = learned
        self.root = root
        self.names = names
        self.seen = seen
        self.targets = {key(root, path) for path in seen.database.targets} & names.keys()
        beyond = {key(root, path): path for path in seen.database.targets if not path.startswith(f"{root}/")}
        self.beyond = {name: path for name, path in beyond.items() if os.path.isfile(path)}  # noqa: PTH113
        self._texts: dict[str, bytes] = {}
        self._written: set[str] | None = None
        self.made_before: set[str] = set()  # by an earlier step, such as configure: no output of the build

    def take_reads(self) -> None:
        """Take which files were read; a build that had something to start from did not read all that it depends on."""
        trace, before = self.seen.trace, self.seen.before["inputs"]
        whole = self.seen.is_whole or not (self.learned.outputs or self.targets & before.keys())
        if trace is None or not trace.is_complete:
            self.learned.read = None
            return
        whole = whole and self.seen.is_finished
        found = {name for path in trace.read if not (name := key(self.root, path)).startswith("/")}
        found |= {source for name in found if (source := text_references.bytecode_source(name))}
        found &= {*self.names, *self.learned.outside}
        found |= {name for name, path in self.names.items() if os.path.islink(path)}  # noqa: PTH114 (its end was opened)
        if whole:
            self.learned.read = sorted(found)
        elif self.learned.read is not None:
            self.learned.read = sorted(found.union(self.learned.read))

    def take_rules(self) -> None:
        """Take what make knows, and which files it makes."""
        learned, database = self.learned, self.seen.database
        there = self.names.keys() | self.beyond.keys()
        learned.outputs = {name: own for name, own in learned.outputs.items() if name in there}
        learned.outputs |= {name: self.is_own(name) for name in self.targets}
        learned.outputs |= {name: self.is_own_outside(name) for name in self.beyond}
        # Python may take one for current that is not, so a build from nothing has to do without.
        learned.outputs |= {name: True for name in self.names if text_references.bytecode_source(name) in self.names}
        learned.known = sorted(key(self.root, path) for path in database.known)
        learned.makefiles = sorted(key(self.root, path) for path in database.makefiles)
        learned.rules = {
            key(self.root, target): [key(self.root, path) for path in made_of]
            for target, made_of in database.rules.items()
        }

    def is_own(self, name: str) -> bool:
        """Say whether builds have written the state of a target that is there now; else a user may have."""
        before, path = self.seen.before, self.names[name]
        if is_binary(path):
            return True
        if name in before["outputs"] and before["outputs"][name][0] == fingerprint.take(path):
            return self.learned.outputs.get(name, False)
        return name not in before["inputs"]

    def is_own_outside(self, name: str) -> bool:
        """Say the same of a target outside of the project: other projects may build it too."""
        before, stamp = self.seen.before, fingerprint.take(self.beyond[name])
        if name in before["outputs"] and before["outputs"][name][0] == stamp:
            return self.learned.outputs.get(name, False)
        return fingerprint.written(stamp) >= before["taken"] - before["tick"]

    def take_mentions(self) -> None:
        """Take the variables, programs and folders elsewhere that makefiles, scripts and sources name."""
        learned, database = self.learned, self.seen.database
        scripts = self.scripts()
        learned.variables = sorted(text_references.variables(scripts))
        asks = text_references.asks_git(scripts), text_references.asks_for_changes(scripts)
        learned.git = "changes" if asks[1] else "revision" if asks[0] else ""
        printed = {folder: "\n".join(lines) for folder, lines in database.texts.items()}
        learned.programs = self._programs([*printed.values(), *(text.decode(errors="replace") for text in scripts)])
        below = f"{self.root}/"
        walked = {path for name, path in self.names.items() if name not in learned.outside and path.startswith(below)}
        named = {path for path in database.known | database.makefiles if path not in walked}
        for folder, text in printed.items():
            named |= text_references.outside(text, folder, self.root)
            named |= set() if f"{folder}/".startswith(below) else {folder}
        sought = {*named}  # what may appear; includes of C name too much that is elsewhere
        for name in self.read():
            text = self.text(name).decode(errors="surrogateescape")
            folder = os.path.dirname(path_of(self.root, name))  # noqa: PTH120
            more = text_references.outside(text, folder, self.root) | text_references.outside(
                text, self.root, self.root
            )
            named |= more
            sought |= set() if text_references.is_code(name) else more
        named -= walked | database.targets
        found = {key(self.root, path) for path in map(str, outside(named).files) if not _is_product(path)}
        found -= {key(self.root, path) for path in walked | database.targets}
        learned.outside = sorted(found - learned.outputs.keys())
        learned.named = sorted(
            name
            for name, path in ((key(self.root, path), path) for path in named)
            if name not in learned.outside and ((path in sought and name.startswith("../")) or os.path.isdir(path))  # noqa: PTH112
        )

    def decide(self) -> list[str]:
        """Decide which files that changed during the build are its outputs; return the inputs among them."""
        learned, before = self.learned, self.seen.before["inputs"]
        known = {*learned.known}
        made_before = self.made_before.union(learned.makefiles, *(step.made for step in learned.prepared.values()))
        written: list[str] = []
        doubts: dict[str, tuple[str, int]] = {}
        for name, path in self.names.items():
            old, stamp = before.get(name), fingerprint.take(path)
            if name in learned.outputs or stamp == fingerprint.ABSENT or (old and old[0] == stamp):
                continue
            is_product = _is_product(path) or (old is None and name in self.written() - made_before)
            if is_product and (old is None or name not in known):
                learned.outputs[name] = old is None
            elif not self.matters(name, old, path):
                written.append(path)
            else:
                last, count = learned.doubts.get(name, ("", 0))
                doubts[name] = (stamp, count + 1 if old and last == old[0] else 0)
                if doubts[name][1] >= OFTEN and name not in known:
                    written.append(path)
        learned.doubts = doubts
        own = {key(self.root, path) for path in written} | {*learned.written}
        own |= {name for name in doubts if name not in known and text_references.is_written(name, self.scripts())}
        learned.written = sorted((own & self.names.keys()) - learned.outputs.keys())
        return written

    def matters(self, name: str, old: Seen | None, path: str) -> bool:
        """Say whether the build may depend on a change of a file during the build; ``old`` is what it was before."""
        read, is_new, goes_by_dates = self.learned.read, old is None, self.learned.git == "changes"
        is_dated = goes_by_dates and not _is_of_git(path)
        if old and not is_dated and self.is_unchanged(path, old[1], fingerprint.content(path)):
            return False
        if read is None or name in self.learned.known or name in read or os.path.islink(path):  # noqa: PTH114
            return True
        if not (is_new or goes_by_dates) or text_references.is_written(path, self.scripts()):
            return False
        return goes_by_dates or text_references.is_looked_up(path, read, self.scripts(), map(self.text, self.read()))

    def is_unchanged(self, path: str, old: str, new: str) -> bool:
        """Say whether a file's digest is what it was, or differs by a ``chmod`` in a recipe or script."""
        if old == new or not fingerprint.has_same_bytes(old, new):
            return old == new
        name = os.fsencode(os.path.basename(path))  # noqa: PTH119
        return any(name in line for text in self.scripts() for line in _CHMOD.findall(text))

    def read(self) -> set[str]:
        """Return the names of the files that were read, and are not the build's own."""
        found = self.names if self.learned.read is None else self.learned.read
        return {*found, *self.learned.makefiles} - self.learned.outputs.keys()

    def scripts(self) -> list[bytes]:
        """Return the texts of makefiles and scripts."""
        return [self.text(name) for name in self.read() if not text_references.is_code(name)]

    def written(self) -> set[str]:
        """Return the names of files that recipes and scripts write whole, whether or not rules have them as targets."""
        if self._written is None:
            database = self.seen.database
            self._written = text_references.destinations(self.scripts(), database.variables, self.targets)
        return self._written

    def text(self, name: str) -> bytes:
        """Return the beginning of a file."""
        if name not in self._texts:
            self._texts[name] = text_references.text_of(path_of(self.root, name))
        return self._texts[name]

    def _programs(self, texts: Sequence[str]) -> list[str]:
        found = programs(self.seen.trace, texts)
        if self.learned.read is None:  # nobody saw what ran when the outputs were made
            found |= named_programs(texts)
        return sorted(found if self.seen.is_whole else found.union(self.learned.programs))


def named_programs(texts: Iterable[str]) -> set[str]:
    """Return the programs on PATH that texts name."""
    words = {word for text in texts for word in re.findall(r"[\w.+-]+", text)}
    there: set[str] = set()
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        with contextlib.suppress(OSError):
            there.update(os.listdir(folder or "."))  # noqa: PTH208
    return words & there


def programs(trace: Trace | None, texts: Iterable[str]) -> set[str]:
    """Return the programs on PATH that ran, and that the texts name."""
    words = {"as", "ld"}
    for text in texts:
        words.update(re.findall(r"[\w.+-]+", text))
    folders = {folder.rstrip("/") for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)}
    ran = {os.path.split(path) for path in (trace.read if trace else ())}
    return {name for folder, name in ran if folder in folders and name in words}


def _is_product(path: str) -> bool:
    """Say whether a file that make does not make can only be what a compiler wrote."""
    if is_binary(path):
        return True
    if not _DEPENDENCIES.fullmatch(path):
        return False
    targets = text_references.text_of(path)[:4096].decode(errors="replace").partition(":")[0].split()
    stem = os.path.basename(path).partition(".")[0]  # noqa: PTH119
    return bool(stem) and any(os.path.basename(target).startswith(stem) for target in targets)  # noqa: PTH119


def _is_of_git(path: str) -> bool:
    return "/.git/" in path


def is_binary(path: str) -> bool:
    """Say whether a file is an object, a library or an executable."""
    return text_references.text_of(path)[:8].startswith((b"\x7fELF", b"!<arch>\n", b"!<thin>\n"))
