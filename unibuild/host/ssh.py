"""A Xen host behind SSH: OpenSSH's client, with one connection shared by all commands.

The user's own configuration applies: names, keys, jump hosts, and a ``ControlPath`` if set. The remote login shell gets
one string, which makes it start ``/bin/sh``; see ``unibuild.host.frame``.
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
from typing import IO, TYPE_CHECKING, Any

from unibuild.errors import CommandError, FileError, HostError, LostError, MissingError, NoAnswerError, SettingsError
from unibuild.host.base import (
    ENV,
    FOLDERS,
    SBIN,
    Host,
    WaitStatus,
    check_sudo,
    limit,
    shown,
    twice,
)
from unibuild.host.batch import Batch, BatchStep
from unibuild.host.exchange import Call, HostChild, Limits
from unibuild.host.frame import Frame, quote
from unibuild.host.ssh_errors import SshTarget, explain
from unibuild.util import files, process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Ssh", "format_address", "parse"]

KEEP = 600  # seconds that an idle connection is kept
_ROOT_FOLDER = "/var/lib/unibuild"
_HOME_FOLDER = ".cache/unibuild"
_SOCKET_MAX = 108 - 18 - 20  # bytes: sun_path, less ssh's temporary suffix and the file's name
_SSH_FAILED = 255  # ssh(1), EXIT STATUS; a remote command can exit with it too
_NOT_FOUND = 127  # of every shell
_SIGNALED = 128  # what POSIX shells add to the number of the signal that ended a command
_CONNECT = 10  # seconds for the connection itself
_ANSWER = 30.0  # seconds for a command to start if nothing asks the user
_SIGN_IN = 150.0  # seconds for a user to sign in: sshd waits 120 (LoginGraceTime), and ssh's connecting comes first
_STALL = 60.0  # seconds that a copy may make no progress
_CHECKED = 5e6  # bytes a second that a slow host writes and checksums
_DAMAGED = 4  # exit status of _UPLOAD
_UPLOAD = """\
t=$1.$3.tmp
trap 'rm -f "$t"' EXIT
trap 'exit 3' HUP INT TERM
umask 077
mkdir -p "${1%/*}" && { chmod 700 "${1%/*}" || :; } || exit 3
if [ $# = 3 ]; then dd of="$t" bs=64k; else dd of="$t" bs=1 count="$4"; fi || exit 3
sum=$(sha256sum "$t") || exit 3
[ "${sum%% *}" = "$2" ] || exit 4
mv -f "$t" "$1"
"""
_LIST_COPIES = """cd; pwd; exec ls -ln "${1:-$PWD/.cache/unibuild}/$2/" 2>/dev/null"""
_LOCATE = """\
set -f
IFS=:
for name; do
    for folder in $PATH; do
        if [ -f "$folder/$name" ] && [ -x "$folder/$name" ]; then echo "$name $folder/$name"; break; fi
    done
done
"""  # `command -v` of a busybox that prefers its own applets prints no paths
_OVERRIDES = {  # by key of `ssh -G`: options that a configuration must not change, if the client knows them
    "stdinnull": ("no", "StdinNull=no"),
    "forkafterauthentication": ("no", "ForkAfterAuthentication=no"),
    "sessiontype": ("default", "SessionType=default"),
    "tunnel": ("false", "Tunnel=no"),
}


def parse(address: str, key: str = "host") -> tuple[str, int | None]:
    """Return the destination (``[user@]host``) and port of an address ``ssh://[user@]host[:port]``.

    Args:
        address: the address.
        key: the setting that it comes from, for the message.

    Raises:
        SettingsError: it is not such an address.
    """
    found = re.fullmatch(
        r"ssh://((?:[^@/:\s]+@)?)(?:\[([0-9A-Fa-f:.%\w]+)\]|([^-@/:\s\[\]][^@/:\s\[\]]*))(?::([0-9]{1,5}))?/?", address
    )
    port = int(found[4]) if found and found[4] else None
    if found is None or found[1].startswith("-") or not (port is None or 0 < port < 65536):
        raise SettingsError(
            f'{key} = "{address}" is not the address of a Xen host',
            hint='write "local", "lab" or "ssh://[user@]host[:port]"',
        )
    return found[1] + (found[2] or found[3]), port


def format_address(destination: str, port: int | None = None) -> str:
    """Return the ``ssh://`` address that ``parse`` splits into these."""
    user, at, host = destination.rpartition("@")
    host = f"[{host}]" if ":" in host else host
    return f"ssh://{user}{at}{host}" + (f":{port}" if port else "")


class Ssh(Host):
    """A machine behind SSH.

    Args:
        destination: ``[user@]host``, or an alias of ssh's configuration.
        port: the port; None: as ssh's configuration says.
        config: a configuration file instead of the user's own.
        name: its name in messages and records; None: its address.
        address: its value in the settings; None: its ``ssh://`` address.
        sudo: whether xl runs through sudo there unless the user signs in as root.
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
        self._copies: dict[str, dict[str, int]] = {}  # sizes in bytes, by name, by folder, where they are known
        self.address = address or format_address(destination, port)
        self.name = name or self.address

    def call(self, argv: Sequence[str], *, tty: bool = False, root: bool = True, background: bool = False) -> Call:
        """See ``Host.call``."""
        frame = Frame()
        program = f"export LC_ALL=C; {frame.program(self._command(argv, root=root), tty=tty)}"
        local = [
            *self._ssh(),
            *self._overrides,
            *self._multiplexing,
            *(["-o", "BatchMode=yes"] if background else []),
            *(["-tt", "-e", "none"] if tty else ["-T"]),
            "--",
            self.destination,
            quote(program),
        ]
        return Call(local, argv, frame)

    def _command(self, argv: Sequence[str], *, root: bool) -> str:
        """Return the command for POSIX sh; sudo gets the program's path, because its own PATH may be shorter."""
        if not root:
            return shlex.join(argv)
        if not self.needs_sudo:
            return f'PATH="$PATH:{":".join(SBIN)}"; {shlex.join(argv)}'
        name = shlex.quote(argv[0])
        path = f'PATH="$PATH:{":".join(FOLDERS)}"'
        return f'{path}; sudo -n -- "$(command -v {name} || echo {name})" {shlex.join(argv[1:])}'

    @property
    def as_root(self) -> tuple[str, ...]:
        """See ``Host.as_root``."""
        if not self.needs_sudo:
            return ()
        path = f'PATH="$PATH:{":".join(FOLDERS)}"'
        return ("sh", "-c", f'{path}; n=$1; shift; exec sudo -n -- "$(command -v "$n" || echo "$n")" "$@"', "sh")

    def locate(self, names: Sequence[str]) -> dict[str, str]:
        """See ``Host.locate``."""
        script = f'PATH="$PATH:{":".join(FOLDERS)}"; {_LOCATE}'
        said = self.run(["sh", "-c", script, "sh", *names], root=False, background=True, question=True).text
        found = dict(line.split(" ", 1) for line in said.splitlines())
        return {name: found[name] for name in names if found.get(name, "").startswith("/")}

    def answer(self, child: HostChild) -> process.Completed:
        """See ``Host.answer``."""
        status = child.out.status
        if status is None:
            raise self._unanswered(child)
        done = process.Completed(child.argv, status, bytes(child.out.data), bytes(child.err.data))
        return self._checked(child.call.asked, done)

    def _checked(self, asked: Sequence[str], done: process.Completed) -> process.Completed:
        """Return what a command wrote, unless a signal ended it, it is not installed, or sudo refused."""
        said, status = done.stderr.decode(errors="replace"), done.returncode
        if _SIGNALED < status < _SIGNALED + 32:
            raise self.died(asked, status - _SIGNALED, said)
        if status == _NOT_FOUND or (status and "command not found" in said):
            found = re.search(r"([\w./+-]+): (?:command )?not found", said)
            raise self._missing(found[1] if found else asked[0])
        if status and self.needs_sudo:
            lines = f"`unibuild doctor --host {self.name}` prints the lines for /etc/sudoers.d/unibuild"
            check_sudo(said, f"on {self.name}", {"": f"{lines}; or sign in as root (ssh://root@...)"})
        return done

    def run_all(
        self,
        steps: Sequence[BatchStep],
        *,
        uploads: Sequence[Path] = (),
        background: bool = False,
        question: bool = False,
        on_done: Callable[[int], object] | None = None,
    ) -> tuple[process.Completed, ...]:
        """See ``Host.run_all``."""
        background = background or self.is_batch

        def once() -> tuple[process.Completed, ...]:
            with contextlib.ExitStack() as stack:
                file = stack.enter_context(_open(uploads)) if uploads else None
                return self._run_all(steps, uploads, file, on_done, background=background, question=question)

        return twice(once) if question else once()

    def _run_all(
        self,
        steps: Sequence[BatchStep],
        uploads: Sequence[Path],
        file: IO[bytes] | None,
        on_done: Callable[[int], object] | None,
        *,
        background: bool,
        question: bool,
    ) -> tuple[process.Completed, ...]:
        batch = Batch(steps)
        script = batch.script([self._command(step.argv, root=step.root) for step in steps])
        before = 0

        def progress(output: bytearray) -> WaitStatus:
            nonlocal before
            number = batch.done(output)
            if on_done and number > before:
                on_done(number)
            before = number
            if file and number < len(uploads):
                return self._copy_status(uploads[-1], file)
            step = steps[min(number, len(steps) - 1)]
            usual = _ANSWER if question else limit(step.argv)
            seconds = self.limits(step.seconds or usual, background=background).answer
            return WaitStatus(number << 48, shown(step.argv), f"{shown(step.argv)} on {self.name}", seconds)

        limits = self.limits(limit(steps[0].argv), background=background)
        name = ", ".join(shown(step.argv) for step in steps)
        argv = ["sh", "-c", script]
        how: dict[str, Any] = {"root": False, "background": background, "name": name}
        done = self.exchange(argv, limits, file=file, progress=progress, **how)
        found = batch.split(done.stdout, done.stderr)
        if not found:
            said = done.stderr.decode(errors="replace").strip()
            raise HostError(f"sh on {self.name} did not run {shown(steps[0].argv)}: {said or done.returncode}")
        return tuple(
            self._checked(step.argv, process.Completed(tuple(step.argv), status, out, err))
            for step, (status, out, err) in zip(steps, found, strict=False)
        )

    def _missing(self, program: str) -> MissingError:
        package = process.PACKAGES.get(program)
        hint = f"install it there: apt install {package}" if package else "install it there"
        if program == "sudo":
            hint = 'install it there, sign in as root, or set sudo = "never" for this host in unibuild.toml'
        return MissingError(f"the program {program} is not installed on {self.name}", hint=hint)

    def _unanswered(self, child: HostChild) -> HostError:
        """Return the error of a command that reported no end."""
        said = bytes(child.err.noise + child.err.data).decode(errors="replace")
        status = child.popen.returncode
        if child.out.has_begun or status == _SSH_FAILED or status < 0:
            if not child.out.has_begun and {"proxycommand", "proxyjump"} & self._settings.keys():
                said = self._why_not() or said
            way = SshTarget(
                self.name, self._known_as, self._hostname, self.destination, is_named=self.name != self.address
            )
            return explain(said, way, has_begun=child.out.has_begun)
        noise = bytes(child.out.noise).decode(errors="replace") + said
        last = noise.strip().splitlines()[-1:]
        return HostError(
            ": ".join([f"the login shell on {self.name} did not run the command (exit code {status})", *last]),
            hint=f"make `ssh {self.destination} /bin/sh -c true` work",
        )

    def _why_not(self) -> str:
        """Return why ssh cannot connect; while it sets up a shared connection, it hides a ProxyCommand's messages."""
        alone = ("-o", "ControlPath=none", "-o", "ControlMaster=no", "-o", "BatchMode=yes", "-T")
        with contextlib.suppress(CommandError):
            argv = [*self._ssh(), *self._overrides, *alone, "--", self.destination, quote("exit 0")]
            return process.run(argv, env=ENV, timeout=_ANSWER, check=False).stderr.decode(errors="replace")
        return ""

    def limits(self, seconds: float, *, background: bool) -> Limits:
        """See ``Host.limits``."""
        return Limits(seconds, min(seconds, _ANSWER) if background else _SIGN_IN)

    def renew(self) -> None:
        """See ``Host.renew``: running commands keep the old connection, later ones open a new one."""
        if self._keeps:
            argv = [*self._ssh(), *self._multiplexing, "-O", "stop", "--", self.destination]
            with contextlib.suppress(CommandError):
                process.run(argv, env=ENV, timeout=_CONNECT, check=False)

    def put(self, path: Path, *, folder: str = "", own: str | None = None) -> str:
        """Copy a file to the host under the SHA-256 of its content, unless it is there; see ``Host.put``.

        If the connection breaks meanwhile, the copy starts again once: an incomplete copy has another name.
        """
        try:
            return self._put(path, folder, own)
        except NoAnswerError:
            raise
        except LostError:
            return self._put(path, folder, own)

    def _put(self, path: Path, folder: str, own: str | None) -> str:
        target, digest = self._target(path, folder, own)
        size = self._size(target, folder)
        if size is None or not (own or size == _size_here(path)):  # a working copy may have grown
            self.check_put(path, self._copy(path, target, digest), target)
        return target

    def place(self, path: Path, *, folder: str = "", own: str | None = None) -> str:
        """See ``Host.place``."""
        return self._target(path, folder, own)[0]

    def _target(self, path: Path, folder: str, own: str | None) -> tuple[str, str]:
        """Return the path on the host of a file's copy, and the SHA-256 of its content."""
        digest = files.sha256(path)
        return posixpath.join(self.folder, folder, digest + (f".{own}" if own else "")), digest

    def _size(self, target: str, folder: str) -> int | None:
        """Return the size in bytes of a copy on the host; None: it is not there."""
        if folder in self._copies:
            return self._copies[folder].get(posixpath.basename(target))
        found = self.run(["wc", "-c", target], root=False, check=False)
        size = "".join(found.text.split()[:1])
        return int(size) if found.returncode == 0 and size.isdecimal() else None

    def _note_copy(self, target: str, size: int) -> None:
        folder = posixpath.basename(posixpath.dirname(target))
        if folder in self._copies:
            self._copies[folder][posixpath.basename(target)] = size

    def list_copies(self, folder: str) -> BatchStep:
        """See ``Host.list_copies``."""
        root = _ROOT_FOLDER if self.is_root else ""
        return BatchStep(("sh", "-c", _LIST_COPIES, "sh", root, folder), root=False, may_fail=True)

    def note_copies(self, folder: str, done: process.Completed) -> None:
        """See ``Host.note_copies``; the home folder is in the answer too."""
        home, *rows = done.text.splitlines() or [""]
        if not home.startswith("/"):
            return
        self.__dict__.setdefault("folder", _ROOT_FOLDER if self.is_root else posixpath.join(home, _HOME_FOLDER))
        words = [row.split() for row in rows if row.startswith("-")]  # mode, links, uid, gid, size ... name
        self._copies[folder] = {row[-1]: int(row[4]) for row in words if len(row) > 5 and row[4].isdecimal()}

    def discard(self, folder: str, keep: Sequence[str] = ()) -> tuple[str, ...]:
        """See ``Host.discard``."""
        gone, stay = self.leftovers(folder, keep)
        if gone:
            self.run(["rm", "-f", *gone], root=False, check=False)
        return stay

    def leftovers(self, folder: str, keep: Sequence[str] = ()) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the copies that ``discard`` removes, and those that stay besides; see there.

        What ``note_copies`` took note of is forgotten.
        """
        place = posixpath.join(self.folder, folder)
        known = self._copies.pop(folder, None)
        names = self.run(["ls", place], root=False, check=False).text.split() if known is None else list(known)
        there = [posixpath.join(place, name) for name in names]
        replaced = {_own(path) for path in keep}
        stay = [path for path in there if path not in keep and _own(path) and _own(path) not in replaced]
        return tuple(path for path in there if path not in keep and path not in stay), tuple(stay)

    @functools.cached_property
    def is_root(self) -> bool:
        """Whether the user signs in as root."""
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
        """The absolute path of the folder on the host that holds unibuild's copies."""
        if self.is_root:
            return _ROOT_FOLDER
        home = self.run(["sh", "-c", "cd; pwd"], root=False, question=True).text.removesuffix("\n")
        return posixpath.join(home, _HOME_FOLDER)

    def put_step(self, path: Path, *, folder: str, exact: bool = False) -> BatchStep | None:
        """See ``Host.put_step``."""
        target, digest = self._target(path, folder, None)
        size = _size_here(path)
        if folder in self._copies and self._size(target, folder) == size:
            return None
        return BatchStep((*_upload(target, digest), *([str(size)] if exact else [])), root=False)

    def check_put(self, path: Path, done: process.Completed, target: str) -> None:
        """See ``Host.check_put``."""
        if done.returncode == _DAMAGED:
            raise HostError(f"{path} arrived damaged on {self.name}", hint="run again")
        size = _size_here(path)
        if done.returncode:
            raise self._copy_failed(path, max(1, size), done.stderr.decode(errors="replace"))
        self._note_copy(target, size)

    def _copy(self, path: Path, target: str, digest: str) -> process.Completed:
        """Write a file to ``target`` on the host; it appears there only once it is complete."""
        with files.reading(path), path.open("rb") as file:
            status = self._copy_status(path, file)
            limits = Limits(status.seconds or _ANSWER, _ANSWER)
            how: dict[str, Any] = {"root": False, "background": True}
            argv = _upload(target, digest)
            return self.exchange(argv, limits, file=file, progress=lambda _: self._copy_status(path, file), **how)

    def _copy_status(self, path: Path, file: IO[bytes]) -> WaitStatus:
        """Return how much of a file ssh has read, which may hold others before the one to name."""
        size = max(1, os.fstat(file.fileno()).st_size)
        at = os.lseek(file.fileno(), 0, os.SEEK_CUR)  # ssh reads from the same open file
        text = f"copying {path.name} to {self.name} ({100 * at // size} %)"
        return WaitStatus(at, f"the copy of {path}", text, _STALL + size / _CHECKED)

    def _copy_failed(self, path: Path, size: int, said: str) -> HostError:
        if "No space left" in said or "Disk quota" in said:
            total = self.run(["df", "-Pk", self.folder], root=False, check=False).text.split()[-5:-4]
            has = f", which has {int(total[0]) >> 10} MiB in all," if total and total[0].isdecimal() else ""
            return HostError(
                f"the disk of {self.name} is full: cannot copy {path} ({size / (1 << 20):.1f} MiB) there",
                hint=f"free space in {self.folder} there{has} and run again",
            )
        lines = [line for line in said.splitlines() if not re.search(r"records (?:in|out)$|copied", line)]
        return HostError(f"cannot copy {path} to {self.name}: {lines[-1] if lines else 'it ended early'}")

    def _ssh(self) -> list[str]:
        return [
            "ssh",
            *(["-F", str(self.config)] if self.config else []),
            *(["-p", str(self.port)] if self.port else []),
            *("-o", "LogLevel=ERROR", "-o", f"ConnectTimeout={_CONNECT}"),
            *("-o", "ClearAllForwardings=yes", "-o", "PermitLocalCommand=no", "-o", "RemoteCommand=none", "-x"),
        ]

    @functools.cached_property
    def _overrides(self) -> tuple[str, ...]:
        """Options that undo what the user's configuration sets for interactive sessions."""
        settings = self._settings
        return tuple(
            word
            for key, (usual, option) in _OVERRIDES.items()
            if settings.get(key, usual) != usual
            for word in ("-o", option)
        )

    @functools.cached_property
    def _settings(self) -> Mapping[str, str]:
        """The configuration of the destination (``ssh -G``; the first value of a key counts)."""
        said = process.run([*self._ssh(), "-G", "--", self.destination, "true"], env=ENV, timeout=_ANSWER, check=False)
        if said.returncode:
            there = self.destination
            way = SshTarget(self.name, there, there, there, is_named=self.name != self.address)
            raise explain(said.stderr.decode(errors="replace"), way, has_begun=False)
        pairs = (line.partition(" ") for line in said.text.splitlines())
        return {key: value for key, _, value in reversed(list(pairs))}

    @property
    def _keeps(self) -> bool:
        """Whether the shared connection is unibuild's own, not one that the user's configuration sets up."""
        return self._settings.get("controlpath", "none") == "none"

    @functools.cached_property
    def _multiplexing(self) -> tuple[str, ...]:
        options: tuple[str, ...] = ()
        if self._keeps:
            key = f"{self.destination} {self.port} {self.config}"
            options = ("-o", f"ControlPath={_sockets() / hashlib.sha256(key.encode()).hexdigest()[:16]}")
        if self._settings.get("controlmaster", "false") in ("false", "no"):
            alive = ("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")
            options += ("-o", "ControlMaster=auto", "-o", f"ControlPersist={KEEP}", *alive)
        return options

    @property
    def _hostname(self) -> str:
        return self._settings.get("hostname", self.destination)

    @property
    def _known_as(self) -> str:
        """The name of the host's key in ``known_hosts``."""
        port = self._settings.get("port", "22")
        host = self._settings.get("hostkeyalias") or self._hostname
        return host if port == "22" or "hostkeyalias" in self._settings else f"[{host}]:{port}"


def _upload(target: str, digest: str) -> tuple[str, ...]:
    """Return the command that writes its standard input to ``target``, where it is only once it is whole."""
    return ("sh", "-c", _UPLOAD, "sh", target, digest, uuid.uuid4().hex[:8])


def _open(paths: Sequence[Path]) -> IO[bytes]:
    """Open files as one, which has their bytes one after the other; only this process can reach a copy of several.

    Raises:
        FileError: a file cannot be read, or no temporary file can be written.
    """
    if len(paths) == 1:
        with files.reading(paths[0]):
            return paths[0].open("rb")
    contents = []
    for path in paths:
        with files.reading(path):
            contents.append(path.read_bytes())
    with files.writing_errors("a temporary file"), contextlib.ExitStack() as failed:
        whole = failed.enter_context(tempfile.TemporaryFile())
        whole.write(b"".join(contents))
        whole.seek(0)
        failed.pop_all()
    return whole


def _size_here(path: Path) -> int:
    with files.reading(path):
        return path.stat().st_size


def _own(path: str) -> str | None:
    """Return the name of a working copy among the copies of ``put``; None: it is another file."""
    found = re.fullmatch(r"[0-9a-f]{64}\.([^.]+)", posixpath.basename(path))
    return found[1] if found else None


def _sockets() -> Path:
    """Return the private folder of ssh's sockets, with a short path; create it if needed.

    Raises:
        FileError: it cannot be created.
        HostError: another user created it.
    """
    folder = files.cache_home() / "unibuild" / "ssh"
    if len(os.fsencode(folder)) > _SOCKET_MAX:
        folder = Path(tempfile.gettempdir()) / f"unibuild-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.lstat()
    except OSError as error:
        raise FileError(
            f"cannot create the folder {folder} for the connection to the host: {error.strerror}", hint=files.SET_CACHE
        ) from error
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise HostError(f"other users can access {folder}", hint="remove it and run again")
    return folder
