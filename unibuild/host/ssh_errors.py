"""What ssh says when it does not get through, as a sentence with the mend."""

from __future__ import annotations

import re
import shlex

from unibuild.errors import HostError, LostError

__all__ = ["explain"]

_LOST = (  # what ssh says when a connection that stood is gone: clientloop.c, packet.c, mux.c
    r"Connection (?:to \S+ )?(?:closed|reset)|Broken pipe|not responding|closed by remote host|mux_client|"
    r"master (?:is dead|failed)|Control socket connect"
)


def explain(said: str, name: str, known_as: str, *, is_named: bool = False) -> HostError:
    """Return the sentence for what ssh says when it does not get through.

    Args:
        said: its standard error (OpenSSH's sshconnect.c and sshconnect2.c), with ``LC_ALL=C``.
        name: the host's address, for the sentence.
        known_as: the name of its key in ``known_hosts``.
        is_named: whether ``name`` is that of a ``[hosts]`` table.
    """
    where = f"`[hosts.{name}] address`" if is_named else "the setting `host`"
    said = said.replace("\r", "")
    file = re.search(r"Offending .*?key in (.+):\d+$", said, re.MULTILINE)
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
        option = f"-f {shlex.quote(file[1])} " if file else ""
        return HostError(
            f"the key of {name} has changed since you last signed in: it may be another machine",
            hint=f"where you know why it changed: ssh-keygen {option}-R {shlex.quote(known_as)}",
        )
    if "Host key verification failed" in said:
        return HostError(
            f"{name} shows a key that you have not accepted",
            hint="sign in once with ssh by hand, on a terminal, and compare the fingerprint that it shows",
        )
    refused = re.search(r"Permission denied \(([^)]*)\)|Too many authentication failures", said)
    if refused:
        return HostError(
            f"{name} refused to let you in ({refused[1] or 'too many keys were tried'})",
            hint="name the user (ssh://user@host), or put your key there: ssh-copy-id user@host",
        )
    if not said.strip() or re.search(_LOST, said):
        return LostError(f"the connection to {name} broke", hint="run again: what was under way is looked at first")
    for pattern, reason in (
        (r"Could not resolve hostname", "there is no machine of that name"),
        (r"Connection refused", "nothing listens on its SSH port"),
        (r"timed out|Timeout", "it does not answer"),
        (r"No route to host|Network is unreachable", "the network does not reach it"),
    ):
        if re.search(pattern, said):
            return HostError(f"cannot reach {name}: {reason}", hint=f"check {where} and the network")
    # Words that we do not know: perhaps those of the command, whose connection was cut; ssh itself says nothing then.
    return LostError(f"the connection to {name} failed: {said.strip().splitlines()[-1]}")
