"""The command `unibuild plan`: print what a goal would run, and why."""

from __future__ import annotations

import argparse
import difflib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.doit_plugin.state import StateFile
from unibuild.errors import InputError, UnibuildError
from unibuild.graph.graph import BUILT_ALREADY, EC2, GOALS, graph
from unibuild.graph.rebuild_plan import explain
from unibuild.graph.staleness import verdict
from unibuild.host import resolve
from unibuild.settings.loader import STATE, load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unibuild.graph.graph import Graph, Stage

__all__ = ["main", "plan"]


def main(argv: list[str]) -> int:
    """Run ``unibuild plan`` with these arguments; return its exit status.

    Raises:
        InputError: the goal does not exist, or a setting is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="unibuild plan", description="Print what a goal would run, and why. Nothing is run or written."
    )
    parser.add_argument(
        "words", nargs="*", metavar="GOAL | KEY=VALUE", help="goals (default: boot), and settings for this run"
    )
    parser.add_argument("--host", help="override the setting `host`")
    asked = parser.parse_intermixed_args(argv)
    words = [*asked.words, *([f"host={asked.host}"] if asked.host else [])]
    goals = [word for word in words if "=" not in word] or ["boot"]
    goals = ["boot" if goal == "watch" else goal for goal in goals]  # its first cycle
    found = graph(load(Path.cwd(), dict(word.split("=", 1) for word in words if "=" in word)))
    names = [stage.goal for stage in found.stages]
    last = (*(stage.goal for stage in found.exports), "boot", *EC2)  # goals that need all stages
    for goal in goals:
        if goal not in (*names, *last, *BUILT_ALREADY):
            close = difflib.get_close_matches(goal, GOALS, 1)
            known = ", ".join((*names, *last, *BUILT_ALREADY))
            mean = f"did you mean `{close[0]}`? " if close else ""
            raise InputError(f"there is no goal `{goal}`", hint=f"{mean}goals: {known}")
    for goal in BUILT_ALREADY:
        if goal in goals:
            print(f"{goal}: would run ({GOALS[goal]}, on {resolve.host_name(found.project.settings)})")
    wanted = [names.index(goal) + 1 if goal in names else len(names) for goal in goals if goal in (*names, *last)]
    exports = (stage for stage in found.exports if stage.goal in goals)
    stages = (*found.stages[: max(wanted, default=0)], *exports)
    for line in plan(found, stages, boot="boot" in goals):
        print(line)
    for goal in (goal for goal in EC2 if goal in goals):
        print(f"{goal}: would run ({GOALS[goal]}); `unibuild {goal} --plan` prints what it would call")
    return 0


def plan(found: Graph, stages: tuple[Stage, ...], *, boot: bool) -> Iterator[str]:
    """Yield the lines that show what these stages, in their order, and the boot would do.

    A stage after a stale one is only possibly stale, because the stale stage may leave its output unchanged.
    """
    state = StateFile(str(found.project.root / STATE / "state.json"))
    before = None
    for stage in stages:
        values = state.get(stage.name, "_values_:") or {}
        reason, is_question = explain(stage, verdict(found.project.root / STATE, stage, values))
        if reason is None and before is None:
            yield f"{stage.name}: up to date"
            continue
        yield (
            f"{stage.name}: would run: {reason}" if reason else f"{stage.name}: would run if {before} changes its input"
        )
        before = stage.name if stage in found.stages else before
        yield from _commands(found, stage, is_question=is_question)
    if boot:
        where = resolve.host_name(found.project.settings)
        if before:
            yield f"boot: would run on {where}, if {before} leaves something new or its domain does not run"
        else:
            yield f"boot: would run on {where}, if its domain does not run"


def _commands(found: Graph, stage: Stage, *, is_question: bool) -> Iterator[str]:
    if stage.step is None:
        if stage.goal == "xl":
            yield from _difference(found)
        return
    question = found.toolchain.question(stage.name) if is_question else None
    for argv in (question,) if question else stage.step.commands:
        yield f"  {shlex.join(argv)}"
    if stage.step.cwd != found.project.root:
        yield f"  (in {stage.step.cwd})"


def _difference(found: Graph) -> Iterator[str]:
    """Yield the difference between the current ``.xl`` and the one that the run would write."""
    if not found.kernel.exists() or (found.start is not None and not found.start.exists()):
        yield "  (the change of the .xl is known once the kernel is built)"
        return
    try:
        after = found.render()
    except UnibuildError as error:
        yield f"  this would fail: {error.message}"
        return
    text = found.xl.read_text(errors="surrogateescape") if found.xl.exists() else ""
    name = f"{STATE}/{found.xl.name}"
    for line in difflib.unified_diff(text.splitlines(), after.splitlines(), name, f"{name} (new)", "", "", 1, ""):
        yield f"  {line}".encode(errors="surrogateescape").decode(errors="replace")
