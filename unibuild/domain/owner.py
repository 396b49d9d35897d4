"""Whose a domain is: a marker in the host's XenStore, and a lock there for the time that it is being changed.

    /unibuild/domains/UUID = "ann@laptop:/src/hello"
    /unibuild/lock/NAME/TOKEN = "4711 1795427141 ann@laptop:/src/hello"   process, when it is over at the latest, whose

XenStore's tools know no test-and-set, so a lock is taken thus: write a token of one's own, then look; only who sees no
other one's has it, and two can never both see themselves alone. Of several that come at once the one whose token is the
least stays, and looks again until the others have withdrawn theirs; they look until there is none before they write
again. A token whose process is gone, or whose time is over, is nobody's.
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
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from unibuild.domain import xl
    from unibuild.host.base import Host

__all__ = ["Token", "locked", "mark", "owners", "parse", "refusal", "unmark", "whoami"]

_MARKS = "/unibuild/domains"
_LOCKS = "/unibuild/lock"
_PATIENCE = 3.0  # seconds for another one to be done
_LOOKS = 5  # that a slow host is given at least
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
    path = f"{_LOCKS}/{name}/{uuid.uuid4().hex[:12]}"
    token = Token(path, os.getpid(), time.time() + seconds, whose)
    try:
        yield _acquire(host, name, token, take=take)
    finally:
        with contextlib.suppress(UnibuildError):  # a host that is out of reach: the time in the token ends it
            host.run(["xenstore-rm", path], check=False, background=True)


def _acquire(host: Host, name: str, ours: Token, *, take: bool) -> Mapping[str, str]:
    """Take the lock; return what ``owners`` does."""
    deadline = time.monotonic() + _PATIENCE
    others: Sequence[Token] = ()
    is_written, looks = False, 0
    while True:
        if not is_written and not others:
            host.run(["xenstore-write", ours.path, f"{ours.pid} {ours.until:.0f} {ours.whose}"])
            is_written = True
        marks, others = _look_for_others(host, name, ours, take=take)
        looks += 1
        if is_written and not others:
            return marks
        if is_written and ours.path > min(one.path for one in others):
            host.run(["xenstore-rm", ours.path], check=False)
            is_written = False
        if others and looks >= _LOOKS and time.monotonic() > deadline:
            raise _busy(name, host, others[0])
        time.sleep(random.uniform(0.1, 0.3))


def _look_for_others(host: Host, name: str, ours: Token, *, take: bool) -> tuple[Mapping[str, str], Sequence[Token]]:
    """Return whose the domains are, and the tokens of others that count; those that do not are removed."""
    marks, tokens = parse(_look(host))
    others = [one for one in tokens if one.path.startswith(f"{_LOCKS}/{name}/") and one.path != ours.path]
    gone = [one for one in others if take or one.is_stale(_here())]
    for one in gone:
        host.run(["xenstore-rm", one.path], check=False)
    return marks, [one for one in others if one not in gone]


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
