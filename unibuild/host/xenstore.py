"""XenStore through the programs ``xenstore-ls``, ``xenstore-read``, ``xenstore-rm`` and ``xenstore-write``."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from unibuild.errors import CommandError, HostError
from unibuild.host.batch import BatchStep
from unibuild.host.toolstack import Listing, Store

if TYPE_CHECKING:
    from unibuild.host.base import Host
    from unibuild.host.toolstack import Lease
    from unibuild.util.process import Completed

__all__ = ["XenStore", "parse"]

_LINE = re.compile(r'^(/\S+) = "(.*?)"(?:\s+\(.*\))?$', re.MULTILINE)  # tools/xenstore/xenstore_client.c, "ls -f"

# For a host behind SSH: one exchange does everything, and also returns the host's time. "$@" is sudo, or nothing.
_LIST = """r=$1; shift; echo "now $(date +%s)"; exec "$@" xenstore-ls -f "$r" """
_WRITE_LEASE = (
    """r=$1; p=$2; b=$3; s=$4; e=$5; shift 5; n=$(date +%s); """
    """"$@" xenstore-write "$p" "$b $((n + s)) $e" || exit; echo "now $(date +%s)"; exec "$@" xenstore-ls -f "$r" """
)


def parse(text: str) -> dict[str, str]:
    """Return the entries in the output of ``xenstore-ls -f``: values by path."""
    return dict(_LINE.findall(text))


class XenStore(Store):
    """The XenStore of a host."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def read(self, path: str, *, timeout: float | None = None) -> str | None:
        """See ``Store``."""
        argv = ["xenstore-read", path]
        done = self._host.run(argv, timeout=timeout, check=False, background=True)
        if done.returncode == 0:
            return done.text.removesuffix("\n")
        said = done.stderr.decode(errors="replace").strip()
        if "couldn't read path" in said:
            return None
        raise CommandError(argv, done.returncode, said)

    def write(self, path: str, value: str) -> None:
        """See ``Store``."""
        self._host.run(["xenstore-write", path, value], background=True)

    def remove(self, path: str) -> None:
        """See ``Store``."""
        self._host.run(["xenstore-rm", path], check=False, background=True)

    def list(self, path: str) -> Listing:
        """See ``Store``."""
        if self._host.has_ttys:
            return self._script(_LIST, path)
        return Listing(time.time(), parse(self._host.run(["xenstore-ls", "-f", path], check=False).text))

    def write_lease(self, path: str, before: str, seconds: float, after: str, *, root: str) -> Listing:
        """See ``Store``."""
        if self._host.has_ttys:
            return self._script(_WRITE_LEASE, root, path, before, f"{seconds:.0f}", after)
        self._host.run(["xenstore-write", path, f"{before} {time.time() + seconds:.0f} {after}"])
        return self.list(root)

    def lease_step(self, lease: Lease) -> BatchStep:
        """Return the command of ``write_lease`` for a host behind SSH; ``read_listing`` reads its answer."""
        words = (lease.root, lease.path, lease.before, f"{lease.seconds:.0f}", lease.after)
        return self._step(_WRITE_LEASE, *words)

    def _step(self, script: str, *args: str) -> BatchStep:
        host = self._host
        return BatchStep(("sh", "-c", script, "sh", *args, *host.as_root), root=not host.needs_sudo)

    def _script(self, script: str, *args: str) -> Listing:
        step = self._step(script, *args)
        done = self._host.run(step.argv, root=step.root, check=False, question=True)  # it can be done twice
        return self.read_listing(done)

    def read_listing(self, done: Completed) -> Listing:
        """Return what a script printed of the store.

        Raises:
            HostError: the store refused.
        """
        now = re.search(r"^now (\d+)$", done.text, re.MULTILINE)
        if now is None:
            said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
            raise HostError(f"cannot use the XenStore of {self._host.name}: {said}")
        return Listing(float(now[1]), parse(done.text))
