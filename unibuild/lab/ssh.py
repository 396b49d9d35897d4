"""Manage the keys, the ssh configuration and the shared ssh connection of the lab VM."""

from __future__ import annotations

import base64
import contextlib
import shlex
import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.errors import CommandError, LabError, MissingError
from unibuild.lab.initrd import Cpio
from unibuild.lab.qmp import Monitor
from unibuild.util import files, process

if TYPE_CHECKING:
    from typing import IO

    from unibuild.lab.paths import LabPaths

__all__ = ["answers", "close", "connect", "dropbear_key", "ensure", "run", "ssh_config", "write_overlay"]

ALIAS = "box"
"""The lab VM's host name for ssh."""
DOM0 = Path(__file__).parent / "dom0"


def ensure(folder: Path) -> None:
    """Create the keys ("user", "host") in ``folder`` with mode 0600, if they are missing.

    Raises:
        MissingError: ssh-keygen is not installed.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("user", "host"):
        key = folder / name
        public = folder / f"{name}.pub"
        if not (key.is_file() and public.is_file()):
            key.unlink(missing_ok=True)
            public.unlink(missing_ok=True)
            process.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "unibuild lab", "-f", str(key)])
    algorithm, text, *_ = (folder / "host.pub").read_text().split()
    files.write_atomic(folder / "known_hosts", f"box {algorithm} {text}\n".encode(), mode=0o600)


def dropbear_key(text: str) -> bytes:
    """Convert an unencrypted OpenSSH ed25519 private key to dropbear's format.

    Formats: OpenSSH's PROTOCOL.key; dropbear's buf_put_ed25519_priv_key (two strings as in RFC 4251: the type, and the
    64 bytes of private and public key).

    Raises:
        LabError: it is not such a key.
    """
    try:
        blob = base64.b64decode("".join(line for line in text.splitlines() if "---" not in line), validate=True)
        rest = blob.removeprefix(b"openssh-key-v1\0")
        if rest == blob:
            raise ValueError("not an OpenSSH private key")
        for _ in ("cipher", "key derivation", "its options"):
            _, rest = _string(rest)
        _, rest = _string(rest[4:])  # the number of keys, the public key
        private, _ = _string(rest)
        kind, private = _string(private[8:])  # a number, twice
        _, private = _string(private)
        secret, _ = _string(private)
        if kind != b"ssh-ed25519" or len(secret) != 64:
            raise ValueError(f"its type is {kind!r}")
    except (ValueError, struct.error) as error:
        raise LabError(f"cannot read the lab's host key: {error}", hint="run `unibuild lab reset`") from error
    return b"".join(struct.pack(">I", len(part)) + part for part in (kind, secret))


def write_overlay(file: IO[bytes], folder: Path) -> None:
    """Append an archive of the scripts for dom0 and of the keys in ``folder`` to ``file``."""
    cpio = Cpio(file)
    for path in sorted(DOM0.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            cpio.file(str(path.relative_to(DOM0)), data, 0o755 if data.startswith(b"#!") else 0o644)
    cpio.folder("root", 0o700)
    cpio.folder("root/.ssh", 0o700)
    cpio.file("root/.ssh/authorized_keys", (folder / "user.pub").read_bytes(), 0o600)
    host = dropbear_key((folder / "host").read_text())
    cpio.file("etc/dropbear/dropbear_ed25519_host_key", host, 0o600)
    cpio.end()


def _string(data: bytes) -> tuple[bytes, bytes]:
    """Split an RFC 4251 string off the front of ``data``."""
    (length,) = struct.unpack_from(">I", data)
    if len(data) < 4 + length:
        raise ValueError("it is truncated")
    return data[4 : 4 + length], data[4 + length :]


GREETING_TIMEOUT = 15.0  # seconds for the SSH greeting of a busy dom0


def ssh_config(paths: LabPaths, port: int) -> str:
    """Return a configuration (ssh_config(5)) with the lab VM as host "box"; ssh then ignores the user's own."""

    def quoted(path: Path) -> str:
        return '"' + str(path).replace("%", "%%") + '"'

    options = {
        "HostName": "127.0.0.1",
        "HostKeyAlias": "box",
        "Port": str(port),
        "User": "root",
        "IdentityFile": quoted(paths.keys / "user"),
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": quoted(paths.keys / "known_hosts"),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": "20",
        "ServerAliveInterval": "10",
        "ServerAliveCountMax": "9",  # emulated on a busy machine it may be silent for a minute; a dead QEMU closes it
        "ControlMaster": "auto",
        "ControlPath": quoted(paths.ssh_socket),
        "ControlPersist": "yes",
        "LogLevel": "ERROR",
    }
    return f"Host {ALIAS}\n" + "".join(f"  {key} {value}\n" for key, value in options.items())


def connect(paths: LabPaths, rules: str | None = None) -> None:
    """Write ssh's configuration, open the shared connection, and set dom0's clock, which stood still in a snapshot.

    Args:
        paths: the lab VM's paths.
        rules: rules for dom0's packet filter, as ``nft -f`` reads them.

    Raises:
        CommandError: dom0 does not answer.
    """
    with Monitor(paths.monitor) as monitor:
        port = next(port for port, target in monitor.forwards().items() if target == "10.0.2.15:22")
    files.write_atomic(paths.ssh_config, ssh_config(paths, port).encode(), mode=0o600)
    close(paths)
    run(paths, ["date", "-s", f"@{time.time():.0f}"])
    if rules is not None:
        run(paths, ["nft", "-f", "-"], data=rules.encode())


def run(paths: LabPaths, argv: list[str], timeout: float = 60.0, data: bytes = b"") -> process.Completed:
    """Run a command in dom0.

    Raises:
        CommandError: it failed, or dom0 does not answer.
    """
    return process.run(["ssh", "-F", str(paths.ssh_config), "box", shlex.join(argv)], timeout=timeout, input=data)


def close(paths: LabPaths) -> None:
    """Close the shared connection, if there is one."""
    if paths.ssh_socket.exists():  # without the configuration, which may have been removed
        argv = ["ssh", "-F", "none", "-S", str(paths.ssh_socket), "-O", "exit", "box"]
        with contextlib.suppress(CommandError, MissingError):  # it hangs, and ends with QEMU
            process.run(argv, check=False, timeout=10)
    paths.ssh_socket.unlink(missing_ok=True)


def answers(paths: LabPaths, port: int) -> bool:
    """Return whether dom0 accepts a login on this port of 127.0.0.1.

    A shared connection is proof: ssh closes it when dom0 has been silent for 90 seconds. Otherwise the server must
    send its greeting. An accepted connection proves nothing, because QEMU accepts it for a dead dom0 too.
    """
    check = ["ssh", "-F", str(paths.ssh_config), "-O", "check", "box"]
    with contextlib.suppress(CommandError, MissingError):  # without an answer the greeting still decides
        if paths.ssh_socket.exists() and process.run(check, check=False, timeout=10).returncode == 0:
            return True
    server = ("127.0.0.1", port)
    with contextlib.suppress(OSError), socket.create_connection(server, timeout=GREETING_TIMEOUT) as connection:
        return connection.recv(4) == b"SSH-"
    return False
