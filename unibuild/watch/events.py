"""Events of the watch loop, and their JSON.

As JSON each event is one object on a line of its own, its kind under ``event``: ``encode``. Moments (``at``, ``since``)
are seconds since the epoch, other times seconds. A change that is not an added field raises ``VERSION``.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "PHASES",
    "VERSION",
    "AnyEvent",
    "Changed",
    "Cycle",
    "DomainEvent",
    "Ended",
    "Event",
    "Lost",
    "Note",
    "Outcome",
    "Output",
    "Paused",
    "Phase",
    "ProblemEvent",
    "Reloaded",
    "Resumed",
    "StageEvent",
    "Started",
    "State",
    "Waiting",
    "decode",
    "encode",
]

VERSION = 2
"""Version of the event stream. 2 renamed the phases ``settle`` to ``debounce`` and ``outage`` to ``downtime``."""

Phase = Literal["debounce", "configure", "depend", "build", "xl", "copy", "create", "downtime", "ready", "other"]
"""A part of a cycle. ``debounce`` is the time until the save was complete. ``configure``, ``depend``, ``build`` and
``xl`` are the stages that ran. ``copy`` brings files to the host, ``create`` creates the domain, ``downtime`` is the
time in which no domain ran, and ``ready`` the wait for what ``[boot.ready]`` says. Where the old domain had to stop
first, the new one is created in the ``downtime``. ``other`` is the rest: tasks of the user, commands on the host,
cleaning up after a domain that failed. Together the phases are the whole cycle."""

PHASES: tuple[Phase, ...] = (
    *("debounce", "configure", "depend", "build", "xl"),
    *("copy", "create", "downtime", "ready", "other"),
)
"""In their order; a phase that did not take place has no entry in ``Cycle.phases``."""

Outcome = Literal["unchanged", "booted", "ready", "failed", "not ready", "stopped"]
"""How a cycle ended. ``unchanged``: nothing had to be built, or kernel and ``.xl`` are the same as before, and the
domain runs on. ``booted``: the new domain runs. ``ready``: and ``[boot.ready]`` holds. ``failed``: a stage failed, or
the domain could not be made. ``not ready``: it was made, and was not ready. ``stopped``: a save or a command stopped
the build; the next cycle has begun."""

State = Literal["running", "ready", "ended", "crashed", "gone", "none"]
"""What became of the domain. ``running``: since ``since``. ``ready``: it runs, and ``[boot.ready]`` holds. ``ended``:
by itself, and well. ``crashed``: or it ended badly. ``gone``: its host is out of reach. ``none``: there is none."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=str.lower):
    """Something that happened; ``at`` is when."""

    at: float


class Started(Event, frozen=True, kw_only=True, tag="started"):
    """The loop has begun.

    Attributes:
        root: the project's folder.
        goal: what each cycle does: ``boot``.
        host: where the domain runs.
        pid: the process of the loop.
        polling: why the loop only looks about once a second; None: the kernel wakes it.
        version: that of the event stream; it goes up when a name changes or is removed.
    """

    root: str
    goal: str
    host: str
    pid: int
    polling: str | None = None
    version: int = VERSION


class Changed(Event, frozen=True, kw_only=True, tag="changed"):
    """A cycle begins because inputs are not what they were.

    Attributes:
        paths: those, relative to the project's folder where they are in it.
        first: the one that is named where there is room for one; empty where a command began the cycle.
        what: what began it: ``save``, ``start``, ``rebuild``, ``reboot``, ``retry``.
    """

    paths: tuple[str, ...]
    first: str
    what: Literal["save", "start", "rebuild", "reboot", "retry"] = "save"


class StageEvent(Event, frozen=True, kw_only=True, tag="stage"):
    """A stage of the graph, or a task of a person's own, begins or ends.

    Attributes:
        name: the goal: ``build``; of the swap: ``copy``, ``create``, ``ready``.
        state: ``current``: there is nothing to do for it.
        seconds: how long it took, once it has ended.
        reason: why it runs: "main.ml changed".
    """

    name: str
    state: Literal["running", "done", "failed", "current"]
    seconds: float | None = None
    reason: str | None = None


class Output(Event, frozen=True, kw_only=True, tag="output"):
    """One line that somebody wrote, without its end; bytes that are no UTF-8 are replaced.

    Attributes:
        origin: ``build``, or ``console`` of the domain ``of``.
        text: the line; it may hold colours (ANSI escapes).
        of: the name of the domain.
        domid: its number, once it is good: in a swap the old and the new one speak under one name.
        whole: false for a beginning that is shown because nothing more came, as a prompt of a console, or on a
            terminal the progress of a build; the whole line comes again later.
    """

    origin: Literal["build", "console"]
    text: str
    of: str | None = None
    domid: int | None = None
    whole: bool = True


class Lost(Event, frozen=True, kw_only=True, tag="lost"):
    """Lines (``Output``) were left out, because whoever reads the events is too slow; the console's log has its own.

    Attributes:
        lines: how many.
    """

    lines: int


class Cycle(Event, frozen=True, kw_only=True, tag="cycle"):
    """A cycle has ended.

    Attributes:
        number: from 1.
        trigger: the file that began it; empty where a command did.
        outcome: see ``Outcome``.
        phases: seconds by phase, in the order of ``PHASES``; what did not take place is left out.
        seconds: from the first sign of the change to the end.
        why: one sentence.
        exit_code: what the loop would end with now.
    """

    number: int
    trigger: str
    outcome: Outcome
    phases: dict[Phase, float]
    seconds: float
    why: str = ""
    exit_code: int = 0


class DomainEvent(Event, frozen=True, kw_only=True, tag="domain"):
    """What runs now.

    Attributes:
        name: that of the domain.
        host: where.
        state: see ``State``.
        domid: its number there; None: there is none.
        generation: the number of what it was made from.
        since: when it began to run.
        why: more of it, in words: how it ended.
    """

    name: str
    host: str
    state: State
    domid: int | None = None
    generation: int | None = None
    since: float | None = None
    why: str | None = None


class ProblemEvent(Event, frozen=True, kw_only=True, tag="problem"):
    """Something failed; the loop goes on.

    Attributes:
        message: a sentence.
        hint: what to do; may hold several lines.
        exit_code: that of the failure.
        kept: what still runs, or that nothing does, in a sentence; None: it has nothing to do with that.
    """

    message: str
    exit_code: int
    hint: str | None = None
    kept: str | None = None


class Note(Event, frozen=True, kw_only=True, tag="note"):
    """Something to know that is no failure.

    Attributes:
        message: a sentence.
    """

    message: str


class Waiting(Event, frozen=True, kw_only=True, tag="waiting"):
    """A command on the host, or a copy to it, takes seconds to answer.

    Attributes:
        what: the command and the host: "`xl list -v` on lab"; null: the answer has come, or the wait is over.
    """

    what: str | None


class Paused(Event, frozen=True, kw_only=True, tag="paused"):
    """Saves begin nothing until ``Resumed``."""


class Resumed(Event, frozen=True, kw_only=True, tag="resumed"):
    """Saves count again, those meanwhile too."""


class Reloaded(Event, frozen=True, kw_only=True, tag="reloaded"):
    """Settings or ``dodo.py`` were read again, because of these files.

    Attributes:
        paths: those.
    """

    paths: tuple[str, ...]


class Ended(Event, frozen=True, kw_only=True, tag="ended"):
    """The last event.

    Attributes:
        exit_code: what the process ends with: that of the last state.
        why: what ended it: ``q``, ``Ctrl-C``, ``TERM``, ``HUP``, or a sentence.
    """

    exit_code: int
    why: str


AnyEvent = (
    Started
    | Changed
    | StageEvent
    | Output
    | Lost
    | Cycle
    | DomainEvent
    | ProblemEvent
    | Note
    | Waiting
    | Paused
    | Resumed
    | Reloaded
    | Ended
)
"""Every kind of event."""

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> bytes:
    """Return an event as JSON on one line, without its end."""
    return _encoder.encode(event)


def decode(line: bytes | str) -> AnyEvent:
    """Return the event of a line that ``encode`` made.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return _decoder.decode(line)
