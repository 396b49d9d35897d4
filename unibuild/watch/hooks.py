"""Who else hears of a cycle: the bell, the desktop, and commands of a person's own."""

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
        """A screen that the bell can be rung on."""

        def beep(self, data: bytes) -> None:
            """Send a terminal what makes it ring or tell; elsewhere do nothing."""


__all__ = ["HOOK_TIME", "Notification", "NotifyingScreen", "hook_environment", "notification_for"]

HOOK_TIME = 60.0  # seconds that a hook may take
_AT_THE_END = 2.0  # seconds that those which still run have at the end
_TOLD = 20  # lines of what a hook says that are told
_NOTIFY_TIME = 5.0  # seconds that the desktop has to take a notification


class Notification(NamedTuple):
    """What an event is to those who are not looking.

    Attributes:
        hook: which command runs: ``on_ready``, ``on_fail``; None: none.
        told: what the bell and the desktop tell; None: nothing.
        outcome: see ``CYCLE``.
        why: see ``CYCLE``.
    """

    hook: str | None
    told: str | None
    outcome: str
    why: str


def notification_for(event: events.AnyEvent, *, was_good: bool) -> Notification | None:
    """Return what there is to announce of an event, None: nothing.

    Args:
        event: what happened.
        was_good: whether all was well before.
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
    """Return the variables of ``CYCLE``; what is not known is empty."""
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
    """A file whose lines are notes: what code that knows no screen prints, as the progress of a lab that starts."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._lines = LineSplitter("\n")
        self._gate = threading.Lock()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._gate:
            whole = self._lines.feed(text)
        for line in filter(None, whole):
            self._note(line)
        return len(text)


class NotifyingScreen(contextlib.AbstractContextManager["NotifyingScreen"]):
    """A screen whose events are announced too.

    Args:
        screen: the screen.
        settings: who hears.
    """

    def __init__(self, screen: Shown, settings: Watch) -> None:
        self._screen = screen
        self._settings = settings
        self._root = ""
        self._cycle: events.Cycle | None = None
        self._domain: events.DomainEvent | None = None
        self._is_good = True
        self._has_ended = False  # that event is the last one
        self._is_over = False
        self._stack = contextlib.ExitStack()
        self._hooks: list[threading.Thread] = []
        self._children: list[Child] = []  # theirs

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._screen)
            stray = _StdoutToNotes(self._note)
            stack.enter_context(contextlib.redirect_stdout(stray))
            stack.enter_context(contextlib.redirect_stderr(stray))
            stack.callback(self._end_hooks)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def show(self, event: events.AnyEvent) -> None:
        """Show an event, and announce it.

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
        """How much room there is for a line of a build."""
        return self._screen.columns

    def lent(self) -> contextlib.AbstractContextManager[object]:
        """For the time of the block give up the terminal."""
        return self._screen.lent()

    def _announce(self, found: Notification) -> None:
        settings = self._settings
        if found.told:
            name = self._domain.name if self._domain else Path(self._root).name
            if settings.bell:
                self._screen.beep(b"\a")
            if settings.notify == "terminal":
                self._screen.beep(f"\x1b]9;{name}: {found.told}\x1b\\".encode(errors="replace"))
            if settings.notify == "desktop":
                self._start("notify", ("notify-send", "--app-name=unibuild", name, found.told), {}, _NOTIFY_TIME)
        argv = {"on_ready": settings.on_ready, "on_fail": settings.on_fail}.get(found.hook or "", ())
        if argv:
            assert found.hook
            self._start(found.hook, argv, hook_environment(self._root, found, self._cycle, self._domain), HOOK_TIME)

    def _start(self, name: str, argv: tuple[str, ...], env: dict[str, str], patience: float) -> None:
        """Run a command in the background, and note what it says."""
        about = (name, argv, env, patience)
        thread = threading.Thread(target=self._run, args=about, name=f"unibuild {name}", daemon=True)
        self._hooks = [*(hook for hook in self._hooks if hook.is_alive()), thread]
        thread.start()

    def _run(self, name: str, argv: tuple[str, ...], env: dict[str, str], patience: float) -> None:
        try:
            child = process.start(argv, cwd=Path(self._root), env=env, stderr=subprocess.STDOUT)
        except UnibuildError as error:
            self._note(f"{name}: {error.message}")
            return
        with child:
            self._children.append(child)
            try:
                said, _ = child.popen.communicate(timeout=0.0 if self._is_over else patience)
                status = child.popen.returncode
                how = f"exit code {status}" if status else ""
            except subprocess.TimeoutExpired as expired:
                said, how = expired.output or b"", f"ended after {patience:g} s"
            except (OSError, ValueError):  # it was stopped at the end, and its pipe with it
                said, how = b"", ""
            self._children.remove(child)
        for line in said.decode(errors="replace").splitlines()[-_TOLD:]:
            self._note(f"{name}: {line}")
        if how:
            self._note(f"{name}: `{shlex.join(argv)}` {how}")

    def _end_hooks(self) -> None:
        """Give those that still run a little time, and end them then."""
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
