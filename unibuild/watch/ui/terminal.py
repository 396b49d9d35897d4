"""Terminal screen of the watch loop: lines scroll above a status line, and keys give commands.

Three threads share the work. The loop's thread hands events over (``show``) and gives up the terminal (``lent``). The
screen's thread updates the view, draws and reads keys. A third one writes (``streams.BackgroundWriter``), so that a
slow terminal, or one stopped by Ctrl-S, blocks nothing. ``_pen`` is held while drawing, reading a key or changing
settings.

The cursor stays in the first column of the status line: if the terminal becomes narrower and wraps the line, the cursor
is still at its beginning, and the whole line can be cleared. Only the input settings of the terminal are changed, so
that even KILL leaves it usable for the shell.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import selectors
import shlex
import shutil
import signal
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Self

from unibuild.domain.console_log import log_path
from unibuild.errors import UnibuildError
from unibuild.settings.loader import STATE
from unibuild.util import job_control, process, waits
from unibuild.util.terminal import Terminal, answering, as_usual, columns, undisturbed
from unibuild.util.wakeup import Waker
from unibuild.watch import events
from unibuild.watch.ui import base, view
from unibuild.watch.ui.streams import BackgroundWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from unibuild.watch.ui.render import Renderer

__all__ = ["MANY", "TerminalScreen", "command", "page"]

_POLL = 0.1  # seconds between two checks of the pager
MANY = 20_000  # lines that wait to be drawn; further ones are only counted
_BATCH = 500  # events drawn at once
_CLEAR = "\r\x1b[J"
_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?")
_COMMANDS = {
    "r": base.Command.REBUILD,
    "b": base.Command.REBOOT,
    "c": base.Command.CONSOLE,
    "p": base.Command.PAUSE,
    "q": base.Command.QUIT,
}


def command(path: Path, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the command that shows a file: ``$PAGER``, split as the shell does, else less at the file's end.

    Raises:
        UnibuildError: ``$PAGER`` has an unclosed quote.
    """
    try:
        words = shlex.split(environ.get("PAGER", ""))
    except ValueError as error:
        raise UnibuildError(f"PAGER={environ['PAGER']} cannot be split into words: {error}") from None
    if not words:
        words = ["less", "+G"] if shutil.which("less") else ["more"]
    return [*words, str(path)]


def page(argv: list[str], is_over: Callable[[], bool]) -> None:
    """Run a pager on the terminal of standard input until it ends, or ``is_over`` returns true.

    The terminal must have its original settings, and nothing else may read it. Ctrl-Z stops the pager and unibuild.
    Unlike ``process.run_interactive`` this works in any thread.

    Raises:
        MissingError: the program is not installed.
        UnibuildError: it cannot be started.
    """
    with process.start(argv, stdin=None, stdout=None, stderr=None) as child:
        group = child.popen.pid
        try:
            _bring_to_front(group)
            while child.poll() is None and not is_over():
                with undisturbed(signal.SIGTTOU):
                    job_control.follow_stop(group)
                time.sleep(_POLL)
            child.stop(1.0)
        finally:
            _bring_to_front(os.getpgrp(), of=group)


def _bring_to_front(group: int, of: int | None = None) -> None:
    """Make a process group the terminal's foreground, if it is that of ``of``, by default unibuild's group, now."""
    try:
        if os.tcgetpgrp(0) == (of or os.getpgrp()):
            with undisturbed(signal.SIGTTOU):
                os.tcsetpgrp(0, group)
    except OSError:
        pass  # the terminal is gone, or the pager has ended already


class TerminalScreen(contextlib.AbstractContextManager["TerminalScreen"]):
    """A screen on the terminal of standard output; to be entered in the main thread.

    Args:
        inbox: takes commands.
        paint: renders lines; its width is the terminal's.
    """

    def __init__(self, inbox: base.Inbox, paint: Renderer) -> None:
        self._inbox = inbox
        self._look = paint
        self._view = view.View()
        self._queue: deque[events.AnyEvent] = deque()
        self._lost = 0  # lines that were dropped
        self._status = ""  # the status line on the terminal; empty: there is none
        self._lent = 0
        self._over = False
        self._pen = threading.RLock()
        self._stack = contextlib.ExitStack()
        self._thread = threading.Thread(target=self._work, name="unibuild screen", daemon=True)
        self._terminal = Terminal(0 if os.isatty(0) else None)
        self._output = BackgroundWriter(1)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._waker = stack.enter_context(Waker())
            stack.enter_context(self._output)
            stack.enter_context(self._terminal)
            answers = {
                signal.SIGTSTP: self._stop,
                signal.SIGCONT: self._go_on,
                signal.SIGQUIT: self._die,
                signal.SIGWINCH: self._waker.wake,
            }
            for number, answer in answers.items():
                stack.enter_context(answering(number, answer))
            self._thread.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._waker.wake()
        waits.join(self._thread)
        self._stack.close()

    def show(self, event: events.AnyEvent) -> None:
        """Take an event; it is drawn soon.

        Raises:
            BrokenPipeError: the terminal is gone.
        """
        if self._output.is_gone:
            raise BrokenPipeError
        if isinstance(event, events.Output) and len(self._queue) >= MANY:
            self._lost += 1
            return
        self._queue.append(event)
        self._waker.wake()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Restore the terminal while the block runs, draw nothing and read no key."""
        with self._pen:
            self._clear()
            self._lent += 1
            self._output.drain(1.0)
            self._terminal.give_back()
        self._waker.wake()  # do not wait for keys any more
        try:
            yield
        finally:
            with self._pen:
                self._lent -= 1
                if not self._lent:
                    self._terminal.take()
            self._waker.wake()

    @property
    def columns(self) -> int | None:
        """The columns for a build's line; None: there are no colours."""
        return self._look.of(columns()).columns_for("build") if self._look.colour else None

    def beep(self, data: bytes) -> None:
        """Send control characters to the terminal, as the bell."""
        if not self._lent:
            self._output.write(data)

    def say(self, *lines: view.Line) -> None:
        """Show lines of the screen's own."""
        with self._pen:
            self._draw([row for line in lines for row in self._look.rows(line)])

    def _work(self) -> None:
        try:
            while not self._over or self._queue:
                self._wait()
                with self._pen:
                    self._follow_the_foreground()
                    pressed = self._read()
                    if not self._lent or self._over:
                        self._show_waiting()
                for key in pressed:
                    self._press(key)
        finally:
            with self._pen:
                self._clear()

    def _wait(self) -> None:
        """Wait for an event, a key, a signal, or until the status line changes."""
        if self._queue and not self._lent:
            return
        with selectors.DefaultSelector() as ready:
            ready.register(self._waker.fd, selectors.EVENT_READ)
            if self._terminal.is_held and self._terminal.fd is not None:
                ready.register(self._terminal.fd, selectors.EVENT_READ)
            ready.select(0.2 if self._view.stage is not None else 1.0)
        self._waker.clear()

    def _follow_the_foreground(self) -> None:
        """Take the terminal if a shell moved unibuild to the foreground without a signal (``bg``, then ``fg``)."""
        if self._lent:
            return
        if self._terminal.is_held != self._terminal.is_in_front:
            self._clear()
            self._terminal.give_back()
            self._terminal.take()

    def _show_waiting(self) -> None:
        """Draw the events that wait."""
        rows: list[str] = []
        width = columns()
        if width != self._look.width:
            self._look = self._look.of(width)
        for _ in range(min(_BATCH, len(self._queue))):
            event = self._queue.popleft()
            if isinstance(event, events.Started):
                self._look = self._look.of(width, root=event.root)
            self._view, lines = view.update(self._view, event)
            rows += [row for line in lines for row in self._look.rows(line)]
        if self._lost and not self._queue and not self._output.is_behind:
            lost, self._lost = self._lost, 0
            rows += self._look.rows(
                view.Line(view.OWN_ORIGIN, f"{lost} lines left out: the terminal is too slow", "bad")
            )
        self._draw(rows)

    def _draw(self, rows: list[str]) -> None:
        """Write rows, and the status line below them."""
        status = self._bottom()
        if not rows and (status == self._status or self._output.is_behind):
            return
        text = (_CLEAR if self._status else "") + "".join(f"{row}\n" for row in rows) + status
        if not self._output.write(text.encode(errors="replace"), always=False):
            self._lost += len(rows)
            return
        self._status = status

    def _bottom(self) -> str:
        """Return the status line, and above it the unfinished lines of a build and a console."""
        if not self._terminal.is_held and self._terminal.fd is not None:
            return ""
        begun = [line for line in (self._view.progress, self._view.unfinished) if line]
        rows = [row for line in begun for row in self._look.rows(line)[-1:]]
        rows.append(self._look.status(view.parts(self._view, time.time())))
        return "\n".join(rows) + (f"\x1b[{len(rows) - 1}A" if len(rows) > 1 else "") + "\r"

    def _clear(self) -> None:
        if self._status:
            self._output.write(_CLEAR.encode())
            self._status = ""

    def _read(self) -> str:
        """Return the keys that were pressed, without arrow and function keys."""
        if not self._terminal.is_held or self._terminal.fd is None:
            return ""
        with selectors.DefaultSelector() as ready:
            ready.register(self._terminal.fd, selectors.EVENT_READ)
            if not ready.select(0):
                return ""
        return _ESCAPES.sub(b"", self._terminal.read()).decode(errors="ignore")

    def _press(self, key: str) -> None:
        if key in _COMMANDS:
            self._inbox.put(_COMMANDS[key])
            if key == "q":
                self._view = dataclasses.replace(self._view, ending=True)
        elif key == "?":
            self.say(*view.help_lines())
        elif key == "e":
            found = view.problem_lines(self._view)
            self.say(*(found or [view.Line(view.OWN_ORIGIN, "no errors", "good")]))
        elif key == "\n":  # users do this to separate what follows
            self.say(view.Line("", ""))
        elif key == "l":
            self._page()

    def _page(self) -> None:
        """Show the console's log in the pager; events wait meanwhile."""
        domain = self._view.domain
        path = log_path(Path(self._view.root, STATE), domain.name, domain.host) if domain else None
        if path is None or not path.exists():
            self.say(view.Line(view.OWN_ORIGIN, "there is no console log yet", "bad"))
            return
        try:
            with self.lent():
                page(command(path), lambda: self._over)
        except UnibuildError as error:
            self.say(view.Line(view.OWN_ORIGIN, error.message, "bad"))

    def _stop(self) -> None:
        """Answer Ctrl-Z."""
        with self._pen:
            self._clear()
            self._output.drain(0.5)
            self._terminal.stop()
        self._waker.wake()

    def _go_on(self) -> None:
        """Answer SIGCONT, perhaps from a shell that changed the terminal's settings."""
        with self._pen:
            if not self._lent:
                self._terminal.take()
        self._waker.wake()

    def _die(self) -> None:
        r"""Answer Ctrl-\."""
        with self._pen:
            self._clear()
            self._output.drain(0.5)
            self._terminal.give_back()
            with as_usual(signal.SIGQUIT):
                os.kill(os.getpid(), signal.SIGQUIT)
