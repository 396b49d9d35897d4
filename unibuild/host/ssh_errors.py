"""Turn ssh's messages about a failed connection into an error with a hint."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from unibuild.errors import HostError, LostError

__all__ = ["SshTarget", "explain"]

_LOST = (  # ssh's messages when an established connection breaks: clientloop.c, packet.c, mux.c
    r"Connection (?:to \S+ )?(?:closed|reset)|Broken pipe|not responding|closed by remote host|mux_client|"
    r"master (?:is dead|failed)|Control socket connect"
)
_AGAIN = "run again: unibuild first checks what was done"
_REASONS = (
    (r"Could not resolve hostname (?P<host>[^\s:]+)", "there is no machine of that name"),
    (r"connect to host (?P<host>\S+) port (?P<port>\d+): Connection refused", "nothing listens on its SSH port"),
    (r"(?:connect to host (?P<host>\S+) port (?P<port>\d+): )?.*(?:timed out|Timeout)", "it does not answer"),
    (
        r"connect to host (?P<host>\S+) port (?P<port>\d+): (?:No route to host|Network is unreachable)",
        "the network does not reach it",
    ),
)


@dataclass(frozen=True)
class SshTarget:
    """A host as ssh knows it.

    Attributes:
        name: its name in messages.
        known_as: the name of its key in ``known_hosts``.
        hostname: the name that ssh connects to, unless a jump host comes first.
        destination: the destination in ssh's arguments.
        is_named: whether ``name`` is in ``[hosts]``.
    """

    name: str
    known_as: str
    hostname: str
    destination: str
    is_named: bool = False


def explain(said: str, way: SshTarget, *, has_begun: bool) -> HostError:
    """Return the error for ssh's messages about a failed connection.

    Args:
        said: ssh's standard error (OpenSSH's sshconnect.c and sshconnect2.c), with ``LC_ALL=C``.
        way: the host.
        has_begun: whether the command had started there, so that the connection was established.
    """
    said = said.replace("\r", "")
    if has_begun:
        return LostError(f"the connection to {way.name} broke", hint=_AGAIN)
    file = re.search(r"Offending .*?key in (.+):\d+$", said, re.MULTILINE)
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
        changed = re.search(r"^Host key for (\S+) has changed", said, re.MULTILINE)
        option = f"-f {shlex.quote(file[1])} " if file else ""
        return HostError(
            f"the key of {way.name} has changed since the last sign-in: it may be another machine",
            hint=f"if you know why it changed, run ssh-keygen {option}-R "
            f"{shlex.quote(changed[1] if changed else way.known_as)}",
        )
    if "Host key verification failed" in said:
        return HostError(
            f"the key of {way.name} is not accepted yet",
            hint="sign in once with ssh by hand, on a terminal, and compare the fingerprint that it shows",
        )
    refused = re.search(r"(?:(\S+)@(\S+): )?(?:Permission denied \(([^)]*)\)|Too many authentication failures)", said)
    if refused:
        jump = _jump(refused[2], way)
        return HostError(
            f"{jump or way.name} refused the sign-in ({refused[3] or 'too many keys were tried'})",
            hint=_on_the_way(way)
            if jump
            else "set the user (ssh://user@host), or copy your key there: ssh-copy-id user@host",
        )
    return _unreachable(said, way)


def _unreachable(said: str, way: SshTarget) -> HostError:
    """Return the error of a connection that was never established."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    reasons = [line for line in lines if not re.search(_LOST, line)]
    if not reasons:
        return LostError(f"the connection to {way.name} broke", hint=_AGAIN)
    if "No user exists for uid" in said:
        return HostError(
            f"cannot reach {way.name}: ssh runs only for users in /etc/passwd, and this one is not",
            hint="run as a user of this machine, or add one: in a container, a line in /etc/passwd",
        )
    where = f"`[hosts.{way.name}] address`" if way.is_named else "the setting `host`"
    for line in reversed(reasons):
        for pattern, reason in _REASONS:
            found = re.search(pattern, line)
            if found is None:
                continue
            jump = _jump(found.groupdict().get("host"), way)
            if jump:
                port = found.groupdict().get("port")
                text = f"cannot reach {way.name} through {jump}{f' port {port}' if port else ''}: {reason}"
                return HostError(text, hint=_on_the_way(way))
            return HostError(f"cannot reach {way.name}: {reason}", hint=f"check {where} and the network")
    return HostError(f"ssh cannot connect to {way.name}: {reasons[0]}", hint=_on_the_way(way))


def _jump(host: str | None, way: SshTarget) -> str | None:
    """Return the machine that ssh names, if it is a jump host rather than the host itself."""
    return host if host and host.strip("[]").lower() not in (way.hostname.lower(), way.known_as.lower()) else None


def _on_the_way(way: SshTarget) -> str:
    return f"try `ssh {way.destination}`; see ProxyJump and ProxyCommand in ssh's configuration"
