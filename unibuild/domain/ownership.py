"""Record in the host's XenStore which project a domain is of, and lock a domain's name while it is being changed.

    /unibuild/domains/UUID = "3f9a1c2b7d4e:ann@laptop:/src/hello"     machine, user, folder of the project
    /unibuild/lock/NAME/TOKEN = "2 PROCESS 1795427141 3f9a1c2b7d4e:ann@laptop:/src/hello"

A token says which process holds the lock, and by when it is done at the latest, by the host's clock. XenStore's tools
have no test-and-set, so a lock is taken thus: write a token, then look; only a process that sees no other token has it,
and two can never both see themselves alone. Of several that come at once the one with the least token stays, and looks
again until the others have withdrawn theirs; they look until there is none before they write again. A token of a
process that is dead, or owner time is over, counts no more. A token in a format that is not known counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unibuild.errors import BusyError, DomainError, UnibuildError
from unibuild.util import process_identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from unibuild.host.base import Host
    from unibuild.host.toolstack import Domain, Listing, Store

__all__ = [
    "LockToken",
    "clear_owner",
    "is_owned_by",
    "locked",
    "name_taken",
    "node",
    "owner_id",
    "owners",
    "parse",
    "set_owner",
]

_ROOT = "/unibuild"
_MARKS = f"{_ROOT}/domains"
_LOCKS = f"{_ROOT}/lock"
_FORMAT = "2"  # of a token; unibuild 0.1 wrote "PID TIME WHOSE", with the time by its own clock
_PATIENCE = 3.0  # seconds for another one to be done
_LOOKS = 5  # that a slow host is given at least
_NODE_LENGTH = 200  # characters; XenStore allows 3071 for a whole path (xs_wire.h, XENSTORE_ABS_PATH_MAX)
_LONGEST = 1000  # characters of a marker; path and value together have 4096 (xs_wire.h, XENSTORE_PAYLOAD_MAX)


@dataclass(frozen=True)
class LockToken:
    """A lock on a domain's name.

    Attributes:
        path: its node in XenStore.
        process: the one that holds it; None: unibuild 0.1 or an unknown version wrote it.
        pid: its number, where that is known.
        until: when it is done at the latest, in seconds since 1970 by the host's clock; None: not known.
        owner: the marker of its project, or all that is known.
    """

    path: str
    process: process_identity.Process | None
    pid: int | None
    until: float | None
    owner: str

    def counts(self, now: float) -> bool:
        """Return whether it still keeps others away; ``now`` is the host's time."""
        is_over = self.until is not None and self.until < now
        return not (is_over or (self.process is not None and self.process.is_dead))


def owner_id(root: Path) -> str:
    """Return the marker of a project: ``MACHINE:user@host:/folder``, in ASCII."""
    return _short(f"{process_identity.machine()}:{_escaped(f'{process_identity.user_and_host()}:{root}')}")


def is_owned_by(owner: str | None, root: Path) -> bool:
    """Return whether a marker is that of a project on this machine; unibuild 0.1 wrote it without the machine."""
    before = f"{process_identity.user_and_host()}:{root}".replace('"', "?").encode("ascii", "replace").decode()
    return owner in (owner_id(root), before)


def node(name: str) -> str:
    """Return a name for a node of XenStore that stands for a domain's name and no other.

    A node's name has ``A-Z a-z 0-9 - _ @`` only; any other byte, and ``@``, becomes ``@`` and two digits.
    """
    escaped = re.sub(rb"[^A-Za-z0-9_-]", lambda found: b"@%02x" % found[0][0], os.fsencode(name)).decode()
    if len(escaped) <= _NODE_LENGTH and escaped:
        return escaped
    return f"{escaped[:64]}@@{hashlib.sha256(os.fsencode(name)).hexdigest()}"


def parse(found: Mapping[str, str]) -> tuple[dict[str, str], tuple[LockToken, ...]]:
    """Read the store's entries below ``/unibuild``: markers by the domain's uuid, and the tokens of all locks."""
    marks = {path.rpartition("/")[2]: value for path, value in found.items() if path.startswith(f"{_MARKS}/")}
    paths = [path for path in found if path.startswith(f"{_LOCKS}/") and path.count("/") == _LOCKS.count("/") + 2]
    return marks, tuple(_token(path, found[path]) for path in paths)


def _token(path: str, value: str) -> LockToken:
    words = value.split(" ", 3)
    if len(words) == 4 and words[0] == _FORMAT and words[2].isdecimal():
        process = process_identity.parse(words[1])
        if process:
            return LockToken(path, process, process.pid, float(words[2]), words[3])
    old = re.fullmatch(r"(\d{1,9}) (\d{1,12}) (.+)", value)
    if old and "@" in old[3]:
        return LockToken(path, None, int(old[1]), float(old[2]), old[3])
    return LockToken(path, None, None, None, "another version of unibuild")


def owners(host: Host) -> Mapping[str, str]:
    """Return the markers of a host's domains, by their uuid; those that no unibuild made are not among them."""
    return parse(host.toolstack.store.list(_ROOT).entries)[0]


def set_owner(host: Host, asked: str, owner: str) -> None:
    """Say owner the domain of a uuid is; before it is made, so that it is never nobody's."""
    host.toolstack.store.write(f"{_MARKS}/{asked}", owner)


def clear_owner(host: Host, *uuids: str) -> None:
    """Forget owner domains were that are gone."""
    for asked in uuids:
        host.toolstack.store.remove(f"{_MARKS}/{asked}")


def name_taken(host: Host, domain: Domain, owner: str | None) -> DomainError:
    """Return the error of a name that is taken; ``owner`` it is, where that is known."""
    if domain.domid == 0:
        return DomainError(
            f"{domain.name} is the control domain of {host.name}, and is never replaced",
            hint="choose another name (name = ...)",
        )
    told = f"it is that of {_shown(owner)}" if owner else "it is not ours"
    return DomainError(
        f"a domain called {domain.name} is on {host.name} already, and {told} (domain {domain.domid})",
        hint=f"give ours another name (name = ...), end it (`{host.toolstack.destroy_hint(domain)}`), "
        "or take it over: --take-over",
    )


@contextlib.contextmanager
def locked(
    host: Host, name: str, owner: str, *, seconds: float, take_over: bool = False
) -> Iterator[Mapping[str, str]]:
    """Keep others from changing the domain ``name`` for the time of a block; gives what ``owners`` returns.

    Args:
        host: where.
        name: of the domain.
        owner: the marker of the project.
        seconds: that the block takes at most.
        take_over: break another one's lock.

    Raises:
        BusyError: another one is at it.
        HostError: the host cannot be reached, or XenStore does not answer.
    """
    path = f"{_LOCKS}/{node(name)}/{uuid.uuid4().hex[:12]}"
    try:
        yield _acquire(host, name, _Lock(host.toolstack.store, path, owner, seconds), take_over=take_over)
    finally:
        with contextlib.suppress(UnibuildError):  # a host that is out of reach: the time in the token ends it
            host.toolstack.store.remove(path)


@dataclass(frozen=True)
class _Lock:
    """A token of this process on a host: ``seconds`` is how long it counts from the moment of ``take``."""

    store: Store
    path: str
    owner: str
    seconds: float

    def take(self) -> Listing:
        """Write the token; return what is in the store then."""
        begin = f"{_FORMAT} {process_identity.here()}"
        return self.store.write_lease(self.path, begin, self.seconds, self.owner, root=_ROOT)

    def look(self) -> Listing:
        """Return what is in the store."""
        return self.store.list(_ROOT)


def _acquire(host: Host, name: str, ours: _Lock, *, take_over: bool) -> Mapping[str, str]:
    """Take the lock; return what ``owners`` does."""
    deadline = time.monotonic() + _PATIENCE
    others: Sequence[LockToken] = ()
    is_written, looks = False, 0
    while True:
        if is_written or others:
            found = ours.look()
        else:
            found = ours.take()
            is_written = True
        marks, others = _others(host, ours, found, take_over=take_over)
        looks += 1
        if is_written and not others:
            return marks
        if is_written and ours.path > min(one.path for one in others):
            host.toolstack.store.remove(ours.path)
            is_written = False
        if others and looks >= _LOOKS and time.monotonic() > deadline:
            raise _busy(name, host, others[0], found.now)
        time.sleep(random.uniform(0.1, 0.3))


def _others(
    host: Host, ours: _Lock, found: Listing, *, take_over: bool
) -> tuple[Mapping[str, str], Sequence[LockToken]]:
    """Return the markers, and the tokens of others that count; those that do not are removed."""
    marks, tokens = parse(found.entries)
    folder = ours.path.rpartition("/")[0]
    others = [one for one in tokens if one.path.startswith(f"{folder}/") and one.path != ours.path]
    gone = [one for one in others if take_over or not one.counts(found.now)]
    for one in gone:
        host.toolstack.store.remove(one.path)
    return marks, [one for one in others if one not in gone]


def _busy(name: str, host: Host, token: LockToken, now: float) -> BusyError:
    process = "" if token.pid is None else f" (process {token.pid})"
    left = "" if token.until is None else f"; it will in {token.until - now:.0f} s at the latest"
    return BusyError(
        f"{name} on {host.name} is being changed by {_shown(token.owner)}{process}",
        hint=f"wait for it to end{left}. Where you know that it is dead: --take-over",
    )


def _shown(owner: str) -> str:
    """Return a marker without the machine's number."""
    return re.sub(r"\A[0-9a-f]{12}:", "", owner)


def _escaped(text: str) -> str:
    """Return text that a store can hold."""
    return re.sub(rb'[^ -~]|["%\\]', lambda found: b"%%%02X" % found[0][0], os.fsencode(text)).decode()


def _short(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - len(digest)]}{digest}"
