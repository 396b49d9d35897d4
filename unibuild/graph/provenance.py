"""Where a kernel comes from: the revision of its sources, what built it, the arguments that it gets.

Children are asked here, so this is called where something is booted or the user asks, and not where nothing is stale.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from unibuild.errors import UnibuildError
from unibuild.util import process
from unibuild.xlcfg import cmdline

if TYPE_CHECKING:
    from pathlib import Path

    from unibuild.settings.model import Settings
    from unibuild.toolchain.base import Toolchain

__all__ = ["facts", "revision"]

_LOCK_TIMEOUT = 10.0  # seconds for git: a large tree on a cold disk
_QUIET = {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}  # it looks, and leaves the index as it is
_COMPILER = re.compile(rb"GCC: \([^)\0]*\) \d[\w.]*|clang version \d[\w.]*")  # as they sign in ELF's .comment


def facts(root: Path, settings: Settings, toolchain: Toolchain) -> dict[str, str]:
    """Return what is known, by these names; what is not known is left out.

    - ``revision``, ``commit``, ``branch``, ``tree``: see ``revision``
    - ``toolchain``: ``mirage 4.11.1``, or ``make``
    - ``compiler``: the C compiler, as it signed in the kernel
    - ``arguments``: those of ``[boot] args`` as words of a shell, or ``[xl] cmdline``

    Args:
        root: the project's folder.
        settings: its settings.
        toolchain: what built its kernel.
    """
    version = getattr(toolchain, "version", "")
    words = shlex.join(cmdline.words(settings.boot.args))
    found = {
        **revision(root),
        "toolchain": f"{toolchain.name} {version}".strip(),
        "compiler": _compiler(toolchain.kernel),
        "arguments": words or settings.xl.cmdline or "",
    }
    return {key: value for key, value in found.items() if value}


def revision(root: Path) -> dict[str, str]:
    """Return what git says of a folder; nothing where there is no git, no repository or no commit.

    Returns:
        ``revision`` as ``git describe --always --dirty`` has it, ``commit`` (40 digits), ``branch`` (none where the
        head is detached) and ``tree``: ``clean``, or ``changed`` where a file that git follows differs from the commit.
    """
    try:
        output = _git(root, "status", "--porcelain=v2", "--branch", "--untracked-files=no", "--ignore-submodules=none")
        described = _git(root, "describe", "--always", "--tags").strip()
    except UnibuildError:
        return {}
    head = dict(re.findall(r"^# branch\.(oid|head) (.+)$", output, re.MULTILINE))
    changed = re.search(r"^[^#]", output, re.MULTILINE) is not None
    found = {
        "revision": described + ("-dirty" if changed else ""),
        "commit": head.get("oid", ""),
        "branch": head.get("head", "").replace("(detached)", ""),
        "tree": "changed" if changed else "clean",
    }
    return {key: value for key, value in found.items() if value}


def _git(root: Path, *args: str) -> str:
    return process.run(["git", "-C", str(root), *args], env=_QUIET, timeout=_LOCK_TIMEOUT).text


def _compiler(kernel: Path) -> str:
    try:
        found = _COMPILER.search(kernel.read_bytes())
    except OSError:
        return ""
    return found[0].decode(errors="replace").strip() if found else ""
