"""Events of the watch loop, and their JSON.

``encode`` writes each event as one JSON object on a line, with its kind under ``event``. Moments (``at``, ``since``)
are seconds since the epoch, durations seconds. Any change other than a new field raises ``VERSION``.
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
time in which no domain ran, and ``ready`` the wait for ``[boot.ready]``. If the old domain had to stop first, the new
one is created in the ``downtime``. ``other`` is the rest: the user's tasks, commands on the host, the cleanup after a
domain that failed. Together the phases are the whole cycle."""

PHASES: tuple[Phase, ...] = (
    *("debounce", "configure", "depend", "build", "xl"),
    *("copy", "create", "downtime", "ready", "other"),
)
"""The phases in their order; ``Cycle.phases`` has no entry for a phase that did not take place."""

Outcome = Literal["unchanged", "booted", "ready", "failed", "not ready", "stopped"]
"""How a cycle ended. ``unchanged``: nothing had to be built, or kernel and ``.xl`` are the same as before, and the
domain keeps running. ``booted``: the new domain runs. ``ready``: the new domain runs and is ready. ``failed``: a stage
failed, or the domain could not be created. ``not ready``: it was created, and did not become ready. ``stopped``: a save
or the end of the loop stopped the build."""

State = Literal["running", "ready", "ended", "crashed", "gone", "none"]
"""State of the domain. ``running``: since ``since``. ``ready``: it runs and is ready. ``ended``: it ended by itself and
well. ``crashed``: it ended badly. ``gone``: its host is out of reach. ``none``: there is no domain."""


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
        polling: why the loop only scans about once a second; None: the kernel reports changes.
        version: that of the event stream; it goes up when a name changes or is removed.
    """

    root: str
    goal: str
    host: str
    pid: int
    polling: str | None = None
    version: int = VERSION


class Changed(Event, frozen=True, kw_only=True, tag="changed"):
    """A cycle begins, because inputs changed or a command asked for it.

    Attributes:
        paths: the changed inputs, relative to the project's folder where they are in it.
        first: the most important of them; empty if a command started the cycle.
        what: what started it: ``save``, ``start``, ``rebuild``, ``reboot``, ``retry``.
    """

    paths: tuple[str, ...]
    first: str
    what: Literal["save", "start", "rebuild", "reboot", "retry"] = "save"


class StageEvent(Event, frozen=True, kw_only=True, tag="stage"):
    """A stage of the graph, or a task of the user, begins or ends.

    Attributes:
        name: the goal, as ``build``; or a phase of the swap: ``copy``, ``create``, ``ready``.
        state: ``current``: it is up to date.
        seconds: how long it took, once it has ended.
        reason: why it runs: "main.ml changed".
    """

    name: str
    state: Literal["running", "done", "failed", "current"]
    seconds: float | None = None
    reason: str | None = None


class Output(Event, frozen=True, kw_only=True, tag="output"):
    """One line of output, without its end; invalid UTF-8 is replaced.

    Attributes:
        origin: ``build``, or ``console`` of the domain ``of``.
        text: the line; it may hold colours (ANSI escapes).
        of: the name of the domain.
        domid: its number, once it is accepted: in a swap the old and the new domain have one name.
        whole: false for the beginning of a line, as a prompt of a console, or on a terminal the progress of a build;
            the whole line follows later.
    """

    origin: Literal["build", "console"]
    text: str
    of: str | None = None
    domid: int | None = None
    whole: bool = True


class Lost(Event, frozen=True, kw_only=True, tag="lost"):
    """Lines (``Output``) were left out, because the reader of the events is too slow; the console's log has its lines.

    Attributes:
        lines: how many.
    """

    lines: int


class Cycle(Event, frozen=True, kw_only=True, tag="cycle"):
    """A cycle has ended.

    Attributes:
        number: from 1.
        trigger: the file that started it; empty if a command did.
        outcome: see ``Outcome``.
        phases: seconds by phase, in the order of ``PHASES``; a phase that did not take place is left out.
        seconds: from the first sign of the change to the end.
        why: one sentence.
        exit_code: the exit code if the loop ended now.
    """

    number: int
    trigger: str
    outcome: Outcome
    phases: dict[Phase, float]
    seconds: float
    why: str = ""
    exit_code: int = 0


class DomainEvent(Event, frozen=True, kw_only=True, tag="domain"):
    """The state of the domain changed.

    Attributes:
        name: the domain's name.
        host: the host that it runs on.
        state: see ``State``.
        domid: its number there; None: it does not run.
        generation: the number of its generation.
        since: when it was created.
        why: how it ended, in words.
    """

    name: str
    host: str
    state: State
    domid: int | None = None
    generation: int | None = None
    since: float | None = None
    why: str | None = None


class ProblemEvent(Event, frozen=True, kw_only=True, tag="problem"):
    """Something failed; the loop continues.

    Attributes:
        message: a sentence.
        hint: what to do; may hold several lines.
        exit_code: the failure's exit code.
        kept: a sentence: what is still in use, as the domain that runs; None: the failure does not concern it.
    """

    message: str
    exit_code: int
    hint: str | None = None
    kept: str | None = None


class Note(Event, frozen=True, kw_only=True, tag="note"):
    """A message that is not about a failure.

    Attributes:
        message: a sentence.
    """

    message: str


class Waiting(Event, frozen=True, kw_only=True, tag="waiting"):
    """A command on the host, or a copy to it, takes seconds to answer.

    Attributes:
        what: the command and the host: "`xl list -v` on lab"; null: the wait is over.
    """

    what: str | None


class Paused(Event, frozen=True, kw_only=True, tag="paused"):
    """Saves start no cycle until ``Resumed``."""


class Resumed(Event, frozen=True, kw_only=True, tag="resumed"):
    """Saves start cycles again; those made meanwhile count too."""


class Reloaded(Event, frozen=True, kw_only=True, tag="reloaded"):
    """Settings or ``dodo.py`` were loaded again.

    Attributes:
        paths: the files that changed.
    """

    paths: tuple[str, ...]


class Ended(Event, frozen=True, kw_only=True, tag="ended"):
    """The last event.

    Attributes:
        exit_code: the exit code of the process: that of the last state.
        why: what ended the loop: ``q``, ``Ctrl-C``, ``TERM``, ``HUP``, or a sentence.
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
    """Return an event as JSON on one line, without a line end."""
    return _encoder.encode(event)


def decode(line: bytes | str) -> AnyEvent:
    """Return the event of a line that ``encode`` made.

    Raises:
        msgspec.DecodeError: the line is not an event.
    """
    return _decoder.decode(line)
