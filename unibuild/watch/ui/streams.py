"""The screens: for a person at a terminal, for a log, for a program (``--json``); and which one it is."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Self

from unibuild.watch import events
from unibuild.watch.hooks import Announced
from unibuild.watch.ui import base, view
from unibuild.watch.ui.output import Output
from unibuild.watch.ui.render import Paint, plain_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unibuild.settings.model import Watch

__all__ = ["JsonScreen", "PlainScreen", "hyperlink", "make", "wants_colour"]


def make(inbox: base.Inbox, settings: Watch, *, as_json: bool) -> Announced:
    """Return the screen for where standard output leads.

    Args:
        inbox: where commands go.
        settings: who else hears of a cycle.
        as_json: each event as JSON on a line of its own.
    """
    is_terminal = os.isatty(1) and os.environ.get("TERM", "dumb") != "dumb"
    colour = wants_colour(os.environ, is_terminal=is_terminal)
    if as_json:
        return Announced(JsonScreen(), settings)
    if not is_terminal:
        return Announced(PlainScreen(colour=colour), settings)
    from unibuild.watch.ui.terminal import TerminalScreen

    paint = Paint(colour=colour, hyperlink=hyperlink(settings.hyperlink, os.environ))
    return Announced(TerminalScreen(inbox, paint), settings)


def wants_colour(environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    """Say whether there are colours: by https://no-color.org and https://force-color.org."""
    return not environ.get("NO_COLOR") and (is_terminal or bool(environ.get("FORCE_COLOR")))


def hyperlink(asked: str, environ: Mapping[str, str]) -> str | None:
    """Return the address of a place in a source for ``Paint``; None: there are no hyperlinks, or none are wanted.

    Which terminals have them (OSC 8): https://github.com/Alhadis/OSC8-Adoption. Only kitty opens a file at a line by
    the file's address.

    Args:
        asked: the setting: ``auto``, ``off``, or the address itself.
        environ: the environment, by which terminals tell what they are.
    """
    if asked == "off":
        return None
    if asked != "auto":
        return asked
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if term == "xterm-kitty":
        return "file://{host}{path}#{line}"
    version = [int(part) if part.isdigit() else 0 for part in environ.get("TERM_PROGRAM_VERSION", "").split(".")]
    is_known = (
        program in ("iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper", "rio")
        or (program == "tmux" and version >= [3, 4])
        or term.startswith(("alacritty", "foot", "contour", "xterm-ghostty", "wezterm"))
        or int(environ.get("VTE_VERSION", "0") or 0) >= 5000
        or environ.get("KONSOLE_VERSION")
        or environ.get("WT_SESSION")
    )
    return "file://{host}{path}" if is_known else None


class _Written(contextlib.AbstractContextManager["_Written"]):
    """A screen that only writes, one event after the other."""

    def __init__(self) -> None:
        self._output = Output(1)
        self._lost = 0
        self._pen = threading.Lock()  # a hook tells of itself in a thread of its own

    def __enter__(self) -> Self:
        self._output.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        with self._pen:
            self._tell_lost()
        self._output.end()

    def show(self, event: events.AnyEvent) -> None:
        """Write an event.

        Raises:
            BrokenPipeError: nobody reads it any more.
        """
        if self._output.is_gone:
            raise BrokenPipeError
        with self._pen:
            if isinstance(event, events.Output):
                self._lost += not self._output.write(self._form(event), always=False)
            else:
                self._tell_lost()
                self._output.write(self._form(event))

    def lent(self) -> contextlib.AbstractContextManager[object]:
        """There is no terminal of ours to give up."""
        return contextlib.nullcontext()

    @property
    def columns(self) -> None:
        """There is no terminal to be wide."""

    def beep(self, data: bytes) -> None:
        """There is no terminal to ring."""

    def _tell_lost(self) -> None:
        if self._lost:
            lost, self._lost = self._lost, 0
            self._output.write(self._form(events.Lost(at=time.time(), lines=lost)))

    def _form(self, event: events.AnyEvent) -> bytes:
        raise NotImplementedError


class JsonScreen(_Written):
    """Each event as JSON on a line of its own."""

    def _form(self, event: events.AnyEvent) -> bytes:
        return events.encode(event) + b"\n"


class PlainScreen(_Written):
    """Lines with their origin, for a pipe, a file or a terminal that cannot move its cursor.

    Args:
        colour: whether they are coloured all the same.
    """

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._view = view.View()
        self._paint = Paint() if colour else None

    def _form(self, event: events.AnyEvent) -> bytes:
        self._view, lines = view.fold(self._view, event)
        rows = [row for line in lines for row in (self._paint.rows(line) if self._paint else [plain_line(line)])]
        return "".join(f"{row}\n" for row in rows).encode(errors="replace")
