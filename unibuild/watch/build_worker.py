"""Run build workers for the watch loop: processes that keep settings and doit loaded between builds.

A worker's output and its messages arrive on two channels. For each message the worker writes a mark to its output
(``worker_protocol.MARK``), by which ``OutputMerger`` restores the order.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import termios
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from unibuild.errors import UnibuildError
from unibuild.settings.loader import load
from unibuild.util import process
from unibuild.util.failure import Failure
from unibuild.util.lines import LineSplitter
from unibuild.util.output import debug_variables
from unibuild.watch import worker_protocol
from unibuild.watch.state import WorkerRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from unibuild.settings.loader import Project
    from unibuild.watch.worker_protocol import Message

__all__ = ["LINE", "BuildWorker", "OutputMerger", "WorkerLoaded", "WorkerPool"]

LINE = 16384  # bytes after which a line without an end is cut
_ONCE = 1 << 18  # bytes read at once: a build that writes without a pause does not block the loop
_REST = 1 << 23  # bytes read after a worker has ended
_LATE = 2.0  # seconds to wait for the output that was written before a message
_ROWS = 24


class OutputMerger:
    """Merges lines of output and messages in the order in which they were sent."""

    def __init__(self) -> None:
        self._rest = b""  # may be the beginning of a mark
        self._lines = LineSplitter(b"\n", LINE)
        self._items: deque[str | None] = deque()  # lines; None: a mark
        self._messages: deque[Message] = deque()

    def write(self, data: bytes) -> None:
        """Take bytes of the output; invalid UTF-8 is replaced."""
        *marked, last = (self._rest + data).split(worker_protocol.MARK)
        for piece in marked:
            self._items += map(_text, self._lines.feed(piece))
            self._finish()
            self._items.append(None)
        begun = next(
            (
                size
                for size in range(len(worker_protocol.MARK) - 1, 0, -1)
                if last.endswith(worker_protocol.MARK[:size])
            ),
            0,
        )
        self._items += map(_text, self._lines.feed(last[: len(last) - begun]))
        self._rest = last[len(last) - begun :]

    def add_messages(self, messages: Iterable[Message]) -> None:
        """Take messages."""
        self._messages += messages

    @property
    def is_behind(self) -> bool:
        """Whether a message waits for output that was written before it."""
        return len(self._messages) > self._items.count(None)

    @property
    def unfinished(self) -> str:
        """The beginning of a line without its end."""
        return _text(self._lines.rest)

    def take(self, *, all_of_it: bool = False) -> list[str | Message]:
        """Return the lines and messages that are complete up to here, in their order.

        Args:
            all_of_it: also return messages without their marks, and output behind marks without their messages: the
                missing ones were lost.
        """
        found: list[str | Message] = []
        while self._items:
            if self._items[0] is None and not self._messages and not all_of_it:
                return found
            item = self._items.popleft()
            if item is not None:
                found.append(item)
            elif self._messages:
                found.append(self._messages.popleft())
        if all_of_it:
            found += self._messages
            self._messages.clear()
        return found

    def _finish(self) -> None:
        """Take the beginning of a line as a line, because another task writes next; drop progress that was erased."""
        for line in self._lines.end():
            if line.rstrip(b"\r").rpartition(b"\r")[2].strip():
                self._items.append(_text(line))


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode(errors="replace")


class BuildWorker(contextlib.AbstractContextManager["BuildWorker"]):
    """A worker process, which starts; its first message is ``Loaded`` or ``Refused``.

    It cannot ask the user anything. If ``columns`` returns a width, its output is a pseudo-terminal, on which compilers
    use colours and programs show their progress.

    Args:
        root: the project's folder.
        dodo: the ``dodo.py`` that the user named; empty: none.
        words: the settings of the command line.
        columns: returns the columns for the build's output; None: the build writes to a pipe.

    Attributes:
        talk: the socket for messages.
        output: the file descriptor of the output of the worker, and of all that it runs.
        has_ended: whether the worker has ended, and everything was read.
    """

    def __init__(self, root: Path, dodo: str, words: Sequence[str], columns: Callable[[], int | None]) -> None:
        self._lines = worker_protocol.MessageReader()
        self._merged = OutputMerger()
        self.has_ended = False
        self._columns = columns
        self._is_terminal = columns() is not None
        argv = [sys.executable, "-m", "unibuild.doit_plugin.build_worker", str(root), dodo, *words]
        self.talk, worker_end = socket.socketpair()
        self.output, written = _terminal() if self._is_terminal else os.pipe()
        self._fit()
        try:
            self._child = process.start(
                argv,
                env=debug_variables(),
                stdin=worker_end.fileno(),
                stdout=written,
                stderr=subprocess.STDOUT,
                session=True,
            )
        except BaseException:
            self.talk.close()
            os.close(self.output)
            raise
        finally:
            worker_end.close()
            os.close(written)
        self.talk.setblocking(False)
        os.set_blocking(self.output, False)

    def __exit__(self, *_: object) -> None:
        self.talk.close()  # the worker then stops its build, and ends
        self._child.wait(2 * process.KILL_TIMEOUT)
        self._child.stop()
        os.close(self.output)

    def build(self) -> None:
        """Start a build."""
        self._fit()
        self._send(worker_protocol.BuildRequest())

    def stop(self, timeout: float) -> None:
        """Stop the build: TERM, then KILL after ``timeout`` seconds."""
        self._send(worker_protocol.Stop(timeout=timeout))

    def hear(self) -> list[str | worker_protocol.Message]:
        """Return the lines that the worker and its commands wrote, and its messages, in their order.

        If ``has_ended`` is set afterwards, these are the last ones.
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
        try:
            self._merged.add_messages(self._lines.feed(data))
        except UnibuildError as error:
            self.has_ended = True  # nothing that it sends after this can be trusted
            return [
                *self._merged.take(all_of_it=True),
                worker_protocol.WorkerFailure(name="", failure=Failure.of(error)),
            ]
        return self._merged.take(all_of_it=not self._catch_up())

    @property
    def unfinished(self) -> str:
        """The beginning of a line without its end."""
        return self._merged.unfinished

    def _catch_up(self) -> bool:
        """Read the output that was written before the received messages; return whether all of it arrived."""
        deadline = time.monotonic() + _LATE
        while self._merged.is_behind:
            ready = select.select([self.output], [], [], max(0.0, deadline - time.monotonic()))[0]
            if not ready or not self._read(1):
                return False
        return True

    def _read(self, most: int) -> bool:
        """Read available output, about ``most`` bytes; return whether there was any."""
        size = 0
        with contextlib.suppress(OSError):  # there is no more now, or at all
            while size < most and (data := os.read(self.output, 1 << 16)):
                self._merged.write(data)
                size += len(data)
        return size > 0

    def _fit(self) -> None:
        if self._is_terminal and (columns := self._columns()):
            termios.tcsetwinsize(self.output, (_ROWS, columns))

    def _send(self, message: worker_protocol.Message) -> None:
        with contextlib.suppress(OSError):  # ``has_ended`` reports its end
            worker_protocol.send(self.talk, message)


def _terminal() -> tuple[int, int]:
    """Return the reading and the writing end of a pseudo-terminal that does not change what is written."""
    reading, writing = os.openpty()
    settings = termios.tcgetattr(writing)
    settings[1] &= ~termios.OPOST
    termios.tcsetattr(writing, termios.TCSANOW, settings)
    return reading, writing


@dataclass(frozen=True)
class WorkerLoaded:
    """A worker has loaded everything, and is in use.

    Attributes:
        project: the project with the settings that it loaded.
        paths: the files that changed before it was started.
        message: its report.
    """

    project: Project
    paths: tuple[str, ...]
    message: worker_protocol.Loaded


class WorkerPool:
    """The build workers of a loop: one in use, and one that loads other settings to replace it.

    Args:
        dodo: the ``dodo.py`` that the user named; empty: none.
        columns: returns the columns for the build's output; None: the build writes to a pipe.

    Attributes:
        current: the one in use; None: none has loaded yet, or it has died.
    """

    def __init__(self, dodo: str, columns: Callable[[], int | None]) -> None:
        self.current: BuildWorker | None = None
        self._said: list[str] = []  # the output of the one that loads
        self._dodo = dodo
        self._columns = columns
        self._next: tuple[BuildWorker, Project, tuple[str, ...]] | None = None

    def start(self, project: Project, paths: tuple[str, ...] = ()) -> None:
        """Start a worker that replaces the current one once it has loaded everything."""
        if self._next:
            self._next[0].__exit__()
        self._said = []
        self._next = (BuildWorker(project.root, self._dodo, project.words, self._columns), project, paths)

    def reload(self, project: Project, paths: tuple[str, ...]) -> None:
        """Load the project's settings again, because of these files, and start a worker for them.

        Raises:
            UnibuildError: the settings are wrong.
        """
        words = dict(word.split("=", 1) for word in project.words)
        loaded = load(project.root, words, take_over=project.take_over)
        self.start(replace(loaded, batch=project.batch), paths)

    def fds(self, *, builds: bool) -> list[Any]:
        """Return the file descriptors to wait for; while a build runs, the worker that loads has to wait."""
        workers = [self.current, None if builds else self._next and self._next[0]]
        return [fd for worker in workers if worker for fd in (worker.talk, worker.output)]

    def hear_next(self) -> WorkerLoaded | WorkerRefused | None:
        """Return whether the worker that loads is in use now, or why it cannot be; None: it still loads."""
        if self._next is None:
            return None
        worker, project, paths = self._next
        for message in worker.hear():
            if isinstance(message, str):
                self._said.append(message)
            elif isinstance(message, worker_protocol.Loaded):
                old, self.current, self._next = self.current, worker, None
                if old:
                    old.__exit__()
                return WorkerLoaded(project, paths, message)
            elif isinstance(message, worker_protocol.Refused | worker_protocol.WorkerFailure):
                return WorkerRefused(self._refuse(message.failure.rebuild()), has_died=False)
        if not worker.has_ended:
            return None
        return WorkerRefused(self._refuse(UnibuildError("the build worker could not be started")), has_died=True)

    def drop(self) -> None:
        """Release the current worker, which has died."""
        if self.current:
            self.current.__exit__()
        self.current = None

    def close(self) -> None:
        """End all workers."""
        for worker in (self.current, self._next and self._next[0]):
            if worker:
                worker.__exit__()
        self.current = self._next = None

    def _refuse(self, error: UnibuildError) -> UnibuildError:
        assert self._next is not None
        self._next[0].__exit__()
        self._next = None
        error.hint = "\n".join((*self._said, error.hint or "")).strip("\n") or None
        return error
