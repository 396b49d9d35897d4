"""Raise on Ctrl-C, TERM and HUP only where Python passes the exception on, and print no traceback for Ctrl-C.

If a handler raises inside a finalizer or a weak reference's callback, the exception is lost: Python prints "Exception
ignored" and the run goes on. Inside an import it can become another exception ("RuntimeError: Error calling
__set_name__"). So an import postpones the signal for a moment, and a signal is sent again if Python ignored its
exception.

This module runs before anything else is imported, so it imports built-in modules only.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself makes enumerations
import _thread
import atexit
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType

__all__ = ["exit_on_termination", "install", "restore"]

_PAUSE = 0.02  # seconds until a postponed signal is sent again
_LONGEST = 2.0  # seconds that imports may postpone a signal: a dodo.py may do anything while it is imported
_NUMBERS = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP)
_IMPORT = "<frozen importlib._bootstrap>"

_postponed: dict[int, float] = {}  # signals that imports postpone, and since when (time.monotonic)
_waiting: set[int] = set()  # signals that a thread is about to send again


def install() -> None:
    """Answer Ctrl-C with KeyboardInterrupt as described above, unless the program has handlers of its own."""
    if not _is_main_thread():
        return
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _interrupt)
        atexit.register(restore)
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _report
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _send_ignored_again


def exit_on_termination() -> None:
    """Answer TERM and HUP with SystemExit, exit code 128+n: ``finally`` blocks run, and children end first.

    A signal that the program handles or ignores (``nohup``) stays so.
    """
    if _is_main_thread():  # only the main thread may change signal handlers
        for number in (_signal.SIGTERM, _signal.SIGHUP):
            if _signal.getsignal(number) is _signal.SIG_DFL:
                _signal.signal(number, _terminate)


def restore() -> None:
    """Let the signals end the process at once: it has done its work, and an exception would only be printed.

    A signal that came before and still waits ends the process here, so that it is not lost.
    """
    for number in _NUMBERS:
        if _signal.getsignal(number) in (_interrupt, _terminate):
            _signal.signal(number, _signal.SIG_DFL)
            if number in _waiting:
                _flush()
                _signal.raise_signal(number)


def _flush() -> None:
    from contextlib import suppress  # late: few runs come here

    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # there is none, its reader has gone, it is closed
            stream.flush()


def _is_main_thread() -> bool:
    main = sys.modules.get("threading")
    return main is None or main.current_thread() is main.main_thread()


def _interrupt(number: int, frame: FrameType | None) -> None:
    if not _postpone(number, frame):
        raise KeyboardInterrupt


def _terminate(number: int, frame: FrameType | None) -> None:
    if not _postpone(number, frame):
        _signal.signal(number, _signal.SIG_IGN)  # the exit has begun, and takes a while
        raise SystemExit(128 + number)


def _postpone(number: int, frame: FrameType | None) -> bool:
    """Send a signal again a moment later where the main thread imports a module; return whether it does."""
    while frame is not None and frame.f_code.co_filename != _IMPORT:
        frame = frame.f_back
    if frame is None or time.monotonic() - _postponed.setdefault(number, time.monotonic()) > _LONGEST:
        _postponed.pop(number, None)
        return False
    return _send_later(number)


def _send_later(number: int) -> bool:
    main = _thread.get_ident()

    def send() -> None:
        time.sleep(_PAUSE)
        _waiting.discard(number)
        _signal.pthread_kill(main, number)  # whatever handler there is now answers it

    _waiting.add(number)
    try:
        _thread.start_new_thread(send, ())
    except RuntimeError:  # the interpreter is exiting, or no more threads can be started
        _waiting.discard(number)
        return False
    return True


def _send_ignored_again(ignored: sys.UnraisableHookArgs) -> None:
    """Send a signal again if Python ignores its exception."""
    error = ignored.exc_value
    code = 128 + _signal.SIGINT if isinstance(error, KeyboardInterrupt) else getattr(error, "code", None)
    if isinstance(code, int) and code - 128 in _NUMBERS and _is_main_thread():
        if _signal.getsignal(code - 128) is _signal.SIG_IGN:
            _signal.signal(code - 128, _terminate)
        if _send_later(code - 128):
            return
    sys.__unraisablehook__(ignored)


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an exception that nobody handles; Ctrl-C as one line, unless tracebacks are asked for."""
    if issubclass(kind, KeyboardInterrupt) and not os.environ.get("UNIBUILD_DEBUG"):
        sys.stderr.write("error: interrupted\n")
    else:
        sys.__excepthook__(kind, error, trace)
