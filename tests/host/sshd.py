"""A real OpenSSH server on 127.0.0.1 and ::1, with accounts with printing login shells, in front of a stand-in Xen.

As root each account is a throw-away user of this machine with the login shell that it is about. An ordinary user can
only sign in to their own account: there a key's ``command=`` runs that shell, with a home of its own.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import unibuild

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

STANDINS = Path(__file__).parents[1] / "standins"
STORE = [f"xenstore-{verb}" for verb in ("read", "write", "ls", "list", "rm", "exists", "watch")]
NOISE = {  # by the shell, a file that it reads before it runs a command for ssh, and what is in that
    "bash": (".bashrc", 'echo "Welcome to xen1!"\nstarship-init bash\necho 12 345 >&2\n'),
    "zsh": (".zshenv", 'echo "Welcome to xen1!"\nstarship-init zsh\nsetopt rc_quotes\n'),
    "fish": (".config/fish/config.fish", 'echo "Welcome to xen1!"\nstarship-init fish\n'),
    "tcsh": (".tcshrc", 'echo "Welcome to xen1!"\nset backslash_quote\nstarship-init tcsh\n'),
    "sh": (".profile", 'echo "nobody reads this here"\n'),
}


@dataclass(frozen=True)
class Account:
    """A user of the server: the name to sign in with, and the private key."""

    user: str
    key: Path
    home: Path


def missing() -> list[str]:
    """Return the programs that a server needs and this machine has not."""
    return [program for program in ("/usr/sbin/sshd", "ssh", *NOISE) if not shutil.which(program)]


class Server(contextlib.AbstractContextManager["Server"]):
    """The server.

    Args:
        shells: the login shells to make an account for each.

    Attributes:
        folder: one that the accounts can read.
        world: that of the stand-ins.
        bin: goes first on the client's PATH.
        ports: those of 127.0.0.1 and of ::1.
        accounts: by their login shells.
        has_ttys: whether sshd can give out terminals: to an ordinary user only where devpts makes them tty's.
    """

    def __init__(self, shells: Iterable[str] = NOISE) -> None:
        self._shells = shells
        self.is_root = os.geteuid() == 0
        self.has_ttys = self.is_root or _makes_ttys()
        self._stack = contextlib.ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="unibuild-sshd-", dir="/tmp"))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.chmod(0o755)
        self.world = self.folder / "world"
        self.bin = self.folder / "bin"
        self.ports = (_free("127.0.0.1"), _free("::1"))
        self.accounts: Mapping[str, Account] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.push(self._stack)
            self._install_standins()
            if self.is_root:
                self._sweep()
            self.accounts = {shell: self._account(shell) for shell in self._shells}
            self._start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        (self.world / "over").touch()
        self._stack.close()

    def configuration(self, shell: str, *lines: str, port: int | None = None) -> str:
        """Return a client's configuration in which the host ``xen1`` is the account with a shell."""
        account = self.accounts[shell]
        return "\n  ".join(
            (
                "Host xen1",
                *lines,
                "HostName 127.0.0.1",
                f"Port {port or self.ports[0]}",
                "\nHost xen1 127.0.0.1 ::1 gate",
                f"User {account.user}",
                f"IdentityFile {account.key}",
                "IdentitiesOnly yes",
                f"UserKnownHostsFile {self.folder}/known_hosts",
                "StrictHostKeyChecking yes\n",
            )
        )

    def use(self, configuration: str) -> None:
        """Let the ``ssh`` of ``bin`` read this instead of the user's own configuration."""
        (self.bin / "config").write_text(configuration)

    def _install_standins(self) -> None:
        """Copy what the accounts run to where they can read it."""
        shutil.copytree(STANDINS, self.folder / "tests" / "standins")
        shutil.copytree(Path(unibuild.__file__).parent, self.folder / "unibuild")
        there = self.folder / "there"
        for folder in (there, self.world, self.bin):
            folder.mkdir()
        subprocess.run(
            ["chmod", "-R", "a+rwX", self.world, self.folder / "tests", self.folder / "unibuild"], check=True
        )
        for name in ("xl", "xenctx", *STORE, "sudo"):
            _script(there / name, f'umask 0; exec {open_python()} -S {self.folder}/tests/standins/xen.py {name} "$@"')
        (self.world / "test").write_text(str(os.getpid()))
        _script(self.bin / "ssh", f'exec {shutil.which("ssh")} -F {self.bin}/config "$@"')

    def _account(self, shell: str) -> Account:
        key = self.folder / f"{shell}.key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        public = key.with_suffix(".key.pub").read_text()
        home = self.folder / f"home-{shell}"
        if self.is_root:
            user = f"unibuild-{os.getpid()}-{shell}"
            program = shutil.which(shell)
            self._stack.callback(self._remove, user)
            subprocess.run(
                ["useradd", "--create-home", "--home-dir", home, "--shell", program, "--password", "*", user],
                check=True,
            )
        else:
            user = pwd.getpwuid(os.geteuid()).pw_name
            home.mkdir()
            wrapper = self.folder / f"as-{shell}"
            _script(wrapper, f'unset SHLVL\nHOME={home}\nexport HOME\nexec {shell} -c "$SSH_ORIGINAL_COMMAND"')
            public = f'command="{wrapper}" {public}'
        name, text = NOISE[shell]
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
        if self.is_root:
            subprocess.run(["chown", "-R", f"{user}:", home], check=True)
        with (self.folder / "authorized_keys").open("a") as keys:
            keys.write(public)
        (self.folder / "authorized_keys").chmod(0o644)
        return Account(user, key, home)

    def _sweep(self) -> None:
        """Remove the accounts of test runs that were killed."""
        for entry in pwd.getpwall():
            found = re.fullmatch(r"unibuild-(\d+)-[a-z]+", entry.pw_name)
            if found and not Path("/proc", found[1]).exists():
                self._remove(entry.pw_name)
                shutil.rmtree(Path(entry.pw_dir).parent, ignore_errors=True)

    @staticmethod
    def _remove(user: str) -> None:
        subprocess.run(["userdel", "--remove", "--force", user], check=False, capture_output=True)

    def _start(self) -> None:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "host"], check=True)
        key = " ".join((self.folder / "host.pub").read_text().split()[:2])
        four, six = self.ports
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{four} {key}\n[::1]:{six} {key}\n")
        path = f"{self.folder}/there:/usr/bin:/bin"
        lines = [
            f"ListenAddress 127.0.0.1:{four}",
            f"ListenAddress [::1]:{six}",
            f"HostKey {self.folder}/host",
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            f"SetEnv PATH={path} STANDIN={self.world}",
            *("StrictModes no", "UsePAM no", "PidFile none", "MaxStartups 100", "PrintMotd no", "LogLevel ERROR"),
        ]
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")
        if self.is_root:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd locks itself up (Debian's builds)
        log = self._stack.enter_context((self.folder / "sshd.log").open("w"))
        argv = ["/usr/sbin/sshd", "-D", "-e", "-f", self.folder / "sshd_config"]
        program = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._stack.callback(program.wait)
        self._stack.callback(program.send_signal, signal.SIGTERM)
        deadline = time.monotonic() + 60
        for address, port in zip(("127.0.0.1", "::1"), self.ports, strict=True):
            while not _listens(address, port):
                assert program.poll() is None and time.monotonic() < deadline, (self.folder / "sshd.log").read_text()
                time.sleep(0.02)


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def open_python() -> str:
    """Return a Python that every account can run: the present one may be in a private home."""
    ours = Path(sys.executable).resolve()
    is_open = all(folder.stat().st_mode & 0o005 == 0o005 for folder in (ours, *ours.parents))
    return str(ours) if is_open or os.geteuid() else "/usr/bin/python3"


def _makes_ttys() -> bool:
    """Return whether a new terminal has the group that sshd requires (sshpty.c, pty_setowner)."""
    ours, theirs = os.openpty()
    try:
        return os.fstat(theirs).st_gid == grp.getgrnam("tty").gr_gid
    finally:
        os.close(ours)
        os.close(theirs)


def _free(address: str) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        return int(server.getsockname()[1])


def _listens(address: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
        return True
    return False
