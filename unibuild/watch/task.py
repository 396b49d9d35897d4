"""``watch`` as a goal: its options, its lock, and the loop with what it needs."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from doit.task import Task

from unibuild import files
from unibuild.errors import BusyError, InputError, UnibuildError
from unibuild.settings.named import ALL
from unibuild.settings.sources import state_dir
from unibuild.tasks.factory import OWN_TERMINAL, telling
from unibuild.tasks.graph import GOALS
from unibuild.tasks.usage import OPTIONS, SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unibuild.settings.sources import Project

__all__ = ["watch_task"]


def watch_task(project: Project) -> Task:
    """Return the doit task of the goal ``watch``."""

    def act(keep: bool, as_json: bool) -> None:
        watch(project, keep=keep, as_json=as_json)

    params = [*OPTIONS["watch"], *SHARED]
    return Task("watch", [telling(act)], uptodate=[False], params=params, doc=GOALS["watch"], **OWN_TERMINAL)


def watch(project: Project, *, keep: bool, as_json: bool) -> None:
    """Build and boot on every save, until told to end.

    Raises:
        InputError: it is for one host.
        BusyError: another watch runs in this tree.
        UnibuildError: the tree cannot be built, or the host is none.
        SystemExit: with the exit code of the last state.
    """
    from unibuild.domain import terminal, xl
    from unibuild.host.base import BATCH
    from unibuild.tasks import hosts
    from unibuild.watch.inbox import Box
    from unibuild.watch.loop import Loop
    from unibuild.watch.screen import make
    from unibuild.watch.tree import Tree

    if project.settings.host == ALL:
        raise InputError("watch is for one host", hint=f"name it: {' or '.join(hosts.every(project.settings))}")
    with _alone(project.root):
        tree = Tree(project)
        host = hosts.open_host(
            project.settings
        )  # a lab that must be started says so on the terminal, which is free yet
        if terminal.is_ours():
            with contextlib.suppress(UnibuildError):  # the loop tells it, and tries again
                xl.domains(host)  # sudo and ssh may ask for a password
        os.environ[BATCH] = "1"  # from here on the screen has the terminal
        with Box() as box, make(box, project.settings.watch, as_json=as_json) as screen:
            loop = Loop(tree, screen, box, dodo=_dodo(), keep_domain=keep or project.settings.watch.keep_domain)
            code = loop.run()
    if code:
        raise SystemExit(code)


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold the lock of the watch in a tree.

    Raises:
        BusyError: another watch has it.
    """
    held = files.Lock(state_dir(root) / "watch.lock", f"{root}: the watch")
    try:
        held.acquire()
    except BusyError as error:
        raise BusyError(error.message, hint="end that one first, by q or Ctrl-C there") from None
    try:
        yield
    finally:
        held.close()


def _dodo() -> str:
    """Return the dodo.py that the command line names, or nothing."""
    words = sys.argv[1:]
    for place, word in enumerate(words):
        if word in ("-f", "--file") and place + 1 < len(words):
            return os.path.abspath(words[place + 1])  # noqa: PTH100
        if word.startswith("--file="):
            return os.path.abspath(word.partition("=")[2])  # noqa: PTH100
    return ""
