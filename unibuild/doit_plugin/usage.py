"""Options of the goals, their help pages, and the error for an unknown option."""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

from unibuild.aws.snapshot.publisher import PUBLISHERS
from unibuild.errors import InputError
from unibuild.graph.graph import GOALS
from unibuild.settings.deprecated import current_word

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "COMMON",
    "OPTIONS",
    "PROGRAM_OPTIONS",
    "SHARED",
    "GoalOptions",
    "goal_page",
    "options_after_goal",
    "rows",
    "split_options",
    "unknown_option",
    "wrapped",
]

_WIDEST = 100  # columns; longer lines are hard to read


def _flag(name: str, long: str, what: str) -> dict[str, Any]:
    return {"name": name, "long": long, "type": bool, "default": False, "help": what}


SHARED: list[dict[str, Any]] = [
    {"name": "host", "long": "host", "type": str, "default": "", "help": "where the domain runs: a name, or `all`"},
    _flag("take_over", "take-over", "take over a domain of that name from another owner"),
]
"""Options of every goal, in doit's form; their values are read when the project is loaded."""

_WAIT = {
    "name": "wait",
    "long": "wait",
    "type": float,
    "default": None,
    "help": "detach from a console that is only printed after this time",
}
_PLAN = _flag("planned", "plan", "print the calls that would change something at AWS, and make none")
_VIA = {
    "name": "via",
    "long": "via",
    "type": str,
    "default": None,
    "choices": tuple((via, entry.way) for via, entry in PUBLISHERS.items()),
    "help": "override [publish] via",
}
_TERMINATE = _flag("terminate", "terminate", "terminate the instance once it was ready, as a test")
_JSON = _flag("as_json", "json", "print one JSON object")

OPTIONS: Mapping[str, list[dict[str, Any]]] = {
    "boot": [_WAIT],
    "watch": [
        _flag("keep", "keep-domain", "leave the domain running when watch exits"),
        _flag("as_json", "json", "print one event per line, as JSON"),
    ],
    "publish_ami": [_PLAN, _VIA],
    "launch_ami": [_PLAN, _TERMINATE],
    "redeploy": [_PLAN],
    "status": [_JSON],
    "history": [_JSON],
    "rollback": [_WAIT],
}
"""The options of each goal in addition to ``SHARED``, in doit's form."""

COMMON = {
    "--force": "run this goal even if it is up to date",
    "--dry-run": "print what would run, and run nothing",
    "-h, --help": "print this page",
}
"""Options that every goal takes on the ``unibuild`` command line, and what each does."""

PROGRAM_OPTIONS = {
    "-C DIR": "change to this folder first",
    "--host NAME": "run the domain there: the name of a [hosts] table, local, lab, ssh://..., or `all` named hosts",
    "--take-over": "boot, rollback: take over a domain of that name from another owner",
    "--dry-run": "the same as `plan`",
    "--force": "run these goals, and no others, even if they are up to date: `unibuild depend --force`",
    "--debug": "show tracebacks",
    "--version": "print the version",
    "-h, --help": "print this page; after a goal or command: print its options",
    "-a": "before the goals: run them even if they are up to date",
    "-c": "before the goals: continue after a failure if possible",
    "-n N": "before the goals: run goals that do not depend on each other in N processes",
}
"""Options of the program, as they are written, and what each does."""

_METAVARS = {"wait": "SECONDS", "host": "NAME", "via": "|".join(PUBLISHERS)}
_OPERANDS = {"rollback": " [GENERATION]"}
_DOIT = ("--always-execute", "--continue", "--process", "--single", "--verbosity", "--file", "--dir")


def goal_page(goal: str) -> str:
    """Return the help page of a goal."""
    listed = {_spelled(option): str(option["help"]) for option in (*OPTIONS.get(goal, ()), *SHARED)}
    what = GOALS[goal].partition(";")[0]
    lines = [
        f"usage: unibuild {goal} [options]{_OPERANDS.get(goal, '')} [key=value...]",
        f"       unibuild {goal} [options] KERNEL [-- ARGUMENT...]",
        "",
        *wrapped(f"{what[0].upper()}{what[1:]}."),
        "",
        "options:",
        *rows({**listed, **COMMON}),
        "",
        *wrapped(
            "key=value overrides a setting for this run: `unibuild boot host=lab xl.memory=64`. "
            "`unibuild help settings` lists the settings."
        ),
        "",
        *wrapped("KERNEL, the path of a kernel or .xl file, needs no project. ARGUMENTs are the unikernel's own."),
    ]
    return "\n".join(lines) + "\n"


def rows(table: Mapping[str, str], indent: int = 2) -> Iterator[str]:
    """Yield the lines of a table of two columns, with the second one wrapped at words to fit the terminal."""
    width = max(map(len, table))
    for name, what in table.items():
        head = f"{' ' * indent}{name:<{width}}  "
        yield from wrapped(what, head, " " * len(head))


def wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
    """Return the lines of a text that fit the terminal, at most ``_WIDEST`` columns, broken between words.

    Args:
        text: one paragraph.
        first: what precedes the first line.
        rest: what precedes the other lines.
    """
    columns = max(40, min(shutil.get_terminal_size().columns, _WIDEST))
    return textwrap.wrap(
        text, columns, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def unknown_option(option: str, words: Sequence[str]) -> InputError:
    """Return the error for an unknown option.

    Args:
        option: the option as it was given.
        words: the command line; the option was meant for the last goal before it.
    """
    import difflib

    name = option.partition("=")[0]
    before = list(words[: next((place for place, word in enumerate(words) if word.startswith(name)), len(words))])
    goal = next((word for word in reversed(before) if word in GOALS), None)
    if goal is None:
        known = [*_names(PROGRAM_OPTIONS), *_DOIT]
        return InputError(f"unibuild has no option {name}", hint=_nearest(difflib, name, known, "unibuild --help"))
    if name in _names(PROGRAM_OPTIONS) or name in _DOIT:
        return InputError(
            f"unibuild {goal} has no option {name}",
            hint=f"{name} belongs before the goal: `unibuild {name} {goal}`",
        )
    known = [f"--{each['long']}" for each in (*OPTIONS.get(goal, ()), *SHARED)] + _names(COMMON)
    return InputError(
        f"unibuild {goal} has no option {name}", hint=_nearest(difflib, name, known, f"unibuild {goal} --help")
    )


def _nearest(difflib: Any, name: str, known: Sequence[str], page: str) -> str:  # noqa: ANN401 (a module)
    close = difflib.get_close_matches(name, known, 1)
    return (f"did you mean {close[0]}? " if close else "") + f"`{page}` lists the options"


def _names(table: Mapping[str, str]) -> list[str]:
    return [word for spelled in table for word in spelled.replace(",", " ").split() if word.startswith("-")]


def _spelled(option: Mapping[str, Any]) -> str:
    metavar = "" if option["type"] is bool else f" {_METAVARS[option['name']]}"
    return f"--{option['long']}{metavar}"


class GoalOptions(NamedTuple):
    """The values of the options.

    Attributes:
        host: the setting ``host`` for this run, or None.
        take_over: whether a domain of that name may be taken over from another owner.
    """

    host: str | None = None
    take_over: bool = False


def split_options(words: Sequence[str]) -> tuple[GoalOptions, list[str]]:
    """Return the values of the options in a command line, and the words without the options.

    Raises:
        InputError: ``--host`` is the last word.
    """
    asked, rest = GoalOptions(), []
    left = iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        if name == "--host":
            value = value if equals else next(left, "")
            if not value:
                raise InputError("--host needs the name of a host")
            asked = asked._replace(host=value)
        elif current_word(word) == "--take-over":
            asked = asked._replace(take_over=True)
        else:
            rest.append(word)
    return asked, rest


def options_after_goal(words: Sequence[str]) -> GoalOptions:
    """Return the options after one of unibuild's goals: other tasks may have options of the same names.

    Raises:
        InputError: ``--host`` is the last word.
    """
    first = next((place for place, word in enumerate(words) if word in GOALS), len(words))
    return split_options(words[first:])[0]
