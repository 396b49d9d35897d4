"""Our own terminal while it is a domain's console: raw for the keyboard, restored whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import termios
import threading
import time
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from unibuild.util.process import Child

__all__ = ["LEAVE", "Keyboard", "Settings", "Source", "end_by_key", "is_ours", "key_by_key", "raw"]

_PATIENCE = 6.0  # seconds that a slow host has to end a command
LEAVE = b"\x1d"  # Ctrl-], as in `xl console`

Settings: TypeAlias = "list[int | list[bytes | int]]"
"""A terminal's, as ``termios.tcgetattr`` gives them."""


class Source(Protocol):
    """Where keys come from: ``read`` returns nothing when there will be no more."""

    fd: int

    def read(self) -> bytes: ...  # noqa: D102


def end_by_key(child: Child, keys: int, key: bytes) -> None:
    """End a command by the key that it knows; it may miss one that comes together with others.

    Args:
        child: the command.
        keys: where keys for it are written to.
        key: what it knows.
    """
    deadline = time.monotonic() + _PATIENCE
    while child.poll() is None and time.monotonic() < deadline:
        os.write(keys, key)
        child.wait(0.5)


def is_ours() -> bool:
    """Tell whether standard input and output are a terminal and we are in its foreground."""
    try:
        return os.isatty(0) and os.isatty(1) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def raw(before: Settings) -> Settings:
    """Return settings by which each key comes at once and as it is, Ctrl-C too, and what is written is left alone."""
    iflag, oflag, cflag, lflag, *rest = key_by_key(before)
    assert isinstance(iflag, int) and isinstance(oflag, int) and isinstance(lflag, int)
    strange = termios.BRKINT | termios.ICRNL | termios.INLCR | termios.IGNCR | termios.ISTRIP | termios.IXON
    return [iflag & ~strange, oflag & ~termios.OPOST, cflag, lflag & ~(termios.ISIG | termios.IEXTEN), *rest]


def key_by_key(before: Settings) -> Settings:
    """Return settings by which each key comes at once and is not shown; Ctrl-C and Ctrl-Z are still signals."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, keys = before
    assert isinstance(lflag, int) and isinstance(keys, list)
    keys = [*keys]
    keys[termios.VMIN], keys[termios.VTIME] = 1, 0
    return [iflag, oflag, cflag, lflag & ~(termios.ECHO | termios.ICANON), ispeed, ospeed, keys]


class Keyboard(contextlib.AbstractContextManager["Keyboard"]):
    """A terminal whose keys come one by one, unread by the kernel: Ctrl-C too is a key.

    What is written is left alone too: a line has to end in CR LF. The settings from before are restored at the end of
    the ``with`` block, and before a signal (TERM, HUP, QUIT) ends us; they are set anew when a stopped process goes on.

    Args:
        fd: the terminal.
    """

    def __init__(self, fd: int = 0) -> None:
        self.fd = fd
        self._before: Settings = []
        self._signals = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self.fd)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                self._signals.enter_context(_handling(number, self._end))
            self._signals.enter_context(_handling(signal.SIGCONT, lambda *_: self._set_raw()))
        self._set_raw()
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()
        self._signals.close()

    def read(self) -> bytes:
        """Return the keys that were pressed; nothing: the terminal is gone."""
        try:
            return os.read(self.fd, 1024)
        except OSError:
            return b""

    def _set_raw(self) -> None:
        termios.tcsetattr(self.fd, termios.TCSADRAIN, raw(self._before))

    def _restore(self) -> None:
        with contextlib.suppress(termios.error):  # the terminal may be gone
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self._before)

    def _end(self, number: int, _: FrameType | None) -> None:
        self._restore()
        self._signals.close()
        os.kill(os.getpid(), number)


@contextlib.contextmanager
def _handling(number: signal.Signals, handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)
