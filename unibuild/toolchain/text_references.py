"""Searches the text of makefiles, scripts and sources for what a build may depend on: variables, names and folders."""

from __future__ import annotations

import fnmatch
import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = [
    "BUILT_IN",
    "IGNORED",
    "asks_for_changes",
    "asks_git",
    "bytecode_source",
    "destinations",
    "is_looked_up",
    "is_written",
    "outside",
    "text_of",
    "variables",
    "word_for",
]

BUILT_IN = (  # what make's built-in rules, compilers and linkers read
    *("AR", "ARFLAGS", "AS", "ASFLAGS", "CC", "CFLAGS", "CPP", "CPPFLAGS", "CXX", "CXXFLAGS", "LD", "LDFLAGS"),
    *(
        "LDLIBS",
        "LOADLIBES",
        "LEX",
        "LFLAGS",
        "YACC",
        "YFLAGS",
        "OBJCOPY",
        "RM",
        "TARGET_ARCH",
        "MAKEFLAGS",
        "MAKEFILES",
    ),
    *("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX"),
    *("SOURCE_DATE_EPOCH", "OCAMLPARAM", "OCAMLPATH", "OCAMLFIND_TOOLCHAIN", "CAML_LD_LIBRARY_PATH", "OPAMSWITCH"),
    *("PKG_CONFIG_PATH", "RUSTFLAGS", "RUSTC", "CARGO_BUILD_TARGET"),
)
"""Environment variables that count whether or not a file of the project names them."""

IGNORED = frozenset(
    (
        *("_", "PWD", "OLDPWD", "SHLVL", "SHELL", "TERM", "COLUMNS", "LINES", "MAKELEVEL", "MAKE", "MAKECMDGOALS"),
        *("CURDIR", "MAKEFILE_LIST", "MFLAGS", "MAKE_TERMOUT", "MAKE_TERMERR", "PATH", "HOME", "TMPDIR", "MAKEFLAGS"),
    )
)
"""Variables that make or a shell sets by itself, and those that the fast path knows already."""

_REFERENCES = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        rb"\$[({]([A-Za-z_]\w*)",
        rb"\$\$?([A-Za-z_]\w*)",
        rb"\bifn?def\s+(\w+)",
        rb"\((?:origin|flavor|value|call)\s+(\w+)",
        rb"environ(?:\.get)?\s*[(\[]\s*[\"'](\w+)",
        rb"[Gg]et_?[Ee]nv\w*\s*\(?\s*[\"'](\w+)",
        rb"%\{env:(\w+)",
        rb"ENV[{\[][\"']?(\w+)",
        rb"^\s*(?:export|unexport|override)\s+(\w+)",
        rb"^\s*([A-Za-z_]\w*)\s*\?=",
    )
)
_CODE = frozenset((".c", ".h", ".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx", ".s", ".asm", ".d", ".o", ".a"))
_MODULES = frozenset((".ml", ".mli", ".mll", ".mly", ".py", ".rs", ".hs", ".go", ".zig", ".ads", ".adb", ".lua", ".js"))
_LISTS = re.compile(
    rb"\b(?:find|ls|listdir|glob|iglob|rglob|walk|scandir|iterdir|opendir|readdir|nftw|tar|rsync|zip|cpio|readarray)\b"
    rb"|\bcp\s+-\w*[rRa]|\bls-files\b|\bSys\.readdir\b|\bsource_tree\b|\bglob_files\b|\bembed\.FS\b"
)
_PATTERN = re.compile(rb"[^\s\"'()=:;,|<>`]*[*?%][^\s\"'();,|<>`]*")
_OUTPUT = rb"(?:>[>|]?\s*|\s-o\s*|--output[=\s]|-Map[=,\s]|-MF\s*|\btee\s+(?:-a\s+)?|\bof=|\btouch\s+)"
_COPIES = re.compile(rb"(?<![\w./-])(?:mv|cp|install|ln)\s+([^;&|\n#<>]+)")
_REPLACES = re.compile(rb"(?<![\d&>])>\|?\s*([^\s;&|<>]+)|\s-o\s+([^\s;&|<>]+)")
_APPENDS = re.compile(rb">>\s*([^\s;&|<>]+)|\btee\s+-a\s+([^\s;&|<>]+)")
_VARIABLE = re.compile(r"\$(?:\((\w+)\)|\{(\w+)\}|(@))")
_GIT = re.compile(rb"\bgit\b")
_GIT_CHANGES = re.compile(
    rb"--dirty|--broken|\bgit\b[^\n]*\b(?:status|diff\w*|ls-files|archive|stash|grep|diff-index)\b"
)
_METADATA = re.compile(
    rb"\s-printf\b|\bls\s+-\w*[lst]|\bstat\s|\bdu\s|\s-newer\b|\s-m(?:time|min)\b|\bgetmtime\b|\bst_(?:mtime|size)\b"
)
_OUTSIDE = re.compile(r"(?:^|[\s=:,;\"'(]|-[ILTB]|-include|-isystem)((?:\.\./|/)[^\s\0:;,\"'()$]+)", re.MULTILINE)
_WILDCARD = re.compile(r"[*?\[]")
_SYSTEM = (
    "/usr/",
    "/bin/",
    "/sbin/",
    "/lib",
    "/etc/",
    "/dev/",
    "/proc/",
    "/sys/",
    "/tmp/cc",
    "/opt/",
    "/nix/",
    "/gnu/",
)
_BYTECODE = re.compile(r"(.*/)?__pycache__/([^/.]+)\.[\w-]+(?:\.opt-\w+)?\.pyc")
_LONGEST = 4 << 20  # bytes of a file that are searched


def text_of(path: str) -> bytes:
    """Return the beginning of a file; nothing where it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(_LONGEST)
    except OSError:
        return b""


def is_code(path: str) -> bool:
    """Say whether a file is C or assembly, in which ``$`` and ``*`` have no meaning to a build."""
    return os.path.splitext(path)[1].lower() in _CODE  # noqa: PTH122


def bytecode_source(path: str) -> str | None:
    """Return the Python file that a file in ``__pycache__`` was compiled from; None: it is another file.

    Python reads the compiled file alone where date and size of its source are what that one notes.
    """
    match = _BYTECODE.fullmatch(path)
    return f"{match[1] or ''}{match[2]}.py" if match else None


def word_for(path: str) -> re.Pattern[bytes]:
    """Return what a file contains that includes another one: its name, or in some languages that of its module."""
    base = os.path.basename(path)  # noqa: PTH119
    stem, suffix = os.path.splitext(base)  # noqa: PTH122
    name = stem if suffix in _MODULES else base
    return re.compile(rb"(?<!\w)" + re.escape(os.fsencode(name)) + rb"(?!\w)", re.IGNORECASE)


def variables(texts: Iterable[bytes]) -> set[str]:
    """Return the names of environment variables that makefiles and scripts may read."""
    found: set[str] = set()
    for text in texts:
        for pattern in _REFERENCES:
            found |= {name.decode() for name in pattern.findall(text)}
    return found - IGNORED


def asks_git(texts: Iterable[bytes]) -> bool:
    """Say whether makefiles or scripts run git."""
    return any(_GIT.search(text) for text in texts)


def asks_for_changes(texts: Iterable[bytes]) -> bool:
    """Say whether they ask git which files changed, or for dates and sizes, so that an edit of any file can matter."""
    return any(_GIT_CHANGES.search(text) or _METADATA.search(text) for text in texts)


def is_looked_up(path: str, read: Iterable[str], scripts: Iterable[bytes], texts: Iterable[bytes]) -> bool:
    """Say whether a build may depend on a file that came or went, although it did not read it.

    Args:
        path: of the file.
        read: the files that the build read.
        scripts: the text of its makefiles and scripts.
        texts: the text of all that it read.
    """
    name = os.path.basename(path)  # noqa: PTH119
    stem, suffix = os.path.splitext(name)  # noqa: PTH122
    if suffix and any(other.endswith(suffix) for other in read):
        return True
    words = [os.fsencode(name), *([os.fsencode(stem)] if suffix in _MODULES else [])]
    if any(word in text for text in texts for word in words):
        return True
    for text in scripts:
        if _LISTS.search(text) or (suffix and re.search(re.escape(os.fsencode(suffix)) + rb"(?!\w)", text)):
            return True
        patterns = (os.fsdecode(found).rpartition("/")[2].replace("%", "*") for found in _PATTERN.findall(text))
        if any(fnmatch.fnmatchcase(name, re.sub(r"\$[({]?\w+[)}]?|\$.", "*", each)) for each in patterns if each):
            return True
    return False


def is_written(path: str, scripts: Iterable[bytes]) -> bool:
    """Say whether makefiles or scripts write a file of that name, by redirection or an option for an output."""
    name = os.fsencode(os.path.basename(path))  # noqa: PTH119
    suffix = os.path.splitext(name)[1]  # noqa: PTH122
    return any(  # the searches are slow: thousands of names against all of make's database
        (name in text and _writes(re.escape(name), text))
        or (suffix and suffix in text and _writes(rb"\$[^\s;&|]*" + re.escape(suffix), text))
        for text in scripts
    )


@lru_cache(maxsize=256)
def _writes(end: bytes, text: bytes) -> bool:
    """Say whether a script writes a file with a name that ends so (a pattern); many files have one suffix."""
    return re.search(_OUTPUT + rb"[\"']?(?:[^\s;&|\"'$]*/)?(?:" + end + rb")(?![\w.])", text) is not None


def destinations(texts: Iterable[bytes], values: Mapping[str, str], targets: Iterable[str]) -> set[str]:
    """Return the paths that makefiles and scripts write whole (``mv``, ``cp``, ``>``, ``-o``) and do not append to.

    Args:
        texts: of makefiles and scripts.
        values: what make knows of its variables.
        targets: what ``$@`` can stand for.
    """
    written: set[str] = set()
    appended: set[str] = set()
    for raw in texts:
        text = raw.replace(b"\\\n", b" ")
        appended.update(os.fsdecode(one or other) for one, other in _APPENDS.findall(text))
        written.update(os.fsdecode(one or other) for one, other in _REPLACES.findall(text))
        for arguments in _COPIES.findall(text):
            *sources, last = [word for word in map(os.fsdecode, arguments.split()) if word[0] != "-"] or [""]
            written |= {last, *(f"{last}/{os.path.basename(source)}" for source in sources)}  # noqa: PTH119
    targets = tuple(targets)
    found = {path for word in written - appended for path in _expanded(word, values, targets)}
    return found - {path for word in appended for path in _expanded(word, values, targets)}


def _expanded(word: str, values: Mapping[str, str], targets: Sequence[str]) -> Iterator[str]:
    """Give what a word of a recipe can stand for; nothing where a variable is not known."""
    word = word.strip("\"'")
    word = word if "(" in word else word.rstrip(")")
    for _ in range(4):
        if "$" not in word:
            break
        word = _VARIABLE.sub(lambda match: "$@" if match[3] else values.get(match[1] or match[2], "$"), word)
    for path in (word.replace("$@", target) for target in targets) if "$@" in word else (word,):
        if path and not {*"$*?%() "} & {*path}:
            yield os.path.normpath(path)


def outside(text: str, folder: str, root: str) -> set[str]:
    """Return the paths outside of ``root`` that a text names, seen from ``folder``, without those of the system.

    The last part of a relative path can be a pattern of ``glob``; ``%`` of make's pattern rules becomes ``*``.
    """
    found = set()
    for word in _OUTSIDE.findall(text):
        parts = _WILDCARD.split(word.replace("%", "*"), maxsplit=1)
        is_pattern = len(parts) > 1 and word.startswith("../") and "/" not in parts[1]
        path = os.path.normpath(os.path.join(folder, word.replace("%", "*") if is_pattern else parts[0]))  # noqa: PTH118
        is_left_out = f"{path}/".startswith(f"{root.rstrip('/')}/") or f"{root}/".startswith(f"{path}/")
        is_left_out = is_left_out or (word[0] == "/" and path.startswith(_SYSTEM))
        if not is_left_out and path.count("/") > 1:
            found.add(path)
    return found
