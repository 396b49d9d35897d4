"""The watch loop's side of the build worker, a process of its own that keeps everything loaded."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

from unibuild.util import process
from unibuild.watch import worker_protocol
from unibuild.watch.merged import Merged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["Builder"]

_ONCE = 1 << 18  # bytes taken at once: a build that writes without a pause lets the loop hear of other things
_REST = 1 << 23  # bytes that a builder which has ended may have left
_LATE = 2.0  # seconds for what was written before a message to come
_ROWS = 24


class Builder(contextlib.AbstractContextManager["Builder"]):
    """A builder, being started; it says ``Loaded`` or ``Refused`` first.

    It has no terminal to ask on. Its output is a pseudo-terminal where ``columns`` gives a width: compilers have their
    colours there, and programs show how far they are.

    Args:
        root: the project's folder.
        dodo: the ``dodo.py`` that a person named, or nothing.
        words: the settings of the command line.
        columns: gives the columns that what a build writes may take; None: it writes to a pipe.

    Attributes:
        talk: the socket on which it talks.
        output: the file descriptor of what it, and all that it runs, writes.
        has_ended: it says no more.
    """

    def __init__(self, root: Path, dodo: str, words: Sequence[str], columns: Callable[[], int | None]) -> None:
        self._lines = worker_protocol.Lines()
        self._merged = Merged()
        self.has_ended = False
        self._columns = columns
        self._is_terminal = columns() is not None
        argv = [sys.executable, "-m", "unibuild.doit_plugin.build_worker", str(root), dodo, *words]
        self.talk, theirs = socket.socketpair()
        self.output, written = _terminal() if self._is_terminal else os.pipe()
        self._fit()
        try:
            self._child = process.start(
                argv, stdin=theirs.fileno(), stdout=written, stderr=subprocess.STDOUT, session=True
            )
        except BaseException:
            self.talk.close()
            os.close(self.output)
            raise
        finally:
            theirs.close()
            os.close(written)
        self.talk.setblocking(False)
        os.set_blocking(self.output, False)

    def __exit__(self, *_: object) -> None:
        self.talk.close()  # it ends its build, and itself
        self._child.wait(2 * process.PATIENCE)
        self._child.stop()
        os.close(self.output)

    def build(self) -> None:
        """Let it build."""
        self._fit()
        self._send(worker_protocol.Build())

    def stop(self, patience: float) -> None:
        """Let it end the build: TERM, then KILL after ``patience`` seconds."""
        self._send(worker_protocol.Stop(patience=patience))

    def hear(self) -> list[str | worker_protocol.Message]:
        """Return the lines that it and its commands wrote and the messages that it sent, in their order.

        When it has ended ``has_ended`` says so, and this is the last of it.
        """
        try:
            data = self.talk.recv(1 << 16)
        except BlockingIOError:
            self._read(_ONCE)
            return self._merged.take()
        except OSError:
            data = b""
        if not data:
            self.has_ended = True
            self._read(_REST)
            return self._merged.take(all_of_it=True)
        self._merged.say(self._lines.feed(data))
        return self._merged.take(all_of_it=not self._catch_up())

    @property
    def unfinished(self) -> str:
        """The beginning of a line that has no end yet."""
        return self._merged.unfinished

    def _catch_up(self) -> bool:
        """Read what was written before the messages that came; return whether all of it is there."""
        deadline = time.monotonic() + _LATE
        while self._merged.is_behind:
            ready = select.select([self.output], [], [], max(0.0, deadline - time.monotonic()))[0]
            if not ready or not self._read(1):
                return False
        return True

    def _read(self, most: int) -> bool:
        """Take what there is, about ``most`` bytes; return whether there was any."""
        size = 0
        with contextlib.suppress(OSError):  # there is no more, for now or for ever
            while size < most and (data := os.read(self.output, 1 << 16)):
                self._merged.write(data)
                size += len(data)
        return size > 0

    def _fit(self) -> None:
        if self._is_terminal and (columns := self._columns()):
            termios.tcsetwinsize(self.output, (_ROWS, columns))

    def _send(self, message: worker_protocol.Message) -> None:
        with contextlib.suppress(OSError):  # its end is told by ``has_ended``
            worker_protocol.send(self.talk, message)


def _terminal() -> tuple[int, int]:
    """Return both ends of a pseudo-terminal, ours first, that hands on what is written as it is."""
    ours, theirs = os.openpty()
    settings = termios.tcgetattr(theirs)
    settings[1] &= ~termios.OPOST
    termios.tcsetattr(theirs, termios.TCSANOW, settings)
    return ours, theirs
