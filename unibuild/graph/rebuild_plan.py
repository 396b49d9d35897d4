"""Decide how much of a build has to run again if its tool compares dates: nothing, what make says, or all of it.

make compares dates. It does not see a file that no rule names, a header that one of two rules leaves out, another
compiler, a variable, a file that is older than what was made from the one before it. Where one of these may have
changed the kernel, everything that earlier builds wrote is moved out of the way, and make builds it again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from unibuild.fingerprint import describe, key, mtime, path_of
from unibuild.graph.restart_limit import RestartLimit
from unibuild.graph.staleness import attempt
from unibuild.settings.loader import STATE
from unibuild.toolchain import text_references
from unibuild.toolchain.build_knowledge import Learned
from unibuild.util import process

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from unibuild.fingerprint import Change, Verdict
    from unibuild.graph.graph import Graph, Stage

__all__ = ["Explanation", "Plan", "decide", "explain", "is_current"]

_ASSUMED_NEW = 200  # files that are named to make, at most


class Plan(NamedTuple):
    """What to run.

    Attributes:
        extent: nothing, whatever ``make -q`` decides, make by its own judgement, or a build from nothing.
        why: the reason for a build from nothing, in words.
        assumed_new: files that make has to take for new, whatever their dates say.
    """

    extent: Literal["nothing", "question", "make", "all"]
    why: str = ""
    assumed_new: tuple[str, ...] = ()


class Explanation(NamedTuple):
    """Why a stage would run.

    Attributes:
        reason: in a few words; None: it is up to date.
        is_question: whether it would first ask make whether there is anything to do.
    """

    reason: str | None
    is_question: bool = False


def explain(stage: Stage, found: Verdict) -> Explanation:
    """Return why a stage would run, without the files that its build does not depend on, where others changed too."""
    folder = Path(stage.watch.root) / STATE
    is_in_order = not (found.others or found.suspects) and all(map(os.path.exists, stage.watch.targets))
    if stage.step is None or not (stage.step.judge and found.changes and is_in_order and found.record["targets"]):
        return Explanation(found.reason)
    if attempt(folder, stage) is not None or stage.watch.why is not None:
        return Explanation(found.reason)
    known = _Known(stage.watch.root, Learned.load(Path(stage.watch.root)))
    edits = [change for change in found.changes if change.kind != "touched" and known.matters(change)]
    if edits or known.learned.unfinished:
        return Explanation(describe(stage.watch, edits or found.changes))
    return Explanation(f"{describe(stage.watch, found.changes)}; make decides", is_question=True)


def decide(stage: Stage, learned: Learned, changes: Sequence[Change], others: Sequence[str]) -> Plan:
    """Return what a stale stage has to run; its targets are in order.

    Args:
        stage: the stage.
        learned: what earlier builds showed.
        changes: the inputs that are not what the last build saw.
        others: what else is not as it was: settings, variables, programs, files that the build wrote.
    """
    root = stage.watch.root
    known = _Known(root, learned)
    relevant = [change for change in changes if known.matters(change)]
    new = tuple(change.path for change in relevant if change.kind != "gone")[:_ASSUMED_NEW]
    if learned.unfinished:
        return Plan("all", "the last build from nothing did not end", new)
    if settings := [name for name in others if name != "arguments"]:
        return Plan("all", f"{settings[0]} changed", new)
    if all(change.kind == "touched" for change in relevant):
        return Plan("question" if changes and not others else "make")
    for change in relevant:
        if change.kind != "touched" and (why := known.distrust(change, stage)):
            return Plan("all", f"{stage.watch.name(change.path)} {why}", new)
    return Plan("make")


def is_current(graph: Graph, stage: Stage) -> bool:
    """Ask the step's tool whether it has nothing to do.

    Raises:
        BuildError: make updates its makefiles without end.
    """
    question = graph.toolchain.question(stage.name)
    if question is None or stage.step is None:
        return False
    limit = RestartLimit()
    done = process.run(question, cwd=stage.step.cwd, env=stage.step.env, check=False, watched=limit.watch)
    limit.check(stage)
    return done.returncode == 0


class _Known:
    """What is known of the files of a project, for one decision."""

    def __init__(self, root: str, learned: Learned) -> None:
        self.root = root
        self.learned = learned
        self.read = set(learned.read or ())
        self.known = {*learned.known}
        self.makefiles = {*learned.makefiles}
        self._texts: dict[str, bytes] = {}
        self._covered: dict[str, bool] = {}
        self._reach: dict[str, set[str]] = {}

    def matters(self, change: Change) -> bool:
        """Say whether the build may depend on a file."""
        name = key(self.root, change.path)
        learned = self.learned
        if learned.read is None or name in self.read or name in self.known or name in self.makefiles:
            return True
        if name in learned.outside or learned.git == "changes" or "/.git/" in f"/{name}":
            return True
        if os.path.islink(change.path):  # noqa: PTH114 (what is read is the file that it leads to)
            return True
        if change.kind in ("changed", "touched"):
            return False
        scripts = [self.text(other) for other in (*self.makefiles, *self.read) if not text_references.is_code(other)]
        texts = map(self.text, self.read | self.makefiles)
        return text_references.is_looked_up(change.path, self.read, scripts, texts)

    def distrust(self, change: Change, stage: Stage) -> str | None:
        """Return why make cannot be left to find out what a change of a file means; None: it can."""
        name = key(self.root, change.path)
        if change.kind != "changed":
            return "is new" if change.kind == "new" else "is gone"
        if name in self.makefiles or name not in self.known:
            return "changed, and no rule of make names it"
        made = _youngest((*stage.watch.outputs, *stage.watch.targets))
        if mtime(change.path) <= made:
            return "changed, and is not newer than what was made from it"
        if not self.is_covered(name):
            return "changed, and not every rule that needs it names it"
        return None

    def is_covered(self, name: str) -> bool:
        """Say whether each target with sources that mention a file has the file as a prerequisite too."""
        if name not in self._covered:
            self._covered[name] = True  # files that mention each other
            self._covered[name] = all(self._covers(other, name) for other in self._mentioning(name))
        return self._covered[name]

    def _covers(self, other: str, name: str) -> bool:
        """Say whether every target that is made from ``other`` is made from ``name`` too."""
        targets = [target for target in self.learned.rules if other in self.reach(target)]
        return bool(targets) and all(name in self.reach(target) for target in targets) and self.is_covered(other)

    def _mentioning(self, name: str) -> Iterable[str]:
        word = text_references.word_for(name)
        for other in self.read - self.makefiles - self.learned.outputs.keys() - {name}:
            if word.search(self.text(other)):
                yield other

    def reach(self, target: str) -> set[str]:
        """Return all that make makes a target from."""
        if target not in self._reach:
            found: set[str] = set()
            left = [target]
            while left:
                new = [name for name in self.learned.rules.get(left.pop(), ()) if name not in found]
                found.update(new)
                left += new
            self._reach[target] = found
        return self._reach[target]

    def text(self, name: str) -> bytes:
        """Return the beginning of a file."""
        if name not in self._texts:
            self._texts[name] = text_references.text_of(path_of(self.root, name))
        return self._texts[name]


def _youngest(paths: Iterable[str]) -> int:
    return max(map(mtime, paths), default=0)
