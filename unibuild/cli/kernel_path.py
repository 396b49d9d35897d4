"""``unibuild GOAL path/to/kernel.xen``: a kernel without a project, which gets one in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.errors import InputError
from unibuild.util.files import cache_home, reading, write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["enter_project"]

_USING = ("console", "destroy", "history", "rollback", "status")  # goals for which the last run's arguments stay


def enter_project(words: Sequence[str]) -> list[str]:
    """Change to the project of the kernel that a command line names; return the words without the kernel.

    The first word is a goal. What follows ``--`` becomes the unikernel's arguments. A command line without a kernel is
    returned as it is.

    Raises:
        InputError: the file does not exist, or there are arguments and no kernel.
        FileError: the project cannot be written.
    """
    end = words.index("--") if "--" in words else len(words)
    before, after = words[:end], words[end + 1 :]
    named = [word for word in before[1:] if _is_path(word)]
    if not named:
        if after:
            raise InputError(
                f"`-- {shlex.join(after)}`: arguments need the path of a kernel",
                hint="in a project, set boot.args: `unibuild boot boot.args='--port=80'`",
            )
        return list(words)
    if len(named) > 1:
        raise InputError(f"one kernel at a time, not {', '.join(named)}")
    file = Path(named[0]).absolute()
    kernel, xl = (_kernel_of(file), file) if file.suffix == ".xl" else (file, file.with_suffix(".xl"))
    if not kernel.is_file():
        raise InputError(f"there is no kernel {kernel}")
    folder = _project(kernel, xl if xl.is_file() else None, after, keep=not after and before[0] in _USING)
    os.chdir(folder)
    return [word for word in before if word != named[0]]


def _is_path(word: str) -> bool:
    """Return whether a word names a kernel or an ``.xl``, there or not, and not an option, a setting or a goal."""
    if word.startswith("-") or "=" in word:
        return False
    return word.endswith((".xen", ".xl")) or (os.sep in word and Path(word).is_file() and _is_kernel(Path(word)))


def _is_kernel(path: Path) -> bool:
    with reading(path), path.open("rb") as file:
        return file.read(4).startswith((b"\x7fELF", b"\x1f\x8b"))  # an ELF file, perhaps in gzip


def _project(kernel: Path, xl: Path | None, args: Sequence[str], *, keep: bool) -> Path:
    """Return the folder of the kernel's project; write its ``unibuild.toml``, unless it is there and ``keep`` is set.

    The settings of the project around the kernel, if there is one, do not count: the kernel need not be that project's.
    """
    lines = [f"# the project of {_toml(kernel)}, for `unibuild boot` and the other goals with its path"]
    lines += ["[build]", 'toolchain = "prebuilt"', f"kernel = {_toml(kernel)}"]
    if xl:
        lines += ["[xl]", f"file = {_toml(xl)}"]
    else:
        lines.insert(1, f"name = {_toml(_name(kernel))}")
    if args:
        lines += ["[boot]", f"args = [{', '.join(map(_toml, args))}]"]
    try:
        text = ("\n".join(lines) + "\n").encode()
    except UnicodeEncodeError:
        raise InputError(f"a name is not UTF-8: {os.fsencode(kernel)!r}", hint="rename it or its folder") from None
    digest = hashlib.sha256(os.fsencode(kernel)).hexdigest()[:12]
    folder = cache_home() / "unibuild" / "kernels" / f"{_name(kernel)}-{digest}"
    file = folder / "unibuild.toml"
    with reading(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.is_file() or not (keep or file.read_bytes() == text):
            write_atomic(file, text)  # for the user alone: arguments may be secret
    return folder


def _kernel_of(xl: Path) -> Path:
    """Return the kernel that an ``.xl`` names, from its folder."""
    from unibuild.graph.xl_file import read
    from unibuild.xlcfg import parser

    kernel = parser.parse(read(xl), str(xl)).get("kernel")
    if not isinstance(kernel, str):
        raise InputError(f"{xl} names no kernel")
    return xl.parent / kernel


def _name(kernel: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", kernel.stem).strip("-.+")[:200] or "unikernel"


def _toml(text: object) -> str:
    return json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")
