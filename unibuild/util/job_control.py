"""Make a child the foreground process group of the terminal, as a shell does, and defer Ctrl-C in critical sections.

Only the foreground group receives Ctrl-C and Ctrl-Z and may read the terminal: without it sudo could not ask for a
password.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["Foreground", "defer_hangup", "defer_signals", "follow_stop", "foreground_group", "signal_group", "spawning"]


def signal_group(group: int, number: signal.Signals) -> None:
    """Send a signal to a process group, if it exists and this process may."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # sudo runs as root: only the terminal reaches it
        os.killpg(group, number)


@dataclass
class Foreground:
    """The loan of the terminal's foreground to a child.

    Attributes:
        is_lent: whether it was lent, which needs a terminal with this process in its foreground.
        interrupted: after the loan, whether Ctrl-C was pressed meanwhile, whatever the child did about it.
    """

    is_lent: bool = False
    interrupted: bool = False


@contextlib.contextmanager
def foreground_group(group: int) -> Iterator[Foreground]:
    """Make a child's group, which has the number of its process, the foreground group during the block."""
    loan = Foreground()
    terminal = _own_terminal()
    if terminal is None:
        yield loan
        return
    with _InterruptDetector(group) as witness:  # it exists before a Ctrl-C can arrive
        before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # else taking the terminal back would stop this process
        try:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.tcsetpgrp(terminal, group)
            loan.is_lent = True
            yield loan
        finally:
            with contextlib.suppress(OSError):
                os.tcsetpgrp(terminal, os.getpgrp())
            signal.signal(signal.SIGTTOU, before)
            os.close(terminal)
            was_stopped = witness.is_stopped()
            loan.interrupted = witness.saw_interrupt()
            if was_stopped:  # when the child had ended already
                os.killpg(os.getpgrp(), signal.SIGTSTP)


def _own_terminal() -> int | None:
    """Open the controlling terminal if there is one and this process is in its foreground group."""
    if threading.current_thread() is not threading.main_thread():
        return None  # only the main thread may change signal handlers
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        if os.tcgetpgrp(terminal) == os.getpgrp():
            return terminal
    os.close(terminal)
    return None


def follow_stop(group: int) -> None:
    """If the child was stopped from the terminal (Ctrl-Z), stop too; continue the child when this process continues."""
    state = _stopped(group)
    if state is None:
        return
    terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    try:
        asked_too_early = state.si_status in (signal.SIGTTIN, signal.SIGTTOU)  # before it was given the terminal
        if not asked_too_early:
            os.tcsetpgrp(terminal, os.getpgrp())
            os.killpg(os.getpgrp(), signal.SIGTSTP)
        if os.tcgetpgrp(terminal) == os.getpgrp():
            os.tcsetpgrp(terminal, group)
    except OSError:
        pass  # the terminal was closed; the child still has to be continued
    finally:
        os.close(terminal)
    signal_group(group, signal.SIGCONT)


def _stopped(pid: int) -> os.waitid_result | None:
    """Return what stopped a child that is stopped now; each stop is reported once."""
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG)
    except ChildProcessError:  # it has ended, and what it started may still hold its output
        return None


_DETECTOR_TIMEOUT = 5.0  # seconds for the detector to end after a signal


class _InterruptDetector(contextlib.AbstractContextManager["_InterruptDetector"]):
    """A process in a child's group that only dies of the Ctrl-C that the child gets, and so reveals it.

    The child's exit status does not: ssh ends with 255, and GNU make at times with 2 ("wait: No child processes").
    """

    def __init__(self, group: int) -> None:
        self._popen: subprocess.Popen[bytes] | None = None
        null, pipe = subprocess.DEVNULL, subprocess.PIPE
        with contextlib.suppress(OSError), spawning():  # the child may have ended already
            # It reads until unibuild closes the pipe or is killed.
            self._popen = subprocess.Popen(["cat"], stdin=pipe, stdout=null, stderr=null, process_group=group)

    def is_stopped(self) -> bool:
        """Return whether Ctrl-Z stopped it and nothing has continued it."""
        return self._popen is not None and _stopped(self._popen.pid) is not None

    def saw_interrupt(self) -> bool:
        """End it; return whether Ctrl-C had ended it before, even if the signal was only pending."""
        if self._popen is None:
            return False
        # If both are pending, INT is delivered first, because its number is lower. TERM would not do: a process that
        # ignores it, as a worker of doit does while it ends, passes that on to its children.
        self._popen.send_signal(signal.SIGUSR1)
        self._popen.send_signal(signal.SIGCONT)  # it may have been stopped with the child
        try:
            return self._popen.wait(_DETECTOR_TIMEOUT) == -signal.SIGINT
        except subprocess.TimeoutExpired:  # USR1 is ignored as well
            self._popen.kill()
            return self._popen.wait() == -signal.SIGINT

    def __exit__(self, *_: object) -> None:
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()
            if self._popen.stdin is not None:
                self._popen.stdin.close()


@contextlib.contextmanager
def spawning() -> Iterator[None]:
    """Start a child inside the block without interruption by a signal."""
    _avoid_vfork()
    with defer_signals():
        yield


@functools.cache
def _avoid_vfork() -> None:
    """If there is a terminal, start children by fork instead of vfork.

    A Ctrl-Z between vfork and exec would stop only the child: this process would wait for it uninterruptibly, and the
    shell for this process, for ever. ``_USE_VFORK`` is documented ("Disabling use of vfork() or posix_spawn()",
    subprocess).
    """
    with contextlib.suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC))
        subprocess._USE_VFORK = False  # type: ignore[misc]  # typeshed says Final, the documentation allows it


@contextlib.contextmanager
def defer_signals(*, first_only: bool = False) -> Iterator[None]:
    """Defer the handlers of Ctrl-C, TERM and HUP until after the block.

    Args:
        first_only: whether a second signal is handled at once, because the user insists. An inner block leaves this to
            the outer one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers run in the main thread only
        return
    caught: list[int] = []
    handlers: dict[signal.Signals, Callable[[int, FrameType | None], object]] = {}

    def catch(number: int, frame: FrameType | None) -> None:
        if caught and first_only:
            handlers[signal.Signals(number)](number, frame)
        caught.append(number)

    catch.is_put_off = True  # type: ignore[attr-defined]  # for an inner block
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            handler = signal.getsignal(number)
            if callable(handler) and not (first_only and getattr(handler, "is_put_off", False)):
                handlers[number] = handler  # first: the signal may arrive before the next line has ended
                signal.signal(number, catch)
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for caught_number in caught:
            signal.raise_signal(caught_number)


@contextlib.contextmanager
def defer_hangup() -> Iterator[None]:
    """Prevent a closed terminal from ending this process, or a child that the main thread starts inside the block.

    HUP is handled after the block, Ctrl-C and TERM at once.
    """
    before = signal.getsignal(signal.SIGHUP)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    caught: list[int] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    signal.signal(signal.SIGHUP, lambda number, _: caught.append(number))  # another thread may be given the signal
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))  # a child inherits this
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGHUP, before)
        for number in caught:
            signal.raise_signal(number)
