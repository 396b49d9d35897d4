"""The environment variables with our prefix: which setting one names, and those that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibuild.errors import SettingsError
from unibuild.settings.deprecated import old_variables
from unibuild.settings.locations import PREFIX

if TYPE_CHECKING:
    from unibuild.settings.locations import KeyPath

__all__ = ["CYCLE", "RESERVED", "variable_path"]

CYCLE = {
    "UNIBUILD_CYCLE_NUMBER": "in a hook of the watch: number of the cycle, from 1",
    "UNIBUILD_CYCLE_OUTCOME": "in a hook of the watch: booted, ready, failed, not ready; later perhaps crashed",
    "UNIBUILD_CYCLE_TRIGGER": "in a hook of the watch: the file that began it",
    "UNIBUILD_CYCLE_SECONDS": "in a hook of the watch: how long it took",
    "UNIBUILD_CYCLE_WHY": "in a hook of the watch: more of it, in a sentence",
    "UNIBUILD_CYCLE_DOMAIN": "in a hook of the watch: name of the domain",
    "UNIBUILD_CYCLE_DOMID": "in a hook of the watch: its number on the host; empty where none runs",
    "UNIBUILD_CYCLE_HOST": "in a hook of the watch: where it runs",
    "UNIBUILD_CYCLE_GENERATION": "in a hook of the watch: number of its generation",
    "UNIBUILD_CYCLE_CONSOLE": "in a hook of the watch: the log of its console",
}
"""The environment variables of the commands that `unibuild watch` runs (``watch.on_ready``, ``watch.on_fail``)."""
RESERVED = {  # variables with our prefix that are no settings, and what they are
    "UNIBUILD_ARGS": "more words for the command line of unibuild, for `make boot UNIBUILD_ARGS=...`",
    "UNIBUILD_GOALS": "the goals that unibuild.mk adds to a Makefile",
    "UNIBUILD_DEBUG": "show tracebacks, as --debug does",
    "UNIBUILD_BATCH": "ask for no password, on a terminal neither",
    "UNIBUILD_RESULT": "the number of a file descriptor that the result is written to, as JSON",
    **CYCLE,
}


def variable_path(name: str) -> KeyPath:
    """Return the key that an environment variable names; an old spelling of the name gives the old key.

    Raises:
        SettingsError: it names none.
    """
    import difflib

    from unibuild.settings.model import Settings
    from unibuild.settings.schema import leaves, spellings

    if name in (old := old_variables(PREFIX)):
        return old[name]
    for path in spellings(Settings, name.removeprefix(PREFIX)):
        return path
    names = [leaf.variable for leaf in leaves()] + list(RESERVED)
    close = difflib.get_close_matches(name, names, 1, 0.8)
    raise SettingsError(
        f"environment: `{name}` is no setting",
        hint=f"did you mean `{close[0]}`?" if close else f"unset it: names that start with {PREFIX} are ours",
    )
