"""Matches the entries of a walk against the patterns of a ``.gitignore``, by the pathspec library.

Imported when a folder is walked and not before: pathspec takes longer to import than an interpreter to start.

What pathspec, asked here of one entry of a folder that was not left out itself, does not do as git does:

- A POSIX class (``[[:alpha:]]``) is none: a line with one names next to nothing.
- A line with spaces after an escaped space names nothing.
- In ``[...]`` a backslash is a plain character, a slash is not allowed, and ``[!a]`` and ranges match ``/`` too.
- Tabs at the end of a line are taken off, not only spaces.
- ``!x/`` and ``!x`` also speak of what is in ``x``, as far as no line of the same file speaks of that by itself:
  ``*.o`` in a ``.gitignore`` above then does not leave out ``x/a.o``.
- ``x/`` and ``x`` also leave out what a symbolic link ``x`` to a folder leads to. (git does not follow links.)
"""

from __future__ import annotations

import contextlib
import re
import warnings
from typing import TYPE_CHECKING

from pathspec import GitIgnoreSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

__all__ = ["Patterns"]

_PARTS = re.compile(r"\\.|\[\^/\]|(?P<bracket>\[\^?\]?(?:\\.|[^]\\])*\])")  # of the regular expression of a pattern


class Patterns:
    """The lines of one ``.gitignore``, or patterns in that language.

    Args:
        lines: patterns in order, without the line's end; comments and empty lines may be among them.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        files, folders = [], []
        for line in lines:
            if "//" in line:  # matches no path in git; pathspec would read it as one slash
                continue
            pattern = _compile(line)
            files += pattern
            folders += _compile(bare) if (bare := _bare(line)) != line else pattern
        self._files = GitIgnoreSpec(files, backend="simple")  # the others cannot take names that are not text
        self._folders = GitIgnoreSpec(folders, backend="simple")

    def match(self, path: str, *, folder: bool = False) -> bool | None:
        """Say what the patterns say of one entry of a folder that they do not leave out.

        A folder is asked for as a file is, of the patterns without the slash at their end. Asked for with a slash,
        pathspec would take ``*`` to win over ``!*/`` after it, and ``build/**`` to name ``build`` itself: it then
        answers for what is in the folder.

        Args:
            path: relative to the folder of the patterns, parts joined by ``/``, none at the end.
            folder: whether it is a folder (a symbolic link to one is none).

        Returns:
            True: a pattern names it; False: one with ``!`` does; None: none does.
        """
        return (self._folders if folder else self._files).check_file(path, ()).include


def _bare(line: str) -> str:
    """Return a pattern for folders as one for all."""
    stripped = line.rstrip(" ")
    if not stripped.endswith("/") or line.startswith("#"):
        return line
    bare = stripped[:-1]
    name = bare.rstrip(" ")
    return name + "\\ " * (len(bare) - len(name)) if not name.endswith("\\") else bare  # a space in a folder's name


def _compile(line: str) -> list[GitIgnoreSpecPattern]:
    """Return the pattern of a line; none where it cannot be read, as a backslash at its end or the range ``[b-a]``."""
    with warnings.catch_warnings(), contextlib.suppress(ValueError, re.error):
        warnings.simplefilter("ignore", FutureWarning)  # of ``[[`` in the regular expression that it becomes
        patterns = GitIgnoreSpec.from_lines([line], backend="simple").patterns
        return [_without_slash_in_brackets(pattern) for pattern in patterns]
    return []


def _without_slash_in_brackets(pattern: GitIgnoreSpecPattern) -> GitIgnoreSpecPattern:
    """Return a pattern with brackets that match no slash, as in git: pathspec lets ``[!a]`` match one."""
    if pattern.regex is None:
        return pattern
    changed = _PARTS.sub(lambda part: f"(?!/){part[0]}" if part["bracket"] else part[0], pattern.regex.pattern)
    return type(pattern)(re.compile(changed), include=pattern.include)
