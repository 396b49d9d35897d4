"""Screens that only write, without blocking the loop: lines for a log, JSON for a program."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Self

from unibuild.util.waits import join
from unibuild.watch import events
from unibuild.watch.ui import view
from unibuild.watch.ui.render import Renderer, plain_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


__all__ = ["LIMIT", "BackgroundWriter", "JsonScreen", "PlainScreen", "hyperlink", "wants_colour"]

LIMIT = 1 << 20  # bytes that wait for a slow reader
_PAUSE = 0.005  # seconds between two checks of what waits
_PIECE = 4096  # bytes written at once: the rest can still be dropped


class BackgroundWriter(contextlib.AbstractContextManager["BackgroundWriter"]):
    """Writes to a file descriptor in the background.

    Args:
        fd: the file descriptor.
        gone: called in the thread when nobody reads it any more; everything is dropped then.
        limit: bytes that may wait.
    """

    def __init__(self, fd: int, gone: Callable[[], None] = lambda: None, limit: int = LIMIT) -> None:
        self._fd = fd
        self._report_gone = gone
        self._limit = limit
        self._waiting = bytearray()
        self._writing = 0  # bytes on their way
        self._over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="unibuild writes", daemon=True)
        self.is_gone = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def is_behind(self) -> bool:
        """Whether something still waits for the reader."""
        return bool(self._waiting or self._writing)

    def write(self, data: bytes, *, always: bool = True) -> bool:
        """Write data; return False if it was dropped.

        Args:
            data: the bytes.
            always: write even if ``limit`` bytes wait already.
        """
        with self._changed:
            if self.is_gone or (not always and len(self._waiting) + len(data) > self._limit):
                return False
            self._waiting += data
            self._changed.notify_all()
            return True

    def drain(self, timeout: float) -> bool:
        """Wait until all is written, at most ``timeout`` seconds; return whether it is."""
        deadline = time.monotonic() + timeout
        while self.is_behind and not self.is_gone:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_PAUSE)  # not in a condition: see ``waits``
        return not self.is_gone

    def end(self, timeout: float = 1.0) -> None:
        """Write what waits, as long as the reader takes something every ``timeout`` seconds, and end."""
        before = -1
        while self.is_behind and not self.is_gone and len(self._waiting) != before:
            before = len(self._waiting)
            self.drain(timeout)
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if not self.is_behind:
            join(self._thread, timeout)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._over:
                    self._changed.wait()
                if self._over:
                    return
                piece = bytes(self._waiting[:_PIECE])
                del self._waiting[:_PIECE]
                self._writing = len(piece)
            try:
                while piece:
                    piece = piece[os.write(self._fd, piece) :]
            except OSError:  # a pipe that is broken, a terminal that hung up
                self.is_gone = True
            with self._changed:
                self._writing = 0
                if self.is_gone:
                    self._waiting.clear()
                self._changed.notify_all()
            if self.is_gone:
                self._report_gone()
                return


def wants_colour(environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    """Return whether to use colours: by https://no-color.org and https://force-color.org."""
    return not environ.get("NO_COLOR") and (is_terminal or bool(environ.get("FORCE_COLOR")))


def hyperlink(asked: str, environ: Mapping[str, str]) -> str | None:
    """Return the address of a place in a source for ``Renderer``; None: use no hyperlinks.

    Terminals with hyperlinks (OSC 8): https://github.com/Alhadis/OSC8-Adoption. Only kitty opens a file at a line by
    the file's address.

    Args:
        asked: the setting: ``auto``, ``off``, or the address itself.
        environ: the environment; terminals identify themselves there.
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
    """A screen that only writes."""

    def __init__(self) -> None:
        self._output = BackgroundWriter(1)
        self._lost = 0
        self._pen = threading.Lock()  # hooks report in their own threads

    def __enter__(self) -> Self:
        self._output.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        with self._pen:
            self._report_lost()
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
                self._report_lost()
                self._output.write(self._form(event))

    def lent(self) -> contextlib.AbstractContextManager[object]:
        """Do nothing: there is no terminal."""
        return contextlib.nullcontext()

    @property
    def columns(self) -> None:
        """None: there is no terminal."""

    def beep(self, data: bytes) -> None:
        """Do nothing: there is no terminal."""

    def _report_lost(self) -> None:
        if self._lost:
            lost, self._lost = self._lost, 0
            self._output.write(self._form(events.Lost(at=time.time(), lines=lost)))

    def _form(self, event: events.AnyEvent) -> bytes:
        raise NotImplementedError


class JsonScreen(_Written):
    """Writes each event as JSON on a line."""

    def _form(self, event: events.AnyEvent) -> bytes:
        return events.encode(event) + b"\n"


class PlainScreen(_Written):
    """Writes lines with their origin, for a pipe, a file or a terminal that cannot move its cursor.

    Args:
        colour: whether to use colours.
    """

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._view = view.View()
        self._paint = Renderer() if colour else None

    def _form(self, event: events.AnyEvent) -> bytes:
        self._view, lines = view.update(self._view, event)
        rows = [row for line in lines for row in (self._paint.rows(line) if self._paint else [plain_line(line)])]
        return "".join(f"{row}\n" for row in rows).encode(errors="replace")
