"""Whose a domain is: a marker in the host's XenStore, and a lock there for the time that it is being changed.

    /unibuild/domains/UUID = "ann@laptop:/src/hello"
    /unibuild/lock/NAME/TOKEN = "4711 1795427141 ann@laptop:/src/hello"   process, when it is over at the latest, whose

XenStore's tools know no test-and-set, so a lock is taken thus: write a token of one's own, then look; who sees another
one's withdraws. Two may withdraw, and try again; two can never both see themselves alone. A token whose process is
gone, or whose time is over, is nobody's.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import re
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unibuild.errors import BusyError, DomainError, UnibuildError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from unibuild.domain import xl
    from unibuild.host.base import Host

__all__ = ["Token", "locked", "mark", "owners", "parse", "refusal", "unmark", "whoami"]

_MARKS = "/unibuild/domains"
_LOCKS = "/unibuild/lock"
_PATIENCE = 3.0  # seconds for another one to be done
_LINE = re.compile(r'^(/\S+) = "(.*?)"(?:\s+\(.*\))?$', re.MULTILINE)  # tools/xenstore/xenstore_client.c, "ls -f"


@dataclass(frozen=True)
class Token:
    """Who changes a domain: process, time (seconds since 1970) at which it is done for sure, and whose it is."""

    path: str
    pid: int
    until: float
    whose: str

    def is_stale(self, here: str) -> bool:
        """Tell whether it is nobody's any more.

        Args:
            here: ``user@machine`` of this process.
        """
        if self.until < time.time():
            return True
        return self.whose.startswith(f"{here}:") and not _is_alive(self.pid)


def whoami(root: Path) -> str:
    """Return who we are to others: ``user@machine:/folder of the project``."""
    return f"{_here()}:{root}".replace('"', "?").encode("ascii", "replace").decode()


def parse(text: str) -> tuple[dict[str, str], tuple[Token, ...]]:
    """Read what ``xenstore-ls -f /unibuild`` says: owners by the uuid of the domain, and the tokens of all locks."""
    found: dict[str, str] = dict(_LINE.findall(text))
    marks = {path.rpartition("/")[2]: value for path, value in found.items() if path.startswith(f"{_MARKS}/")}
    tokens = []
    for path, value in found.items():
        words = re.fullmatch(r"(\d{1,9}) (\d{1,12}) (.+)", value)
        if path.startswith(f"{_LOCKS}/") and words:
            tokens.append(Token(path, int(words[1]), float(words[2]), words[3]))
    return marks, tuple(tokens)


def owners(host: Host) -> Mapping[str, str]:
    """Return whose the domains of a host are, by their uuid; those that no unibuild made are not among them."""
    return parse(_look(host))[0]


def mark(host: Host, asked: str, whose: str) -> None:
    """Say whose the domain of a uuid is; before it is made, so that it is never nobody's."""
    host.run(["xenstore-write", f"{_MARKS}/{asked}", whose], background=True)


def unmark(host: Host, *uuids: str) -> None:
    """Forget whose domains were that are gone."""
    for asked in uuids:
        host.run(["xenstore-rm", f"{_MARKS}/{asked}"], check=False, background=True)


def refusal(host: Host, domain: xl.Domain, whose: str | None) -> DomainError:
    """Return the error of a name that is taken; ``whose`` it is, where that is known."""
    told = f"it is that of {whose}" if whose else "it is not ours"
    return DomainError(
        f"a domain called {domain.name} is on {host.name} already, and {told} (domain {domain.domid})",
        hint=f"give ours another name (name = ...), end it (`xl destroy {domain.domid}`), or take its place: --take",
    )


@contextlib.contextmanager
def locked(host: Host, name: str, whose: str, *, seconds: float, take: bool = False) -> Iterator[Mapping[str, str]]:
    """Keep others from changing the domain ``name`` for the time of a block; gives what ``owners`` returns.

    Args:
        host: where.
        name: of the domain.
        whose: who we are.
        seconds: that the block takes at most.
        take: break another one's lock.

    Raises:
        BusyError: another one is at it.
        HostError: the host cannot be reached, or XenStore does not answer.
    """
    deadline = time.monotonic() + _PATIENCE
    path = f"{_LOCKS}/{name}/{uuid.uuid4().hex[:12]}"
    try:
        while True:
            host.run(["xenstore-write", path, f"{os.getpid()} {time.time() + seconds:.0f} {whose}"])
            marks, tokens = parse(_look(host))
            others = [token for token in tokens if token.path.startswith(f"{_LOCKS}/{name}/") and token.path != path]
            gone = [token for token in others if take or token.is_stale(_here())]
            for token in gone:
                host.run(["xenstore-rm", token.path], check=False)
            if len(gone) == len(others):
                break
            host.run(["xenstore-rm", path], check=False)
            if time.monotonic() > deadline:
                raise _busy(name, host, next(token for token in others if token not in gone))
            time.sleep(random.uniform(0.1, 0.5))
        yield marks
    finally:
        with contextlib.suppress(UnibuildError):  # a host that is out of reach: the time in the token ends it
            host.run(["xenstore-rm", path], check=False, background=True)


def _busy(name: str, host: Host, token: Token) -> BusyError:
    until = time.strftime("%H:%M:%S", time.localtime(token.until))
    return BusyError(
        f"{name} on {host.name} is being changed by {token.whose} (process {token.pid})",
        hint=f"wait for it to end; it will at {until} at the latest. Where you know that it is dead: --take",
    )


def _look(host: Host) -> str:
    return host.run(["xenstore-ls", "-f", "/unibuild"], check=False).text


def _here() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's number without a name
        user = str(os.getuid())
    return f"{user}@{os.uname().nodename}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
