"""Turn events of the watch loop into lines and a status line, as plain values.

``unibuild.watch.ui.render`` makes text of them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from unibuild.errors import BuildError
from unibuild.watch import events
from unibuild.watch.diagnostics import problems

if TYPE_CHECKING:
    from unibuild.watch.diagnostics import CompilerMessage

__all__ = ["KEYS", "OWN_ORIGIN", "Line", "Part", "Tone", "View", "help_lines", "parts", "problem_lines", "update"]

OWN_ORIGIN = "watch"
"""The origin of the loop's own lines."""

KEYS = {
    "r": "rebuild: run again what is out of date, and what failed",
    "b": "boot the domain again even if nothing changed",
    "c": "open the domain's console, with the keyboard; Ctrl-], or the domain's end, returns",
    "l": "show the console's log in $PAGER",
    "e": "show the errors again",
    "p": "pause: saves start nothing; press it again to resume",
    "q": "quit",
    "?": "this help",
}
"""What each key does."""

_STATES = {"gone": "is out of reach"}
_KEPT = 2000  # last lines of a build, which are searched for errors

Tone = Literal["said", "build", "console", "old", "good", "bad", "quiet"]
"""The meaning of a line. ``old``: of the domain that was replaced; ``quiet``: unimportant."""


class Line(NamedTuple):
    """A line to show.

    Attributes:
        origin: ``build``, a stage, the domain's name, or ``OWN_ORIGIN``.
        text: may have colours (ANSI escapes).
        tone: its meaning.
    """

    origin: str
    text: str
    tone: Tone = "said"


class Part(NamedTuple):
    """A part of the status line; on a narrow terminal the parts with the highest ``rank`` are left out."""

    rank: int
    text: str
    tone: Tone = "said"


@dataclass(frozen=True)
class View:
    """The state of the loop as the user sees it.

    Attributes:
        root: the project's folder.
        domain: the domain that runs, or ran last.
        stage: the stage that runs.
        began: a sentence: what started the cycle that runs; None: none runs.
        cycle: the last one that ended with a result.
        paused: whether saves start no cycle.
        ending: whether the user asked to quit, and something still has to end.
        said: the last lines of the build of this cycle.
        problems: the errors of the last build.
        unfinished: the beginning of a console's line.
        progress: the beginning of a build's line, as a progress bar.
        waiting: the command on the host that has not answered for seconds.
    """

    root: str = ""
    domain: events.DomainEvent | None = None
    stage: events.StageEvent | None = None
    began: str | None = None
    cycle: events.Cycle | None = None
    paused: bool = False
    ending: bool = False
    said: tuple[str, ...] = ()
    problems: tuple[CompilerMessage, ...] = ()
    unfinished: Line | None = None
    progress: Line | None = None
    waiting: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the last cycle failed."""
        return self.cycle is not None and self.cycle.outcome in ("failed", "not ready")


def update(view: View, event: events.AnyEvent) -> tuple[View, tuple[Line, ...]]:
    """Return the view after an event, and the lines to show."""
    match event:
        case events.Output():
            return _output(view, event)
        case events.Started():
            where = f"watching {event.root}: a save ends in `{event.goal}` on {event.host}"
            more = (Line(OWN_ORIGIN, f"scanning about once a second: {event.polling}"),) if event.polling else ()
            return dataclasses.replace(view, root=event.root), (Line(OWN_ORIGIN, where), *more)
        case events.Changed():
            began = _changed(event)
            return dataclasses.replace(view, began=began, said=(), stage=None, progress=None), (
                Line(OWN_ORIGIN, began),
            )
        case events.StageEvent():
            running = event.state == "running"
            is_new = event.reason and not (view.began or "").startswith(event.reason)
            lines = (Line(event.name, event.reason or "", "quiet"),) if running and is_new else ()
            return dataclasses.replace(view, stage=event if running else None), lines
        case events.Cycle():
            return _cycle(view, event)
        case events.DomainEvent():
            return dataclasses.replace(view, domain=event), _domain(view, event)
        case events.ProblemEvent():
            hint = [Line(OWN_ORIGIN, f"  {line}") for line in (event.hint or "").splitlines()]
            kept = (Line(OWN_ORIGIN, event.kept, "good"),) if event.kept else ()
            if event.exit_code == BuildError.exit_code and problems(view.said):  # the cycle's end lists the errors
                return view, kept
            return view, (*(Line(OWN_ORIGIN, line, "bad") for line in event.message.splitlines()), *hint, *kept)
        case events.Waiting():
            return dataclasses.replace(view, waiting=event.what), ()
        case events.Paused():
            return dataclasses.replace(view, paused=True), (Line(OWN_ORIGIN, "paused: saves start nothing; p resumes"),)
        case events.Resumed():
            return dataclasses.replace(view, paused=False), (Line(OWN_ORIGIN, "resumed: saves start cycles again"),)
        case events.Reloaded():
            return view, (Line(OWN_ORIGIN, f"loaded again: {', '.join(event.paths)}"),)
        case events.Lost():
            return view, (Line(OWN_ORIGIN, f"{_count(event.lines, 'line')} left out: the reader is too slow", "bad"),)
        case events.Note():
            return view, tuple(Line(OWN_ORIGIN, line) for line in event.message.splitlines())
        case events.Ended():
            return dataclasses.replace(view, began=None, stage=None), (Line(OWN_ORIGIN, f"ended: {event.why}"),)


def help_lines() -> tuple[Line, ...]:
    """Return a line for each key."""
    return tuple(Line(OWN_ORIGIN, f"{key}  {what}") for key, what in KEYS.items())


def problem_lines(view: View) -> tuple[Line, ...]:
    """Return the errors of the last build."""
    return tuple(Line(OWN_ORIGIN, str(one), "bad") for one in view.problems)


def parts(view: View, now: float) -> tuple[Part, ...]:
    """Return the status line's parts, from left to right.

    Args:
        view: the state of the loop.
        now: seconds since the epoch.
    """
    found = [_state(view, now)]
    if view.waiting:
        found.append(Part(1, f"waiting for {view.waiting}"))
    if view.ending:
        found.append(Part(1, "ending; Ctrl-C twice: at once", "bad"))
    if view.paused:
        found.append(Part(1, "paused", "bad"))
    if view.problems:
        found.append(Part(2, _count(len(view.problems), "error"), "bad"))
    domain = view.domain
    if domain is not None and domain.domid is not None and domain.state in ("running", "ready"):
        found.append(Part(3, domain.name, "console"))
        if domain.generation is not None:
            found.append(Part(5, f"generation {domain.generation}"))
        found.append(Part(6, f"domain {domain.domid} of {domain.host}"))
        if domain.since is not None:
            found.append(Part(4, f"up {_age(now - domain.since)}"))
    elif domain is not None and domain.state != "none":
        found.append(Part(3, f"{domain.name} {_STATES.get(domain.state, domain.state)}", "bad"))
    else:
        found.append(Part(3, "no domain", "quiet"))
    return (*found, Part(7, "? help", "quiet"))


def _state(view: View, now: float) -> Part:
    if view.stage is not None:
        return Part(0, f"{view.stage.name} {max(0.0, now - view.stage.at):.1f} s", "build")
    if view.began is not None:
        return Part(0, "working", "build")
    if view.failed:
        assert view.cycle is not None
        return Part(0, f"✗ {view.cycle.outcome}", "bad")
    if view.domain is not None and view.domain.state in ("ended", "crashed", "gone"):
        return Part(0, "✗ down" if view.domain.state != "ended" else "waiting", "bad")
    return Part(0, "✓ " + ("ready" if view.domain is not None and view.domain.state == "ready" else "good"), "good")


def _output(view: View, event: events.Output) -> tuple[View, tuple[Line, ...]]:
    if event.origin == "build":
        line = Line(view.stage.name if view.stage else "build", event.text, "build")
        if not event.whole:
            return dataclasses.replace(view, progress=line if event.text else None), ()
        said = (*view.said[-_KEPT + 1 :], event.text)
        return dataclasses.replace(view, said=said, progress=None), (line,)
    domid = event.domid
    now = view.domain.domid if view.domain else None
    old = domid is not None and now is not None and domid < now
    line = Line(event.of or "console", event.text, "old" if old else "console")
    if not event.whole:
        return dataclasses.replace(view, unfinished=line), ()
    return dataclasses.replace(view, unfinished=None), (line,)


def _changed(event: events.Changed) -> str:
    if event.what != "save" or not event.first:
        return {"start": "starting: building what is out of date", "retry": "trying again"}.get(
            event.what, f"asked to {event.what}"
        )
    more = len(event.paths) - 1
    return f"{event.first} changed" + (f", and {_count(more, 'other')}" if more > 0 else "")


def _cycle(view: View, event: events.Cycle) -> tuple[View, tuple[Line, ...]]:
    if event.outcome == "stopped":
        line = Line(OWN_ORIGIN, event.why or "stopped", "quiet")
        return dataclasses.replace(view, began=None, stage=None, said=(), progress=None), (line,)
    failed = event.outcome in ("failed", "not ready")
    found = problems(view.said) if event.outcome == "failed" else ()
    after = dataclasses.replace(view, began=None, stage=None, said=(), progress=None, cycle=event, problems=found)
    by = f" ({event.trigger})" if event.trigger else ""
    spent = ", ".join(f"{name} {seconds:.2f}" for name, seconds in event.phases.items())
    timing = f"{event.seconds:.2f} s{by}" + (f": {spent}" if spent else "")
    if event.outcome == "unchanged":
        return after, (Line(OWN_ORIGIN, f"kernel and .xl unchanged: no reboot; {timing}", "good"),)
    if not failed:
        return after, (Line(OWN_ORIGIN, f"✓ {event.outcome} in {timing}", "good"),)
    return after, (*problem_lines(after), Line(OWN_ORIGIN, f"✗ {event.outcome} after {timing}", "bad"))


def _domain(view: View, event: events.DomainEvent) -> tuple[Line, ...]:
    """Return a line for a change of the domain, unless the cycle's line or a problem reports it."""
    if event.state in ("running", "ready"):
        if view.began is not None:
            return ()
        generation = "" if event.generation is None else f", generation {event.generation}"
        return (Line(OWN_ORIGIN, f"{event.name} runs as domain {event.domid} of {event.host}{generation}"),)
    if event.state != "ended":  # a problem reports it
        return ()
    why = event.why or "ended"
    return (Line(OWN_ORIGIN, why if why.startswith(event.name) else f"{event.name} {why}"),)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _age(seconds: float) -> str:
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
