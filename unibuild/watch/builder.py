"""The loop's side of its builder (``unibuild.resident``), a process of its own that keeps everything loaded."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from unibuild import process
from unibuild.watch import wire

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Builder"]

_LINE = 16384  # bytes of a line without an end that are told as they are
_ONCE = 1 << 18  # bytes taken at once: a build that writes without a pause lets the loop hear of other things


class Builder(contextlib.AbstractContextManager["Builder"]):
    """A builder, being started; it says ``Loaded`` or ``Refused`` first.

    Args:
        root: the project's folder.
        dodo: the ``dodo.py`` that a person named, or nothing.
        words: the settings of the command line.

    Attributes:
        talk: the socket on which it talks.
        output: the file descriptor of what it, and all that it runs, writes.
    """

    def __init__(self, root: Path, dodo: str, words: Sequence[str]) -> None:
        self.talk, theirs = socket.socketpair()
        self._lines = wire.Lines()
        self._rest = b""
        argv = [sys.executable, "-m", "unibuild.resident", str(root), dodo, *words]
        try:
            self._child = process.start(argv, stdin=theirs.fileno(), stderr=subprocess.STDOUT)
        except BaseException:
            self.talk.close()
            raise
        finally:
            theirs.close()
        assert self._child.stdout is not None
        self.output = self._child.stdout.fileno()
        self.talk.setblocking(False)
        os.set_blocking(self.output, False)

    def __exit__(self, *_: object) -> None:
        self.talk.close()  # it ends its build, and itself
        self._child.wait(2 * process.PATIENCE)
        self._child.stop()

    def build(self) -> None:
        """Let it build."""
        self._send(wire.Build())

    def stop(self, patience: float) -> None:
        """Let it end the build: TERM, then KILL after ``patience`` seconds."""
        self._send(wire.Stop(patience=patience))

    def messages(self) -> list[wire.Message] | None:
        """Return what it said; None: it has ended."""
        try:
            data = self.talk.recv(1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        return self._lines.feed(data) if data else None

    def lines(self, most: int = _ONCE) -> list[str]:
        """Return lines that it and its commands wrote; bytes that are no UTF-8 are replaced.

        Args:
            most: bytes to take at once, about.
        """
        data = bytearray(self._rest)
        with contextlib.suppress(OSError):
            while len(data) < most and (more := os.read(self.output, 1 << 16)):
                data += more
        *whole, rest = bytes(data).split(b"\n")
        self._rest = rest
        if len(self._rest) > _LINE:
            whole, self._rest = [*whole, self._rest], b""
        return [line.removesuffix(b"\r").decode(errors="replace") for line in whole]

    def _send(self, message: wire.Message) -> None:
        with contextlib.suppress(OSError):  # its end is told by ``messages``
            wire.send(self.talk, message)
