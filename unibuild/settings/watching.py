"""The settings of the watch loop; they are part of the tree in settings/model.py."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from unibuild.settings.types import Seconds

__all__ = ["Watch"]


class Watch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`unibuild watch`: what a save does, and who hears of it."""

    debounce: Annotated[
        Seconds, Meta(description="Seconds without another change after which a save counts as finished.")
    ] = 0.02
    max_wait: Annotated[
        Seconds, Meta(description="Seconds after which changes that go on and on are built all the same.")
    ] = 0.5
    poll: Annotated[
        bool,
        Meta(
            description="Only look about once a second, and let the kernel report nothing. For a file system whose "
            "changes it does not see, as one of another machine; a change is found without this too, by the same look."
        ),
    ] = False
    on_save: Annotated[
        Literal["wait", "restart"],
        Meta(
            description="What a save during a build does. `wait`: it is built next. `restart`: the build is stopped, "
            "and the next one begins. A swap of domains is finished in any case."
        ),
    ] = "wait"
    stop_timeout: Annotated[
        Seconds, Meta(description="Seconds after which a build that was asked to stop (TERM) is killed.")
    ] = 5.0
    keep_domain: Annotated[
        bool, Meta(description="Let the domain run on when the watch ends; else it is destroyed then.")
    ] = False
    bell: Annotated[bool, Meta(description="Ring the terminal's bell on a failure, and when it is over.")] = False
    notify: Annotated[
        Literal["off", "desktop", "terminal"],
        Meta(
            description="What tells of a failure, and that it is over, besides. `desktop`: a notification, by "
            "`notify-send`. `terminal`: one that the terminal shows (OSC 9)."
        ),
    ] = "off"
    hyperlink: Annotated[
        str,
        Meta(
            description="Where a click on `main.c:12:5` leads: an address with `{host}`, `{path}`, `{line}` and "
            "`{column}`, as `vscode://file{path}:{line}:{column}`. `auto`: the file, where the terminal is known to "
            "have links. `off`: nowhere."
        ),
    ] = "auto"
    on_ready: Annotated[
        tuple[str, ...],
        Meta(description="A command to run when a new domain runs and is good, as a list of words."),
    ] = ()
    on_fail: Annotated[
        tuple[str, ...],
        Meta(description="A command to run when a cycle failed or its domain ended badly, as a list of words."),
    ] = ()
