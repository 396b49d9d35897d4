"""How to log in to the box: with OpenSSH's client, a configuration of its own, and one connection that is kept."""

from __future__ import annotations

import contextlib
import shlex
import socket
import time
from typing import TYPE_CHECKING

from unibuild.errors import MissingError
from unibuild.lab.qmp import Monitor
from unibuild.util import files, process

if TYPE_CHECKING:
    from pathlib import Path

    from unibuild.lab.paths import Places

__all__ = ["answers", "close", "connect", "run", "ssh_config"]

PATIENCE = 15.0  # seconds that a busy dom0 may take to greet


def ssh_config(places: Places, port: int) -> str:
    """Return a configuration in which the box is the host "box"; the person's own has no part in it (ssh_config(5))."""

    def quoted(path: Path) -> str:
        return '"' + str(path).replace("%", "%%") + '"'

    options = {
        "HostName": "127.0.0.1",
        "HostKeyAlias": "box",
        "Port": str(port),
        "User": "root",
        "IdentityFile": quoted(places.keys / "user"),
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": quoted(places.keys / "known_hosts"),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": "20",
        "ServerAliveInterval": "10",
        "ServerAliveCountMax": "3",
        "ControlMaster": "auto",
        "ControlPath": quoted(places.ssh_socket),
        "ControlPersist": "yes",
        "LogLevel": "ERROR",
    }
    return "Host box\n" + "".join(f"  {key} {value}\n" for key, value in options.items())


def connect(places: Places, rules: str | None = None) -> None:
    """Write the configuration for ssh, open the kept connection, and set dom0's clock, which a snapshot has stopped.

    Args:
        places: of the box.
        rules: for dom0's packet filter, as ``nft -f`` reads them.

    Raises:
        CommandError: dom0 does not answer.
    """
    with Monitor(places.monitor) as monitor:
        port = next(port for port, target in monitor.forwards().items() if target == "10.0.2.15:22")
    files.write_whole(places.ssh_config, ssh_config(places, port).encode(), mode=0o600)
    close(places)
    run(places, ["date", "-s", f"@{time.time():.0f}"])
    if rules is not None:
        run(places, ["nft", "-f", "-"], data=rules.encode())


def run(places: Places, argv: list[str], timeout: float = 60.0, data: bytes = b"") -> process.Completed:
    """Run a command in dom0.

    Raises:
        CommandError: it failed, or dom0 does not answer.
    """
    return process.run(["ssh", "-F", str(places.ssh_config), "box", shlex.join(argv)], timeout=timeout, input=data)


def close(places: Places) -> None:
    """End the kept connection, if there is one."""
    if places.ssh_socket.exists():  # without the configuration, which may have been removed
        process.run(["ssh", "-F", "none", "-S", str(places.ssh_socket), "-O", "exit", "box"], check=False, timeout=10)
    places.ssh_socket.unlink(missing_ok=True)


def answers(places: Places, port: int) -> bool:
    """Tell whether dom0 can be logged in to on this port of 127.0.0.1.

    A kept connection is proof: ssh gives it up when dom0 has been silent for half a minute. Else the server must greet;
    that a connection is accepted says nothing, QEMU accepts it for a dead dom0 too.
    """
    check = ["ssh", "-F", str(places.ssh_config), "-O", "check", "box"]
    with contextlib.suppress(MissingError):  # without ssh the greeting still tells
        if places.ssh_socket.exists() and process.run(check, check=False, timeout=10).returncode == 0:
            return True
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        return connection.recv(4) == b"SSH-"
    return False
