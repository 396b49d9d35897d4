"""``unibuild GOAL path/to/kernel.xen``: a kernel without a project, which gets one in the user's cache."""

from __future__ import annotations

import hashlib
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.errors import InputError
from unibuild.graph.xl_file import read, to_domain_name
from unibuild.util.files import cache_home, reading, write_atomic
from unibuild.util.templates import toml_value

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

__all__ = ["enter_project"]

_KEEPING = frozenset(("console", "destroy", "history", "plan", "rollback", "status", "--dry-run", "-h", "--help"))
"""Words of command lines for which the project stays as the last run left it."""
_FILES = ("--junit", "--json")  # options of `unibuild test` with a file, from the current folder
_FILE_SETTINGS = ("xl.file", "image.file")
_RENAME = "rename it: settings are UTF-8"


def enter_project(words: Sequence[str], goals: Container[str], *, keep: bool = False) -> list[str]:
    """Change to the project of the kernel that a command line names; return the words without the kernel.

    What follows ``--`` becomes the unikernel's arguments. A command line without a goal and a kernel after it stays as
    it is.

    Args:
        words: the command line, after the options of the program.
        goals: the words that a kernel can follow.
        keep: whether the kernel's project stays as it is, if there is one.

    Raises:
        InputError: the file does not exist, or there are arguments and no kernel.
        XlSyntaxError: xl would refuse the ``.xl`` that is named.
        FileError: the project cannot be written.
    """
    end = words.index("--") if "--" in words else len(words)
    before, args = [*words[:end]], words[end + 1 :]
    goal = next((place for place, word in enumerate(before) if word in goals), end)
    named = [word for word in before[goal + 1 :] if _is_path(word)]
    if not named:
        if args and goal < end:
            raise InputError(
                f"`-- {shlex.join(args)}`: arguments need the path of a kernel",
                hint="in a project, set boot.args: `unibuild boot boot.args='--port=80'`",
            )
        return list(words)
    if len(named) > 1:
        raise InputError(f"one kernel at a time, not {', '.join(named)}", hint="run unibuild once for each of them")
    rest = [
        _absolute(word, previous) for previous, word in zip(["", *before], before, strict=False) if word != named[0]
    ]
    file = Path(named[0]).absolute()
    file = file.parent.resolve() / file.name  # the same file has the same project, however its path is spelled
    folder = _folder(file)
    keep = keep or not (args or _KEEPING.isdisjoint(before))
    if not (keep and (folder / "unibuild.toml").is_file()):
        _write_project(folder, file, args)
    os.chdir(folder)
    return rest


def _absolute(word: str, previous: str) -> str:
    """Return a word of the command line with the file that it names made absolute."""
    key, equals, value = word.partition("=")
    if equals and value and key in (*_FILES, *_FILE_SETTINGS) and value != "-":
        return f"{key}={Path(value).absolute()}"
    return str(Path(word).absolute()) if previous in _FILES and word != "-" else word


def _is_path(word: str) -> bool:
    """Return whether a word names a kernel or an ``.xl``, there or not, and not an option, a setting or a goal."""
    if word.startswith("-") or ("=" in word and os.sep not in word.partition("=")[0]):
        return False
    return word.endswith((".xen", ".xl")) or (os.sep in word and Path(word).is_file() and _is_kernel(Path(word)))


def _is_kernel(path: Path) -> bool:
    with reading(path), path.open("rb") as file:
        return file.read(4).startswith((b"\x7fELF", b"\x1f\x8b"))  # an ELF file, perhaps in gzip


def _folder(file: Path) -> Path:
    """Return the folder of the project of a kernel or ``.xl``; ``hello.xen`` and ``hello.xl`` have the same one."""
    path = file.with_suffix("") if file.suffix in (".xen", ".xl") else file
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
    return cache_home() / "unibuild" / "kernels" / f"{to_domain_name(path.name)}-{digest}"


def _write_project(folder: Path, file: Path, args: Sequence[str]) -> None:
    """Write the project of a kernel or ``.xl`` with the unikernel's arguments.

    The settings of the project around the kernel, if there is one, do not count: the kernel need not be that project's.
    """
    kernel, xl = (_kernel_of(file), file) if file.suffix == ".xl" else (file, file.with_suffix(".xl"))
    if not kernel.is_file():
        raise InputError(f"there is no kernel {kernel}", hint="give the path of a kernel or of an .xl file")
    lines = [f"# unibuild writes this file for {toml_value(str(kernel))}. For your own: unibuild init, next to it"]
    lines += ["[build]", 'toolchain = "prebuilt"', f"kernel = {toml_value(str(kernel))}"]
    if xl.is_file():
        lines += ["[xl]", f"file = {toml_value(str(xl))}"]
    else:
        lines.insert(1, f"name = {toml_value(to_domain_name(kernel.stem))}")
    if args:
        lines += ["[boot]", f"args = {toml_value([*args])}"]
    try:
        text = ("\n".join(lines) + "\n").encode()
    except UnicodeEncodeError:
        wrong = next(one for one in (str(kernel), *args) if one.encode(errors="replace").decode() != one)
        raise InputError(f"this is not UTF-8: {os.fsencode(wrong)!r}", hint=_RENAME) from None
    written = folder / "unibuild.toml"
    with reading(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not written.is_file() or written.read_bytes() != text:
            write_atomic(written, text)  # for the user alone: arguments may be secret


def _kernel_of(xl: Path) -> Path:
    """Return the kernel that an ``.xl`` names, from its folder."""
    from unibuild.xlcfg import parser

    kernel = parser.parse(read(xl), str(xl)).get("kernel")
    if not isinstance(kernel, str):
        raise InputError(f"{xl} names no kernel", hint="give the path of the kernel")
    return (xl.parent / kernel).absolute()
