"""Keep tests from reaching other machines: a connection to an address that is not loopback fails its test.

In this process an audit hook refuses the connection. In programs that the tests start, a small library that
``LD_PRELOAD`` loads does; statically linked programs, and programs started without the environment, are not covered.
apt may download packages.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("network_guard.c")
LOG = "NETWORK_GUARD_LOG"


class NetworkBlock:
    """Refuses connections, and records the refused ones.

    Attributes:
        refused: the addresses, of this process and of others.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="unibuild-block-"))
        self._folder.chmod(0o755)  # programs of other users load the library too
        self._log = self._folder / "refused"
        self._log.touch()
        self._log.chmod(0o666)
        self._here: list[str] = []
        self._seen = 0
        self._is_on = True

    def install(self) -> None:
        """Refuse connections of this process and of those that it starts from now on."""
        sys.addaudithook(self._hook)
        compiler = shutil.which("cc")
        library = self._folder / "block.so"
        if compiler is None:
            return
        argv = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
        if subprocess.run(argv, capture_output=True, check=False).returncode == 0:
            before = os.environ.get("LD_PRELOAD")
            os.environ["LD_PRELOAD"] = f"{before}:{library}" if before else str(library)
            os.environ[LOG] = str(self._log)

    def end(self) -> None:
        """Stop refusing connections, and remove the files."""
        self._is_on = False
        shutil.rmtree(self._folder, ignore_errors=True)

    def take(self) -> list[str]:
        """Return the connections that were refused since the last call."""
        found, self._here = self._here, []
        lines = self._log.read_text().splitlines()
        found, self._seen = [*found, *lines[self._seen :]], len(lines)
        return found

    def _hook(self, event: str, args: tuple[object, ...]) -> None:
        if event not in ("socket.connect", "socket.sendto") or not self._is_on:
            return
        address = args[1]
        if isinstance(address, tuple) and address and not _is_here(str(address[0])):
            self._here.append(f"this process: {address[0]}")
            raise OSError(errno.ENETUNREACH, "the tests reach no other machine")


def _is_here(host: str) -> bool:
    """Return whether an address is loopback or unspecified; the connection itself looks up a name."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host in ("", "localhost")
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback or found.is_unspecified
