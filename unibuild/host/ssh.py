"""A Xen host behind SSH: OpenSSH's own client, over one connection that is kept for the commands to come.

The person's own configuration counts: names, keys, jump hosts, and a ``ControlPath`` where one is set. The remote
shell gets one string, so every argument list goes through ``shlex.join``.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import posixpath
import re
import shlex
import stat
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild import files, process
from unibuild.errors import HostError, LostError, MissingError, SettingsError, UnibuildError
from unibuild.host.base import ENV, SBIN, Host, check_sudo
from unibuild.host.ssh_errors import explain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Ssh", "parse"]

KEEP = 600  # seconds that a connection without a command is kept
_ROOT_FOLDER = "/var/lib/unibuild"
_SOCKET_MAX = 108 - 18 - 20  # bytes: sun_path, what ssh appends while it makes the socket, our own file's name
_SSH_FAILED = 255  # ssh(1), EXIT STATUS; a remote command can end so too
_NOT_FOUND = 127  # of every shell


def parse(address: str, key: str = "host") -> tuple[str, int | None]:
    """Return destination (``[user@]host``) and port of an address ``ssh://[user@]host[:port]``.

    Args:
        address: the address.
        key: the setting that it comes from, for the sentence.

    Raises:
        SettingsError: it is none.
    """
    found = re.fullmatch(
        r"ssh://((?:[^@/:\s]+@)?)(?:\[([0-9A-Fa-f:.%\w]+)\]|([^-@/:\s\[\]][^@/:\s\[\]]*))(?::([0-9]{1,5}))?/?", address
    )
    port = int(found[4]) if found and found[4] else None
    if found is None or found[1].startswith("-") or not (port is None or 0 < port < 65536):
        raise SettingsError(
            f'{key} = "{address}" is no address of a Xen host',
            hint='write "local", "lab" or "ssh://[user@]host[:port]"',
        )
    return found[1] + (found[2] or found[3]), port


class Ssh(Host):
    """A machine behind SSH.

    Args:
        destination: ``[user@]host``, or an alias of ssh's configuration.
        port: None: what ssh's configuration says.
        config: a configuration file instead of the person's own.
        name: what sentences and records call it; None: its address.
        address: what the settings call it; None: its ``ssh://`` address.
        sudo: whether xl runs through sudo there unless we sign in as root.
    """

    has_ttys = True

    def __init__(
        self,
        destination: str,
        port: int | None = None,
        *,
        config: Path | None = None,
        name: str | None = None,
        address: str | None = None,
        sudo: bool = True,
    ) -> None:
        self.destination = destination
        self.port = port
        self.config = config
        self.sudo = sudo
        self.address = address or f"ssh://{destination}" + (f":{port}" if port else "")
        self.name = name or self.address

    def command(
        self, argv: Sequence[str], *, tty: bool = False, root: bool = True, background: bool = False
    ) -> list[str]:
        """See ``Host.command``."""
        remote = shlex.join(["sudo", "-n", "--", *argv] if root and self.needs_sudo else argv)
        if root and not self.sudo and not self.is_root:
            remote = f'PATH="$PATH:{":".join(SBIN)}" {remote}'
        return [
            *self._ssh(),
            *self._multiplexing,
            *(["-o", "BatchMode=yes"] if background else []),
            *(["-tt", "-e", "none"] if tty else ["-T"]),
            "--",
            self.destination,
            remote,
        ]

    def check(self, done: process.Completed) -> None:
        """See ``Host.check``."""
        said = done.stderr.decode(errors="replace")
        if done.returncode == _SSH_FAILED:
            raise explain(said, self.name, self._known_as, is_named=self.name != self.address)
        if done.returncode == _NOT_FOUND or "command not found" in said:
            program = re.search(r"([\w./+-]+): (?:command )?not found", said)
            if program and program[1] != "sudo":
                package = process.PACKAGES.get(program[1])
                hint = f"install it there: apt install {package}" if package else "install it there"
                raise MissingError(f"the program {program[1]} is not installed on {self.name}", hint=hint)
        if self.needs_sudo:
            lines = f"`unibuild doctor --host {self.name}` prints the lines for /etc/sudoers.d/unibuild there"
            check_sudo(said, f"on {self.name}", {"": f"{lines}; or sign in as root (ssh://root@...)"})

    def put(self, path: Path, *, folder: str = "", own: str | None = None) -> str:
        """Copy a file to the host under the SHA-256 of its content, where the host has it not; see ``Host.put``.

        Where the connection breaks meanwhile it is begun once more: a copy that is not whole has another name.
        """
        try:
            return self._put(path, folder, own)
        except LostError:
            return self._put(path, folder, own)

    def _put(self, path: Path, folder: str, own: str | None) -> str:
        digest = files.sha256(path)
        target = posixpath.join(self.folder, folder, digest + (f".{own}" if own else ""))
        found = self.run(["wc", "-c", target], root=False, check=False)
        if found.returncode == 0 and (own or found.text.split()[0] == str(path.stat().st_size)):
            return target  # a working copy may have grown
        beside = f"{target}.{uuid.uuid4().hex[:8]}.tmp"
        try:
            self._copy(path, beside)
            if self.run(["sha256sum", beside], root=False).text.split()[0] != digest:
                raise HostError(f"{path} arrived damaged on {self.name}", hint="run again")
            self.run(["mv", "-f", beside, target], root=False)
        except BaseException:
            with contextlib.suppress(UnibuildError):
                self.run(["rm", "-f", beside], root=False, check=False, background=True)
            raise
        return target

    def discard(self, folder: str, keep: Sequence[str] = ()) -> tuple[str, ...]:
        """See ``Host.discard``."""
        place = posixpath.join(self.folder, folder)
        there = [posixpath.join(place, name) for name in self.run(["ls", place], root=False, check=False).text.split()]
        replaced = {_own(path) for path in keep}
        stay = [path for path in there if path not in keep and _own(path) and _own(path) not in replaced]
        gone = [path for path in there if path not in keep and path not in stay]
        if gone:
            self.run(["rm", "-f", *gone], root=False, check=False)
        return tuple(stay)

    @functools.cached_property
    def is_root(self) -> bool:
        """Whether we sign in as root."""
        return self.user == "root"

    @property
    def user(self) -> str:
        """See ``Host.user``."""
        return self._settings["user"]

    @property
    def needs_sudo(self) -> bool:
        """See ``Host.needs_sudo``."""
        return self.sudo and not self.is_root

    @functools.cached_property
    def folder(self) -> str:
        """The folder on the host that holds what we copied there, absolute."""
        if self.is_root:
            return _ROOT_FOLDER
        return f"{self.run(['pwd'], root=False).text.strip()}/.cache/unibuild"

    def _copy(self, path: Path, target: str) -> None:
        said = self._write(path, target)
        if "No such file or directory" in said:
            self.run(["mkdir", "-p", "-m", "700", posixpath.dirname(target)], root=False)
            said = self._write(path, target)
        if "No space left" in said or "Disk quota" in said:
            room = self.run(["df", "-Pk", self.folder], root=False, check=False).text.split()[-5:-4]
            has = f", which has {int(room[0]) >> 10} MiB in all," if room and room[0].isdecimal() else ""
            size = path.stat().st_size / (1 << 20)
            raise HostError(
                f"the disk of {self.name} is full: cannot copy {path} ({size:.1f} MiB) there",
                hint=f"free some room in {self.folder} there{has} and run again",
            )
        if said:
            raise HostError(f"cannot copy {path} to {self.name}: {said.splitlines()[-1]}")

    def _write(self, path: Path, target: str) -> str:
        """Write a file's bytes to ``target`` on the host; return what the host says where it cannot."""
        argv = self.command(["dd", f"of={target}", "bs=64k"], root=False, background=True)
        with files.reading(path), path.open("rb") as file, process.start(argv, env=ENV, stdin=file) as child:
            out, err = child.popen.communicate()
        done = process.Completed(child.argv, child.popen.returncode, out, err)
        if not done.returncode:
            return ""
        self.check(done)
        return err.decode(errors="replace").strip() or f"dd ended with exit code {done.returncode}"

    def _ssh(self) -> list[str]:
        return [
            "ssh",
            *(["-F", str(self.config)] if self.config else []),
            *(["-p", str(self.port)] if self.port else []),
            *("-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10"),
        ]

    @functools.cached_property
    def _settings(self) -> Mapping[str, str]:
        """What ssh's configuration says of the destination (``ssh -G``; the first of a key counts)."""
        said = process.run([*self._ssh(), "-G", "--", self.destination], env=ENV, check=False)
        if said.returncode:
            raise explain(said.stderr.decode(errors="replace"), self.name, self.destination)
        pairs = (line.partition(" ") for line in said.text.splitlines())
        return {key: value for key, _, value in reversed(list(pairs))}

    @functools.cached_property
    def _multiplexing(self) -> tuple[str, ...]:
        ours: tuple[str, ...] = ()
        if self._settings.get("controlpath", "none") == "none":
            key = f"{self.destination} {self.port} {self.config}"
            ours = ("-o", f"ControlPath={_sockets() / hashlib.sha256(key.encode()).hexdigest()[:16]}")
        if self._settings.get("controlmaster", "false") in ("false", "no"):
            alive = ("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")
            ours += ("-o", "ControlMaster=auto", "-o", f"ControlPersist={KEEP}", *alive)
        return ours

    @property
    def _known_as(self) -> str:
        """The name under which ``known_hosts`` holds the host's key."""
        port = self._settings.get("port", "22")
        host = self._settings.get("hostkeyalias") or self._settings.get("hostname", self.destination)
        return host if port == "22" or "hostkeyalias" in self._settings else f"[{host}]:{port}"


def _own(path: str) -> str | None:
    """Return what names a working copy among those of ``put``; None: it is none."""
    found = re.fullmatch(r"[0-9a-f]{64}\.([^.]+)", posixpath.basename(path))
    return found[1] if found else None


def _sockets() -> Path:
    """Return the folder of ssh's sockets: private, with a short name, made if need be.

    Raises:
        HostError: another user has put a folder in its place.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "unibuild" / "ssh"
    if len(os.fsencode(folder)) > _SOCKET_MAX:
        folder = Path(tempfile.gettempdir()) / f"unibuild-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise HostError(f"{folder} is not private to you", hint="remove it and run again")
    return folder
