"""The loop told in plain lines, and as JSON."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Self

from unibuild.watch import events

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from unibuild.watch.events import AnyEvent

__all__ = ["Plain"]


class Plain:
    """Writes a line for each event to standard output."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, event: AnyEvent) -> None:
        """Tell an event.

        Raises:
            BrokenPipeError: nobody reads it any more.
        """
        line = events.encode(event).decode() if self._as_json else _line(event)
        if line:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def lent(self) -> AbstractContextManager[object]:
        """Give up the terminal, which is not ours."""
        return contextlib.nullcontext()


def _line(event: AnyEvent) -> str:
    match event:
        case events.Output(text=text, of=of, whole=whole):
            return f"{of or 'build'} | {text}" if whole else ""
        case events.Changed(first=first, what=what):
            return f"unibuild: {first or what}"
        case events.Stage(name=name, state="done", seconds=took):
            return f"unibuild: {name} done in {took or 0.0:.2f} s"
        case events.Domain(name=name, state=state, domid=domid):
            return f"unibuild: {name} {state}" + (f" (domain {domid})" if domid is not None else "")
        case events.Problem(message=message, hint=hint, kept=kept):
            return "\n  ".join(filter(None, (f"unibuild: {message}", *(hint or "").splitlines(), kept)))
        case events.Cycle(outcome=outcome, phases=phases, why=why):
            parts = " ".join(f"{phase} {spent:.2f}" for phase, spent in phases.items())
            return f"unibuild: {outcome}{f' ({why})' if why else ''} [{parts}]"
        case events.Note(message=message) | events.Ended(why=message):
            return f"unibuild: {message}"
        case _:
            return ""
