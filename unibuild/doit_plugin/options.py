"""The options that every goal has: ``--host`` and ``--take-over``; they decide how the project is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from unibuild.errors import InputError
from unibuild.graph.graph import GOALS
from unibuild.settings.deprecated import current_word

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Asked", "of_goals", "take_out"]


class Asked(NamedTuple):
    """What the options say.

    Attributes:
        host: the setting ``host`` for this time, or None.
        take_over: whether a domain of that name may be taken over from someone else.
    """

    host: str | None = None
    take_over: bool = False


def take_out(words: Sequence[str]) -> tuple[Asked, list[str]]:
    """Return what the options in a command line say, and the words without them.

    Raises:
        InputError: ``--host`` is the last word.
    """
    asked, rest = Asked(), []
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


def of_goals(words: Sequence[str]) -> Asked:
    """Return what the options say that stand after a goal of ours: other tasks may have options of such names.

    Raises:
        InputError: ``--host`` is the last word.
    """
    first = next((place for place, word in enumerate(words) if word in GOALS), len(words))
    return take_out(words[first:])[0]
