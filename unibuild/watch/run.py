"""Run the watch loop of a project: take its lock, open the host and the screen, and start the loop."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import TYPE_CHECKING

from unibuild.errors import BusyError, InputError, UnibuildError
from unibuild.settings.hosts import ALL
from unibuild.settings.loader import state_dir
from unibuild.util import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unibuild.settings.loader import Project
    from unibuild.settings.model import Watch
    from unibuild.watch.hooks import NotifyingScreen
    from unibuild.watch.ui.base import Inbox

__all__ = ["open_screen", "watch"]


def watch(project: Project, *, dodo: str, keep: bool, as_json: bool) -> None:
    """Build and boot on every save, until the user ends the loop.

    Raises:
        InputError: more than one host is named.
        BusyError: another watch runs in this tree.
        UnibuildError: the project cannot be built, or the host is not a valid one.
        SystemExit: with the exit code of the last state.
    """
    from unibuild.deploy import hosts
    from unibuild.host import resolve
    from unibuild.util import terminal
    from unibuild.util.wakeup import WakeableQueue
    from unibuild.watch.inputs import InputTracker
    from unibuild.watch.loop import Loop

    if project.settings.host == ALL:
        raise InputError("watch is for one host", hint=f"name it: {' or '.join(resolve.all_names(project.settings))}")
    with _alone(project.root):
        tree = InputTracker(dataclasses.replace(project, batch=True))  # the screen has the terminal
        host = hosts.open_host(project.settings)  # a lab that starts may use the terminal, which is still free
        if terminal.is_interactive():
            with contextlib.suppress(UnibuildError):  # the loop reports it, and tries again
                host.toolstack.list_domains()  # sudo and ssh may ask for a password
        with WakeableQueue() as inbox, open_screen(inbox, project.settings.watch, as_json=as_json) as screen:
            loop = Loop(tree, screen, inbox, dodo=dodo, keep_domain=keep or project.settings.watch.keep_domain)
            code = loop.run()
    if code:
        raise SystemExit(code)


def open_screen(inbox: Inbox, settings: Watch, *, as_json: bool) -> NotifyingScreen:
    """Return the screen for standard output: terminal, lines or JSON.

    Args:
        inbox: takes commands.
        settings: the hooks and notifications of a cycle.
        as_json: print each event as a line of JSON.
    """
    from unibuild.watch.hooks import NotifyingScreen
    from unibuild.watch.ui.streams import JsonScreen, PlainScreen, hyperlink, wants_colour

    is_terminal = os.isatty(1) and os.environ.get("TERM", "dumb") != "dumb"
    colour = wants_colour(os.environ, is_terminal=is_terminal)
    if as_json:
        return NotifyingScreen(JsonScreen(), settings)
    if not is_terminal:
        return NotifyingScreen(PlainScreen(colour=colour), settings)
    from unibuild.watch.ui.render import Renderer
    from unibuild.watch.ui.terminal import TerminalScreen

    renderer = Renderer(colour=colour, hyperlink=hyperlink(settings.hyperlink, os.environ))
    return NotifyingScreen(TerminalScreen(inbox, renderer), settings)


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold the watch's lock of a tree.

    Raises:
        BusyError: another watch holds it.
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
