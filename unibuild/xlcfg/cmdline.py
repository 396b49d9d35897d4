r"""Write and split a kernel's command line, and check its arguments' names.

A Mirage unikernel splits its command line into words. How it does that has changed:

    mirage-bootvar-xen 0.3.2 (2016), parse-argv     white space splits; '...' and "..." keep it; \c is c, not in '...'
    parse-argv 0.3.0 (2023), mirage-bootvar 1.x     only the space splits; "..." keeps it; \c is c, everywhere

All of them read a backslash outside of quotes alike, and all drop an empty argument. xl's own quotes (``write``) are
another layer on top of that.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from unibuild.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from unibuild.settings.model import Value
    from unibuild.xlcfg.parser import Config

__all__ = ["PV_LIMIT", "check_names", "effective", "join", "split", "words"]

PV_LIMIT = 1023
"""Bytes of a PV domain's command line; Xen's start_info (``MAX_GUEST_CMDLINE``) truncates longer ones."""

_SPECIAL = re.compile(r"""[\s'"\\]""")


def words(args: Sequence[str] | Mapping[str, Value]) -> tuple[str, ...]:
    """Return the arguments as words: a list unchanged, a table as ``--name=value``.

    In a table ``true`` gives the bare name, ``false`` nothing, a list the argument once for each value, and a name of
    one letter ``-lVALUE``.
    """
    if not hasattr(args, "items"):
        return tuple(args)
    found: list[str] = []
    for name, value in args.items():
        for one in value if isinstance(value, list) else [value]:
            dashed = f"-{name}" if len(name) == 1 else f"--{name}"
            if one is True:
                found.append(dashed)
            elif one is not False:
                found.append(f"{dashed}{'=' if len(name) > 1 else ''}{one}")
    return tuple(found)


def join(args: Sequence[str], *, mirage: bool) -> str:
    """Return the command line that a kernel splits into these arguments.

    Args:
        args: the arguments.
        mirage: whether the kernel splits it as a Mirage unikernel does. Other kernels presumably split it at spaces.

    Raises:
        SettingsError: an argument cannot be passed to the kernel.
    """
    for arg in args:
        if not arg:
            raise SettingsError("[boot] args: an empty argument does not reach the kernel", hint="remove it")
        if "\0" in arg:
            raise SettingsError(f"[boot] args: {arg!r} has a NUL character, which no command line can hold")
        if not mirage and re.search(r"\s", arg):
            raise SettingsError(
                f"[boot] args: {arg!r} has a space, and unibuild knows only for Mirage unikernels how to quote it",
                hint="set [xl] cmdline, which is passed to the kernel unchanged",
            )
    return " ".join(_SPECIAL.sub(r"\\\g<0>", arg) if mirage else arg for arg in args)


def split(line: str, *, old: bool) -> tuple[str, ...]:
    """Return the arguments that a Mirage unikernel gets from a command line; the reverse of ``join``.

    Args:
        line: the command line.
        old: whether to apply the rules of 2016, used up to Mirage 4.3.
    """
    quotes, blanks = ("\"'", " \t\n\v\f\r") if old else ('"', " ")
    found: list[str] = []
    word = quote = ""
    characters = iter(line)
    for char in characters:
        if char == "\\" and quote != "'":
            word += next(characters, "")
        elif char == quote:
            quote = ""
        elif quote or not (char in quotes or char in blanks):
            word += char
        elif char in quotes:
            quote = char
        else:
            found.append(word)
            word = ""
    return tuple(word for word in (*found, word) if word)


def effective(config: Config) -> str:
    """Return the command line that xl gets from an ``.xl``: ``root`` and ``extra`` count if ``cmdline`` is missing.

    Source: parse_cmdline() in Xen's tools/xl/xl_parse.c.
    """
    cmdline = config.get("cmdline")
    if cmdline is not None:
        return str(cmdline)
    root, extra = (str(config.get(key) or "") for key in ("root", "extra"))
    return " ".join(filter(None, (f"root={root}" if root else "", extra)))


def check_names(args: Sequence[str], known: Collection[str]) -> None:
    """Check that a kernel knows the arguments, by cmdliner's rules: ``--name``, an unambiguous prefix of one, ``-n``.

    Args:
        args: the arguments.
        known: the names that the kernel knows, with their dashes.

    Raises:
        SettingsError: it does not know an argument.
    """
    for name in _names(args):
        long = name.startswith("--")
        if name in known or (long and any(other.startswith(name) for other in known)):
            continue
        near = _nearest(name, known)
        raise SettingsError(
            f"[boot] args: the unikernel does not know the argument {name}",
            hint=f"did you mean {near}?" if near else "the arguments are " + ", ".join(sorted(known)),
        )


def _names(args: Sequence[str]) -> Iterator[str]:
    for arg in args:
        if arg == "--":
            return
        if len(arg) > 1 and arg.startswith("-"):
            yield arg.partition("=")[0] if arg.startswith("--") else arg[:2]


def _nearest(name: str, known: Collection[str]) -> str | None:
    """Return the known name most like this one; a difference in dashes and underscores only counts as equal."""
    plain = {re.sub(r"[-_]", "", other).lower(): other for other in sorted(known)}
    near = difflib.get_close_matches(re.sub(r"[-_]", "", name).lower(), plain, 1)
    return plain[near[0]] if near else None
