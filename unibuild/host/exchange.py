"""Run one command on a host: read its answer as it comes, within time limits."""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from unibuild.host.frame import Stream
from unibuild.util import job_control, process

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

    from unibuild.host.frame import Frame

__all__ = ["Call", "HostChild", "LateError", "Limits", "Progress", "exchange"]

_TICK = 0.2  # seconds between checks of the clock and of the terminal
_GRACE = 1.0  # seconds for a command to end after its output is complete; a login shell's leftovers may delay it


@dataclass(frozen=True)
class Call:
    """A command for a host, ready to be started here.

    Attributes:
        argv: the local argument list.
        asked: the command as it runs on the host.
        frame: the markers around its output; None: there are none.
    """

    argv: Sequence[str]
    asked: Sequence[str]
    frame: Frame | None = None


@dataclass(frozen=True)
class Limits:
    """How long a command may take, in seconds.

    Attributes:
        answer: from its start on the host, or from its last progress, to its end.
        sign_in: until it has started on the host: connecting and asking the user for a password or a key.
    """

    answer: float
    sign_in: float


class LateError(Exception):
    """A command did not end in time.

    Attributes:
        has_begun: whether it had started on the host.
        seconds: the limit that it exceeded.
    """

    def __init__(self, seconds: float, *, has_begun: bool) -> None:
        super().__init__(f"no end after {seconds:g} s")
        self.seconds = seconds
        self.has_begun = has_begun


class Progress:
    """What a waiting user sees, and what counts as progress.

    Args:
        show: called now and then with the seconds since the start.
        mark: returns a number that changes whenever there is progress.
        limit: returns the seconds in which the next progress must come, where the command's own limit does not hold.
    """

    def __init__(
        self,
        show: Callable[[float], None] | None = None,
        mark: Callable[[], int] | None = None,
        limit: Callable[[], float | None] | None = None,
    ) -> None:
        self.show = show or (lambda _: None)
        self.mark = mark or (lambda: 0)
        self.limit = limit or (lambda: None)


class HostChild(process.Child):
    """A command that was started on a host."""

    def __init__(
        self, popen: subprocess.Popen[bytes], call: Call, read: Callable[[HostChild], process.Completed]
    ) -> None:
        super().__init__(popen, call.argv)
        self.call = call
        self.out = Stream(call.frame)
        self.err = Stream(call.frame)
        self._read_end = read

    def __enter__(self) -> Self:
        return self

    def feed(self, data: bytes) -> bytes:
        """Return those of the bytes read from ``stdout`` that the command itself wrote; ``finish`` omits them.

        Once ``out.status`` is set, no more bytes come.
        """
        own = self.out.feed(data)
        self.out.data.clear()
        return own

    def finish(self, timeout: float) -> process.Completed | None:
        """Read the rest of its output and return it with the exit status; None: it still runs.

        Args:
            timeout: seconds to wait for its end.

        Raises:
            HostError: it did not start, or the connection broke.
        """
        limits = Limits(timeout, timeout)
        try:
            _collect(self, limits, Progress())
        except LateError:
            return None
        return self._read_end(self)


def exchange(child: HostChild, limits: Limits, progress: Progress, *, data: bytes | None, lend: bool) -> bool:
    """Read a command's output to its end.

    Args:
        child: the command; it has ended when this returns.
        limits: how long it may take.
        progress: reports the time.
        data: bytes for its standard input.
        lend: whether it gets the terminal's foreground, to ask for a password.

    Returns:
        Whether Ctrl-C was pressed meanwhile.

    Raises:
        LateError: it did not end in time.
    """
    with (
        child,
        job_control.foreground_group(child.popen.pid)
        if lend
        else contextlib.nullcontext(job_control.Foreground()) as loan,
    ):
        _collect(child, limits, progress, data=data, is_lent=lambda: loan.is_lent)
    return loan.interrupted


def _collect(
    child: HostChild,
    limits: Limits,
    progress: Progress,
    *,
    data: bytes | None = None,
    is_lent: Callable[[], bool] = lambda: False,
) -> None:
    streams = {child.stdout: child.out, child.stderr: child.err}
    began = since = time.monotonic()
    mark, has_begun = progress.mark(), child.out.has_begun
    with selectors.DefaultSelector() as ready:
        for pipe in streams:
            if pipe is not None and not pipe.closed:
                ready.register(pipe, selectors.EVENT_READ)
        if child.stdin is not None and data is not None:
            os.set_blocking(child.stdin.fileno(), False)
            ready.register(child.stdin, selectors.EVENT_WRITE)
        rest = memoryview(data or b"")
        while ready.get_map() and not _is_whole(child):
            limit = (progress.limit() or limits.answer) if has_begun else limits.sign_in
            left = since + limit - time.monotonic()
            if left <= 0:
                raise LateError(limit, has_begun=has_begun)
            for key, _ in ready.select(min(_TICK, left)):
                if key.fileobj is child.stdin:
                    rest = _write(child, rest, ready)
                elif piece := os.read(key.fd, 65536):
                    streams[key.fileobj].feed(piece)  # type: ignore[index]  # one of the two pipes
                else:
                    ready.unregister(key.fileobj)
            if (now := progress.mark()) != mark or child.out.has_begun != has_begun:
                mark, has_begun, since = now, child.out.has_begun, time.monotonic()
            progress.show(time.monotonic() - began)
            if is_lent():
                job_control.follow_stop(child.popen.pid)
    child.out.close()
    child.err.close()
    if _is_whole(child):
        if child.wait(_GRACE) is None:
            child.end()
    elif child.wait(max(_GRACE, since + limits.answer - time.monotonic())) is None:
        raise LateError(limits.answer, has_begun=has_begun)


def _is_whole(child: HostChild) -> bool:
    return child.out.status is not None and child.err.status is not None


def _write(child: HostChild, rest: memoryview, ready: selectors.BaseSelector) -> memoryview:
    """Write a part of the command's standard input, and close it at the end."""
    assert child.stdin is not None
    try:
        rest = rest[os.write(child.stdin.fileno(), rest[:65536]) :] if rest else rest
    except BrokenPipeError:
        rest = rest[:0]
    if not rest:
        ready.unregister(child.stdin)
        child.stdin.close()
    return rest
