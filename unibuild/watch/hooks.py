"""Run hooks and send notifications when a cycle or the domain ends."""

from __future__ import annotations

import contextlib
import io
import shlex
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from unibuild.domain.console_log import log_path
from unibuild.errors import UnibuildError
from unibuild.settings.loader import CYCLE, STATE
from unibuild.util import process, waits
from unibuild.util.lines import LineSplitter
from unibuild.watch import events

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from unibuild.settings.model import Watch
    from unibuild.util.process import Child
    from unibuild.watch.ui import base

    class Shown(base.Screen, Protocol):
        """A screen that may be a terminal."""

        def beep(self, data: bytes) -> None:
            """Send control characters to the terminal, if there is one."""


__all__ = ["HOOK_TIME", "Notification", "NotifyingScreen", "hook_environment", "notification_for"]

HOOK_TIME = 60.0  # seconds that a hook may take
_AT_THE_END = 2.0  # seconds that running hooks have when the loop ends
_OUTPUT_LINES = 20  # last lines of a hook's output that are reported
_NOTIFY_TIME = 5.0  # seconds that `notify-send` may take


class Notification(NamedTuple):
    """What an event starts: a hook, a notification, or both.

    Attributes:
        hook: which command runs: ``on_ready``, ``on_fail``; None: none.
        text: the notification; None: there is none, and the bell is silent.
        outcome: see ``CYCLE``.
        why: see ``CYCLE``.
    """

    hook: str | None
    text: str | None
    outcome: str
    why: str


def notification_for(event: events.AnyEvent, *, was_good: bool) -> Notification | None:
    """Return the notification for an event; None: there is none.

    Args:
        event: what happened.
        was_good: whether the cycle before succeeded.
    """
    match event:
        case events.Cycle(outcome="failed" | "not ready"):
            return Notification("on_fail", f"✗ {event.outcome}: {event.why or event.trigger}", event.outcome, event.why)
        case events.Cycle(outcome="booted" | "ready" | "unchanged"):
            hook = None if event.outcome == "unchanged" else "on_ready"
            return Notification(hook, None if was_good else "✓ all is well again", event.outcome, event.why)
        case events.DomainEvent(state="crashed"):
            return Notification("on_fail", f"✗ {event.name} {event.why or 'crashed'}", "crashed", event.why or "")
    return None


def hook_environment(
    root: str, found: Notification, cycle: events.Cycle | None, domain: events.DomainEvent | None
) -> dict[str, str]:
    """Return the environment variables of ``CYCLE``; unknown ones are empty."""
    known = dict.fromkeys(CYCLE, "")
    known |= {"UNIBUILD_CYCLE_OUTCOME": found.outcome, "UNIBUILD_CYCLE_WHY": found.why}
    if cycle:
        known |= {
            "UNIBUILD_CYCLE_NUMBER": str(cycle.number),
            "UNIBUILD_CYCLE_TRIGGER": cycle.trigger,
            "UNIBUILD_CYCLE_SECONDS": f"{cycle.seconds:.3f}",
        }
    if domain:
        known |= {
            "UNIBUILD_CYCLE_DOMAIN": domain.name,
            "UNIBUILD_CYCLE_DOMID": "" if domain.domid is None else str(domain.domid),
            "UNIBUILD_CYCLE_HOST": domain.host,
            "UNIBUILD_CYCLE_GENERATION": "" if domain.generation is None else str(domain.generation),
            "UNIBUILD_CYCLE_CONSOLE": str(log_path(Path(root, STATE), domain.name, domain.host)),
        }
    return known


class _StdoutToNotes(io.TextIOBase):
    """A file that turns lines into notes: for code that prints, as the progress of a lab that starts."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._lines = LineSplitter("\n")
        self._lock = threading.Lock()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            whole = self._lines.feed(text)
        for line in filter(None, whole):
            self._note(line)
        return len(text)


class NotifyingScreen(contextlib.AbstractContextManager["NotifyingScreen"]):
    """A screen that also runs hooks and sends notifications.

    Args:
        screen: shows the events.
        settings: which hooks and notifications there are.
    """

    def __init__(self, screen: Shown, settings: Watch) -> None:
        self._screen = screen
        self._settings = settings
        self._root = ""
        self._cycle: events.Cycle | None = None
        self._domain: events.DomainEvent | None = None
        self._is_good = True
        self._has_ended = False  # whether the last event was shown
        self._is_over = False
        self._stack = contextlib.ExitStack()
        self._hooks: list[threading.Thread] = []
        self._children: list[Child] = []  # of the hooks

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._screen)
            notes = _StdoutToNotes(self._note)
            stack.enter_context(contextlib.redirect_stdout(notes))
            stack.enter_context(contextlib.redirect_stderr(notes))
            stack.callback(self._end_hooks)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def show(self, event: events.AnyEvent) -> None:
        """Show an event, and run its hook and notification.

        Raises:
            BrokenPipeError: nobody reads the screen any more.
        """
        self._screen.show(event)
        match event:
            case events.Started():
                self._root = event.root
            case events.Cycle():
                self._cycle = event
            case events.DomainEvent():
                self._domain = event
            case events.Ended():
                self._has_ended = True
        found = notification_for(event, was_good=self._is_good)
        if found:
            self._is_good = found.outcome in ("booted", "ready", "unchanged")
            self._announce(found)

    @property
    def columns(self) -> int | None:
        """The columns for a line of a build."""
        return self._screen.columns

    def lent(self) -> contextlib.AbstractContextManager[object]:
        """Give up the terminal while the block runs."""
        return self._screen.lent()

    def _announce(self, found: Notification) -> None:
        settings = self._settings
        if found.text:
            name = self._domain.name if self._domain else Path(self._root).name
            if settings.bell:
                self._screen.beep(b"\a")
            if settings.notify == "terminal":
                self._screen.beep(f"\x1b]9;{name}: {found.text}\x1b\\".encode(errors="replace"))
            if settings.notify == "desktop":
                self._start("notify", ("notify-send", "--app-name=unibuild", name, found.text), {}, _NOTIFY_TIME)
        argv = {"on_ready": settings.on_ready, "on_fail": settings.on_fail}.get(found.hook or "", ())
        if argv:
            assert found.hook
            self._start(found.hook, argv, hook_environment(self._root, found, self._cycle, self._domain), HOOK_TIME)

    def _start(self, name: str, argv: tuple[str, ...], env: dict[str, str], timeout: float) -> None:
        """Run a command in the background, and report its output as notes."""
        about = (name, argv, env, timeout)
        thread = threading.Thread(target=self._run, args=about, name=f"unibuild {name}", daemon=True)
        self._hooks = [*(hook for hook in self._hooks if hook.is_alive()), thread]
        thread.start()

    def _run(self, name: str, argv: tuple[str, ...], env: dict[str, str], timeout: float) -> None:
        try:
            child = process.start(argv, cwd=Path(self._root), env=env, stderr=subprocess.STDOUT)
        except UnibuildError as error:
            self._note(f"{name}: {error.message}")
            return
        with child:
            self._children.append(child)
            try:
                said, _ = child.popen.communicate(timeout=0.0 if self._is_over else timeout)
                status = child.popen.returncode
                how = f"exit code {status}" if status else ""
            except subprocess.TimeoutExpired as expired:
                said, how = expired.output or b"", f"stopped after {timeout:g} s"
            except (OSError, ValueError):  # the loop has ended and stopped it
                said, how = b"", ""
            self._children.remove(child)
        for line in said.decode(errors="replace").splitlines()[-_OUTPUT_LINES:]:
            self._note(f"{name}: {line}")
        if how:
            self._note(f"{name}: `{shlex.join(argv)}` {how}")

    def _end_hooks(self) -> None:
        """Give running hooks a little time, and stop them then."""
        self._is_over = True
        deadline = time.monotonic() + _AT_THE_END
        for hook in self._hooks:
            hook.join(max(0.0, deadline - time.monotonic()))
        for child in [*self._children]:
            child.stop(0.5)
        for hook in self._hooks:
            waits.join(hook, 1.0)

    def _note(self, message: str) -> None:
        if self._has_ended:
            return
        with contextlib.suppress(BrokenPipeError):
            self._screen.show(events.Note(at=time.time(), message=message))
