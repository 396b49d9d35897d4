"""Control QEMU through QMP, its monitor protocol, over a Unix socket (qemu: docs/interop/qmp-spec.rst)."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from unibuild.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Monitor"]

ANSWER_TIMEOUT = 20.0  # seconds for one answer of QEMU


class Monitor(AbstractContextManager["Monitor"]):
    """A connection to a running QEMU, which accepts one at a time.

    Args:
        path: the socket.

    Raises:
        LabError: QEMU does not answer there.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(ANSWER_TIMEOUT)
        try:
            self._socket.connect(str(path))
            self._lines = self._socket.makefile("rb")
            self._lines.readline()  # the greeting
            self.run("qmp_capabilities")
        except OSError as error:
            self._socket.close()
            raise LabError(f"the lab VM's QEMU does not answer on {path}: {error}") from error
        except LabError:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()

    def run(self, command: str, *, fd: int | None = None, **arguments: object) -> Any:  # noqa: ANN401 (JSON)
        """Run a command and return its result; ignore events in between.

        Args:
            command: its name.
            fd: a file descriptor to send with it (for "getfd").
            arguments: its arguments; underscores in names become hyphens.

        Raises:
            LabError: QEMU refuses, or does not answer.
        """
        plain = {name.replace("_", "-"): value for name, value in arguments.items()}
        line = json.dumps({"execute": command, "arguments": plain} if plain else {"execute": command}).encode()
        try:
            if fd is None:
                self._socket.sendall(line + b"\n")
            else:
                socket.send_fds(self._socket, [line + b"\n"], [fd])
            while True:
                answer = json.loads(self._lines.readline())
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise LabError(f"QEMU refuses {command}: {answer['error'].get('desc', answer['error'])}")
        except (OSError, ValueError) as error:
            raise LabError(f"the lab VM's QEMU disappeared during {command}") from error

    def migrated(self) -> None:
        """Wait until a migration has ended.

        Raises:
            LabError: it failed.
        """
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            facts = self.run("query-migrate")
            if facts.get("status") == "completed":
                return
            if facts.get("status") in ("failed", "cancelled"):
                break
            time.sleep(0.01)
        raise LabError(f"the snapshot failed: {facts.get('error-desc', facts.get('status'))}")

    def forwards(self) -> dict[int, str]:
        """Return the forwarded TCP ports of this machine and their targets: {8080: "10.0.2.50:80"}.

        Format: QEMU's ``info usernet`` (libslirp's slirp_connection_info).
        """
        text = self.run("human-monitor-command", command_line="info usernet")
        rows = re.findall(r"(?m)^\s*TCP\[HOST_FORWARD\]\s+\S+\s+\S+\s+(\d+)\s+(\S+)\s+(\d+)", text)
        return {int(port): f"{address}:{target}" for port, address, target in rows}

    def forward(self, port: int, address: str) -> None:
        """Forward a port of 127.0.0.1 to ``address`` ("10.0.2.50:80") instead of its present target.

        Raises:
            LabError: another program has the port.
        """
        now = self.forwards().get(port)
        if now == address:
            return
        if now is not None:
            self.unforward(port)
        host, _, target = address.rpartition(":")
        answer = self.run("human-monitor-command", command_line=f"hostfwd_add n0 tcp:127.0.0.1:{port}-{host}:{target}")
        if answer.strip():
            raise LabError(
                f"cannot forward port {port} to {address}",
                hint=f"check whether another program uses port {port} ({answer.strip()})",
            )

    def plug(self, name: str, file: Path) -> None:
        """Plug a raw file into the machine as a disk, to read and write; ``name`` is the disk's serial number.

        Raises:
            LabError: QEMU cannot open the file, or the disk exists already.
        """
        self.run("blockdev-add", driver="raw", node_name=name, file={"driver": "file", "filename": str(file)})
        self.run("device_add", driver="virtio-blk-pci", id=name, drive=name, serial=name)

    def unplug(self, name: str) -> bool:
        """Ask the machine to release a disk from ``plug``; return whether it has. If not, call this again."""
        with contextlib.suppress(LabError):  # it was asked already, or has released it
            self.run("device_del", id=name)
        if name not in self.plugged():
            return True
        with contextlib.suppress(LabError):  # it is still in use
            self.run("blockdev-del", node_name=name)
            return True
        return False

    def plugged(self) -> list[str]:
        """Return the names of the disks that were plugged in."""
        return [str(node["node-name"]) for node in self.run("query-named-block-nodes") if node["drv"] == "raw"]

    def unforward(self, port: int) -> None:
        """Stop forwarding a port of 127.0.0.1.

        Raises:
            LabError: QEMU does not answer.
        """
        self.run("human-monitor-command", command_line=f"hostfwd_remove n0 tcp:127.0.0.1:{port}")
