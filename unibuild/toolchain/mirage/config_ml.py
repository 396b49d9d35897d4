"""Read a ``config.ml`` without running it: the unikernel's name, strings, and the ``mirage`` releases it requires.

Format: OCaml's lexical conventions (the OCaml manual, "Lexical conventions"): comments nest and hold whole strings.
"""

from __future__ import annotations

import itertools
import operator
import re
from typing import TYPE_CHECKING, NamedTuple

from unibuild.errors import MissingError
from unibuild.toolchain.mirage.releases import parsed

if TYPE_CHECKING:
    from collections.abc import Callable

    from unibuild.toolchain.mirage.releases import Version

__all__ = ["check_required_release", "name", "strings", "used", "variables"]

_REQUIRED = re.compile(r"\s*\(\*\s*mirage\s+((?:[<>=!]=?|[0-9.~&|\s])+?)\s*\*\)")
_BOUND = re.compile(r"\s*(>=|<=|>|<|=|!=)\s*([0-9]+(?:\.[0-9]+)*)(?:~\w*)?\s*")
_COMPARE: dict[str, Callable[[Version, Version], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
    "!=": operator.ne,
}
_COMPARED = 4  # numbers of a version that are compared; those that are not written are 0


def check_required_release(text: str, version: str, program: str, config: object) -> None:
    """Check that the configuration file accepts the installed ``mirage``.

    The first line may name releases: ``(* mirage >= 4.9.0 & < 4.12.0 *)``. Mirage itself checks that from 4.4.1 on,
    but only after it has changed the tree.

    Args:
        text: the configuration file.
        version: of the installed one, as ``4.11.1``.
        program: its path, for the message.
        config: the path of the configuration file, for the message.

    Raises:
        MissingError: it does not.
    """
    line = _REQUIRED.match(text.partition("\n")[0])
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
    return (*version, *[0] * (_COMPARED - len(version)))


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<comment>\(\*)
    | (?P<string>"(?:\\.|[^"\\])*")
    | \{(?P<tag>[a-z_]*)\|(?P<raw>.*?)\|(?P=tag)\}
    | (?P<char>'(?:\\(?:[\\"'ntbr\ ]|[0-9]{3}|x[0-9A-Fa-f]{2})|[^\\'])')
    | (?P<label>[~?][a-z_][A-Za-z0-9_']*:?)
    | (?P<word>[A-Za-z_`][A-Za-z0-9_'.]*|\#[a-z]+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_PART = re.compile(
    r'\(\*|\*\)|"(?:\\.|[^"\\])*"|\{(?P<tag>[a-z_]*)\|.*?\|(?P=tag)\}|' r"'(?:\\.|[^\\'])'|.", re.DOTALL
)
_ESCAPE = re.compile(r"\\(?:(?P<line>\r?\n[ \t]*)|(?P<dec>[0-9]{3})|x(?P<hex>[0-9A-Fa-f]{2})|(?P<char>.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "b": "\b", "r": "\r"}
_CLOSING = {"(": ")", "[": "]", "{": "}"}


class _Token(NamedTuple):
    kind: str
    text: str  # a string's value, else the source text


def name(text: str) -> str | None:
    """Return the string that ``register`` is given; None where it is computed, or where there are several."""
    tokens = _tokens(text)
    found = set()
    for at, token in enumerate(tokens):
        if token.kind != "word" or token.text.rpartition(".")[2] != "register":
            continue
        if at and tokens[at - 1].text in ("let", "and", "rec"):
            continue
        after = _skip_labels(tokens, at + 1)
        if after >= len(tokens) or tokens[after].kind != "string":
            return None
        found.add(tokens[after].text)
    return found.pop() if len(found) == 1 else None


def strings(text: str) -> list[str]:
    """Return the values of its string literals, in order."""
    return [token.text for token in _tokens(text) if token.kind == "string"]


def variables(text: str) -> set[str]:
    """Return the names of environment variables that it may read.

    A name can reach ``Sys.getenv`` through a function of the file, so every string that could be a name counts.
    """
    return {word for word in strings(text) if _VARIABLE.fullmatch(word)}


def used(text: str) -> list[str]:
    """Return the files that it takes in with ``#use``."""
    pairs = itertools.pairwise(_tokens(text))
    return [after.text for token, after in pairs if token.text == "#use" and after.kind == "string"]


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while match := _TOKEN.match(text, at):
        at = match.end()
        kind = match.lastgroup or "other"
        if kind == "comment":
            at = _comment_end(text, at)
        elif kind == "string":
            found.append(_Token("string", _ESCAPE.sub(_unescape, match[0][1:-1])))
        elif kind == "raw":
            found.append(_Token("string", match["raw"]))
        elif kind != "space":
            found.append(_Token(kind, match[0]))
    return found


def _comment_end(text: str, at: int) -> int:
    depth = 1
    while depth and (match := _COMMENT_PART.match(text, at)):
        depth += {"(*": 1, "*)": -1}.get(match[0], 0)
        at = match.end()
    return at


def _unescape(match: re.Match[str]) -> str:
    if match["line"] is not None:
        return ""
    if match["dec"] is not None:
        return chr(int(match["dec"]) % 256)
    if match["hex"] is not None:
        return chr(int(match["hex"], 16))
    return _ESCAPED.get(match["char"], match["char"])


def _skip_labels(tokens: list[_Token], at: int) -> int:
    """Return where the first argument without a label begins."""
    while at < len(tokens) and tokens[at].kind == "label":
        at += 1
        if tokens[at - 1].text.endswith(":"):
            at = _skip_atom(tokens, at)
    return at


def _skip_atom(tokens: list[_Token], at: int) -> int:
    """Return where the argument that begins at ``at`` ends: one token, or a bracket with all in it."""
    open_brackets: list[str] = []
    while at < len(tokens):
        text = tokens[at].text if tokens[at].kind == "other" else ""
        if text in _CLOSING:
            open_brackets.append(_CLOSING[text])
        elif open_brackets and text == open_brackets[-1]:
            open_brackets.pop()
        at += 1
        if not open_brackets:
            break
    return at
