"""The terminal's foreground group, lent to a child as a shell does.

The group in the foreground is the one that Ctrl-C and Ctrl-Z reach, and the only one that may read the terminal:
without it sudo could not ask for a password.
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
    """Send a signal to a process group, as far as there is one and we may."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # sudo runs as root: only the terminal reaches it
        os.killpg(group, number)


@dataclass
class Foreground:
    """The terminal's foreground, lent to a child.

    Attributes:
        is_lent: whether it was: only where there is a terminal, and we are in its foreground.
        interrupted: after the loan, whether Ctrl-C came meanwhile, whatever the child made of it.
    """

    is_lent: bool = False
    interrupted: bool = False


@contextlib.contextmanager
def foreground_group(group: int) -> Iterator[Foreground]:
    """Make a child's group, which has its process's number, the foreground group for the time of the block."""
    loan = Foreground()
    terminal = _our_terminal()
    if terminal is None:
        yield loan
        return
    with _InterruptDetector(group) as witness:  # it exists before a Ctrl-C can arrive
        before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # else taking the terminal back would stop us
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


def _our_terminal() -> int | None:
    """Open our controlling terminal if there is one and we are its foreground group."""
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
    """Where the child was stopped from the terminal (Ctrl-Z), stop with it; go on when we are continued."""
    state = _stopped(group)
    if state is None:
        return
    terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    try:
        asked_too_early = state.si_status in (signal.SIGTTIN, signal.SIGTTOU)  # before we had given it the terminal
        if not asked_too_early:
            os.tcsetpgrp(terminal, os.getpgrp())
            os.killpg(os.getpgrp(), signal.SIGTSTP)
        if os.tcgetpgrp(terminal) == os.getpgrp():
            os.tcsetpgrp(terminal, group)
    except OSError:
        pass  # the terminal is gone; the child still has to be woken
    finally:
        os.close(terminal)
    signal_group(group, signal.SIGCONT)


def _stopped(pid: int) -> os.waitid_result | None:
    """Return what stopped a child that is stopped now; of one stop this tells once."""
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG)
    except ChildProcessError:  # it has ended, and what it started may still hold its output
        return None


_DETECTOR_TIMEOUT = 5.0  # seconds for the detector to end of a signal


class _InterruptDetector(contextlib.AbstractContextManager["_InterruptDetector"]):
    """A process that does nothing in a child's group but die of the Ctrl-C that the child gets.

    A child need not die of it: ssh ends with exit code 255, and GNU make at times with 2 ("wait: No child processes").
    """

    def __init__(self, group: int) -> None:
        self._popen: subprocess.Popen[bytes] | None = None
        null, pipe = subprocess.DEVNULL, subprocess.PIPE
        with contextlib.suppress(OSError), spawning():  # the child may have gone already
            # It reads until unibuild closes the pipe or is killed.
            self._popen = subprocess.Popen(["cat"], stdin=pipe, stdout=null, stderr=null, process_group=group)

    def is_stopped(self) -> bool:
        """Say whether Ctrl-Z stopped it, and nobody has let it go on."""
        return self._popen is not None and _stopped(self._popen.pid) is not None

    def saw_interrupt(self) -> bool:
        """End it, and say whether Ctrl-C had done so before, even if that was on its way only."""
        if self._popen is None:
            return False
        # Where both are to be delivered INT comes first, being the lower number. TERM would not do: a process that
        # ignores it, as a worker of doit does while it ends, hands that on to its children.
        self._popen.send_signal(signal.SIGUSR1)
        self._popen.send_signal(signal.SIGCONT)  # it may have been stopped with the child
        try:
            return self._popen.wait(_DETECTOR_TIMEOUT) == -signal.SIGINT
        except subprocess.TimeoutExpired:  # USR1 is ignored too
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
    """Let a child be started inside the block, which no signal ends half-way."""
    _stop_with_our_children()
    with defer_signals():
        yield


@functools.cache
def _stop_with_our_children() -> None:
    """Where there is a terminal, start children by fork, not by vfork.

    A Ctrl-Z that came between vfork and exec would stop the child alone: we would wait for it unstoppably, and the
    shell for us, for ever. ``_USE_VFORK`` is documented ("Disabling use of vfork() or posix_spawn()", subprocess).
    """
    with contextlib.suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC))
        subprocess._USE_VFORK = False  # type: ignore[misc]  # Final is for others than its documentation means


@contextlib.contextmanager
def defer_signals(*, first_only: bool = False) -> Iterator[None]:
    """Let no handler of Ctrl-C, TERM or HUP raise inside the block: they are called after it.

    Args:
        first_only: the second signal is answered at once: somebody has lost patience. A block within such a block
            leaves this to the outer one.
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

    catch.is_put_off = True  # type: ignore[attr-defined]  # for a block within this one
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            handler = signal.getsignal(number)
            if callable(handler) and not (first_only and getattr(handler, "is_put_off", False)):
                handlers[number] = handler  # first: the signal may come before the next line has ended
                signal.signal(number, catch)
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for caught_number in caught:
            signal.raise_signal(caught_number)


@contextlib.contextmanager
def defer_hangup() -> Iterator[None]:
    """Let a closed terminal end neither this process nor a child that the main thread starts inside the block.

    HUP is answered after the block. Ctrl-C and TERM are answered at once: somebody wants an end.
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
