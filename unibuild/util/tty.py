"""The terminal that the screen is on: its keys, and its settings, which come back whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import termios
from typing import TYPE_CHECKING, Self

from unibuild.util import terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Terminal", "answering", "as_usual", "columns", "undisturbed"]


class Terminal(contextlib.AbstractContextManager["Terminal"]):
    """A terminal whose keys we read while we are in its foreground.

    Args:
        fd: the terminal; None: there is none, and no key will come.
    """

    def __init__(self, fd: int | None) -> None:
        self.fd = fd
        self._before: terminal.Settings | None = None
        self.is_held = False
        """Whether the keys come to us, one by one."""

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()

    @property
    def is_in_front(self) -> bool:
        """Whether we are in the terminal's foreground: one in the background may neither read nor set it."""
        try:
            return self.fd is not None and os.tcgetpgrp(self.fd) == os.getpgrp()
        except OSError:
            return False

    def take(self) -> None:
        """Let keys come one by one; in the background do nothing."""
        if self.fd is None or not self.is_in_front:
            return
        with contextlib.suppress(termios.error):  # the terminal is gone
            self._before = self._before or termios.tcgetattr(self.fd)
            self._set(terminal.key_by_key(self._before))
            self.is_held = True

    def give_back(self) -> None:
        """Restore the settings from before.

        In the background they are left to whoever is in front, and are remembered: it may be a child of ours.
        """
        self.is_held = False
        if self._before is not None and self.is_in_front:
            self._set(self._before)
            self._before = None

    def read(self) -> bytes:
        """Return the keys that were pressed; nothing: the terminal is gone, or not ours just now."""
        assert self.fd is not None
        with undisturbed(signal.SIGTTIN):  # a child may have been lent the foreground a moment ago
            try:
                return os.read(self.fd, 1024)
            except OSError:
                return b""

    def stop(self) -> None:
        """Stop as Ctrl-Z does; return when we go on, with the keys ours again if they were and we are in front.

        In the main thread.
        """
        was_held = self.is_held
        self.give_back()
        with as_usual(signal.SIGTSTP):
            os.kill(os.getpid(), signal.SIGTSTP)
        if was_held:
            self.take()

    def _set(self, settings: terminal.Settings) -> None:
        assert self.fd is not None
        with contextlib.suppress(termios.error), undisturbed(signal.SIGTTOU):
            # Not TCSADRAIN: it would wait for a terminal whose output is stopped by Ctrl-S.
            termios.tcsetattr(self.fd, termios.TCSANOW, settings)


@contextlib.contextmanager
def as_usual(*numbers: signal.Signals) -> Iterator[None]:
    """Let signals do what they do to a program that handles none, for the time of the block."""
    before = [(number, signal.signal(number, signal.SIG_DFL)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextlib.contextmanager
def undisturbed(number: signal.Signals) -> Iterator[None]:
    """Let a signal of the terminal (TTIN, TTOU) not stop us for what this thread does: that fails, or is done."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def answering(number: signal.Signals, answer: Callable[[], None]) -> Iterator[None]:
    """Answer a signal for the time of the block, unless it is ignored."""
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
