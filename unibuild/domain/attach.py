"""The commands on the host that read a console: ``xl console``, and what tells that some domain ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tty
from typing import TYPE_CHECKING

from unibuild.domain.terminal import LEAVE, end_by_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from unibuild.domain import xl
    from unibuild.host.base import Host
    from unibuild.host.exchange import HostChild

__all__ = ["Attached"]

_INTERRUPT = b"\x03"  # Ctrl-C


class Attached(contextlib.AbstractContextManager["Attached"]):
    """A console that is attached, from the moment this is made.

    Over SSH each command gets a terminal there, and we one to type on, whose settings ssh hands on: no key is echoed or
    changed. A kept connection does not tell the far side that its ssh is gone, so it is told to leave by a key.

    Args:
        host: where the domain is.
        domain: which one.
        kind: which of an HVM domain's consoles, ``serial`` or ``pv``; None: the one that xl takes for the first.
        rest: is called in the end, when ``console`` has been told to leave and its output is open still.

    Attributes:
        console: the command whose output the domain's console is.
        watch: the one that says a line whenever a domain of the host ends; it ends where there is no xenstore-watch.
    """

    def __init__(self, host: Host, domain: xl.Domain, kind: str | None, rest: Callable[[HostChild], None]) -> None:
        self._host = host
        self._domain = domain
        self._stack = contextlib.ExitStack()
        self._keys: int | None = None  # where keys are written to
        try:
            which = ["-t", kind] if kind else []
            self.console = self._start(["xl", "console", *which, str(domain.domid)], LEAVE, rest)
            self.watch = self._start(["xenstore-watch", "@releaseDomain"], _INTERRUPT)
        except BaseException:
            self._stack.close()
            raise

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def send(self, data: bytes) -> None:
        """Write keys to the console.

        `xl console` itself takes keys only on a terminal. Behind sudo here it has none (sudo would put its own
        between), so they go to the terminal in dom0 that xenconsoled made for the domain (its name is in xenstore).
        """
        if self._keys is None:
            path = f"/local/domain/{self._domain.domid}/console/tty"
            there = self._host.run(["xenstore-read", path], background=True).text.strip()
            child = self._host.start(["tee", "-a", there], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            self._stack.enter_context(child)
            assert child.stdin is not None
            self._keys = child.stdin.fileno()
        with contextlib.suppress(BrokenPipeError):
            os.write(self._keys, data)

    def _start(self, argv: list[str], leave: bytes, rest: Callable[[HostChild], None] | None = None) -> HostChild:
        """Start a command, to which ``leave`` is typed in the end."""
        if not self._host.has_ttys:
            child = self._host.start(argv)
            self._stack.enter_context(child)
            if rest:
                self._stack.callback(rest, child)
            return child
        keys, terminal = os.openpty()
        self._stack.callback(os.close, keys)
        self._stack.callback(os.close, terminal)
        if rest:
            tty.setraw(terminal)
            self._keys = keys
        child = self._host.start(argv, tty=True, stdin=terminal)
        self._stack.enter_context(child)
        if rest:
            self._stack.callback(rest, child)
        self._stack.callback(end_by_key, child, keys, leave)
        return child
