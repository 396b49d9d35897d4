"""Saves of all kinds of file, in all ways: none is lost, and nothing is built because of what the build wrote.

`nox -s fuzz` makes 1,000 saves (STALENESS_SAVES).
"""

import os
import random
import shutil
import sys
from pathlib import Path

import pytest

from unibuild.watch import events

sys.path.insert(0, str(Path(__file__).parents[1] / "staleness"))
from edits import EDITS, NOTHING
from kinds import KINDS, write_makefile
from world import World, arguments, is_question

SAVES = int(os.environ.get("STALENESS_SAVES", "100"))
SEED = int(os.environ.get("STALENESS_SEED", "12"))
WAYS = (
    *("in-place", "same-size", "twice", "atomic", "vim", "droppings", "hard-link", "older", "older-replaces"),
    *("copied-over", "same-date", "touched", "reverted", "mode", "added", "folder-replaced", "unrelated"),
)
ALWAYS_BUILT = "FORCE"  # in a rule: make has something to do each time that it is asked


class Saved(World):
    """A project with a build that records its inputs in ``seen``; its kernel stays the same, so no domain is booted."""

    def prepare(self, kernel, names):
        shutil.copy(kernel, self.root / "head.bin")
        self.outputs += ["seen", "seen.tmp"]
        for name in names:
            KINDS[name].create(self)
        write_makefile(self, *(KINDS[name] for name in names))
        text = self.path("Makefile").read_text()
        recipe = text.rindex("\tcat head.bin")
        self.write("Makefile", text[:recipe] + "\tcat $(PARTS) > seen.tmp && mv seen.tmp seen && cp head.bin $@\n")
        self.write("unibuild.toml", f'host = "local"\n{self.path("unibuild.toml").read_text()}')

    def fresh_seen(self):
        assert self.fresh() is not None, self.said
        return (self.top / "fresh" / self.root.name / "seen").read_bytes()

    @property
    def seen(self):
        return self.path("seen").read_bytes() if self.path("seen").exists() else b""


@pytest.fixture
def names():
    """The kinds of file of the project."""
    usable = [
        name
        for name, kind in KINDS.items()
        if not (kind.change or kind.name[:4] in ("git-", "slow")) and ALWAYS_BUILT not in kind.rule
    ]
    return random.Random(SEED).sample(usable, 25 if SAVES <= 100 else len(usable))


@pytest.fixture
def saved(tmp_path, names, xen, hello_kernels, monkeypatch):
    world = Saved(tmp_path / "saved", None)
    world.prepare(hello_kernels.pv, names)
    (xen.world / "script").write_text("say booted\nobey bye\n")
    monkeypatch.setenv("PATH", f"{world.bin}:{os.environ['PATH']}")
    return world


@pytest.fixture
def project(saved, tree):
    """What the watch runs in; see conftest.py."""
    return type(tree)(saved.root)


@pytest.mark.timeout(300 + 2 * SAVES)
def test_no_save_of_any_kind_is_lost(watching, saved, names, record_property):
    watch = watching()
    watch.cycle("booted")
    chance, saves, number = random.Random(SEED), 0, 0
    while saves < SAVES:
        burst = chance.choice([1, 1, 1, 2, 8])
        ways, cycles = [], watch.count(events.Cycle)
        for _ in range(burst):
            number += 1
            way, name = chance.choice(WAYS), chance.choice(names)
            EDITS[way](saved, KINDS[name], f"{number:04}")
            ways.append((way, name))
        saves += burst
        wanted = saved.fresh_seen()
        watch.wait_for(lambda wanted=wanted: saved.seen == wanted, f"after save {saves}: {ways}")
        if all(way in NOTHING for way, _ in ways):  # nothing else shows that watch has dealt with it
            watch.wait_for(lambda cycles=cycles: watch.count(events.Cycle) > cycles, f"after save {saves}: {ways}")
    watch.rests()
    assert saved.seen == saved.fresh_seen()
    made = len(saved.calls())
    watch.quiet()
    assert watch.end() == 0
    assert len(saved.calls()) == made
    builds = sum(not is_question(call) for call in saved.calls())
    questions = sum("-q" in arguments(call) for call in saved.calls())
    cycles = watch.count(events.Cycle)
    record_property("saves", f"{saves} saves: {cycles} cycles, {builds} builds, {questions} calls of make -q")
    assert questions <= saves
    assert builds <= saves + 1
    assert made == builds + questions + sum("-pn" in arguments(call) for call in saved.calls())
    assert cycles <= saves + 1
    changed = {path for one in watch.told if isinstance(one, events.Changed) for path in one.paths}
    assert {path for path in changed if path.endswith(".part")} | changed & {"seen", "seen.tmp", "hello.xen"} == set()
    assert [one.outcome for one in watch.told if isinstance(one, events.Cycle)].count("booted") == 1
