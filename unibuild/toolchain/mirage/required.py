"""The releases that a ``config.ml`` asks for in its first line: ``(* mirage >= 4.9.0 & < 4.12.0 *)``.

Mirage itself looks at it from 4.4.1 on, and by then has damaged the tree.
"""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING

from unibuild.errors import MissingError
from unibuild.toolchain.mirage.releases import parsed

if TYPE_CHECKING:
    from collections.abc import Callable

    from unibuild.toolchain.mirage.releases import Version

__all__ = ["check"]

_LINE = re.compile(r"\s*\(\*\s*mirage\s+((?:[<>=!]=?|[0-9.~&|\s])+?)\s*\*\)")
_BOUND = re.compile(r"\s*(>=|<=|>|<|=|!=)\s*([0-9]+(?:\.[0-9]+)*)(?:~\w*)?\s*")
_COMPARE: dict[str, Callable[[Version, Version], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
    "!=": operator.ne,
}
_PARTS = 4  # numbers of a version that are compared; those that are not written are 0


def check(text: str, version: str, program: str, config: object) -> None:
    """See that the installed ``mirage`` is one that a configuration file asks for.

    Args:
        text: the configuration file.
        version: of the installed one, as ``4.11.1``.
        program: its path, for the sentence.
        config: the path of the configuration file, for the sentence.

    Raises:
        MissingError: it is not.
    """
    line = _LINE.match(text.partition("\n")[0])
    if line is None or _allows(line[1], version):
        return
    bounds = " ".join(f"'mirage{op}{bound}'" for op, bound in _BOUND.findall(line[1].partition("|")[0]))
    raise MissingError(
        f"{config} asks in its first line for mirage {line[1]}, and {program} is {version}",
        hint=f"install such a release (opam install {bounds} && eval $(opam env)), or change that line",
    )


def _allows(formula: str, version: str) -> bool:
    """Say whether a formula of bounds allows a version; one that cannot be read allows all."""
    now = _padded(parsed(version))
    allowed = False
    for part in formula.split("|"):
        bounds = [_BOUND.fullmatch(bound) for bound in part.split("&")]
        known = [bound for bound in bounds if bound is not None]
        if len(known) != len(bounds):
            return True
        allowed |= all(_COMPARE[bound[1]](now, _padded(parsed(bound[2]))) for bound in known)
    return allowed


def _padded(version: Version) -> Version:
    return (*version, *[0] * (_PARTS - len(version)))
