"""Terminal settings, keys and signals: raw mode for a console, single keys for a screen, restored in every case."""

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

__all__ = [
    "LEAVE",
    "KeySource",
    "Keyboard",
    "Settings",
    "Terminal",
    "answering",
    "as_usual",
    "columns",
    "end_by_key",
    "is_interactive",
    "key_by_key",
    "raw",
    "undisturbed",
]

_END_TIMEOUT = 6.0  # seconds that a slow host has to end a command
LEAVE = b"\x1d"  # Ctrl-], as in `xl console`
Settings: TypeAlias = "list[int | list[bytes | int]]"
"""The settings of a terminal, as ``termios.tcgetattr`` returns them."""


class KeySource(Protocol):
    """A source of keys; ``read`` returns nothing when no more will come."""

    fd: int

    def read(self) -> bytes: ...  # noqa: D102


def end_by_key(child: Child, keys: int, key: bytes) -> None:
    """End a command by the key that it knows, and repeat the key, because the command may miss one among others.

    Args:
        child: the command.
        keys: the file descriptor to write keys for it to.
        key: the key that ends it.
    """
    deadline = time.monotonic() + _END_TIMEOUT
    while child.poll() is None and time.monotonic() < deadline:
        os.write(keys, key)
        child.wait(0.5)


def is_interactive() -> bool:
    """Return whether standard input and output are a terminal and this process is in its foreground."""
    try:
        return os.isatty(0) and os.isatty(1) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def raw(before: Settings) -> Settings:
    """Return settings for raw mode: each key arrives at once and unchanged, even Ctrl-C, and output is unchanged."""
    iflag, oflag, cflag, lflag, *rest = key_by_key(before)
    assert isinstance(iflag, int) and isinstance(oflag, int) and isinstance(lflag, int)
    strange = termios.BRKINT | termios.ICRNL | termios.INLCR | termios.IGNCR | termios.ISTRIP | termios.IXON
    return [iflag & ~strange, oflag & ~termios.OPOST, cflag, lflag & ~(termios.ISIG | termios.IEXTEN), *rest]


def key_by_key(before: Settings) -> Settings:
    """Return settings with which each key arrives at once and is not echoed; Ctrl-C and Ctrl-Z are still signals."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, keys = before
    assert isinstance(lflag, int) and isinstance(keys, list)
    keys = [*keys]
    keys[termios.VMIN], keys[termios.VTIME] = 1, 0
    return [iflag, oflag, cflag, lflag & ~(termios.ECHO | termios.ICANON), ispeed, ospeed, keys]


class Keyboard(contextlib.AbstractContextManager["Keyboard"]):
    """A terminal in raw mode: keys arrive one by one, even Ctrl-C.

    Output is unchanged too, so a line has to end in CR LF. The previous settings are restored at the end of the
    ``with`` block, and before a signal (TERM, HUP, QUIT) ends the process. A stopped process sets raw mode again when
    it continues.

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
        """Return the pressed keys; nothing: the terminal is gone."""
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


class Terminal(contextlib.AbstractContextManager["Terminal"]):
    """A terminal with keys that this process reads while it is in the foreground.

    Args:
        fd: the terminal; None: there is none, and no key will arrive.
    """

    def __init__(self, fd: int | None) -> None:
        self.fd = fd
        self._before: Settings | None = None
        self.is_held = False
        """Whether this process gets the keys, one by one."""

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()

    @property
    def is_in_front(self) -> bool:
        """Whether this process is in the foreground: in the background it may neither read nor set the terminal."""
        try:
            return self.fd is not None and os.tcgetpgrp(self.fd) == os.getpgrp()
        except OSError:
            return False

    def take(self) -> None:
        """Read keys one by one from now on; in the background do nothing."""
        if self.fd is None or not self.is_in_front:
            return
        with contextlib.suppress(termios.error):  # the terminal is gone
            self._before = self._before or termios.tcgetattr(self.fd)
            self._set(key_by_key(self._before))
            self.is_held = True

    def give_back(self) -> None:
        """Restore the previous settings.

        In the background they are kept for later, because the foreground group, which may be a child of unibuild, uses
        the terminal.
        """
        self.is_held = False
        if self._before is not None and self.is_in_front:
            self._set(self._before)
            self._before = None

    def read(self) -> bytes:
        """Return the pressed keys; nothing: the terminal is gone, or this process is in the background."""
        assert self.fd is not None
        with undisturbed(signal.SIGTTIN):  # a child may have been lent the foreground a moment ago
            try:
                return os.read(self.fd, 1024)
            except OSError:
                return b""

    def stop(self) -> None:
        """Stop as Ctrl-Z does, and return when the process continues.

        If it read keys before and is in the foreground, it does so again. Call this in the main thread.
        """
        was_held = self.is_held
        self.give_back()
        with as_usual(signal.SIGTSTP):
            os.kill(os.getpid(), signal.SIGTSTP)
        if was_held:
            self.take()

    def _set(self, settings: Settings) -> None:
        assert self.fd is not None
        with contextlib.suppress(termios.error), undisturbed(signal.SIGTTOU):
            # Not TCSADRAIN: it would block while Ctrl-S stops the terminal's output.
            termios.tcsetattr(self.fd, termios.TCSANOW, settings)


@contextlib.contextmanager
def as_usual(*numbers: signal.Signals) -> Iterator[None]:
    """Restore the default actions of signals during the block."""
    before = [(number, signal.signal(number, signal.SIG_DFL)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextlib.contextmanager
def undisturbed(number: signal.Signals) -> Iterator[None]:
    """Block a signal of the terminal (TTIN, TTOU) in this thread: what it does fails or succeeds, without stopping."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def answering(number: signal.Signals, answer: Callable[[], None]) -> Iterator[None]:
    """Handle a signal during the block, unless it is ignored."""
    before = signal.getsignal(number)
    if before is signal.SIG_IGN:
        yield
        return
    signal.signal(number, lambda *_: answer())
    try:
        yield
    finally:
        signal.signal(number, before)


def columns() -> int:
    """Return the columns of the terminal that standard output is."""
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80
