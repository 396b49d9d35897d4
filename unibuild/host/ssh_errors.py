"""Turn what ssh prints when it does not get through into an error with a hint."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from unibuild.errors import HostError, LostError

__all__ = ["Way", "explain"]

_LOST = (  # what ssh says when a connection that stood is gone: clientloop.c, packet.c, mux.c
    r"Connection (?:to \S+ )?(?:closed|reset)|Broken pipe|not responding|closed by remote host|mux_client|"
    r"master (?:is dead|failed)|Control socket connect"
)
_AGAIN = "run again: what was under way is looked at first"
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
class Way:
    """A host, as ssh knows it.

    Attributes:
        name: what messages call it.
        known_as: the name of its key in ``known_hosts``.
        hostname: what ssh connects to, unless a jump host comes before.
        destination: what ssh is called with.
        is_named: whether ``name`` is that of a ``[hosts]`` table.
    """

    name: str
    known_as: str
    hostname: str
    destination: str
    is_named: bool = False


def explain(said: str, way: Way, *, has_begun: bool) -> HostError:
    """Return the error for what ssh says when it does not get through.

    Args:
        said: its standard error (OpenSSH's sshconnect.c and sshconnect2.c), with ``LC_ALL=C``.
        way: the host.
        has_begun: whether the command had started there, so that the connection stood.
    """
    said = said.replace("\r", "")
    if has_begun:
        return LostError(f"the connection to {way.name} broke", hint=_AGAIN)
    file = re.search(r"Offending .*?key in (.+):\d+$", said, re.MULTILINE)
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
        changed = re.search(r"^Host key for (\S+) has changed", said, re.MULTILINE)
        option = f"-f {shlex.quote(file[1])} " if file else ""
        return HostError(
            f"the key of {way.name} has changed since you last signed in: it may be another machine",
            hint=f"where you know why it changed: ssh-keygen {option}-R "
            f"{shlex.quote(changed[1] if changed else way.known_as)}",
        )
    if "Host key verification failed" in said:
        return HostError(
            f"{way.name} shows a key that you have not accepted",
            hint="sign in once with ssh by hand, on a terminal, and compare the fingerprint that it shows",
        )
    refused = re.search(r"(?:(\S+)@(\S+): )?(?:Permission denied \(([^)]*)\)|Too many authentication failures)", said)
    if refused:
        jump = _jump(refused[2], way)
        return HostError(
            f"{jump or way.name} refused to let you in ({refused[3] or 'too many keys were tried'})",
            hint=_on_the_way(way)
            if jump
            else "name the user (ssh://user@host), or put your key there: ssh-copy-id user@host",
        )
    return _unreachable(said, way)


def _unreachable(said: str, way: Way) -> HostError:
    """Return the error of a connection that never stood."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    reasons = [line for line in lines if not re.search(_LOST, line)]
    if not reasons:
        return LostError(f"the connection to {way.name} broke", hint=_AGAIN)
    if "No user exists for uid" in said:
        return HostError(
            f"cannot reach {way.name}: ssh runs only for users that are in passwd, and this one is not",
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
                text = f"cannot reach {way.name} by way of {jump}{f' port {port}' if port else ''}: {reason}"
                return HostError(text, hint=_on_the_way(way))
            return HostError(f"cannot reach {way.name}: {reason}", hint=f"check {where} and the network")
    return HostError(f"ssh does not get through to {way.name}: {reasons[0]}", hint=_on_the_way(way))


def _jump(host: str | None, way: Way) -> str | None:
    """Return the machine that ssh names, where it is not the host itself but one on the way to it."""
    return host if host and host.strip("[]").lower() not in (way.hostname.lower(), way.known_as.lower()) else None


def _on_the_way(way: Way) -> str:
    return f"try `ssh {way.destination}`; ProxyJump and ProxyCommand in ssh's configuration say what it goes through"
