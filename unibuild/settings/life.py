"""The settings of a domain's life: how it is started, when it is good, and what a boot test wants of it.

They are part of the tree in settings/model.py.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from unibuild.settings.types import Argument, Count, Pattern, Port, Seconds, UrlPath, Value, XenstoreKey

__all__ = ["Boot", "Case", "Http", "Ready"]


class Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request that the domain shall answer."""

    port: Annotated[Port, Meta(description="The domain's port.")] = 80
    path: Annotated[UrlPath, Meta(description="What is asked for, with the query, from the first `/` on.")] = "/"
    status: Annotated[int, Meta(ge=100, le=599, description="The status that the answer must have.")] = 200
    body: Annotated[Pattern | None, Meta(description="What must be found in the answer's body.")] = None


class Ready(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When the domain counts as good: all that is set here must hold. A crash or an end fails at once."""

    console: Annotated[Pattern | None, Meta(description="What must be found in a line of the console.")] = None
    tcp: Annotated[Port | None, Meta(description="A port of the domain that must take a connection.")] = None
    http: Annotated[Http | None, Meta(description="A request that the domain must answer.")] = None
    xenstore: Annotated[
        XenstoreKey | None,
        Meta(
            description="A key of XenStore that must be there, from the domain's own folder: `data/ready`; "
            "`data/ready=yes` wants that value too.",
        ),
    ] = None
    address: Annotated[
        str | None,
        Meta(
            description="The domain's IP address for `tcp` and `http`. Not set: what the `.xl`, the lab's DHCP server "
            "or the console tells of it. In the lab the way there is a forwarded port, which need not be set up."
        ),
    ] = None
    timeout: Annotated[Seconds, Meta(description="Seconds after which a domain that is not ready has failed.")] = 30.0
    on_failure: Annotated[
        Literal["rollback", "keep", "stop"],
        Meta(
            description="What becomes of a domain that is not ready. `rollback`: it goes, and the last good generation "
            "is booted again. `keep`: it runs on. `stop`: it goes, and none runs."
        ),
    ] = "rollback"

    @property
    def is_set(self) -> bool:
        """Whether anything is waited for."""
        return any((self.console, self.tcp, self.http, self.xenstore))


class Boot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the domain is started."""

    args: Annotated[
        tuple[str, ...] | dict[Argument, Value],
        Meta(
            description='Arguments for the unikernel, each as one word, `["--port=80", "--hello=a b"]`, or by name: '
            "`[boot.args] port = 80`. There `true` gives the bare `--name`, `false` nothing, and a list the argument "
            "once for each of its values. They become the kernel's `cmdline`, in quotes where Mirage wants some."
        ),
    ] = ()
    check_args: Annotated[
        Literal["auto", "never"],
        Meta(
            description="`auto`: where the lab is up, a Solo5 kernel is asked once (`--help=plain`) which arguments it "
            "knows, and `args` with another one are refused before anything is booted. `never`: no kernel is asked."
        ),
    ] = "auto"

    console: Annotated[
        Literal["auto", "attach", "print", "none"],
        Meta(
            description="`attach`: the keyboard goes to the console, Ctrl-] leaves it. `print`: its lines are printed. "
            "`none`: neither. `auto`: `attach` on a terminal, else `print`."
        ),
    ] = "auto"
    escapes: Annotated[
        Literal["safe", "all"],
        Meta(
            description="Which control sequences of the console reach the terminal. `safe`: where the keyboard is "
            "attached, none that makes the terminal answer, reports the mouse, sets the clipboard or prints; else "
            "colours only. `all`: all of them, where the keyboard is attached. The log keeps every byte."
        ),
    ] = "safe"
    wait: Annotated[
        Seconds | None,
        Meta(description="With `print`: seconds after which to leave the console. Not set: until the domain ends."),
    ] = None
    ready: Ready = Ready()
    grace: Annotated[
        Seconds,
        Meta(description="Seconds that an older domain has to shut down, once asked, before it is destroyed."),
    ] = 10.0
    restarts: Annotated[
        int,
        Meta(
            ge=0,
            description="How often the domain may reboot within a minute; then it is stopped, for it is in a loop. "
            "0: a domain that asks for a reboot just ends.",
        ),
    ] = 5
    keep: Annotated[Count, Meta(description="How many generations are kept, to go back to.")] = 10
    keep_size: Annotated[
        Count, Meta(description="The MiB that their kernels may take together; the last good one is always kept.")
    ] = 512


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One boot of `unibuild test`, and what must come of it."""

    console: Annotated[
        tuple[Pattern, ...],
        Meta(description="What must be found in lines of the console, in this order; other lines may stand between."),
    ] = ()
    http: Annotated[
        tuple[Http, ...],
        Meta(
            description="Requests that it must answer, in this order; each has the keys of `[boot.ready.http]`.",
        ),
    ] = ()
    exit: Annotated[
        int | Literal["poweroff", "reboot", "crash"] | None,
        Meta(
            description="How it must end: the exit code that Solo5 prints, or how Xen sees it. Not set: it need not "
            "end, and a crash fails."
        ),
    ] = None
    args: Annotated[
        tuple[str, ...] | dict[Argument, Value] | None,
        Meta(description="Arguments for the unikernel in this test. Not set: those of `[boot]`."),
    ] = None
    ready_within: Annotated[
        Seconds | None,
        Meta(
            description="Seconds from its start within which `[boot.ready]` must hold. Not set: `[boot.ready] timeout`."
        ),
    ] = None
    timeout: Annotated[Seconds, Meta(description="Seconds that the whole test may take.")] = 60.0
