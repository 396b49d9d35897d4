"""The keys between the user and the box, and what of ours goes into the box: both as a second cpio archive.

Each user has keys of their own: one to log in as the box's root, and the box's own, known in advance, so that nothing
is ever trusted on first use.
"""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.errors import LabError
from unibuild.lab.cpio import Cpio
from unibuild.util import files, process

if TYPE_CHECKING:
    from typing import IO

__all__ = ["dropbear_key", "ensure", "write_overlay"]

DOM0 = Path(__file__).parent / "dom0"


def ensure(folder: Path) -> None:
    """Make the keys ("user", "host") in ``folder`` where they are not there yet, mode 0600.

    Raises:
        MissingError: ssh-keygen is not there.
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
    files.write_whole(folder / "known_hosts", f"box {algorithm} {text}\n".encode(), mode=0o600)


def dropbear_key(text: str) -> bytes:
    """Turn an unencrypted OpenSSH ed25519 private key into the form of dropbear.

    Formats: OpenSSH's PROTOCOL.key; dropbear's buf_put_ed25519_priv_key (two strings as in RFC 4251: the type, and the
    64 bytes of private and public key).

    Raises:
        LabError: it is no such key.
    """
    try:
        blob = base64.b64decode("".join(line for line in text.splitlines() if "---" not in line), validate=True)
        rest = blob.removeprefix(b"openssh-key-v1\0")
        if rest == blob:
            raise ValueError("no OpenSSH private key")
        for _ in ("cipher", "key derivation", "its options"):
            _, rest = _string(rest)
        _, rest = _string(rest[4:])  # the number of keys, the public key
        private, _ = _string(rest)
        kind, private = _string(private[8:])  # a number, twice
        _, private = _string(private)
        secret, _ = _string(private)
        if kind != b"ssh-ed25519" or len(secret) != 64:
            raise ValueError(f"its kind is {kind!r}")
    except (ValueError, struct.error) as error:
        raise LabError(f"the lab's host key cannot be read: {error}", hint="run `unibuild lab reset`") from error
    return b"".join(struct.pack(">I", len(part)) + part for part in (kind, secret))


def write_overlay(file: IO[bytes], folder: Path) -> None:
    """Append to ``file`` the archive of our own scripts for dom0 and of the keys in ``folder``."""
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
        raise ValueError("it is cut off")
    return data[4 : 4 + length], data[4 + length :]
