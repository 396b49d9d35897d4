"""Old spellings of settings, options and commands, which this release still accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibuild.util import run_result, standard_streams

if TYPE_CHECKING:
    from unibuild.settings.locations import KeyPath

__all__ = ["RENAMED", "current_key", "current_word", "old_variables", "report"]

RENAMED = {
    "boot.ready.otherwise": "boot.ready.on_failure",
    "lab.box": "lab.image",
    "launch.otherwise": "launch.on_failure",
    "watch.patience": "watch.stop_timeout",
    "watch.settle": "watch.debounce",
    "--take": "--take-over",
    "ami end": "ami terminate",
}
"""Old spelling to new: settings with dots, options with dashes, commands with spaces. A setting stays in its table."""

_KEYS = {tuple(old.split(".")): tuple(new.split(".")) for old, new in RENAMED.items() if "." in old}
_reported: set[str] = set()


def current_key(path: KeyPath) -> KeyPath:
    """Return the present key of a setting that may have an old spelling."""
    return _KEYS.get(path, path)


def current_word(old: str) -> str:
    """Return the new spelling of an option or a command, and report an old one."""
    new = RENAMED.get(old)
    if new is None:
        return old
    report(f"`{old}` is now `{new}`")
    return new


def old_variables(prefix: str) -> dict[str, KeyPath]:
    """Return the environment variables with an old spelling and the keys, in that spelling, which they set."""
    return {prefix + "_".join(path).upper(): path for path in _KEYS}


def report(change: str) -> None:
    """Write a hint to standard error, once; the unibuild that started this one has already written it."""
    if change not in _reported and not run_result.has_parent():
        _reported.add(change)
        standard_streams.text(2, f"hint: {change}; this release still accepts the old spelling\n")
