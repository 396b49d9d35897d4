"""Random stories of a project: which kinds of file it has, and how they are edited between two builds."""

from __future__ import annotations

import collections
import itertools
import random
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edits import EDITS, GIT, SLOW
from kinds import KINDS, Kind, project
from world import BrokenRuleError, World

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from world import Ran, Server

__all__ = ["PASSED", "Counts", "StalenessError", "Story", "generate", "play", "shrink", "summarize"]

ALL = {"change": lambda world, kind, token: kind.edit(world, token), **EDITS, **SLOW, **GIT}
OF_THE_TREE = (
    *("unrelated", "touched-all", "moved", "copied-with-dates", "plain-make-all", "kernel-removed", "kernel-damaged"),
    *("copy-damaged", "part-removed", "makefile-recipe", "settings-changed"),
)
"""Edits that need no file with content."""

ALONE = ("removed", "emptied", "folder-instead", "executable", "failed-then-fixed", "state-removed")
"""Edits after which another one may not come before the next build."""

SPOILS = ("removed", "emptied", "folder-instead", "executable")
"""Edits after which a tree may not build."""

DAMAGE = (
    "plain-make-all",
    "kernel-removed",
    "kernel-damaged",
    "copy-damaged",
    "part-removed",
    "outputs-removed",
    "failed-then-fixed",
    "output-edited",
)
"""Edits after which a build is due though the kernel stays the same."""

Step = tuple[tuple[str, str], ...]
"""Edits between two builds: of each its name, and the kind of file."""


@dataclass(frozen=True)
class Story:
    kinds: tuple[str, ...]
    steps: tuple[Step, ...]


@dataclass
class Counts:
    """What happened in stories.

    Attributes:
        edits: steps played.
        builds: runs that called make to build.
        needless: builds that no edit called for.
        questions: calls of `make -q`.
    """

    edits: int = 0
    builds: int = 0
    needless: int = 0
    questions: int = 0
    causes: list[str] = field(default_factory=list)


class StalenessError(AssertionError):
    """unibuild did what it must not do."""

    def __init__(self, what: str, story: Story, place: int, output: str) -> None:
        step = story.steps[place] if place >= 0 else ()
        super().__init__(f"{what} after step {place}: {' + '.join(f'{edit} {kind}' for edit, kind in step)}\n{output}")
        self.what = what
        self.story = Story(story.kinds, story.steps[: place + 1])


def generate(seed: int, edits: int) -> Story:
    """Return the story of a seed, with this many steps."""
    chance = random.Random(seed)
    kinds = [KINDS[name] for name in chance.sample(sorted(KINDS), chance.randint(2, 5))]
    in_git = any(kind.name.startswith("git-") for kind in kinds)
    # Without a record, a log that was there before and grows during the build may be an edit: one build too many.
    left_out = ("state-removed",) if any(kind.name == "kernel-in-a-log" for kind in kinds) else ()
    steps = []
    for _ in range(edits):
        number = chance.choice([1, 1, 1, 2])
        steps.append(
            tuple(_edit(chance, chance.choice(kinds), in_git, left_out, alone=number == 1) for _ in range(number))
        )
    return Story(tuple(kind.name for kind in kinds), tuple(steps))


def _edit(
    chance: random.Random, kind: Kind, in_git: bool, left_out: tuple[str, ...], *, alone: bool
) -> tuple[str, str]:
    ways = ["change", "change", *OF_THE_TREE]
    if not kind.change:
        ways = ["change", *EDITS]
        if in_git and alone and not kind.path.startswith("..") and not kind.name.startswith("ignored"):
            ways += GIT
        if kind.name.startswith("slow"):
            ways += [*SLOW] * 4
    if kind.blind:  # without a record nobody knows what the outputs were made of
        ways = [way for way in ways if way != "state-removed"]
    if kind.name == "remade-makefile":  # make remakes it without end
        ways = [way for way in ways if way != "future"]
    if not alone:
        ways = [way for way in ways if way not in SLOW and way not in ALONE]
    return chance.choice([way for way in ways if way not in left_out]), kind.name


def play(story: Story, folder: Path, server: Server, counts: Counts | None = None) -> None:
    """Play a story.

    Raises:
        StalenessError: a kernel is not that of a build from nothing, or something was built or booted for nothing.
    """
    counts = Counts() if counts is None else counts
    world = World(folder, server)
    project(world, *(KINDS[name] for name in story.kinds))
    tokens = (f"{number:04}" for number in itertools.count(1))
    _check(world, story, -1, world.unibuild(), None)
    for place, step in enumerate(story.steps):
        before = world.kernel
        try:
            for edit, name in step:
                ALL[edit](world, KINDS[name], next(tokens))
            ran = world.unibuild()
        except BrokenRuleError as error:
            what, output = error.args
            raise StalenessError(what.partition(" of ")[0], story, place, f"{what}\n{output}") from None
        counts.edits += 1
        counts.builds += ran.built > 0
        counts.questions += ran.asked
        same = _check(world, story, place, ran, before)
        if ran.built and same and not any(edit in DAMAGE for edit, _ in step):
            counts.needless += 1
            counts.causes.append("+".join(edit for edit, _ in step))
        if any(edit in SPOILS for edit, _ in step):  # so that the next step has a tree that builds
            for edit, name in step:
                if edit in SPOILS:
                    KINDS[name].edit(world, next(tokens))
                    if KINDS[name].files[KINDS[name].path].startswith("#!"):
                        world.path(KINDS[name].path).chmod(0o755)
            _check(world, story, place, world.unibuild(), None)


def _check(world: World, story: Story, place: int, ran: Ran, before: bytes | None) -> bool:
    """See that a run left what a build from nothing leaves; return whether that is what was there before."""
    fresh = world.fresh()
    if fresh is None:
        if ran.code == 0:
            raise StalenessError("a kernel though a build from nothing fails", story, place, ran.output + world.said)
        return False
    if ran.code != 0:
        raise StalenessError("unibuild failed", story, place, ran.output)
    if world.kernel != fresh or world.path("hello.xen").read_bytes() != fresh:
        raise StalenessError("a stale kernel", story, place, ran.output)
    if ran.changed_xl and fresh == before:
        raise StalenessError("a needless reboot", story, place, ran.output)
    again = world.unibuild()
    if again.built or again.wrote_xl:
        raise StalenessError("a build though nothing changed", story, place, again.output)
    return fresh == before


def shrink(fault: StalenessError, folder: Path, server: Server, tries: int = 40) -> StalenessError:
    """Return the same fault in a shorter story, after at most this many more plays."""
    numbers = itertools.count()

    def fails(story: Story) -> StalenessError | None:
        place = folder / f"shrink{next(numbers)}"
        try:
            play(story, place, server)
        except StalenessError as found:
            return found if found.what == fault.what else None
        except Exception:
            return None
        finally:
            shutil.rmtree(place, ignore_errors=True)
        return None

    best = fault
    left = True
    while left:
        left = False
        for story in _shorter(best.story):
            tries -= 1
            if tries < 0:
                return best
            if found := fails(story):
                best, left = found, True
                break
    return best


PASSED = "passed"
"""The end of a story that showed no fault; else the end is the fault, or ``was cut off``."""


def summarize(stories: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return lines that report how stories ended, and what those that passed cost.

    Args:
        stories: the fields of ``Counts`` of each, and its ``end``.
    """
    passed = [story for story in stories if story["end"] == PASSED]
    total = {key: sum(story[key] for story in passed) for key in ("edits", "builds", "needless", "questions")}
    ends = collections.Counter(story["end"] for story in stories if story["end"] != PASSED)
    return [
        f"{len(passed)} of {len(stories)} stories passed, with {total['edits']} edits: {total['builds']} builds, "
        f"{total['needless']} of them needless, {total['questions']} calls of make -q or -pn",
        *(f"{count} {'story' if count == 1 else 'stories'}: {end}" for end, count in sorted(ends.items())),
    ]


def _shorter(story: Story) -> Iterator[Story]:
    """Give stories that leave something out."""
    used = {name for step in story.steps for _, name in step}
    if unused := set(story.kinds) - used:
        yield Story(tuple(name for name in story.kinds if name not in unused), story.steps)
    if len(story.steps) > 2:
        yield Story(story.kinds, story.steps[-1:])
        yield Story(story.kinds, story.steps[len(story.steps) // 2 :])
    for place in range(len(story.steps)):
        yield Story(story.kinds, story.steps[:place] + story.steps[place + 1 :])
    for place, step in enumerate(story.steps):
        if len(step) > 1:
            for one in step:
                yield Story(story.kinds, (*story.steps[:place], (one,), *story.steps[place + 1 :]))
    for name in unused:
        yield Story(tuple(kept for kept in story.kinds if kept != name), story.steps)
