"""The consoles of a swap: the new domain's from its first byte on, the old one's to its last."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Self

from unibuild.domain.console import QUIET, SILENT, Reader
from unibuild.domain.console_log import Log, log_path, rotate
from unibuild.errors import UnibuildError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from unibuild.host import xl
    from unibuild.host.base import Host

__all__ = ["LastWords", "first_words", "hide"]

_PATIENCE = 20.0  # seconds for what an ended domain still has to say


class LastWords(contextlib.AbstractContextManager["LastWords"]):
    """What an old domain still says, for its log alone.

    Where its console is being read elsewhere, or cannot be read, this reads nothing.

    Args:
        host: where it is.
        domain: which one.
        state: the state folder.
    """

    def __init__(self, host: Host, domain: xl.Domain, state: Path) -> None:
        self._stack = contextlib.ExitStack()
        self._since = time.monotonic()
        self.reader: Reader | None = None
        with contextlib.suppress(UnibuildError):
            log = Log(log_path(state, domain.name, host.name))
            log.open()  # now: the file gets another name when the new domain begins its own
            self.reader = self._stack.enter_context(Reader(host, domain, log, hide, silent=SILENT))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def hear(self) -> None:
        """Read to the end; the domain has ended."""
        if self.reader is None:
            return
        self.reader.silent = max(QUIET, SILENT - (time.monotonic() - self._since))
        with contextlib.suppress(UnibuildError):
            self.reader.follow(wait=_PATIENCE)


def first_words(host: Host, domain: xl.Domain, path: Path, show: Callable[[bytes], None]) -> Reader:
    """Return the reader of a domain that is paused yet, with a new log.

    Raises:
        HostError: the host went out of reach.
    """
    rotate(path)
    return Reader(host, domain, Log(path), show)


def hide(_: bytes) -> None:
    """Show nothing."""
