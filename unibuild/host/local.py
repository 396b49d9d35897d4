"""This machine as the Xen host: ``xl`` runs as root, through sudo if the user is not root.

sudo's ticket, which saves a second password prompt, belongs to the terminal session. Commands in the foreground ask;
those in the background use the ticket (``sudo -n``). So nothing here opens a session of its own.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
from pathlib import Path
from typing import IO, TYPE_CHECKING

from unibuild.errors import MissingError
from unibuild.host.base import SBIN, Host, check_sudo
from unibuild.host.exchange import Call, HostChild, Limits
from unibuild.util import process

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

__all__ = ["Local", "is_dom0"]

_SUDO = 300.0  # seconds for a user to type a password for sudo: passwd_timeout of sudoers(5)
_HINTS = {
    "it wants a password": "run `sudo -v` first, or run unibuild on a terminal where it can ask",
    "": "run `unibuild doctor --host local` for the sudoers lines, run unibuild as root, or boot elsewhere: "
    'host = "lab" needs no rights',
}


def is_dom0(capabilities: Path = Path("/proc/xen/capabilities")) -> bool:
    """Return whether this machine is dom0 of a running Xen and has ``xl``.

    Source: xenfs writes ``control_d`` into ``/proc/xen/capabilities`` in the control domain only.
    """
    try:
        return "control_d" in capabilities.read_text() and _find("xl") is not None
    except OSError:
        return False


class Local(Host):
    """This machine.

    Args:
        uid: the user's id; root needs no sudo.
        name: its name in messages and records.
        sudo: whether xl runs through sudo unless the user is root.
    """

    address = "local"

    def __init__(self, uid: int | None = None, *, name: str = "local", sudo: bool = True) -> None:
        self.name = name
        self._uid = os.geteuid() if uid is None else uid
        self._sudo = sudo

    @property
    def user(self) -> str:
        """See ``Host.user``."""
        try:
            return pwd.getpwuid(self._uid).pw_name
        except KeyError:
            return f"#{self._uid}"  # as in sudoers(5)

    @property
    def needs_sudo(self) -> bool:
        """See ``Host.needs_sudo``."""
        return self._sudo and self._uid != 0

    def call(
        self,
        argv: Sequence[str],
        *,
        tty: bool = False,  # noqa: ARG002 (has_ttys is False)
        root: bool = True,
        background: bool = False,
    ) -> Call:
        """See ``Host.call``."""
        local = [_find(argv[0]) or argv[0], *argv[1:]]
        if root and self.needs_sudo:
            local = ["sudo", *(["-n"] if background else []), "--", *local]
        return Call(local, argv)

    def locate(self, names: Sequence[str]) -> dict[str, str]:
        """See ``Host.locate``."""
        return {name: path for name in names if (path := _find(name))}

    def answer(self, child: HostChild) -> process.Completed:
        """See ``Host.answer``."""
        out, err, status = bytes(child.out.data), bytes(child.err.data), child.popen.returncode
        said = err.decode(errors="replace")
        if status < 0:
            raise self.died(child.call.asked, -status, said)
        if status and child.argv[0] == "sudo":
            if "command not found" in said:
                program = child.argv[child.argv.index("--") + 1]
                process.need(program)
                raise MissingError(f"sudo cannot find the program {program}")
            check_sudo(said, "on this machine", _HINTS)
        return process.Completed(child.argv, status, out, err)

    def limits(self, seconds: float, *, background: bool) -> Limits:
        """See ``Host.limits``."""
        return Limits(seconds + (_SUDO if self.needs_sudo and not background else 0.0), 0.0)

    def _start(self, call: Call, stdin: int | IO[bytes] | None, stdout: int | IO[bytes] | None) -> HostChild:
        child = super()._start(call, stdin, stdout)
        if call.argv[0] != "sudo":
            return child
        return _RootChild(child.popen, call, self.answer, sudo=["sudo", *(["-n"] if self.is_batch else [])])

    def put(self, path: Path, *, folder: str = "", own: str | None = None) -> str:  # noqa: ARG002 (no copies here)
        """Return the file's own path: nothing is copied."""
        return str(path.absolute())

    def discard(self, folder: str, keep: Sequence[str] = ()) -> tuple[str, ...]:  # noqa: ARG002
        """Do nothing: ``put`` copied nothing."""
        return ()


class _RootChild(HostChild):
    """A child behind sudo; it runs as root, so that only root can signal it."""

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        call: Call,
        read: Callable[[HostChild], process.Completed],
        *,
        sudo: Sequence[str],
    ) -> None:
        super().__init__(popen, call, read)
        self._sudo = sudo

    def end(self, timeout: float = process.KILL_TIMEOUT) -> int:
        for name in ("TERM", "KILL"):
            if self.poll() is None:
                process.run([*self._sudo, "--", "kill", f"-{name}", "--", str(-self.popen.pid)], check=False)
                self.wait(timeout)
        status = self.poll()
        return -signal.SIGPIPE if status is None else status  # sudo's rules forbid `kill`: its next write ends it


def _find(program: str) -> str | None:
    return shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *SBIN)))
