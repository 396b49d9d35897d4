"""Record in the host's XenStore which project owns a domain, and lock a domain's name while it is being changed.

    /unibuild/domains/UUID = "3f9a1c2b7d4e:ann@laptop:/src/hello"     machine, user, folder of the project
    /unibuild/lock/NAME/TOKEN = "2 PROCESS 1795427141 3f9a1c2b7d4e:ann@laptop:/src/hello"

A token says which process holds the lock, and until when at the latest, by the host's clock. XenStore's tools lack
test-and-set. So a process writes a token and then lists all tokens: it has the lock only if it finds no other one, and
two processes can never both find no other one. If several come at once, the one with the least token keeps it and
lists again until it is alone. The others list until there is no token before they write again.
A token of a dead process, or one past its time, no longer counts. A token in an unknown format counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from unibuild.errors import BusyError, DomainError, UnibuildError
from unibuild.host.toolstack import Lease
from unibuild.util import process_identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from unibuild.host.base import Host
    from unibuild.host.toolstack import Domain, HostFacts, HostQueries, Listing, Toolstack

__all__ = [
    "LockToken",
    "NameLock",
    "clear_owner",
    "entry",
    "is_owned_by",
    "locked",
    "name_taken",
    "node",
    "owner_id",
    "owners",
    "parse",
    "set_owner",
    "surveyed",
]

_ROOT = "/unibuild"
_MARKS = f"{_ROOT}/domains"
_LOCKS = f"{_ROOT}/lock"
_FORMAT = "2"  # of a token; unibuild 0.1 wrote "PID TIME OWNER", with the time by its own clock
_LOCK_TIMEOUT = 3.0  # seconds to wait for another process
_MIN_SCANS = 5  # of the tokens before giving up, for a slow host
_NODE_LENGTH = 200  # characters; XenStore allows 3071 for a whole path (xs_wire.h, XENSTORE_ABS_PATH_MAX)
_LONGEST = 1000  # characters of an owner id; path and value together have 4096 (xs_wire.h, XENSTORE_PAYLOAD_MAX)


@dataclass(frozen=True)
class LockToken:
    """A lock on a domain's name.

    Attributes:
        path: its node in XenStore.
        process: the process that holds it; None: unibuild 0.1 or an unknown version wrote it.
        pid: the process's id; None: it is not known.
        until: when the lock expires, in seconds since 1970 by the host's clock; None: not known.
        owner: the id of the owning project, or all that is known.
    """

    path: str
    process: process_identity.Process | None
    pid: int | None
    until: float | None
    owner: str

    def counts(self, now: float) -> bool:
        """Return whether the lock is still in force; ``now`` is the host's time."""
        is_over = self.until is not None and self.until < now
        return not (is_over or (self.process is not None and self.process.is_dead))


def owner_id(root: Path) -> str:
    """Return the owner id of a project: ``MACHINE:user@host:/folder``, in ASCII."""
    return _short(f"{process_identity.machine()}:{_escaped(f'{process_identity.user_and_host()}:{root}')}")


def is_owned_by(owner: str | None, root: Path) -> bool:
    """Return whether an owner id is that of this project; unibuild 0.1 wrote it without the machine."""
    before = f"{process_identity.user_and_host()}:{root}".replace('"', "?").encode("ascii", "replace").decode()
    return owner in (owner_id(root), before)


def node(name: str) -> str:
    """Return the name of a XenStore node for a domain's name; different names give different nodes.

    A node's name has ``A-Z a-z 0-9 - _ @`` only; any other byte, and ``@``, becomes ``@`` and two digits.
    """
    escaped = re.sub(rb"[^A-Za-z0-9_-]", lambda found: b"@%02x" % found[0][0], os.fsencode(name)).decode()
    if len(escaped) <= _NODE_LENGTH and escaped:
        return escaped
    return f"{escaped[:64]}@@{hashlib.sha256(os.fsencode(name)).hexdigest()}"


def parse(found: Mapping[str, str]) -> tuple[dict[str, str], tuple[LockToken, ...]]:
    """Return the owner ids by the domain's uuid, and the tokens of all locks, from the entries below ``/unibuild``."""
    ids = {path.rpartition("/")[2]: value for path, value in found.items() if path.startswith(f"{_MARKS}/")}
    paths = [path for path in found if path.startswith(f"{_LOCKS}/") and path.count("/") == _LOCKS.count("/") + 2]
    return ids, tuple(_token(path, found[path]) for path in paths)


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
    """Return the owner ids of the host's domains by uuid, without the domains that unibuild did not create."""
    return parse(host.toolstack.store.list(_ROOT).entries)[0]


def entry(asked: str) -> str:
    """Return the path in the store of the marker of the domain with a uuid."""
    return f"{_MARKS}/{asked}"


def set_owner(host: Host, asked: str, owner: str) -> None:
    """Record the owner of a domain; call it before the domain is created, so that a domain never lacks an owner."""
    host.toolstack.store.write(entry(asked), owner)


def clear_owner(host: Host, *uuids: str) -> None:
    """Remove the owners of domains that no longer exist."""
    for asked in uuids:
        host.toolstack.store.remove(entry(asked))


def name_taken(host: Host, domain: Domain, owner: str | None) -> DomainError:
    """Return the error of a name that another domain has; ``owner`` is its owner id, where that is known."""
    if domain.domid == 0:
        return DomainError(
            f"{domain.name} is the control domain of {host.name}, which unibuild never replaces",
            hint="choose another name (name = ...)",
        )
    why = f"belongs to {_shown(owner)}" if owner else "does not belong to this project"
    return DomainError(
        f"the name {domain.name} is in use on {host.name}: domain {domain.domid} {why}",
        hint=f"set another name (name = ...), destroy that domain (`{host.toolstack.destroy_hint(domain)}`), "
        "or take it over: --take-over",
    )


@contextlib.contextmanager
def locked(
    host: Host, name: str, owner: str, *, seconds: float, take_over: bool = False
) -> Iterator[Mapping[str, str]]:
    """Keep others from changing the domain ``name`` for the time of a block; gives what ``owners`` returns.

    Args:
        host: the host.
        name: the domain's name.
        owner: the owner id of this project.
        seconds: how long the block takes at most.
        take_over: break the lock of another process.

    Raises:
        BusyError: another process has the lock.
        HostError: the host cannot be reached, or XenStore does not answer.
    """
    with surveyed(host, name, owner, seconds=seconds, take_over=take_over) as lock:
        yield lock.owners


@contextlib.contextmanager
def surveyed(
    host: Host, name: str, owner: str, *, seconds: float, take_over: bool = False, queries: HostQueries | None = None
) -> Iterator[NameLock]:
    """Lock a domain's name as ``locked`` does, and ask for facts of the host under the lock in the same exchange.

    Args:
        host: see ``locked``.
        name: see ``locked``.
        owner: see ``locked``.
        seconds: see ``locked``.
        take_over: see ``locked``.
        queries: what is asked of the host; None: no facts are wanted.
    """
    path = f"{_LOCKS}/{node(name)}/{uuid.uuid4().hex[:12]}"
    lock = NameLock(host.toolstack, path, owner, seconds, queries)
    try:
        _acquire(host, name, lock, take_over=take_over)
        yield lock
    finally:
        if not lock.is_released:
            with contextlib.suppress(UnibuildError):  # if the host is out of reach, the token expires by itself
                host.toolstack.store.remove(path)


@dataclass
class NameLock:
    """A lock of this process on a domain's name.

    Attributes:
        toolstack: that of the host.
        path: of the token in the store.
        owner: the marker of the project.
        seconds: that the token counts from the moment of ``take``.
        queries: see ``surveyed``.
        facts: of the host; None where none are wanted, or the lock was not free at once.
        owners: what the function ``owners`` returns.
        is_released: whether the token was removed already, together with something else.
    """

    toolstack: Toolstack
    path: str
    owner: str
    seconds: float
    queries: HostQueries | None
    facts: HostFacts | None = None
    owners: Mapping[str, str] = field(default_factory=dict)
    is_released: bool = False

    def take(self) -> Listing:
        """Write the token; return the store's entries after that."""
        lease = Lease(self.path, f"{_FORMAT} {process_identity.here()}", self.seconds, self.owner, _ROOT)
        if self.queries is None:
            words = (lease.path, lease.before, lease.seconds, lease.after)
            return self.toolstack.store.write_lease(*words, root=lease.root)
        listing, self.facts = self.toolstack.survey(lease, self.queries)
        return listing

    def scan(self) -> Listing:
        """Return the store's entries."""
        self.facts = None  # another process may have changed domains since
        return self.toolstack.store.list(_ROOT)


def _acquire(host: Host, name: str, own: NameLock, *, take_over: bool) -> None:
    """Acquire the lock, and set its ``owners``."""
    deadline = time.monotonic() + _LOCK_TIMEOUT
    others: Sequence[LockToken] = ()
    is_written, scans = False, 0
    while True:
        if is_written or others:
            found = own.scan()
        else:
            found = own.take()
            is_written = True
        own.owners, others = _others(host, own, found, take_over=take_over)
        scans += 1
        if is_written and not others:
            return
        if is_written and own.path > min(one.path for one in others):
            host.toolstack.store.remove(own.path)
            is_written = False
        if others and scans >= _MIN_SCANS and time.monotonic() > deadline:
            raise _busy(name, host, others[0], found.now)
        time.sleep(random.uniform(0.1, 0.3))


def _others(
    host: Host, own: NameLock, found: Listing, *, take_over: bool
) -> tuple[Mapping[str, str], Sequence[LockToken]]:
    """Return the owner ids, and the tokens of others that still count; remove those that do not."""
    ids, tokens = parse(found.entries)
    folder = own.path.rpartition("/")[0]
    others = [one for one in tokens if one.path.startswith(f"{folder}/") and one.path != own.path]
    gone = [one for one in others if take_over or not one.counts(found.now)]
    for one in gone:
        host.toolstack.store.remove(one.path)
    return ids, [one for one in others if one not in gone]


def _busy(name: str, host: Host, token: LockToken, now: float) -> BusyError:
    process = "" if token.pid is None else f" (process {token.pid})"
    left = "" if token.until is None else f", which is in {token.until - now:.0f} s at the latest"
    return BusyError(
        f"{name} on {host.name} is being changed by {_shown(token.owner)}{process}",
        hint=f"wait for it to finish{left}; if that process is dead, add --take-over",
    )


def _shown(owner: str) -> str:
    """Return an owner id without the machine's number."""
    return re.sub(r"\A[0-9a-f]{12}:", "", owner)


def _escaped(text: str) -> str:
    """Return text with all that XenStore cannot hold escaped."""
    return re.sub(rb'[^ -~]|["%\\]', lambda found: b"%%%02X" % found[0][0], os.fsencode(text)).decode()


def _short(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - len(digest)]}{digest}"
