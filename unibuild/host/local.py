"""This machine as the Xen host: ``xl`` as root, through sudo where we are not root.

sudo's ticket, which spares the second question for a password, belongs to the terminal session. Commands in the
foreground ask; those in the background ride on the ticket (``sudo -n``), and nothing here opens a session of its own.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import IO, TYPE_CHECKING

from unibuild import process
from unibuild.errors import MissingError
from unibuild.host.base import SBIN, Host, check_sudo, is_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Local", "is_dom0"]

_HINTS = {
    "it wants a password": "run `sudo -v` first, or run unibuild on a terminal where it can ask",
    "": "`unibuild doctor --host local` prints the sudoers lines that are needed; or run unibuild as root, or boot "
    'elsewhere: host = "lab" needs no rights at all',
}


def is_dom0(capabilities: Path = Path("/proc/xen/capabilities")) -> bool:
    """Tell whether this machine runs Xen, we are in its dom0, and ``xl`` is there.

    Source: xenfs writes ``control_d`` into ``/proc/xen/capabilities`` in the control domain only.
    """
    try:
        return "control_d" in capabilities.read_text() and _find("xl") is not None
    except OSError:
        return False


class Local(Host):
    """This machine.

    Args:
        uid: the user that we are; root needs no sudo.
        name: what sentences and records call it.
        sudo: whether xl runs through sudo unless we are root.
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
            return f"#{self._uid}"  # as sudoers(5) has it

    @property
    def needs_sudo(self) -> bool:
        """See ``Host.needs_sudo``."""
        return self._sudo and self._uid != 0

    def command(
        self,
        argv: Sequence[str],
        *,
        tty: bool = False,  # noqa: ARG002 (has_ttys is False)
        root: bool = True,
        background: bool = False,
    ) -> list[str]:
        """See ``Host.command``."""
        program = _find(argv[0]) or argv[0]
        if not (root and self.needs_sudo):
            return [program, *argv[1:]]
        return ["sudo", *(["-n"] if background else []), "--", program, *argv[1:]]

    def check(self, done: process.Completed) -> None:
        """See ``Host.check``."""
        if done.argv[0] == "sudo":
            said = done.stderr.decode(errors="replace")
            if "command not found" in said:
                program = done.argv[done.argv.index("--") + 1]
                process.need(program)
                raise MissingError(f"sudo does not find the program {program}")
            check_sudo(said, "on this machine", _HINTS)

    def start(
        self,
        argv: Sequence[str],
        *,
        tty: bool = False,
        root: bool = True,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = subprocess.PIPE,
    ) -> process.Child:
        """See ``Host.start``."""
        child = super().start(argv, tty=tty, root=root, stdin=stdin, stdout=stdout)
        return _RootChild(child.popen, child.argv) if child.argv[0] == "sudo" else child

    def put(self, path: Path, *, folder: str = "", own: str | None = None) -> str:  # noqa: ARG002 (no copies here)
        """Return the file's own path: nothing need be copied."""
        return str(path.absolute())

    def discard(self, folder: str, keep: Sequence[str] = ()) -> tuple[str, ...]:  # noqa: ARG002
        """Do nothing: ``put`` copied nothing."""
        return ()


class _RootChild(process.Child):
    """A child behind sudo: it is root's, so that we cannot signal it ourselves."""

    def end(self, patience: float = process.PATIENCE) -> int:
        for name in ("TERM", "KILL"):
            if self.poll() is None:
                process.run(
                    ["sudo", *(["-n"] if is_batch() else []), "--", "kill", f"-{name}", "--", str(-self.popen.pid)],
                    check=False,
                )
                self.wait(patience)
        status = self.poll()
        return -signal.SIGPIPE if status is None else status  # sudo's rules forbid `kill`: its next line ends it


def _find(program: str) -> str | None:
    return shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *SBIN)))
