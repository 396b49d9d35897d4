"""What a unikernel is called: by the arguments of ``mirage configure``, and by what it generated the last time."""

from __future__ import annotations

import itertools
from pathlib import Path

from unibuild.errors import SettingsError
from unibuild.files import reading
from unibuild.toolchain import opam

__all__ = ["last_generated", "output_name"]

OURS_TO_GIVE = {  # arguments of `mirage configure` that are not for [mirage] args
    "-t": "the target is always xen",
    "--target": "the target is always xen",
    "-f": 'name the file in [mirage] config = "..."',
    "--file": 'name the file in [mirage] config = "..."',
    "--config-file": 'name the file in [mirage] config = "..."',
    "-b": "the build is made in the tree",
    "--build-dir": "the build is made in the tree",
    "--context-file": "the arguments stand in unibuild.toml",
    "--dry-run": "configure would write nothing",
    "--help": "configure would write nothing",
    "--version": "configure would write nothing",
}


def output_name(args: tuple[str, ...]) -> str | None:
    """Return the argument of ``-o`` among those of ``mirage configure``.

    Raises:
        SettingsError: an argument is there that is ours to give.
    """
    output = None
    for word, after in itertools.pairwise((*args, "")):
        option, equals, value = word.partition("=") if word.startswith("--") else (word[:2], "", word[2:])
        if option in OURS_TO_GIVE:
            raise SettingsError(f"[mirage] args: {word} cannot be given: {OURS_TO_GIVE[option]}")
        if option in ("-o", "--output"):
            output = value if value or equals else after
    return output


def last_generated(folder: Path) -> tuple[str, str] | None:
    """Return the names, without suffix, of kernel and ``.xl`` that the newest opam file in a folder installs.

    Configure writes that file anew each time, and leaves those of earlier names where they are. None: there is none.

    Raises:
        FileError: one cannot be read.
    """
    files = sorted(folder.glob("*.opam"), key=lambda path: path.stat().st_mtime_ns) if folder.is_dir() else []
    for path in reversed(files):
        with reading(path):
            copied = opam.installed(path.read_text(errors="replace"))
        kernels = [Path(name).stem for name in copied if name.endswith(".xen")]
        configs = [Path(name).stem for name in copied if name.endswith(".xl")]
        if kernels and configs:
            return kernels[0], configs[0]
    return None
